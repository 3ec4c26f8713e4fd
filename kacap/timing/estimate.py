"""From a prober's history to the settings that could have produced it, as sets.

The set of a setting holds every whole second for which some simulated Linux timer (``socket_timer``) explains the
whole history; it is narrowed by every firing. Jiffies per second are tried too, and what contradicts every value of
them is no Linux timer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kacap.timing.history import History
from kacap.timing.socket_timer import SLACK_NS, Settings, Step, contradictions
from kacap.timing.wheel import HZ_VALUES, latest_s

SECOND_NS = 1_000_000_000
EARLY_NS = 25_000_000  # two ticks of the slowest clock, and a capture's own error
# How far below idle an interval must lie to lead to each granule of the arming for the remainder.
REMAINDERS_S = (1, 2, 5, 10, 14, 30, 60, 100, 140, 600, 1500, 5000)
TRIED = 40_000  # settings tried for one prober and one clock at most


@dataclass(frozen=True, slots=True)
class Fit:
    """What one clock rate allows: sets of seconds, and how many firings even the best guess cannot explain."""

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


def intervals_below(idle: int) -> list[int]:
    """Return intervals up to idle, one for each granule that the arming for the remainder may have."""
    return sorted({max(idle - rest, 1) for rest in REMAINDERS_S} | {1, idle})


def _candidates(history: History, hz: int) -> Iterable[Settings]:
    """Yield the settings worth trying: intervals up to idle, as nearly every configuration has them."""
    idle_ns, interval_ns = history.idle_gap_ns, history.interval_gap_ns
    idles: Iterable[int] = whole_seconds(idle_ns[0], hz) if idle_ns else ()
    if interval_ns is None:
        return [Settings(idle, interval, hz) for idle in idles for interval in intervals_below(idle)]
    intervals = whole_seconds(interval_ns[0], hz)
    if idle_ns is None:
        return [Settings(max(intervals), interval, hz) for interval in intervals]
    return [Settings(idle, interval, hz) for idle in idles for interval in intervals]


def _reversed_candidates(history: History, hz: int, spread: bool) -> list[Settings]:
    """Return settings whose interval exceeds idle: answered probes then follow each other at the interval.

    ``spread``: what was heard in between added up to idle to every gap.
    """
    if history.idle_gap_ns is None:
        return []
    gaps = [step.time_ns - step.before_ns for step in history.steps if step.before_ns is not None]
    if not gaps:
        return []
    idles = range(1, (history.idle_gap_ns[0] + EARLY_NS) // SECOND_NS + 1)
    intervals = whole_seconds(min(gaps), hz)
    if spread:
        intervals = range(max(intervals.start - 2 * idles.stop, 1), intervals.stop)
    return [Settings(idle, interval, hz) for interval in intervals for idle in idles]


def _fit(steps: list[Step], tried: list[Settings], hz: int, *, strict: bool) -> Fit | None:
    """Return the sets of the settings that explain a history best, None if nothing was tried."""
    if not tried or len(tried) > TRIED:
        return None
    least, best = len(steps), list[Settings]()
    for settings in tried:
        count = contradictions(steps, settings, strict=strict, most=least)
        if count < least:
            least, best = count, []
        if count == least:
            best.append(settings)
    return Fit(hz, frozenset(s.idle for s in best), frozenset(s.interval for s in best), least)


def _better(a: Fit | None, b: Fit | None) -> Fit | None:
    """Return the fit with fewer contradictions, the first of two equal ones."""
    if a is None or b is None:
        return a or b
    return b if b.contradictions < a.contradictions else a


def fits(history: History) -> dict[int, Fit]:
    """Return what each clock rate allows for a history: the tolerable fits by jiffies per second.

    Settings whose interval exceeds idle are tried when no others explain the history. The first probe's lateness
    counts only where nothing else speaks for idle: keepalive may have been switched on late.
    """
    steps = history.steps
    if not steps:
        return {}
    strict = history.idle_n < 2 and history.began
    found = {hz: _fit(steps, list(_candidates(history, hz)), hz, strict=strict) for hz in HZ_VALUES}
    for spread in (False, True):
        if any(one is not None and one.contradictions == 0 for one in found.values()) and spread:
            break
        for hz, one in found.items():
            if one is None or one.contradictions:
                tried = _reversed_candidates(history, hz, spread)
                found[hz] = _better(one, _fit(steps, tried, hz, strict=history.began))
    # Few firings may stay unexplained: a stolen processor now and then, no more.
    return {hz: one for hz, one in found.items() if one is not None and one.contradictions <= len(steps) // 8}


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
