"""What the runs of the crafted captures came to in which frames are missing, or did not arrive."""

from __future__ import annotations

import analysing
import pytest

import kacap
from kacap.model import Episode, Prober

Run = tuple[str, int | None, str]

# Each run: its ending, the frame of that, and what came of its probes. Then replies that did not reach the prober.
EXPECTED: dict[str, tuple[list[Run], int]] = {
    "90-replies-do-not-arrive": ([("answered", 7, "answered"), ("gave-up", 12, "answered answered")], 3),
    "91-answer-not-captured": (
        [("answered", 5, "answered"), ("resumed", None, "uncaptured"), ("answered", 8, "answered")], 0
    ),
    "92-application-resets": ([("closed", 6, "missed missed")], 0),
    "93-first-gap-of-two-intervals": ([("open", None, "missed missed missed waiting")], 0),
    "97-same-packet-a-second-apart": ([("answered", 8, "answered"), ("answered", 12, "answered")], 0),
    "98-error-quotes-the-first": ([("unreachable", 6, "missed missed missed")], 0),
    "98b-error-quotes-the-only": ([("unreachable", 3, "missed")], 0),
}  # fmt: skip
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
