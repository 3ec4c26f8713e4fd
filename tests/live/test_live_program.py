"""``kacap live`` from outside, in a namespace of its own: who captures, how it ends, what it leaves behind."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import struct
import subprocess
import sys

import pytest
from analysing import files_of
from namespaced import KACAP, inside

import kacap
from kacap.commands.live_ready import warm_up
from kacap.commands.live_run import signals_handled
from kacap.options import Options

pytestmark = pytest.mark.namespaces
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
ENGINES = ["ring", pytest.param("dumpcap", marks=pytest.mark.tool("dumpcap")), "scapy"]


def kinds(lines: str) -> list[str]:
    """Return what the happenings among the lines are: probe, answered, missed ..."""
    return re.findall(r"^\S+ \S+:\d+ > \S+:\d+: (\w+)", lines, re.M)


@pytest.mark.parametrize("engine", ENGINES)
def test_eight_packets_of_a_pair_are_four_probes_and_four_answers(engine):
    done = inside(f"kacap live -n -c 8 -i lo --engine {engine} port 12345", pair="")
    assert done.returncode == 0, done.stderr
    assert kinds(done.stdout) == ["probe", "answered"] * 4
    assert "127.0.0.1:12345 probes every 1.0" in done.stdout
    assert f"engine {engine}" in done.stderr
    counters = r"^8 packets captured\n\d+ packets received by filter\n0 packets dropped by kernel$"
    assert re.search(counters, done.stderr, re.M)


def test_any_shows_each_packet_once_and_is_what_no_interface_means():
    for words in ("-i any", ""):
        done = inside(f"kacap live -c 4 {words} port 12345", pair="")
        assert kinds(done.stdout) == ["probe", "answered"] * 2, done.stderr


def test_options_may_follow_the_filter_and_a_typo_is_no_filter():
    assert kinds(inside("kacap live -i lo port 12345 -c 2", pair="").stdout) == ["probe", "answered"]
    done = inside("kacap live -i lo port 12345 --bogus")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such option" in done.stderr


def test_expectations_come_from_the_socket_that_probes():
    done = inside("kacap live -c 4 -i lo --json port 12345", pair="-d 1 -i 2 -c 7")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    (connection,) = (record for record in records if record["type"] == "connection")
    (prober,) = connection["probers"]
    settings = [prober[name] for name in ("idle", "interval", "count")]
    assert [setting["expected"] for setting in settings] == [1, 2, 7]
    assert all("socket" in setting["source"] for setting in settings)


BLACKHOLE = """
nft add table t; nft 'add chain t c { type filter hook input priority 0; }'
nft add rule t c tcp dport 12345 drop; nft add rule t c tcp sport 12345 drop
"""


@pytest.mark.tool("nft")
def test_a_miss_is_told_while_nothing_arrives():
    live = f"{KACAP} live -tt --duration 30 --probes 3 -i lo port 12345 > out & live=$!"
    wait = "until grep -c answered out 2>/dev/null | grep -q 2; do sleep 0.05; done"
    done = inside(f"cd $(mktemp -d); {live}\n{wait}\n{BLACKHOLE}\nwait $live; cat out", pair="-d 1 -i 4 -c 9")
    assert kinds(done.stdout) == ["probe", "answered", "probe", "answered", "probe", "missed"], done.stderr
    sent, missed = (float(line.split()[0]) for line in done.stdout.splitlines()[4:6])
    assert 1 <= missed - sent < 3
    assert "5 packets captured" in done.stderr


@pytest.mark.tool("nft")
def test_a_peer_that_was_gone_before_the_capture_began_is_suspected_at_the_second_probe():
    done = inside(f"{BLACKHOLE}\nkacap live -c 3 -i lo port 12345", pair="-d 1 -i 1 -c 9")
    assert kinds(done.stdout)[:2] == ["probably", "probably"]
    assert "probably probe 2 of a run, 1.0" in done.stdout


@pytest.mark.tool("nft")
def test_probes_of_a_peer_that_was_gone_before_the_capture_began_are_counted_though_nothing_proves_them():
    done = inside(f"{BLACKHOLE}\nkacap live --probes 3 --duration 30 -i lo port 12345", pair="-d 1 -i 1 -c 99")
    assert kinds(done.stdout)[:2] == ["probably"] * 2
    assert re.search(r"^[34] packets captured", done.stderr, re.M), done.stderr


@pytest.mark.tool("nft")
def test_until_verdict_ends_when_a_peer_that_was_gone_before_the_capture_began_is_given_up():
    done = inside(f"{BLACKHOLE}\nkacap live --until verdict --duration 30 -i lo port 12345", pair="-d 1 -i 1 -c 9")
    assert "gave up after" in done.stdout, done.stdout
    assert int(re.search(r"^(\d+) packets captured", done.stderr, re.M)[1]) < 12


def test_until_verdict_ends_when_three_probes_in_a_row_were_answered():
    done = inside("kacap live -i lo --until verdict --duration 60 port 12345", pair="")
    assert kinds(done.stdout) == ["probe", "answered"] * 3


def test_a_duration_ends_a_watch_on_which_nothing_happens():
    done = inside("ip link set lo up; kacap live -i lo --duration 0.3 port 12345")
    assert done.returncode == 0
    assert done.stdout.strip().startswith("no keepalive probe")


def test_packets_written_to_standard_output_are_a_capture_and_the_text_goes_aside(tmp_path):
    file = tmp_path / "x.pcap"
    done = inside(f"kacap live -i lo -c 4 -w - port 12345 > {file}", pair="")
    assert kinds(done.stderr) == ["probe", "answered"] * 2
    assert struct.unpack("<I", file.read_bytes()[:4])[0] == 0xA1B23C4D
    assert kacap.read(str(file)).capture.frames == 4


def test_the_saved_file_read_afterwards_gives_the_same_records(tmp_path):
    file = tmp_path / "x.pcap"
    done = inside(f"kacap live -i lo --json -c 6 -w {file} port 12345; kacap read --json {file} >&2", pair="")
    live = [json.loads(line) for line in done.stdout.splitlines()]
    read = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    for record in live:
        for prober in record.get("probers", []):
            for name in ("idle", "interval", "count"):  # what the sockets said is in no file
                prober[name] |= {"expected": None, "source": None, "verdict": "not observable", "why": ""}
    for record in read:
        for prober in record.get("probers", []):
            for name in ("idle", "interval", "count"):
                prober[name]["why"] = ""
    live[-1]["files"] = read[-1]["files"]
    live[-1]["dropped"] = read[-1]["dropped"]
    assert live == read


@pytest.mark.tool("tcpdump")
def test_a_pipe_from_tcpdump_is_followed_as_it_comes():
    done = inside("tcpdump -U -s 128 -i lo -w - port 12345 2>/dev/null | kacap live -r - -c 4", pair="")
    assert kinds(done.stdout) == ["probe", "answered"] * 2
    assert "4 packets captured" in done.stderr


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_signal_ends_with_the_summary_and_the_counters(name):
    script = f"""
    {KACAP} live -i lo port 12345 > out & live=$!
    until grep -q answered out 2>/dev/null; do sleep 0.1; done
    kill -USR1 $live; sleep 0.3; kill -{name} $live; wait $live; code=$?; cat out; exit $code
    """
    done = inside(f"cd $(mktemp -d); {script}", pair="")
    assert done.returncode == 0
    assert re.search(r"^127\.0\.0\.1:12345 prob", done.stdout, re.M)
    assert len(re.findall(r"packets? captured", done.stderr)) == 2  # once for SIGUSR1


def test_a_second_interrupt_ends_at_once():
    class Source:
        stopped = 0

        def stop(self):
            self.stopped += 1

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    source = Source()
    try:
        with pytest.raises(KeyboardInterrupt), signals_handled(source):
            signal.raise_signal(signal.SIGINT)
            assert source.stopped == 1
            signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_reader_that_goes_away_is_no_failure():
    done = inside("kacap live -i lo --duration 20 port 12345 | head -1; exit ${PIPESTATUS[0]}", pair="")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


@as_root
@pytest.mark.tool("setpriv")
def test_without_rights_the_error_names_the_interface_the_right_and_three_ways():
    done = inside(
        f"ip link set lo up; setpriv --bounding-set=-net_raw {sys.executable} -m kacap live -i lo 'port 1 or port 2'"
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    for part in (
        "lo: no permission to capture",
        "CAP_NET_RAW",
        "sudo $(command -v kacap) live",
        "setpriv",
        "systemd",
        "sudo tcpdump -U -s 128 -i lo -w - 'port 1 or port 2' | kacap live -r -",
    ):
        assert part in done.stderr
    assert "setcap" not in done.stderr


@as_root
def test_a_namespace_is_entered_by_pid_for_the_capture_alone():
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; sleep 60"])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kacap", "live", "--netns", str(holder.pid), "-i", "lo", "--duration", "0.5"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        holder.kill()
        holder.wait()
    assert done.returncode == 0, done.stderr
    assert "0 packets captured" in done.stderr


def test_every_engine_tells_the_same_of_one_run(tmp_path):
    engines = ["ring", "scapy", *(["dumpcap"] if _has("dumpcap") else [])]
    start = "\n".join(
        f"{KACAP} live -i lo --engine {e} --json -c 8 port 12345 > {tmp_path}/{e} 2> {tmp_path}/{e}.err & live+=($!)"
        for e in engines
    )
    ready = f"until [ $(grep -l 'listening on' {tmp_path}/*.err | wc -l) = {len(engines)} ]; do sleep 0.1; done"
    pair = f"{KACAP} lab pair 127.0.0.1 >/dev/null 2>&1 & pair=$!"
    done = inside(f"ip link set lo up; live=()\n{start}\n{ready}\n{pair}\nwait ${{live[@]}}; kill $pair")
    found = {engine: _essence((tmp_path / engine).read_text()) for engine in engines}
    assert found["ring"], done.stderr
    for essence in found.values():
        assert essence == found["ring"]


def _has(tool: str) -> bool:
    import shutil

    return shutil.which(tool) is not None


def _essence(lines: str) -> list[tuple]:
    """Return what does not depend on who took the time."""
    records = [json.loads(line) for line in lines.splitlines()]
    names = ("type", "frame", "from", "to", "kind", "grade", "reply_frame", "ending", "frames", "segments")
    return [tuple(json.dumps(record.get(name)) for name in names) for record in records]


def test_nothing_is_compiled_once_frames_arrive(monkeypatch):
    from kacap import kernels
    from kacap.analyzer import Analyzer
    from kacap.capture import open_captures
    from kacap.report import text

    warm_up()
    asked = []
    code = kernels.Entry.code
    watched = lambda self, *given: asked.append(self.__module__) or code(self, *given)  # noqa: E731
    monkeypatch.setattr(kernels.Entry, "code", watched)
    for case in ("cut-off", "zero-window", "both-probe", "unreachable", "population"):
        analyzer = Analyzer(Options(segments="events"))
        for batch in open_captures(files_of(f"lab/{case}")):
            analyzer.feed(batch)
        text.render(analyzer.finish(), io.StringIO())
    assert [name for name in asked if "capture" not in name] == []
