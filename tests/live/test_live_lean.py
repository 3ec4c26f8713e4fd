"""--lean: what the kernel passes is enough for the probes, and what is not is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import analysing
import pytest
from analysing import files_of

import kacap
from kacap.capture.lean import lean

pytestmark = pytest.mark.slow

# A probe that data answered; frames in VLANs, which the filter does not pass.
DIFFERENT = {
    "crafted/20-answered-by-data",
    "crafted/29-data-between-probe-and-reply",
    "crafted/32-two-vlans",
    "crafted/94b-run-in-two-vlans",
}
CASES = [case for case in analysing.small_cases() if case.startswith(("lab/", "both/")) or case in DIFFERENT]


def probes(analysis: kacap.Analysis) -> tuple:
    sent = sorted((probe.frame, probe.outcome) for probe in analysis.probes)
    return sent, sorted(prober.ending for c in analysis.connections for prober in c.probers)


@pytest.mark.parametrize("case", CASES)
def test_probes_answers_and_endings_are_the_same_but_for_what_the_filter_says_it_costs(case: str) -> None:
    whole, passed = kacap.read(files_of(case)), kacap.read(files_of(case), lean(None))
    assert (probes(passed) == probes(whole)) == (case not in DIFFERENT)


def test_it_passes_only_a_part_of_what_an_expression_does() -> None:
    files, words = files_of("both/recovered"), "host 10.1.0.2"
    whole, passed = kacap.read(files, words), kacap.read(files, lean(words))
    assert 0 < passed.capture.segments < whole.capture.segments


# In a namespace of its own: two watches side by side, then a connection that is probed, one whose answers are dropped,
# and one that moves data. A watch is ready when it says that it listens.
SCRIPT = """
import os, signal, socket, subprocess, sys, time
os.system("ip link set lo up")
watch = [sys.executable, "-m", "kacap", "live", "-i", "lo", "--json"]
watches = []
for name, more in (("whole", []), ("lean", ["--lean"])):
    out, told = open(name, "w"), open(name + ".told", "w")
    watches.append(subprocess.Popen([*watch, *more, "tcp"], stdout=out, stderr=told))
while not all("listening" in open(name + ".told").read() for name in ("whole", "lean")):
    time.sleep(0.2)
listener = socket.create_server(("127.0.0.1", 7001))
pairs = []
for _ in range(3):
    client = socket.create_connection(("127.0.0.1", 7001))
    pairs.append((client, listener.accept()[0]))
for client, _ in pairs[:2]:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)):
        client.setsockopt(socket.IPPROTO_TCP, option, value)
for _ in range(200):
    pairs[2][0].sendall(bytes(4000))
    left = 4000
    while left:
        left -= len(pairs[2][1].recv(left))
time.sleep(2.5)
rule = f"add rule inet t out tcp dport {pairs[1][0].getsockname()[1]} drop"
chain = "add table inet t; add chain inet t out { type filter hook output priority 0; };"
subprocess.run(["nft", chain + rule], check=True)
time.sleep(6)
for each in watches:
    each.send_signal(signal.SIGINT)
sys.exit(max(each.wait() for each in watches))
"""


@pytest.mark.namespaces
@pytest.mark.slow
def test_two_watches_of_one_interface_tell_the_same_endings_whole_and_lean(tmp_path: Path) -> None:
    words = ["unshare", "--net", sys.executable, "-c", SCRIPT]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    told = {}
    for name in ("whole", "lean"):
        records = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        told[name] = sorted(
            (c["a"], c["ended"]["how"], [(p["probes"], p["replies"], p["ending"]) for p in c["probers"]])
            for c in records
            if c["type"] == "connection"
        )
        told[name + " segments"] = records[-1]["segments"]
    assert told["whole"] == told["lean"]
    assert [how for _, how, _ in told["whole"]].count("gave-up") == 1
    assert told["lean segments"] < told["whole segments"]
    assert "--lean passes no data" in (tmp_path / "lean.told").read_text()
