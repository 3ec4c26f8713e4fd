"""``kacap check`` from outside: exit codes, formats, rules, bad input; on recorded captures and on live sockets."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import jsonschema
import pytest
from timelines import parse

from kacap.commands import main
from kacap.report.records import schema

PROGRAM = [sys.executable, "-m", "kacap"]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads sockets by pidfd_getfd")

SERVER = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
ends = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
time.sleep(0.3)
for end in ends if sys.argv[1] == "on" else []:
    for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6)):
        end.setsockopt(socket.IPPROTO_TCP, option, value)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
print("the command speaks", flush=True)
time.sleep(60)
"""


@pytest.fixture
def run(capsys):
    """The program in this process: returncode, stdout and stderr of a command."""

    def ran(*words) -> SimpleNamespace:
        with pytest.raises(SystemExit) as ended:
            main.main([str(word) for word in words])
        said = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=said.out, stderr=said.err)

    return ran


def outside(*words):
    return subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def lab(captures):
    return lambda name: captures / "lab" / name / "capture.pcapng"


@pytest.mark.parametrize(
    ("case", "options", "code", "lines"),
    [
        ("up", "--expect idle=2,interval=1,count=3", 0, ["ok   idle      2 s expected, 2.02 to 2.03 s observed (n=4)"]),
        ("up", "--idle 2 --interval 1", 0, ["skip interval  not observable (no probe went unanswered); add --require"]),
        ("up", "--idle 2 --interval 1 --require interval", 1, ["FAIL interval  1 s expected: not observable"]),
        ("up", "--idle 3", 1, ["FAIL idle      3 s expected, 2.02 to 2.03 s observed (n=4)"]),
        ("up", "--idle 9 --interval 2", 1, ["looks like idle and interval swapped"]),
        ("up", "--interval 1", 3, ["not enough evidence: no expected setting is observable"]),
        ("up", "--idle 2 --min-probes 5", 3, ["as expected, but only 4 of 5 probes", "fewer than 5 probes"]),
        ("up", "--idle 2 --min-probes 4", 0, ["met: "]),
        ("up", "--idle 2 --from a", 0, ["met: "]),
        ("up", "--idle 1 --from b", 1, ["never probed although silent for 2.03 s", "only 10.1.0.2:40000 probes"]),
        ("up", "--idle 2 --from 10.9.9.9", 3, ["no connection has an expectation"]),
        ("cut-off", "--expect idle=2,interval=1,count=3", 0, ["ok   count     3 expected, 3 observed (n=1)"]),
        (
            "cut-off",
            "--expect idle=2,interval=1,count=5",
            0,
            ["count 3, or a TCP_USER_TIMEOUT of 4.03 to 5.06 s"],
        ),
        ("cut-off", "--expect count=5,user_timeout=0", 1, ["FAIL count     5 expected, 3 observed (n=1)"]),
        ("user-timeout-short", "--expect idle=3,interval=2,count=5,user_timeout=4s", 0, ["ok   user_timeout"]),
        ("user-timeout-short", "--user-timeout 40s", 1, ["FAIL user_timeout 40.0 s expected, at most 5.02 s observed"]),
        ("user-timeout-long", "--expect count=2,user_timeout=7000ms", 0, ["it overrides the count"]),
        ("heartbeat", "--idle 3", 3, ["no probe; 1 connection silent for 1.50 s at most"]),
        ("heartbeat", "--idle 1", 1, ["FAIL idle      1 s expected: never probed although silent for 1.50 s"]),
        ("output-drop", "--expect idle=2,count=4", 0, ["probes may be missing from the capture"]),
        ("sysctl-changed", "--idle 4", 1, ["2.00 s is sooner than 4 s"]),
    ],
)
def test_the_exit_code_and_the_lines_say_whether_it_is_met(run, lab, case, options, code, lines):
    done = run("check", lab(case), *options.split())
    assert done.returncode == code, done.stdout + done.stderr
    assert all(line in done.stdout for line in lines), done.stdout
    assert not done.stderr


@pytest.mark.slow
def test_a_filter_trails_the_files(run, lab):
    assert run("check", lab("up"), "port", "12345", "--idle", "2").returncode == 0
    done = run("check", lab("up"), "port", "1", "--idle", "2")
    assert done.returncode == 3
    assert done.stdout == "not enough evidence: the capture holds no TCP segment that the filter takes\n"


def test_a_damaged_capture_fails_with_its_line_though_it_meets(run, lab, tmp_path):
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(lab("up").read_bytes()[:-50])
    done = run("check", cut, "--idle", "2")
    assert done.returncode == 1
    assert "met: " in done.stdout
    assert "cut.pcapng: damaged at byte" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_json_is_check_records_and_a_result_and_meets_the_schema(run, lab):
    check = jsonschema.Draft202012Validator(schema())
    for case, options in (("cut-off", "idle=2,interval=1,count=3,user_timeout=9s"), ("heartbeat", "idle=1")):
        done = run("check", lab(case), "--expect", options, "--format", "json")
        records = [json.loads(line) for line in done.stdout.splitlines()]
        for record in records:
            check.validate(record)
        assert [r["type"] for r in records] == ["check"] * (len(records) - 1) + ["result"]
        assert records[-1]["answer"] == "not met"
    assert records[0] | {"prober": None, "setting": "idle", "expected": 1, "verdict": "differs"} == records[0]


