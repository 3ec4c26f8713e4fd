"""A watch of weeks keeps its memory: older episodes are forgotten, numbers and what goes on are not."""

from __future__ import annotations

import numpy as np
import pytest
from analysing import frames_of, pieces, small_cases

from kacap.analyzer import Analyzer
from kacap.timing.forgetting import forget

pytestmark = pytest.mark.slow

CASES = [case for case in small_cases() if case.startswith("lab/")]


def numbers(prober):
    """What is said of a prober whatever is forgotten."""
    return (
        prober.side,
        prober.probes,
        prober.replies,
        prober.missed,
        prober.ending,
        prober.longest_run,
        prober.frames,
        repr((prober.idle, prober.interval, prober.count)),
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kept", [1, 2, 5])
def test_what_is_forgotten_changes_no_number_and_the_last_episodes_are_all_there(case: str, kept: int) -> None:
    batch = frames_of(case)
    whole, short = Analyzer(), Analyzer()
    for piece in pieces(batch, range(1, len(batch.frames), 3)):
        whole.feed(piece)
        short.feed(piece)
        forget(short.gatherer, kept)
    expected, found = whole.finish(), short.finish()
    for one, other in zip(expected.connections, found.connections, strict=True):
        for all_of, some in zip(one.probers, other.probers, strict=True):
            assert numbers(all_of) == numbers(some)
            assert len(some.episodes) <= 2 * kept + 2
            assert some.episodes[-kept:] == all_of.episodes[-kept:]
            assert some.runs[-1:] == all_of.runs[-1:]
            assert some.times_ns == [t for t in all_of.times_ns if t in set(some.times_ns)]


def test_a_busy_prober_costs_no_more_after_a_million_probes_than_after_a_thousand() -> None:
    batch = frames_of("lab/up")
    analyzer = Analyzer()
    analyzer.feed(batch)
    gatherer = analyzer.gatherer
    forget(gatherer, 1)
    assert gatherer.probes.used <= 2 + int((gatherer.probers.filled["run_n"]).sum())
    assert gatherer.episodes.used <= 2
    assert np.all(gatherer.probers.filled["probes"][1:] == 4)
