"""Watching for days: metrics that a real Prometheus takes, programs that are told, a log that rotates."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from analysing import files_of, pieces, small_cases
from namespaced import inside
from prometheus_client import CollectorRegistry, generate_latest
from test_live_lines import Follower

from kacap.capture import open_captures
from kacap.commands.live_hooks import AT_ONCE, WAITING, Hooks
from kacap.commands.live_log import EventLog
from kacap.commands.live_metrics import Served, address_of
from kacap.commands.live_pace import Pace
from kacap.errors import KacapError, UsageError
from kacap.facts.due import first_due, gives_up_ns
from kacap.model import Endpoint
from kacap.report.live_rows import Cause, LiveEvent, ProbingConnection, What
from kacap.report.metrics import Exposition, Snapshot
from kacap.report.records import schema
from kacap.report.tallies import OTHER, QUIET_NS, Label, Tallies
from kacap.timing.expectations import Expectation

SECOND = 1_000_000_000
CHECK = jsonschema.Draft202012Validator(schema())
CONTRIB = Path(__file__).resolve().parent.parent.parent / "contrib"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
ONE_FILE = [case for case in small_cases() if len(files_of(case)) == 1]


@pytest.mark.namespaces
@as_root
@pytest.mark.tool("prometheus")
@pytest.mark.tool("promtool")
@pytest.mark.tool("nft")
def test_a_prometheus_learns_that_a_connection_died_and_of_what(tmp_path):
    done = inside(f"{sys.executable} {Path(__file__).with_name('with_prometheus.py')} {tmp_path}", timeout=300)
    assert done.returncode == 0, done.stderr + (tmp_path / "err").read_text()
    found = json.loads(done.stdout)
    labels = {"destination": "127.0.0.1:12345", "side": "server", "job": "kacap"}
    for name in ("before", "missing", "dead", "alerts"):
        assert len(found[name]) == 1, name
        assert labels.items() <= found[name][0]["metric"].items()
    assert found["missing_before"][0]["value"][1] == "0"
    assert 0 <= float(found["left"][0]["value"][1]) <= 9  # four probes, two seconds apart, and the last wait
    assert found["dead"][0]["metric"]["cause"] == found["alerts"][0]["metric"]["cause"] == "gave_up"
    assert set(found["dashboard"].values()) == {"success"} and len(found["dashboard"]) >= 12
    assert found["elsewhere"] == [404, 404]
    for text in (found["page"], found["last"], (tmp_path / "kacap.prom").read_text()):
        words = ["promtool", "check", "metrics"]
        linted = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")
    ports = set(re.findall(r":(\d+)\"", found["last"]))
    assert ports == {"12345"}  # and no ephemeral one
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    logged = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [one["event"] for one in told] == ["dead"] and told[0]["cause"] == "gave_up"
    assert [one["event"] for one in logged] == ["started", *["missing"] * 4, "dead", "stopped"]
    for record in (*told, *logged):
        CHECK.validate(record)


@pytest.mark.slow
@pytest.mark.parametrize("case", ONE_FILE)
def test_the_tallies_of_a_capture_are_the_sums_of_its_analysis_however_it_was_cut(case):
    (path,) = files_of(case)
    for one_by_one in (False, True):
        follower, tallies, last_ns = Follower(), Tallies(20), 0
        for batch in open_captures([str(path)]):
            for piece in pieces(batch, range(1, len(batch.frames)) if one_by_one else []):
                last_ns = int(piece.frames["time_ns"][-1])
                follower.feed(piece, last_ns)
        follower.wait(last_ns + 60 * SECOND)
        tallies.take(follower.events)
        gatherer = follower.analyzer.gatherer
        sums = {name: int(gatherer.probers.filled[name][1:].sum()) for name in ("probes", "replies", "missed")}
        total = {name: sum(getattr(tally, name) for tally in tallies.by_label.values()) for name in sums}
        assert total["probes"] == sums["probes"]
        assert total["replies"] == sums["replies"]
        assert total["missed"] >= sums["missed"] - int(gatherer.probers.filled["reset"][1:].sum())
        deaths = sum((tally.deaths for tally in tallies.by_label.values()), Counter())
        endings = Counter(row.ending for row in follower.tracker.rows.values())
        gave_up = deaths[Cause.GAVE_UP] + deaths[Cause.USER_TIMEOUT]
        assert gave_up == endings["gave-up"]
        by_reset = deaths[Cause.RESET_BY_PEER] + deaths[Cause.RESET_BY_BOX]
        assert by_reset <= endings["reset"] <= sum(tally.resets for tally in tallies.by_label.values())


def row_of(port: int, *, own: int = 40000, prober: str = "10.0.0.1") -> ProbingConnection:
    client, service = Endpoint(prober, own), Endpoint("10.0.3.7", port)
    return ProbingConnection(1, client, service, service=service, run=1, probe_ns=SECOND)


def event(row: ProbingConnection, what=What.PROBE, **more) -> LiveEvent:
    return LiveEvent(SECOND, row.prober, row.peer, "words", "", what, row, **more)


def test_only_the_busiest_destinations_have_series_and_every_event_is_counted_once():
    tallies, rows = Tallies(2), [row_of(port, own=port) for port in (1, 2, 3, 3, 3)]
    tallies.take([event(row) for row in rows])
    names = {label.destination: tally.probes for label, tally in tallies.by_label.items()}
    assert names == {"10.0.3.7:1": 1, "10.0.3.7:2": 1, OTHER: 3}
    tallies.states(rows, SECOND)  # three probe to :3 now, one each to the others
    tallies.take([event(rows[-1]), event(rows[0]), event(rows[1])])
    names = {label.destination: tally.probes for label, tally in tallies.by_label.items()}
    assert names == {"10.0.3.7:3": 1, "10.0.3.7:2": 2, OTHER: 4}
    tallies.states(rows[1:2], 2 * SECOND)
    assert Label("10.0.3.7:3", "client", "") in tallies.by_label  # nobody probes there, for a second
    tallies.states([row_of(9)], QUIET_NS + 3 * SECOND)
    assert Label("10.0.3.7:3", "client", "") not in tallies.by_label


@pytest.mark.slow
def test_labels_stay_few_whatever_connects():
    tallies = Tallies(5, lambda prober, _: f"process {prober.port}\n")
    for number in range(2000):
        row = row_of(1 + number % 300, own=1024 + number, prober=f"10.1.{number % 250}.1")
        tallies.take([event(row, what) for what in What])
        tallies.states([row], number * SECOND)
    assert len(tallies.by_label) <= 6 * 2 * 21
    assert not [label for label in tallies.by_label if "\n" in label.process]


def test_who_probes_is_named_by_its_side():
    tallies, row = Tallies(5), row_of(5432)
    backwards = ProbingConnection(1, row.peer, row.prober, service=row.service)
    assert [tallies.label(one).side for one in (row, backwards)] == ["client", "server"]
    assert tallies.label(row).destination == tallies.label(backwards).destination == "10.0.3.7:5432"


def test_the_page_is_of_the_format_and_a_death_is_there_from_zero_on():
    tallies, row = Tallies(5), row_of(5432)
    row.run, row.expected = 2, Expectation(60, 10, 3)
    row.reported_missed.add(1)
    tallies.take([event(row, What.PROBE, after_ns=4_000_000), event(row, What.ANSWERED, after_ns=70_000)])
    snapshot = Snapshot(SECOND, tallies.by_label, tallies.states([row], SECOND), 7, {"kernel": 0})

    class Lock:
        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    registry = CollectorRegistry()
    registry.register(Exposition(lambda: snapshot, lambda: {("off", "", "", ""): 3}, Lock(), by_process=False))
    lines = generate_latest(registry).decode().splitlines()
    labels = 'destination="10.0.3.7:5432",side="client"'
    for cause in Cause:
        assert f'kacap_deaths_total{{cause="{cause}",{labels}}} 0.0' in lines
    assert f'kacap_reply_seconds_bucket{{{labels.split(",")[0]},le="0.0001",side="client"}} 1.0' in lines
    assert f"kacap_next_verdict_seconds{{{labels}}} 20.0" in lines  # one more probe, and its interval
    assert f"kacap_missing_connections{{{labels}}} 1.0" in lines
    assert 'kacap_sockets{count="",idle="",interval="",keepalive="off"} 3.0' in lines


@pytest.mark.parametrize(
    ("expected", "run", "seconds"),
    [
        (Expectation(60, 10, 6), 1, 60),  # five more probes, and the last one's interval
        (Expectation(60, 10, 6), 6, 10),
        (Expectation(60, 10, 6, user_timeout_ns=75 * SECOND), 1, 20),  # silent for 60 s at the probe: 70, 80
        (Expectation(60, 10, 6, user_timeout_ns=10 * SECOND), 1, 10),  # at the first firing after a probe
        (Expectation(60, None, 6), 1, None),
        (Expectation(60, 10, None), 1, None),
        (Expectation(60, 10, 6), 0, None),
        (None, 3, None),
    ],
)
def test_when_a_silent_peer_is_given_up_follows_from_the_settings(expected, run, seconds):
    heard_ns, probe_ns = 1000 * SECOND, 1060 * SECOND
    found = gives_up_ns(expected, run, probe_ns, heard_ns)
    assert found == (None if seconds is None else probe_ns + seconds * SECOND)
    if expected is not None and expected.user_timeout_ns:  # from when on the peer is silent is not known
        assert gives_up_ns(expected, run, probe_ns, None) is None


@pytest.mark.parametrize(
    ("idle", "interval", "before_s", "found"),
    [
        (60, 10, None, (60, 1000)),  # the first probe of all
        (60, 10, 1000, (60, 1000)),  # after an answered one, whose answer restarted the clock
        (1, 75, None, (1, 1000)),
        (1, 75, 1000, (75, 1000)),  # the timer that the last probe set is still running
        (1, 75, 930, (75, 930)),  # heard in between: it fires 5 s later, and the silence is long enough
        (1, 75, 920, (1, 1000)),
        (60, None, 1000, (60, 1000)),
    ],
)
def test_the_first_probe_of_a_run_waits_for_idle_but_not_less_than_the_timer_of_the_probe_before(
    idle, interval, before_s, found
):
    probe_ns = None if before_s is None else before_s * SECOND
    setting, since_ns = first_due(idle, interval, 1000 * SECOND, probe_ns)
    assert (setting, since_ns) == (found[0], found[1] * SECOND)


@pytest.mark.parametrize(
    ("text", "found"),
    [("9464", ("127.0.0.1", 9464)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::1]:9464", ("::1", 9464))],
)
def test_metrics_are_served_on_the_loopback_unless_an_address_is_named(text, found):
    assert address_of(text) == found


@pytest.mark.parametrize("text", ["", "x", ":9464", "::1:9464", "1.2.3.4:99999", "host:"])
def test_an_address_that_is_none_is_refused_with_what_to_write(text):
    with pytest.raises(UsageError, match="--metrics"):
        address_of(text)


def test_a_port_that_is_taken_is_one_line():
    first = Served("0")
    port = first.url.split(":")[2].split("/")[0]
    with pytest.raises(KacapError, match=f"--metrics {port}: cannot listen there: Address already in use"):
        Served(port)
    first.server.server_close()


def events_of(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


def wait_for(look, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_program_gets_the_event_on_its_stdin_and_no_shell_sees_it(tmp_path):
    out = tmp_path / "a b"
    hooks, row = Hooks([("dead", f"tee -a '{out}'"), ("missing", f"tee -a {tmp_path}/$HOME")]), row_of(5432)
    hooks.take(
        [
            event(row, What.DEAD, cause=Cause.GAVE_UP, run=3),
            event(row, What.MISSING, run=1),
            event(row, What.MISSING, run=2),
            event(row, What.PROBE),
        ]
    )
    hooks.close()
    (told,) = map(json.loads, out.read_text().splitlines())
    CHECK.validate(told)
    assert (told["event"], told["cause"], told["run"], told["peer"]) == ("dead", "gave_up", 3, "10.0.3.7:5432")
    (missing,) = map(json.loads, (tmp_path / "$HOME").read_text().splitlines())  # the first of the run
    assert missing["event"] == "missing"


@pytest.mark.slow
def test_programs_are_bounded_in_number_and_what_was_passed_over_is_counted(tmp_path, capsys):
    gate = tmp_path / "gate"
    script = tmp_path / "slow"
    script.write_text(f"#!/bin/sh\nuntil [ -e {gate} ]; do sleep 0.05; done\ncat >> {tmp_path}/out\n")
    script.chmod(0o755)
    hooks, row = Hooks([("dead", str(script))]), row_of(5432)
    for number in range(200):
        hooks.take([event(row, What.DEAD, run=number)])
    assert len(hooks.running) == AT_ONCE
    gate.touch()
    hooks.close()
    told = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert len(told) == AT_ONCE + WAITING
    assert f"{200 - AT_ONCE - WAITING} events came too fast" in capsys.readouterr().err


@pytest.mark.slow
def test_a_program_that_does_not_end_is_killed(monkeypatch, capsys):
    monkeypatch.setattr("kacap.commands.live_hooks.PATIENCE_S", 0.3)
    hooks = Hooks([("dead", "sleep 60")])
    hooks.take([event(row_of(1), What.DEAD)])
    (running,) = hooks.running
    wait_for(lambda: hooks.take([]) or running.process.returncode == -signal.SIGKILL)
    assert "sleep did not end within 0.3 s: killed" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "/no/such/program -x", "'unfinished"])
def test_a_program_that_cannot_be_is_refused_at_the_start(command):
    with pytest.raises(UsageError, match="--on dead"):
        Hooks([("dead", command)])


@pytest.mark.slow
def test_the_log_rotates_by_size_and_keeps_so_many(tmp_path):
    log, row = EventLog(str(tmp_path / "log"), 2000, 3), row_of(5432)
    for number in range(200):
        log.take([event(row, What.DEAD, run=number), event(row, What.PROBE)])
    log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log", "log.1", "log.2", "log.3"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    runs = [json.loads(line)["run"] for name in reversed(files) for line in (tmp_path / name).read_text().splitlines()]
    assert runs == list(range(200 - len(runs), 200))


def test_after_logrotate_the_log_goes_on_in_a_new_file(tmp_path):
    path = tmp_path / "log"
    log = EventLog(str(path), 1 << 20, 3)
    log.note("started", 1, "one")
    path.rename(tmp_path / "log.old")
    log.note("trouble", 2, "still the old file")
    log.reopen()
    log.note("stopped", 3, "two")
    assert events_of(tmp_path / "log.old") == ["started", "trouble"]
    assert events_of(path) == ["stopped"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_the_log_goes_on(tmp_path, capsys):
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    log = EventLog(str(path), 1 << 20, 3)
    for number in range(3):
        log.note("trouble", number, "words")
    assert len(capsys.readouterr().err.splitlines()) == 1
    path.unlink()
    log.reopen()
    log.note("stopped", 9, "words")
    assert json.loads(path.read_text())["time_ns"] == 9


@pytest.mark.namespaces
@as_root
def test_sighup_reopens_the_log_of_a_running_watch_and_does_not_end_it(tmp_path):
    script = f"""
    cd {tmp_path}
    {sys.executable} -m kacap live -i lo --log log -Z root port 12345 >/dev/null 2>err & live=$!
    until [ -s log ]; do sleep 0.1; kill -0 $live || exit 1; done
    mv log moved; kill -HUP $live; sleep 0.5; kill -INT $live; wait $live
    """
    done = inside(f"ip link set lo up; {script}", env={**os.environ, "PYTHONPATH": str(CONTRIB.parent)})
    assert done.returncode == 0, done.stderr
    assert events_of(tmp_path / "moved") == ["started"]
    assert events_of(tmp_path / "log") == ["stopped"]


@pytest.mark.slow
def test_nothing_of_prometheus_is_loaded_unless_metrics_are_asked_for(tmp_path):
    code = (
        "import sys, runpy; sys.argv = ['kacap', 'live', '-r', sys.argv[1]]\n"
        "try: runpy.run_module('kacap', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "sys.exit(any(n.startswith(('prometheus_client', 'wsgiref', 'logging.handlers')) for n in sys.modules))"
    )
    capture = CONTRIB.parent / "captures/lab/up/capture.pcapng"
    done = subprocess.run([sys.executable, "-c", code, capture], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


UNTIL = """
drop() {{ nft add table t; nft 'add chain t i {{ type filter hook input priority 0; }}'
         nft add rule t i tcp dport 12345 drop; nft add rule t i tcp sport 12345 drop; }}
{before}
kacap live -i lo --until verdict {options} port 12345 2>&1; echo exit code $?
"""


@pytest.mark.namespaces
@pytest.mark.tool("nft")
@pytest.mark.parametrize(
    ("pair", "before", "options", "code"),
    [
        ("-d 2 -i 1 -c 3", "", "--timeout 60", 0),
        ("-d 1 -i 1 -c 9", "drop", "--timeout 60", 1),
        ("-d 300 -i 1 -c 3", "", "--timeout 2", 3),
    ],
)
def test_until_verdict_says_what_it_waits_for_and_its_exit_code_is_the_answer(pair, before, options, code):
    done = inside(UNTIL.format(before=before, options=options), pair=pair, timeout=200)
    assert f"exit code {code}" in done.stdout, done.stdout
    if code == 3:
        pattern = r"waiting: 127\.0\.0\.1:12345 > 127\.0\.0\.1:\d+: next probe due in \d+ s \(set to 300/1/3, "
        assert re.search(pattern, done.stdout)
        assert "0 packets captured" in done.stdout
    waiting, first = (done.stdout.find(word) for word in ("waiting: ", " probe after" if code == 0 else "probe"))
    assert waiting >= 0 and (first < 0 or waiting <= first)


def test_a_clock_that_is_set_is_said_once_and_one_that_is_slewed_is_not():
    now = [1000 * SECOND, 5 * SECOND]
    pace = Pace(lambda: now[0], lambda: now[1])
    said = []
    for wall_s, steady_s in ((1, 1), (1.2, 1), (3600, 1), (1, 1), (-90, 1), (1, 1)):
        now[0] += int(wall_s * SECOND)
        now[1] += int(steady_s * SECOND)
        said.append(pace.stepped())
    assert [bool(words) for words in said] == [False, False, True, False, True, False]
    assert "set forward by 59 min 59 s" in said[2] and "set back by 91.0 s" in said[4]


@pytest.mark.slow
def test_a_timeout_without_a_verdict_to_wait_for_is_refused():
    words = [sys.executable, "-m", "kacap", "live", "--timeout", "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--until verdict" in done.stderr


INTERFACE = """
cd {directory}
ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up; ip addr add 10.9.0.1/24 dev v1
ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev v1
{python} -m kacap live -q -i v0 -w packets.pcap --log log -Z root udp port 9 >out 2>err & live=$!
until [ -s log ]; do sleep 0.2; kill -0 $live || exit 9; done
ip link set v0 down; until grep -q 'went down' log; do sleep 0.2; kill -0 $live || exit 8; done
ip link set v0 up; until grep -q 'v0 is up again' log; do sleep 0.2; kill -0 $live || exit 7; done
until [ $(stat -c %s packets.pcap) -gt 24 ]; do echo > /dev/udp/10.9.0.2/9; sleep 0.2; kill -0 $live || exit 6; done
ip link del v0; wait $live; echo exit code $?; cat err
"""


@pytest.mark.namespaces
@as_root
def test_an_interface_that_goes_and_comes_is_a_line_each_and_one_that_vanishes_ends_the_watch(tmp_path):
    script = INTERFACE.format(directory=tmp_path, python=sys.executable)
    done = inside(script, timeout=240, env={**os.environ, "PYTHONPATH": str(CONTRIB.parent)})
    assert "exit code 1" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("kacap: v0") == 3, done.stdout
    assert events_of(tmp_path / "log") == ["started", "trouble", "trouble", "stopped"]
    captured = open_captures([str(tmp_path / "packets.pcap")])
    assert sum(len(batch.frames) for batch in captured) and captured.damages == []


NAMESPACE = """
mkdir -p {directory}/names; mount --bind {directory}/names /run 2>/dev/null; mkdir -p /run/netns
cd {directory}
ip netns add vanishing; ip -n vanishing link set lo up
{python} -m kacap live -q -i lo --netns vanishing --log log -Z root tcp >out 2>err & live=$!
until [ -s log ]; do sleep 0.2; kill -0 $live || exit 9; done
ip netns del vanishing; until grep -q trouble log; do sleep 0.2; kill -0 $live || exit 8; done
sleep 2; kill -INT $live; wait $live; echo exit code $?; cat err
"""


@pytest.mark.namespaces
@as_root
def test_a_namespace_that_vanishes_is_one_line_and_the_watch_goes_on(tmp_path):
    words = ["unshare", "--net", "--mount", "bash", "-c", NAMESPACE.format(directory=tmp_path, python=sys.executable)]
    here = {**os.environ, "PYTHONPATH": str(CONTRIB.parent)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=here)
    assert "exit code 0" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("no network namespace is called vanishing any more") == 1
    assert events_of(tmp_path / "log") == ["started", "trouble", "stopped"]


FULL_DISK = """
mkdir {directory}/small; mount -t tmpfs -o size=64k none {directory}/small
ip link set lo up; cd {directory}
{python} -m kacap live -i lo -w small/packets.pcap -s 0 -Z root udp >out 2>err & live=$!
until grep -q listening err; do sleep 0.2; kill -0 $live || exit 9; done
{python} -c "{send}" $live
wait $live; echo exit code $?; cat err; cp small/packets.pcap .
"""
SEND = """
import os, socket, sys, time
to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    for _ in range(20): to.sendto(bytes(1000), ('127.0.0.1', 9))
    time.sleep(0.2)
    if open('/proc/' + sys.argv[1] + '/stat').read().split(')')[1].split()[0] == 'Z': break