def test_junit_is_one_case_for_each_check_and_a_failure_without_evidence(run, lab):
    suite = ElementTree.fromstring(run("check", lab("up"), "--expect", "idle=3,interval=1", "--format", "junit").stdout)
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "1", "1")
    assert [case.get("name") for case in suite] == ["idle", "interval"]
    assert ": 3 s expected, 2.02 to 2.03 s observed" in suite[0].find("failure").get("message")
    none = ElementTree.fromstring(run("check", lab("heartbeat"), "--idle", "3", "--format", "junit").stdout)
    assert (none.get("tests"), none.get("failures"), none[0].get("name")) == ("1", "1", "evidence")


def test_tap_numbers_its_points_and_skips_what_is_not_observable(run, lab):
    lines = run("check", lab("up"), "--expect", "idle=3,interval=1", "--format", "tap").stdout.splitlines()
    assert lines[:2] == ["TAP version 13", "1..2"]
    assert lines[2].startswith("not ok 1 - 10.1.0.2:40000 -> 10.2.0.2:12345 idle: 3 s expected")
    assert lines[3].startswith("ok 2 - 10.1.0.2:40000 -> 10.2.0.2:12345 interval # SKIP not observable")


@pytest.mark.parametrize(
    ("words", "code", "start"),
    [
        (["up", "--idle", "2"], 0, "KEEPALIVE OK - met: 1 connection checked"),
        (
            ["cut-off", "--idle", "2"],
            1,
            "KEEPALIVE WARNING - met: 1 connection missed probes, worst "
            "10.1.0.2:40000 -> 10.2.0.2:12345: 3 of 3 unanswered, given up | ",
        ),
        (
            ["cut-off", "--expect", "idle=2,count=3"],
            1,
            "KEEPALIVE WARNING - met: 1 connection missed probes, worst "
            "10.1.0.2:40000 -> 10.2.0.2:12345: 3 of 3 unanswered, given up | ",
        ),
        (["cut-off", "--idle", "3"], 2, "KEEPALIVE CRITICAL - 10.1.0.2:40000 -> 10.2.0.2:12345 idle: 3 s expected, "),
        (["up", "--idle", "3"], 2, "KEEPALIVE CRITICAL - 10.1.0.2:40000 -> 10.2.0.2:12345 idle: 3 s expected"),
        (["heartbeat", "--idle", "3"], 3, "KEEPALIVE UNKNOWN - not enough evidence: no probe"),
        (["up", "--idle", "0"], 3, "KEEPALIVE UNKNOWN - --idle: idle=0 is out of range"),
    ],
)
def test_nagios_is_one_line_with_performance_data_and_its_own_codes(run, lab, words, code, start):
    done = run("check", lab(words[0]), *words[1:], "--format", "nagios")
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (code, "", 1)
    assert done.stdout.startswith(start)
    assert ("| connections=" in done.stdout) == ("out of range" not in done.stdout)


@pytest.mark.slow
def test_nagios_says_how_much_time_is_left_where_the_capture_ends_within_a_run(run, lab, tmp_path):
    cut = tmp_path / "cut.pcap"
    lines = [
        "A 10.0.0.1:40000 isn 1000",
        "B 10.0.0.2:80 isn 5000",
        "0 A > B S",
        "+0.001 B > A S.",
        "+0.001 A > B .",
        "+60 A > B . seq nxt-1",
        "+10 A > B . seq nxt-1",
        "+2 C > D S",
    ]
    lines[2:2] = ["C 10.0.0.3:40000 isn 1", "D 10.0.0.4:80 isn 1"]
    parse("\n".join(lines)).write_pcap(cut)
    done = run("check", cut, "host", "10.0.0.1", "or", "host", "10.0.0.3", "--expect", "idle=60,interval=10,count=6",
               "--format", "nagios")  # fmt: skip
    assert "10.0.0.1:40000 -> 10.0.0.2:80: 2 of 6 unanswered, 48.0 s left until it is given up" in done.stdout
    assert "worst_run=2" in done.stdout


