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


def _reversed_candidates(history: History, hz: int) -> list[Settings]:
    """Return settings whose interval exceeds idle: answered probes then follow each other at the interval."""
    if history.idle_gap_ns is None:
        return []
    gaps = [b.time_ns - a.time_ns for a, b in zip(history.steps, history.steps[1:], strict=False)]
    if not gaps:
        return []
    idles = range(1, (history.idle_gap_ns[0] + EARLY_NS) // SECOND_NS + 1)
    return [Settings(idle, interval, hz) for interval in whole_seconds(min(gaps), hz) for idle in idles]


def _fit(steps: list[Step], tried: list[Settings], hz: int, *, strict: bool) -> Fit | None:
    """Return the sets of the settings that explain a history best, None if nothing was tried."""
    if not tried or len(tried) > TRIED:
        return None
    found = [(contradictions(steps, settings, strict=strict), settings) for settings in tried]
    least = min(count for count, _ in found)
    best = [settings for count, settings in found if count == least]
    return Fit(hz, frozenset(s.idle for s in best), frozenset(s.interval for s in best), least)


def fit(history: History, hz: int) -> Fit | None:
    """Return what one clock rate allows for a history; None when it has no gap to judge by.

    The first probe's lateness counts only where nothing else speaks for idle: keepalive may have been switched on
    late. Settings whose interval exceeds idle are tried when no others explain the history.
    """
    steps = history.steps
    if not steps:
        return None
    strict = history.idle_n < 2 and history.began
    usual = _fit(steps, list(_candidates(history, hz)), hz, strict=strict)
    if usual is not None and usual.contradictions == 0:
        return usual
    unusual = _fit(steps, _reversed_candidates(history, hz), hz, strict=strict)
    fits = [found for found in (usual, unusual) if found is not None]
    return min(fits, key=lambda found: found.contradictions, default=None)


def tolerable(found: Fit, history: History) -> bool:
    """Return whether a fit leaves few enough firings unexplained: a stolen processor now and then, no more."""
    return found.contradictions <= len(history.steps) // 8


def fits(history: History) -> dict[int, Fit]:
    """Return the tolerable fits by clock rate."""
    found = {hz: fit(history, hz) for hz in HZ_VALUES}
    return {hz: one for hz, one in found.items() if one is not None and tolerable(one, history)}


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
