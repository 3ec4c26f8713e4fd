"""Holds each live run's truth (sockets and kernel) against its capture, with no help of kacap's analysis."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import plain_wire as wire
import pytest
from played import played
from scapy.layers.inet import IP

from kacap.lab.runner import Request
from kacap.lab.scenarios import SCENARIOS

pytestmark = [pytest.mark.namespaces, pytest.mark.slow, pytest.mark.early]

# (client, server): what each application got. Every scenario is here; a new one must be added.
ERRORS: dict[str, tuple[str | None, str | None]] = dict.fromkeys(SCENARIOS, (None, None)) | {
    "cut-off": ("ETIMEDOUT", None),
    "cut-off-ipv6": ("ETIMEDOUT", None),
    "unreachable": ("ETIMEDOUT", None),
    "unreachable-ipv6": ("ETIMEDOUT", None),
    "user-timeout-short": ("ETIMEDOUT", None),
    "user-timeout-long": ("ETIMEDOUT", None),
    "output-drop": ("ETIMEDOUT", None),
    "firewall-drops": ("ETIMEDOUT", None),
    "on-any-router": ("ETIMEDOUT", None),
    "rotated": ("ETIMEDOUT", None),
    "both-ends": ("ETIMEDOUT", "ECONNRESET"),
    "merged": ("ETIMEDOUT", "ECONNRESET"),
    "restarted": ("ECONNRESET", None),
    "nat-forgot-inside": ("ECONNRESET", None),
    "forged-rst": ("ECONNRESET", None),
    "nat-forgot-outside": (None, "ECONNRESET"),
    "firewall-resets": (None, "ECONNRESET"),
    "close-wait-forgotten": ("EPIPE", None),
    "unreachable-mid-run": ("ETIMEDOUT", None),
    "replies-lost": ("ETIMEDOUT", "ECONNRESET"),
    "linger-prober": (None, "ECONNRESET"),
    "linger-peer": ("ECONNRESET", None),
}
TWICE = ("on-any", "on-any-router", "merged", "merged-up", "far-merged")
NOT_ON_THE_WIRE = {"output-drop": 2}  # probes that a rule of the prober's own host dropped
BY_HAND = {"one-byte-probe": 4}  # probes that no kernel counted


def told(directory: Path) -> dict:
    return tomllib.loads((directory / "truth.toml").read_text())


def captured(directory: Path, only: str | None = None) -> list[wire.Segment]:
    truth = told(directory)
    names = [only] if only else [name for capture in truth["capture"] for name in capture["files"]]
    names = names if truth["scenario"] != "both-ends" or only else names[:1]
    found = [segment for name in names for segment in wire.segments(directory / name)]
    return list(wire.once(found)) if truth["scenario"] in TWICE else found


def grew(truth: dict, counter: str) -> int:
    return sum(host["grew"].get(counter, 0) for host in truth["host"].values())


@pytest.fixture(params=list(SCENARIOS))
def run(request: pytest.FixtureRequest, lab_runs: dict[str, Path]) -> Path:
    return lab_runs[request.param]


def test_the_kernel_counted_as_many_probes_as_the_capture_shows(run: Path) -> None:
    truth = told(run)
    shown = wire.probes(captured(run), begun=run.name != "mid-connection")
    counted = grew(truth, "TCPKeepAlive") + grew(truth, "TCPWinProbe")
    if run.name == "far-merged":  # taken at both ends, half a second apart
        counted *= 2
    assert len(shown) == counted - NOT_ON_THE_WIRE.get(run.name, 0) + BY_HAND.get(run.name, 0)


SLOW_TO_END = 'trap "sleep 3; exit" INT; echo {interface} >&2; while :; do sleep 0.1; done'


@pytest.mark.parametrize(("scenario", "companion"), [("far", ()), ("probe-before-data", ("sh", "-c", SLOW_TO_END))])
def test_a_probe_at_the_very_end_is_counted_and_captured(
    namespaces: None, tmp_path: Path, scenario: str, companion: tuple[str, ...]
) -> None:
    """One is on its way when the story is over; others are sent while what watches beside the recorder ends."""
    change = (
        "from dataclasses import replace; from kacap.lab import scenarios; from kacap.lab.scenario import Pair\n"
        "from kacap.sockets.keepalive import Keepalive\n"
        "short = {'pairs': (Pair(Keepalive(1, 2, 3)),), 'events': (), 'seconds': 2.7}\n"
        "scenarios.find = lambda name: replace(scenarios.SCENARIOS[name], **short)"
    )
    done = played(change, Request(scenario, tmp_path, companion=companion))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(wire.probes(captured(tmp_path))) == grew(told(tmp_path), "TCPKeepAlive") >= 2


def test_the_applications_got_the_errors_that_the_scenario_promises(run: Path) -> None:
    if run.name == "many":
        pytest.skip("has a test of its own")
    (pair,) = told(run)["connection"]
    assert (pair["client"].get("error"), pair["server"].get("error")) == ERRORS[run.name]


def test_nothing_was_dropped_and_every_frame_is_in_the_file(run: Path) -> None:
    for capture in told(run)["capture"]:
        frames = sum(len(wire.packets(run / name)) for name in capture["files"])
        assert (frames, capture["dropped"]) == (capture["frames"], 0)
        assert frames > 4


def test_only_the_ends_that_set_keepalive_probe(run: Path) -> None:
    probing = {end["address"] for pair in told(run)["connection"] for end in pair.values() if end["keepalive"]}
    senders = {probe.source for probe in wire.probes(captured(run), begun=run.name != "mid-connection")}
    if run.name not in BY_HAND:
        assert senders <= probing


def test_an_end_that_timed_out_sent_its_reset_when_its_application_heard_of_it(run: Path) -> None:
    for pair in told(run)["connection"]:
        for end in pair.values():
            if end.get("error") != "ETIMEDOUT":
                continue
            (reset,) = [s for s in captured(run) if "R" in s.flags and s.source == end["address"]]
            assert reset.flags == "RA"
            assert abs(reset.time_ns - end["error_ns"]) < 200_000_000


def test_a_timed_out_end_without_user_timeout_had_sent_its_count_of_probes(run: Path) -> None:
    shown = wire.probes(captured(run))
    if run.name in ("merged", "replies-lost"):
        pytest.skip("holds replies that never reached the prober")
    for pair in told(run)["connection"]:
        end = pair["client"]
        options = end["after"]
        if end.get("error") == "ETIMEDOUT" and not options["tcp_user_timeout"] and run.name not in NOT_ON_THE_WIRE:
            last = _last_heard(captured(run), end["address"])
            sent = [probe for probe in shown if probe.source == end["address"] and probe.time_ns > last]
            assert len(sent) == options["tcp_keepcnt"]
            assert sent[0].time_ns - last >= options["tcp_keepidle"] * 10**9 - 10_000_000


def _last_heard(found: list[wire.Segment], address: str) -> int:
    return max(segment.time_ns for segment in found if segment.target == address)


def test_a_mixed_crowd_loses_exactly_its_lost_connections(lab_runs: dict[str, Path]) -> None:
    pairs = told(lab_runs["many"])["connection"]
    lost = [pair["client"].get("error") for pair in pairs if pair["server"]["address"].startswith("10.2.0.3")]
    kept = [end.get("error") for p in pairs if p["server"]["address"].startswith("10.2.0.2") for end in p.values()]
    assert len(lost) > 10 and set(lost) == {"ETIMEDOUT"}
    assert len(kept) > 40 and set(kept) == {None}


def test_a_user_timeout_decides_instead_of_the_count(lab_runs: dict[str, Path]) -> None:
    short, long = (told(lab_runs[f"user-timeout-{length}"]) for length in ("short", "long"))
    assert grew(short, "TCPKeepAlive") < short["connection"][0]["client"]["after"]["tcp_keepcnt"]
    assert grew(long, "TCPKeepAlive") > long["connection"][0]["client"]["after"]["tcp_keepcnt"]


def test_unreachable_is_told_by_icmp_for_every_probe_and_ignored(lab_runs: dict[str, Path]) -> None:
    directory = lab_runs["unreachable"]
    errors = [p for p in wire.packets(directory / "capture.pcapng") if IP in p and p[IP].proto == 1]
    assert [error[IP].src for error in errors] == ["10.1.0.1"] * 4  # three probes and the reset
    assert grew(told(directory), "OutOfWindowIcmps") == 3


@pytest.mark.parametrize(
    ("scenario", "prober", "forged", "genuine"),
    [
        ("firewall-resets", "10.2.0.2:12345", 64, 63),
        ("nat-forgot-outside", "10.2.0.2:12345", 64, 63),
        ("forged-rst", "10.1.0.2:40000", 200, 63),
        ("restarted", "10.1.0.2:40000", 63, 63),
    ],
)
def test_a_reset_gives_its_sender_away_by_its_ttl(
    lab_runs: dict[str, Path], scenario: str, prober: str, forged: int, genuine: int
) -> None:
    arrived = [segment for segment in captured(lab_runs[scenario]) if segment.target == prober]
    resets = [segment for segment in arrived if segment.flags == "R"]
    assert [(r.ttl, r.window, r.options) for r in resets] == [(forged, 0, ())]
    assert {segment.ttl for segment in arrived if segment.flags != "R"} == {genuine}


def test_rate_limited_probes_go_unanswered_as_often_as_the_peer_counted(lab_runs: dict[str, Path]) -> None:
    found = captured(lab_runs["rate-limited"])
    shown = wire.probes(found)
    replies = [s for s in found if s.target == shown[0].source and s.time_ns > shown[0].time_ns]
    held_back = told(lab_runs["rate-limited"])["host"]["server"]["grew"]["TCPACKSkippedSeq"]
    assert len(shown) - len(replies) == held_back > 2


def test_a_one_byte_probe_is_answered_with_a_selective_acknowledgement(lab_runs: dict[str, Path]) -> None:
    found = captured(lab_runs["one-byte-probe"])
    assert [probe.payload for probe in wire.probes(found)] == [1] * 4
    assert sum("SAck" in segment.options for segment in found) == 4


def test_window_probes_and_keepalives_are_counted_apart(lab_runs: dict[str, Path]) -> None:
    full, idle = told(lab_runs["zero-window"]), told(lab_runs["zero-window-idle"])
    assert grew(full, "TCPWinProbe") >= 4
    assert grew(idle, "TCPWinProbe") == 0 and grew(idle, "TCPKeepAlive") >= 5
    replies = [s for s in captured(lab_runs["zero-window-idle"]) if s.source == "10.2.0.2:12345"]
    assert replies[-1].window == 0


def test_crossing_probes_pass_each_other_before_any_reply(lab_runs: dict[str, Path]) -> None:
    found = captured(lab_runs["crossing"])
    shown = wire.probes(found)
    close = [(a, b) for a, b in itertools.pairwise(shown) if b.time_ns - a.time_ns < 1_000_000]
    assert len(close) >= 2
    assert all(a.source != b.source for a, b in close)
    assert all(found.index(b) == found.index(a) + 1 for a, b in close)


def test_the_pseudo_device_any_shows_every_segment_twice(lab_runs: dict[str, Path]) -> None:
    path = lab_runs["on-any"] / "capture.pcapng"
    assert len(wire.segments(path)) == 2 * len(wire.segments(path, distinct=True))


def test_the_peer_saw_replies_leave_that_the_prober_never_got(lab_runs: dict[str, Path]) -> None:
    directory = lab_runs["both-ends"]
    for name, replies in (("prober.pcapng", 0), ("peer.pcapng", 3)):
        found = captured(directory, only=name)
        first = wire.probes(found)[0].time_ns
        assert sum(s.source == "10.2.0.2:12345" and s.time_ns > first for s in found) == replies


def test_options_come_from_the_listener_and_follow_the_system(lab_runs: dict[str, Path]) -> None:
    server = told(lab_runs["listener-inherits"])["connection"][0]["server"]
    assert server["before"] == server["after"] and server["after"]["tcp_keepidle"] == 2
    client = told(lab_runs["sysctl-changed"])["connection"][0]["client"]
    assert (client["after"]["tcp_keepidle"], client["end"]["tcp_keepidle"]) == (2, 4)


def test_rotation_leaves_several_files_of_at_most_four_frames(lab_runs: dict[str, Path]) -> None:
    files = sorted(lab_runs["rotated"].glob("capture_*.pcapng"))
    assert len(files) >= 3
    assert [len(wire.packets(path)) for path in files[:-1]] == [4] * (len(files) - 1)