@pytest.mark.slow
def test_rules_choose_the_expectation_by_connection_and_options_are_for_the_rest(run, lab, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[expect]]\nfilter = "port 12345"\nidle = "2s"\nfrom = 40000\n')
    done = run("check", lab("up"), "--rules", rules, "--idle", "9", "--format", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[0])["source"] == f"{rules}: expect[1]"
    rules.write_text('[[expect]]\nfilter = "port 80"\nidle = 1\n')
    assert run("check", lab("up"), "--rules", rules).returncode == 3
    assert run("check", lab("up"), "--rules", rules, "--idle", "9").returncode == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "nothing is expected: give --expect"),
        ("--expect idle=2 --idle 3", "idle is given twice: 2 (--expect) and 3 (--idle)"),
        ("--idle 60000", "--idle: idle=60000 looks like milliseconds"),
        ("--count 200", "--count: count=200 is out of range: 1 to 127 probes"),
        ("--expect idel=2", "--expect: unknown setting 'idel' (did you mean idle?)"),
        ("--idle 2 --from nobody", "--from nobody: not a side"),
        ("--from a", "--from says who must probe, not what is expected"),
        ("--idle 2 --require count", "--require count: say what is expected of it"),
        ("--rules missing.toml", "missing.toml: cannot read the rules: No such file or directory"),
        ("--rules {wrong}", "wrong.toml: expect[1].idel: unknown setting 'idel' (did you mean idle?)"),
        ("--rules {all} --idle 3", "expect[1] has no filter and takes every connection"),
        ("--idle 2 --min-probes 0", "--min-probes"),
        ("--idle 2 --format yaml", "--format"),
        ("--idle 2 --run -r x.pcap", "--run reads sockets, not captures"),
    ],
)
def test_a_request_that_is_off_is_one_line_and_exit_2(run, lab, tmp_path, options, says):
    (tmp_path / "wrong.toml").write_text("[[expect]]\nidel = 2\n")
    (tmp_path / "all.toml").write_text("[[expect]]\nidle = 2\n")
    words = options.format(wrong=tmp_path / "wrong.toml", all=tmp_path / "all.toml").split()
    done = run("check", lab("up"), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rules_that_are_no_text_are_refused(run, lab, tmp_path):
    (tmp_path / "rules.toml").write_bytes(b"\xff\xfe\x00")
    done = run("check", lab("up"), "--rules", tmp_path / "rules.toml")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.slow
def test_read_shows_the_verdicts_in_place(run, lab):
    lines = run("read", lab("up"), "--expect", "idle=2,interval=1").stdout.splitlines()
    idle = "  idle        2 s, observed 2.02 to 2.03 s (n=4), expected 2 s (--expect) OK"
    assert f"{idle}: assumes keepalive was enabled at connect" in lines
    assert "  interval    expected 1 s (--expect) NOT OBSERVABLE: no probe went unanswered" in lines
    record = next(
        json.loads(line)
        for line in run("read", lab("up"), "--idle", "3", "--json").stdout.splitlines()
        if '"type":"connection"' in line
    )
    assert (record["probers"][0]["idle"]["verdict"], record["probers"][0]["idle"]["source"]) == ("differs", "--idle")


@pytest.mark.slow
@LINUX
def test_run_reads_the_sockets_of_a_command_and_its_children_without_waiting_for_a_probe(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    words = ["check", "--expect", "idle=60,interval=10,count=6", "--for", "20", "--run", "--"]
    done = outside(*words, "sh", "-c", f"{sys.executable} {tmp_path}/server.py on; true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok   idle      60 s expected, 60 s set") == 2
    assert done.stderr == "the command speaks\n"


@pytest.mark.slow
@LINUX
def test_run_tells_a_keepalive_that_is_off_from_one_that_is_set_differently(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    command = ["--for", "1.5", "--run", "--", sys.executable, tmp_path / "server.py"]
    off = outside("check", "--idle", "60", *command, "off")
    assert off.returncode == 1
    assert off.stdout.count("SO_KEEPALIVE is off in ") == 2
    swapped = outside("check", "--idle", "10", "--interval", "60", *command, "on")
    assert "FAIL idle      10 s expected, 60 s set: looks like idle and interval swapped" in swapped.stdout


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["true"], 3, "opened no TCP connection"),
        (["./missing"], 2, "kacap: --run: cannot start ./missing: No such file or directory"),
        ([], 2, "--run reads sockets, not captures: --run -- COMMAND"),
    ],
)
def test_run_without_a_socket_or_a_command_says_so(command, code, says):
    done = outside("check", "--idle", "60", "--run", "--", *command)
    assert done.returncode == code
    assert says in done.stdout + done.stderr


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("threads", [None, "3"])
def test_a_command_gets_the_environment_of_its_user_not_what_kacap_asks_of_libraries(threads):
    name = "OPENBLAS_NUM_THREADS"
    own = {key: value for key, value in os.environ.items() if key != name} | ({name: threads} if threads else {})
    command = [sys.executable, "-m", "kacap", "check", "--idle", "60", "--run", "--"]
    done = subprocess.run(
        [*command, "sh", "-c", f"echo threads ${{{name}-unset}} >&2"],
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"threads {threads or 'unset'}" in done.stderr, done.stderr
