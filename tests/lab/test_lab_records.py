"""What kacap reads out of each scenario's capture, held against what the sockets and the kernel said.

Once over the live runs of the session, once over the captures that are shipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import kacap
from kacap.analysis import Analysis
from kacap.lab.scenarios import SCENARIOS
from kacap.lab.truth import read

SHIPPED = Path(__file__).resolve().parents[2] / "captures" / "lab"

# What the wire shows differs from the kernel's own count, and why.
UNCOUNTED = {
    "one-byte-probe": "a raw sender makes the probes, no kernel counts them",
    "output-drop": "the host's own rule drops some probes that its kernel has counted",
}
# Where the prober's view is not the capture's.
ELSEWHERE = {
    "both-ends": "replies are captured at the peer and never reach the prober",
    "merged": "replies are captured at the peer and never reach the prober",
}
RESET_ERRORS = {"ECONNRESET", "EPIPE"}
GIVEN_UP = {"gave-up", "unreachable", "user-timeout"}


def analysed(directory: Path) -> tuple[Analysis, dict]:
    files = sorted(str(path) for path in directory.iterdir() if path.suffix in (".pcapng", ".pcap"))
    return kacap.read(files, keep_all=True), read(directory / "truth.toml")


def ends_of(truth: dict) -> dict[str, dict]:
    """Return every socket of a run by its address; servers share one, so that they are keyed with their client."""
    return {
        f"{end['address']} {other['address']}": end
        for connection in truth["connection"]
        for end, other in ((connection["client"], connection["server"]), (connection["server"], connection["client"]))
    }


def check(name: str, directory: Path) -> None:
    analysis, truth = analysed(directory)
    ends = ends_of(truth)
    for connection in analysis.connections:
        for prober in connection.probers:
            end = ends.get(f"{prober.side} {prober.peer}")
            if end is None or name in ELSEWHERE:
                continue  # an address that a NAT has rewritten
            if name not in UNCOUNTED:
                assert end["keepalive"], f"{prober.side} probes, and its socket has no keepalive"
                check_settings(name, prober, end)
            check_ending(prober, end)
    check_counts(name, analysis, truth)


def check_settings(name: str, prober, end: dict) -> None:
    """The configured value is in the set wherever there is a set."""
    options = end["after"]
    for setting, option in ((prober.idle, "tcp_keepidle"), (prober.interval, "tcp_keepintvl")):
        allowed = {end[when][option] for when in ("earlier", "after", "end") if when in end}
        assert setting.candidates is None or allowed & set(setting.candidates), (prober.side, option, setting)
    if prober.count.candidates and not options["tcp_user_timeout"]:
        assert options["tcp_keepcnt"] in prober.count.candidates, (prober.side, prober.count)


def check_ending(prober, end: dict) -> None:
    """The application's error and the last ending tell the same story."""
    error = end.get("error")
    if error == "ETIMEDOUT":
        assert prober.ending in GIVEN_UP, (prober.side, prober.ending)
    elif error in RESET_ERRORS:
        assert prober.ending in {"reset", "answered", "closed"}, (prober.side, prober.ending)
    else:
        assert prober.ending not in GIVEN_UP, (prober.side, prober.ending)


def check_counts(name: str, analysis: Analysis, truth: dict) -> None:
    """Probes on the wire are those that TcpExtTCPKeepAlive counted, window probes those of TcpExtTCPWinProbe."""
    counted = sum(host["grew"]["TCPKeepAlive"] for host in truth["host"].values())
    window = sum(host["grew"]["TCPWinProbe"] for host in truth["host"].values())
    probes = sum(prober.probes for connection in analysis.connections for prober in connection.probers)
    if name in UNCOUNTED:
        assert probes != counted, UNCOUNTED[name]
    elif len(truth["capture"]) == 1 and name != "on-any-router" and not name.startswith("nat-"):
        assert probes == counted
    assert sum(connection.window_probes for connection in analysis.connections) == window


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_shipped_capture_of_a_scenario_agrees_with_its_sockets(name: str) -> None:
    check(name, SHIPPED / name)


@pytest.mark.namespaces
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_live_run_of_a_scenario_agrees_with_its_sockets(name: str, lab_runs: dict[str, Path]) -> None:
    check(name, lab_runs[name])
