"""What the runs of the crafted captures came to in which frames are missing, or did not arrive."""

from __future__ import annotations

from pathlib import Path

import analysing
import pytest
from timelines import parse

import kacap
from kacap.model import Episode, Prober

Run = tuple[str, int | None, str]

# Each run: its ending, the frame of that, and what came of its probes. Then replies that did not reach the prober.
EXPECTED: dict[str, tuple[list[Run], int]] = {
    "90-replies-do-not-arrive": ([("answered", 7, "answered"), ("gave-up", 12, "answered answered")], 3),
    "91-answer-not-captured": (
        [("answered", 5, "answered"), ("resumed", None, "uncaptured"), ("answered", 8, "answered")],
        0,
    ),
    "92-application-resets": ([("closed", 6, "missed missed")], 0),
    "93-first-gap-of-two-intervals": ([("open", None, "missed missed missed waiting")], 0),
    "97-same-packet-a-second-apart": ([("answered", 8, "answered"), ("answered", 12, "answered")], 0),
    "98-error-quotes-the-first": ([("unreachable", 6, "missed missed missed")], 0),
    "98b-error-quotes-the-only": ([("unreachable", 3, "missed")], 0),
    "100-bytes-do-not-arrive": ([("answered", 12, "answered"), ("answered", 16, "answered")], 0),
    "101-byte-at-the-fin": ([("answered", 9, "answered"), ("answered", 11, "answered")], 0),
    "102-reset-of-who-was-answered": ([("resumed", None, "missed uncaptured")], 0),
}
WITHOUT = ("94-port-scan", "95-byte-backs-off", "96-ack-before-its-byte", "99-window-probe-first")


def probers_of(case: str) -> list[Prober]:
    analysis = kacap.read(analysing.files_of(f"crafted/{case}"))
    return [prober for connection in analysis.connections for prober in connection.probers]


def told(episode: Episode) -> Run:
    frame = episode.ending_frame
    return episode.ending, frame and frame.number, " ".join(probe.outcome for probe in episode.probes)


@pytest.mark.parametrize("case", EXPECTED)
def test_every_run_ends_as_its_story_says(case: str) -> None:
    (prober,) = probers_of(case)
    runs, unheard = EXPECTED[case]
    assert [told(episode) for episode in prober.episodes] == runs
    assert prober.unheard == unheard


@pytest.mark.parametrize("case", WITHOUT)
def test_where_nobody_probes_there_is_no_prober(case: str) -> None:
    assert probers_of(case) == []


def test_one_run_in_two_vlans_is_one_of_each() -> None:
    first, second = probers_of("94b-run-in-two-vlans")
    assert [told(episode) for episode in first.episodes] == [told(episode) for episode in second.episodes]
    assert (first.side, first.peer, first.missed) == (second.side, second.peer, 2)


def test_since_when_a_prober_heard_nothing_is_not_said_where_the_capture_lacks_what_it_heard() -> None:
    (prober,) = probers_of("91-answer-not-captured")
    assert [episode.silent_since_ns is None for episode in prober.episodes] == [False, False, True]
    assert prober.survived_ns < 60_000_000_000
    assert prober.missed == 0


