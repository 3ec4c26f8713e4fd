"""From a prober's history to the settings that could have produced it, as sets.

The set of a setting holds every whole second for which some simulated Linux timer (``simulate``) explains the
whole history; it is narrowed by every firing. Jiffies per second are tried too, and what contradicts every value of
them is no Linux timer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kacap.timing.history import History
from kacap.timing.simulate import Began, Columns, columns, contradictions
from kacap.timing.socket_timer import SLACK_NS, Step
from kacap.timing.wheel import HZ_VALUES, latest_s

SECOND_NS = 1_000_000_000
EARLY_NS = 25_000_000  # two ticks of the slowest clock, and a capture's own error
# How far below idle an interval must lie to lead to each granule of the arming for the remainder.
REMAINDERS_S = (0, 1, 2, 5, 10, 14, 30, 60, 100, 140, 600, 1500, 5000)
TRIED = 400_000  # pairs of settings up to which every one is tried for one prober and one clock
MOST = 8_000_000  # and how many are tried at all

Pairs = NDArray[np.int64]  # of seconds: idle, interval


class TooManyError(Exception):
    """More settings are possible than can be tried; it never leaves this module."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What one clock rate allows: sets of seconds, and how many firings even the best guess cannot explain.

    ``idle`` is empty where nothing that the prober heard shows it.
    """

    hz: int
    idle: frozenset[int]
    interval: frozenset[int]
    contradictions: int


def whole_seconds(gap_ns: int, hz: int) -> range:
    """Return the delays in whole seconds of which one arming may have led to a gap: late by at most a granule."""
    top = (gap_ns + EARLY_NS) // SECOND_NS
    low = top
    while low > 1 and (low - 1) * SECOND_NS + latest_s(low - 1, hz) * 1e9 + SLACK_NS >= gap_ns:
        low -= 1
    return range(max(int(low), 1), int(top) + 1)


def _pairs(idles: Iterable[int], intervals: Iterable[int]) -> Pairs:
    """Return every pair of an idle and an interval."""
    first, second = np.array([*idles], np.int64), np.array([*intervals], np.int64)
    pairs = np.empty((len(first) * len(second), 2), np.int64)
    pairs[:, 0], pairs[:, 1] = np.repeat(first, len(second)), np.tile(second, len(first))
    return pairs


def _is_plain(steps: Sequence[Step]) -> bool:
    """Return whether nothing but replies was heard: then an interval below idle shows in the last granule only."""
    return all(
        step.heards_ns is not None and step.before_ns is not None and len(step.heards_ns) <= 1
        and all(heard - step.before_ns < SECOND_NS for heard in step.heards_ns)
        for step in steps[1:]
    )


@lru_cache(maxsize=1024)
def _below(idles: range, plain: bool) -> Pairs:
    """Return idles with intervals up to them: all, or where they are too many those that people choose."""
    if plain:
        return np.array([(idle, max(idle - rest, 1)) for idle in idles for rest in REMAINDERS_S], np.int64)
    intervals: Sequence[int] = range(1, idles.stop)
    if len(idles) * len(intervals) > TRIED:
        chosen = {*range(1, 120), *range(120, 1000, 5), *range(1000, idles.stop, 50)}
        intervals = sorted(chosen | {max(idles.stop - 1 - rest, 1) for rest in REMAINDERS_S})
    pairs = _pairs(idles, intervals)
    return pairs[pairs[:, 1] <= pairs[:, 0]]


def _usual(history: History, hz: int, plain: bool) -> Pairs:
    """Return the settings worth trying first: those whose interval is known, or is at most idle."""
    idle_ns, interval_ns = history.idle_gap_ns, history.interval_gap_ns
    idles = whole_seconds(idle_ns[0], hz) if idle_ns else range(0)
    if interval_ns is None:
        return _below(idles, plain)
    intervals = whole_seconds(interval_ns[0], hz)
    if idle_ns is None:
        return _pairs([intervals.stop - 1], intervals)
    as_long = intervals.stop > idles.start  # then it may be the interval that spaced what was answered
    return _pairs(range(1, idles.stop) if as_long else idles, intervals)


def _reversed(history: History, hz: int, began: Began) -> Pairs:
    """Return settings whose interval exceeds idle: answered probes then follow each other at the interval."""
    gaps = [step.time_ns - step.before_ns for step in history.steps if step.before_ns is not None]
    if history.idle_gap_ns is None or not gaps:
        return _pairs([], [])
    idles = range(1, (history.idle_gap_ns[0] + EARLY_NS) // SECOND_NS + 1)
    first = history.steps[0]
    if began and first.since_ns is not None:
        shown = whole_seconds(first.time_ns - first.since_ns, hz)
        idles = range(shown.start, min(shown.stop, idles.stop))
    intervals = range(1, (min(gaps) + EARLY_NS) // SECOND_NS + 1)
    if len(idles) * len(intervals) > TRIED:
        intervals = whole_seconds(min(gaps), hz)
    pairs = _pairs(idles, intervals)
    return pairs[pairs[:, 1] > pairs[:, 0]]


def _fit(seen: Columns, tried: Pairs, hz: int, began: Began) -> Fit | None:
    """Return the sets of the settings that explain a history best, None if there are none. Raises TooManyError."""
    if len(tried) > MOST:
        raise TooManyError
    if not len(tried):
        return None
    counts = contradictions(seen, tried, hz, began)
    best = tried[counts == counts.min()]
    return Fit(hz, frozenset(best[:, 0].tolist()), frozenset(best[:, 1].tolist()), int(counts.min()))


def _best(history: History, began: Began) -> dict[int, Fit]:
    """Return the best fit of each clock rate; an interval above idle is tried where nothing else explains all."""
    seen, plain = columns(history.steps), _is_plain(history.steps)
    found = {hz: _fit(seen, _usual(history, hz, plain), hz, began) for hz in HZ_VALUES}
    unexplained = [hz for hz, fit in found.items() if fit is None or fit.contradictions]
    try:
        others = {hz: _fit(seen, _reversed(history, hz, began), hz, began) for hz in unexplained}
    except TooManyError:  # what one rate allows is not known: what the others do says nothing
        others = {}
    for hz, other in others.items():
        fit = found[hz]
        if fit is None or (other is not None and other.contradictions < fit.contradictions):
            found[hz] = other
    return {hz: fit for hz, fit in found.items() if fit is not None}


def _least(found: dict[int, Fit]) -> int:
    """Return how many firings the best of some fits leaves unexplained."""
    return min((fit.contradictions for fit in found.values()), default=1 << 30)


def fits(history: History) -> dict[int, Fit]:
    """Return what each clock rate allows for a history: the tolerable fits by jiffies per second.

    Where the capture shows the connection opening, keepalive is taken to have been on from then; only if that
    explains nothing, it was switched on late, and the first gap says nothing of idle.
    """
    try:
        return _fits(history) if history.steps else {}
    except TooManyError:  # as in _best
        return {}


def _fits(history: History) -> dict[int, Fit]:
    """Return the tolerable fits of a history with firings. Raises TooManyError."""
    began = Began.UNSEEN
    if history.opened:
        began = Began.ON_SOON if history.idle_n > 1 else Began.ON_SINCE_OPEN
    found = _best(history, began)
    if history.opened and _least(found):
        late = _best(history if history.idle_n > 1 else history.without_idle(), Began.UNSEEN)
        found = late if _least(late) < _least(found) else found
    # Few firings may stay unexplained: a stolen processor now and then, no more.
    return {hz: fit for hz, fit in found.items() if fit.contradictions <= len(history.steps) // 8}


def common_hz(all_fits: Iterable[dict[int, Fit]]) -> set[int]:
    """Return the clock rates that leave the fewest firings of one host's probers unexplained."""
    missing = 3  # a prober that a rate cannot explain at all weighs as much as this many firings
    totals = dict.fromkeys(HZ_VALUES, 0)
    for found in all_fits:
        if found:
            for hz in HZ_VALUES:
                totals[hz] += found[hz].contradictions if hz in found else missing
    least = min(totals.values())
    return {hz for hz, total in totals.items() if total == least}