"""


@pytest.mark.namespaces
@as_root
def test_a_full_disk_ends_the_watch_with_one_line_and_a_file_of_whole_packets(tmp_path):
    script = FULL_DISK.format(directory=tmp_path, python=sys.executable, send=SEND)
    here = {**os.environ, "PYTHONPATH": str(CONTRIB.parent)}
    words = ["unshare", "--net", "--mount", "bash", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=here)
    assert "exit code 1" in done.stdout, done.stdout + done.stderr
    faults = [line for line in done.stdout.splitlines() if "No space left on device" in line]
    assert len(faults) == 1 and "-w small/packets.pcap" in faults[0], done.stdout
    assert "Traceback" not in done.stdout
    captures = open_captures([str(tmp_path / "packets.pcap")])
    assert sum(len(batch.frames) for batch in captures) > 20 and captures.damages == []


SET_CLOCK = """
import os, time
before = time.time_ns
step_ns = int(os.environ["STEP_S"]) * 1_000_000_000
time.time_ns = lambda: before() + (step_ns if os.path.exists(os.environ["STEP_WHILE"]) else 0)
"""
CLOCK = """
ip link set lo up; cd {directory}
{python} -m kacap live -i lo --log log -w packets.pcap -Z root port 12345 >out 2>err & live=$!
until grep -q listening err; do sleep 0.2; kill -0 $live || exit 9; done
{python} -m kacap lab pair 127.0.0.1 -i 1 -d 1 >/dev/null 2>&1 & pair=$!
until grep -q answered out; do sleep 0.2; kill -0 $live || exit 8; done
touch stepped; until grep -q 'the clock was set' log; do sleep 0.2; kill -0 $live || exit 7; done
rm stepped; until [ $(grep -c 'the clock was set' log) = 2 ]; do sleep 0.2; kill -0 $live || exit 6; done
lines=$(wc -l <out); until [ $(wc -l <out) -gt $((lines + 3)) ]; do sleep 0.2; kill -0 $live || exit 5; done
kill $pair; kill -INT $live; wait $live; echo exit code $?; cat err
"""


@pytest.mark.namespaces
@as_root
@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_clock_that_steps_and_steps_back_is_a_line_each_and_the_watch_goes_on(tmp_path, step_s):
    """The process's own clock steps; the kernel's stamps of frames stay, so that the two differ meanwhile."""
    (tmp_path / "sitecustomize.py").write_text(SET_CLOCK)
    here = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}:{CONTRIB.parent}",
        "STEP_S": str(step_s),
        "STEP_WHILE": str(tmp_path / "stepped"),
    }
    done = inside(CLOCK.format(directory=tmp_path, python=sys.executable), timeout=300, env=here)
    assert "exit code 0" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("the clock was set forward by 1 h") == 1
    assert done.stdout.count("the clock was set back by 1 h") == 1
    events = events_of(tmp_path / "log")
    assert (events.count("trouble"), events[0], events[-1]) == (2, "started", "stopped")
    assert "dead" not in events and "Traceback" not in done.stdout