ENDS = """
A 10.0.0.1:40000 isn 1000 clock 3600000
B 10.0.0.2:80 isn 5000 clock 81000 id 7001
timestamps
0        A > B S  win 64240 <mss 1460, sackOK, nop, wscale 7>
+0.0002  B > A S. win 65160 <mss 1460, sackOK, nop, wscale 7>
+0.0001  A > B .  win 502
"""
PROBE = "A > B . seq nxt-1"
STORIES: dict[str, tuple[str, list[Run]]] = {
    "a reset after its own FIN: the FIN closed it": (
        f"60 {PROBE}\n62 A > B F.\n63 A > B R.",
        [("closed", 5, "missed")],
    ),
    "a reset that echoes what the capture lacks: it had heard of its peer": (
        f"60 {PROBE}\n70 {PROBE}\n72 B > A P. len 9 uncaptured\n75 A > B R.",
        [("resumed", None, "missed uncaptured")],
    ),
    "a path of twelve seconds: each reply belongs to its own probe": (
        f"60 {PROBE}\n70 {PROBE}\n72 B > A .\n82 B > A .",
        [("answered", 6, "answered answered")],
    ),
    "a closed window: who has sent beyond it answers at its edge": (
        "10 A > B . win 0\n+0.001 B > A P. len 9\n30 A > B . seq nxt-1 ack nxt-9\n+0.001 B > A . seq nxt-9",
        [("answered", 7, "answered")],
    ),
    "a reset after the run is over changes nothing of it": (
        f"60 {PROBE}\n60.01 B > A .\n62 A > B R.",
        [("answered", 5, "answered")],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_run_ends_as_what_is_known_of_its_mechanism_says(story: str, tmp_path: Path) -> None:
    text, runs = STORIES[story]
    parse(ENDS + text).write_pcap(tmp_path / "case.pcap")
    (prober,) = (
        prober for connection in kacap.read(tmp_path / "case.pcap").connections for prober in connection.probers
    )
    assert [told(episode) for episode in prober.episodes] == runs
    if "twelve" in story:
        assert [probe.reply_after_ns for probe in prober.episodes[0].probes] == [12 * 10**9] * 2


def test_how_far_a_prober_is_away_is_told_by_the_handshake_and_not_by_a_late_acknowledgement(tmp_path: Path) -> None:
    parse(f"{ENDS}10 B > A P. len 5\n10.5 A > B .\n70 {PROBE}\n70.01 B > A .").write_pcap(tmp_path / "case.pcap")
    probers = kacap.read(tmp_path / "case.pcap").connections.views.gatherer.probers.filled
    assert probers["path_ns"][1:].tolist() == [100_000]


@pytest.mark.parametrize(
    ("said", "idle", "assumes"),
    [
        ("8 B > A .\n", [4], ["interval<=idle", "near-prober"]),
        ("7 B > A P. len 20\n8 A > B .\n", [3, 4], ["interval<=idle"]),
    ],
    ids=["nothing", "bytes"],
)
def test_without_a_handshake_bytes_tell_how_far_a_prober_is_away_or_it_is_assumed(
    said: str, idle: list[int], assumes: list[str], tmp_path: Path
) -> None:
    probes = "".join(f"{at} A > B . seq nxt-1\n+0.001 B > A .\n" for at in (12.04, 16.08, 20.12, 24.16))
    parse(f"{ENDS[: ENDS.index('timestamps') + 11]}0 A > B P. len 5\n+0.001 B > A .\n{said}{probes}").write_pcap(
        tmp_path / "case.pcap"
    )
    ((prober,),) = (connection.probers for connection in kacap.read(tmp_path / "case.pcap").connections)
    assert (prober.idle.candidates, prober.idle.assumes) == (idle, assumes)


HEADLINES = {
    "a reset after misses counts all the silence": (
        f"60 {PROBE}\n+0.02 B > A .\n120.1 {PROBE}\n130.15 {PROBE}\n140.2 {PROBE}\n+0.02 B > A R seq nxt ack 0",
        "it answered with RST to the probe of 10.0.0.1:40000 after 80.2 s of silence",
    ),
    "a gap that holds data is no pace": (
        f"60 {PROBE}\n+0.02 B > A .\n200 A > B P. len 5\n+0.02 B > A P. len 5\n+0.001 A > B .\n"
        f"260.1 {PROBE}\n+0.02 B > A .",
        "10.0.0.1:40000 probes after 60.1 s of silence, all answered",
    ),
    "nobody probes any more": (
        "C 10.0.0.3:90 isn 1\nD 10.0.0.4:90 isn 2\n"
        + "".join(f"{at} {PROBE}\n+0.02 B > A .\n" for at in (30.1, 60.2, 90.3, 120.4))
        + "+200 C > D P. len 9\n+0.001 D > C .",
        "10.0.0.1:40000 probes every 30.1 s, all answered; none in the last 200 s: off, gone, or not captured",
    ),
    "a reset of its own between two timers is the application's": (
        f"60 {PROBE}\n+0.02 B > A .\n120.05 {PROBE}\n+0.02 B > A .\n141 A > B R.",
        "all answered; the application of 10.0.0.1:40000 reset the connection 21.0 s after the last probe",
    ),
}


@pytest.mark.parametrize("told_of", HEADLINES)
def test_a_headline_says_what_its_story_is(told_of: str, tmp_path: Path) -> None:
    text, headline = HEADLINES[told_of]
    parse(ENDS + text).write_pcap(tmp_path / "case.pcap")
    first = kacap.read(tmp_path / "case.pcap").connections[0]
    assert headline in first.verdict.sentence


RESENT = "".join(f"{10 + after} B > A P. len 400 seq nxt-400 lost\n" for after in (0.2, 0.6, 1.4, 3, 6.2))
LOST = f"10 B > A P. len 400 lost\n{RESENT}"
# What came before the probe, its acknowledgement where the prober lacks bytes, and the idle that is observed: 20.1 s
# after what it received last; none where the capture does not tell what that was.
CLOCKS: dict[str, tuple[str, str, float | None]] = {
    "bytes that never arrive": (LOST, "20.1 A > B . seq nxt-1 ack nxt-400", 20.1),
    "bytes that arrive when they are sent again": (f"{LOST}16.21 A > B .\n", "36.3 A > B . seq nxt-1", 20.1),
    "bytes that cross the probe": ("20 B > A P. len 9\n", "20.1 A > B . seq nxt-1 ack nxt-9", 20.1),
    "bytes behind a hole, acknowledged by a second ACK of the same": (
        f"{LOST}17 B > A P. len 4\n+0.0001 A > B . ack nxt-404 <sack nxt-4 nxt>\n",
        "37.1 A > B . seq nxt-1 ack nxt-404",
        20.1,
    ),
    "an ACK behind a hole": (f"{LOST}17 B > A .\n", "37.1 A > B . seq nxt-1 ack nxt-400", None),
    "bytes that it has no room for, on a Linux before 6.16 or since": (
        "10 A > B . win 0\n+0.001 B > A P. len 9\n+0.0001 A > B . ack nxt-9\n20 B > A P. len 9 seq nxt-9\n"
        "+0.0001 A > B . ack nxt-9\n",
        "30.1 A > B . seq nxt-1 ack nxt-9",
        None,
    ),
    "bytes that it has already": (
        "10 B > A P. len 400\n+0.01 B > A P. len 400\n+0.01 A > B .\n10.3 B > A P. len 400 seq nxt-800\n"
        "+0.0001 A > B .\n",
        "30.12 A > B . seq nxt-1",
        None,
    ),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_only_what_a_prober_received_restarts_its_idle_clock(clock: str, tmp_path: Path) -> None:
    before, probe, seconds = CLOCKS[clock]
    parse(f"{ENDS}{before}{probe}\n+0.0001 B > A .\n").write_pcap(tmp_path / "case.pcap")
    (prober,) = (p for connection in kacap.read(tmp_path / "case.pcap").connections for p in connection.probers)
    observed = prober.idle.observed_ns and [round(one / 10**9, 1) for one in prober.idle.observed_ns]
    assert observed == (seconds and [seconds, seconds])
    assert prober.idle.candidates is None if seconds is None else 20 in prober.idle.candidates
    assert prober.grade == "proven"


def test_a_byte_that_was_not_captured_makes_no_probe_of_the_acknowledgement_before_it(tmp_path: Path) -> None:
    ends = ENDS[: ENDS.index("0  ")]
    text = f"{ends}0 B > A P. len 10\n+0.001 A > B .\n+1 A > B P. len 1 uncaptured\n+0.01 B > A .\n"
    parse(text).write_pcap(tmp_path / "case.pcap")
    assert not kacap.read(tmp_path / "case.pcap").connections


def test_a_probe_too_soon_after_one_like_it_is_what_that_was(tmp_path: Path) -> None:
    """Of each side, where another connection comes after theirs: ``A`` opened both."""
    for prober, peer in ("AB", "BA"):
        probe = f"{prober} > {peer} . seq nxt-1\n+0.01 {peer} > {prober} .\n"
        later = f"C 10.0.0.1:40001 isn 1\nD 10.0.0.2:80 isn 1\n{ENDS}1 C > D S\n+0.01 D > C S.\n+0.01 C > D .\n"
        parse(f"{later}60 {probe}+0.1 {probe}70 C > D . seq nxt-1\n").write_pcap(tmp_path / "case.pcap")
        probers = [p for connection in kacap.read(tmp_path / "case.pcap").connections for p in connection.probers]
        assert [(p.probes, p.grade) for p in probers] == [(2, "proven"), (1, "proven")]


def test_gaps_that_are_alike_may_each_hold_a_frame_that_is_missing_unless_timestamps_show_it(tmp_path: Path) -> None:
    stamped = ENDS[: ENDS.index("timestamps") + 11]
    for ends, assumed in ((stamped, False), (stamped.replace("timestamps\n", ""), True)):
        probes = "".join(f"{at} A > B P. len 5\n+0.01 B > A .\n" for at in range(3)) + "".join(
            f"{at} {PROBE}\n+0.01 B > A .\n" for at in (62.05, 122.1, 182.15, 242.2, 302.25)
        )
        parse(ends + probes).write_pcap(tmp_path / "case.pcap")
        (prober,) = (p for connection in kacap.read(tmp_path / "case.pcap").connections for p in connection.probers)
        assert prober.idle.candidates is not None and 60 in prober.idle.candidates
        assert ("no-frame-missing" in prober.idle.assumes) is assumed
