"""The program from outside: exit codes, streams, start-up."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import run

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "kacap"]


def from_nothing(*words, **more):
    words = [*PROGRAM, *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, **more)


@pytest.fixture(scope="module")
def capture(captures):
    return captures / "lab" / "mid-connection" / "capture.pcapng"


@pytest.fixture(scope="module")
def damaged(captures):
    return captures / "broken" / "text-after-frames.pcap"


def test_a_capture_that_starts_mid_connection_is_told_in_its_first_line(capture):
    done = run("read", capture)
    assert done.returncode == 0
    assert " probes every " in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[0].endswith(", all answered")


def test_json_is_one_record_a_line_and_the_capture_comes_last(capture):
    records = [json.loads(line) for line in run("read", capture, "--json").stdout.splitlines()]
    assert {"segment", "probe", "episode", "connection"} <= {record["type"] for record in records}
    assert [r["type"] for r in records].index("capture") == len(records) - 1


def test_segments_none_leaves_the_segment_records_out(capture):
    assert '"segment"' not in run("read", capture, "--json", "--segments", "none").stdout


def test_a_filter_may_be_followed_by_options(capture):
    done = run("read", capture, "tcp", "port", "1", "-n", "-q")
    assert done.returncode == 0
    assert done.stdout.startswith("no keepalive probe")


def test_standard_input_is_a_capture_like_any_other(capture):
    with capture.open("rb") as file:
        piped = run("read", "-", "-q", stdin=file)
    assert piped.stdout.splitlines()[0] == run("read", capture, "-q").stdout.splitlines()[0]


def test_damage_is_named_on_stderr_after_a_whole_report_and_exits_1(damaged):
    done = run("read", damaged)
    assert done.returncode == 1
    assert "frames in" in done.stdout.splitlines()[-1]
    assert str(damaged) in done.stderr
    assert "damaged at byte" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["read", "missing.pcap"], 1, "kacap: missing.pcap: no such file"),
        (["read", "{capture}", "--bogus"], 2, "No such option"),
        (["read", "{capture}", "port"], 2, "filter 'port' is refused"),
        (["read", "{capture}", "--chart", "x.gif"], 2, "x.gif: a chart is a .png, .svg or .pdf file"),
        (["probe"], 2, "No such command 'probe'"),
        (["explain", "{capture}", "--frame", "0"], 2, "frames are numbered from 1"),
        (["explain", "{capture}", "--frame", "99999"], 2, "has only"),
        (["explain", "{capture}", "--frame", "other.pcap:1"], 2, "no file of that name"),
        (["explain", "{capture}", "tcp", "--frame", "1"], 2, "takes no filter"),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_an_exit_code(capture, words, code, says):
    done = run(*(str(capture) if word == "{capture}" else word for word in words))
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_an_interrupt_that_other_code_makes_an_error_of_is_told_as_one(capture, tmp_path):
    """As pybind11 does: an interrupt while it looks at an argument is to it an argument of another type."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal\nimport kacap.commands.sources as s\n"
        "def fail(*a):\n    try: os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt: raise TypeError('incompatible arguments') from None\n"
        "s.sources = fail\n"
    )
    done = from_nothing("read", capture, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (130, "kacap: interrupted\n")


def test_an_unexpected_failure_is_one_line_and_its_traceback_is_there_for_the_asking(capture, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import kacap.commands.sources as s\ndef fail(*a): raise RuntimeError('boom')\ns.sources = fail\n"
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    plain = from_nothing("read", capture, env=env)
    assert plain.returncode == 1
    assert plain.stderr == "kacap: unexpected RuntimeError: boom (KACAP_DEBUG=1 shows where; please report it)\n"
    assert "Traceback" in from_nothing("read", capture, env=env | {"KACAP_DEBUG": "1"}).stderr


def test_a_reader_that_goes_away_is_no_failure(capture):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([*PROGRAM, "read", capture], stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("where", ["a callback that C calls", "a destructor"])
def test_an_interrupt_where_no_exception_can_be_raised_is_not_lost_and_shows_no_traceback(where, number, tmp_path):
    (tmp_path / "deaf.py").write_text(
        "import click, ctypes, signal, time\n"
        f"def ask(*_): signal.raise_signal(signal.{number}); return 0\n"
        "class Ends:\n    __del__ = ask\n"
        "@click.command()\n"
        "def deaf():\n"
        f"    ctypes.CFUNCTYPE(ctypes.c_int)(ask)() if {where.startswith('a callback')} else Ends()\n"
        "    __import__('os').write(1, b'went on\\n')\n"
        "    time.sleep(30)\n"
        "    print('to the end')\n"
    )
    script = "import kacap.__main__ as m, kacap.commands as c; c.COMMANDS['read'] = ('deaf:deaf', ''); m.program()"
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    done = subprocess.run([sys.executable, "-c", script, "read"], capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stderr) == (130, "kacap: interrupted\n")
    assert done.stdout in ("went on\n", "")  # as long as it waits for a processor, the interrupt is raised sooner


def test_an_interrupt_while_following_ends_with_the_report(capture, tmp_path):
    growing = tmp_path / "growing.pcapng"
    growing.write_bytes(capture.read_bytes())
    words = [*PROGRAM, "read", growing, "--follow", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=60)
    assert json.loads(first)["v"] == 1
    assert json.loads(rest.splitlines()[-1])["type"] == "capture"
    assert (running.returncode, errors) == (0, "")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_chart_is_written_beside_the_text(capture, tmp_path, suffix, magic):
    target = tmp_path / f"timeline.{suffix}"
    done = run("read", capture, "--chart", target)
    assert done.returncode == 0
    assert target.read_bytes().startswith(magic)
    assert done.stdout == run("read", capture).stdout
    assert f"timeline chart written to {target}" in done.stderr


def test_colour_is_asked_for_or_absent(capture):
    assert "\x1b[" not in run("read", capture).stdout
    assert "\x1b[38;5;28m" in run("read", capture, "--color", "always").stdout


def test_explain_names_a_probe_its_answer_and_what_it_is_mistaken_for(capture):
    lines = run("explain", capture, "--frame", "1").stdout.splitlines()
    assert lines[0] == "frame 1  0 s  KEEPALIVE PROBE"
    assert any(line.startswith("  answer        frame 2, ") for line in lines)
    assert any("TCP Dup ACK" in line for line in lines)


def test_explain_names_a_reply_and_the_probe_it_answers(capture):
    lines = run("explain", capture, "--frame", "2").stdout.splitlines()
    assert lines[0].endswith("REPLY TO A PROBE")
    assert any(line.startswith("  answers       frame 1, ") for line in lines)


def test_explain_finds_a_frame_of_several_files_by_name(captures):
    a, b = (captures / "lab" / name / "capture.pcapng" for name in ("mid-connection", "cut-off"))
    assert run("explain", a, b, "--frame", "3").returncode == 2
    done = run("explain", a, b, "--frame", f"{b}:2")
    assert done.returncode == 0
    assert "not a TCP segment" in done.stdout


def test_help_starts_fast_and_loads_nothing_heavy():
    taken, least = [], []
    for _ in range(5):
        start = time.perf_counter()
        assert from_nothing("--help").returncode == 0
        between = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import click"], check=True)
        taken.append(between - start)
        least.append(time.perf_counter() - between)
    heavy = ["numpy", "numba", "matplotlib", "rich", "scapy", "pyshark"]
    code = "import sys, kacap.commands; print([m for m in sys.argv[1:] if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
    assert min(taken) < 3 * min(least), f"kacap --help took {min(taken):.3f} s, import click {min(least):.3f} s"


def test_every_command_of_the_table_can_be_loaded_and_has_help():
    from kacap.commands import COMMANDS

    for name in COMMANDS:
        done = run(name, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Usage:")


def test_the_version_names_the_parts_that_matter():
    said = run("--version").stdout
    assert said.startswith("kacap 0.")
    assert all(part in said for part in ("python 3", "numba", "libpcap", "tshark"))


def test_what_the_program_sets_for_itself_a_library_does_not():
    script = (
        "import gc, sys\nfrom kacap.kernel_cache import CACHE\n"
        "def settings(): return gc.get_threshold(), sys.getswitchinterval(), CACHE.on_compile is None\n"
        "before = settings()\nimport kacap\nfrom kacap.commands import main, program\n"
        "try: main(['--version'])\nexcept SystemExit: pass\n"
        "assert settings() == before\nsys.argv = ['kacap', '--version']\n"
        "try: program()\nexcept SystemExit as end: assert end.code == 0\n"
        "assert settings() != before and gc.get_freeze_count()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_process_ends_as_every_python_does_with_what_was_registered_for_its_end(capture, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import atexit; atexit.register(print, 'registered')\n")
    places = f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"
    done = from_nothing("read", capture, "-q", env=os.environ | {"PYTHONPATH": places})
    assert done.stdout.endswith("registered\n")
    assert done.returncode == 0
