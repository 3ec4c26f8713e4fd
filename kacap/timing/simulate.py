"""Simulates a Linux socket's keepalive timer over a prober's history: could these settings have produced it?

Times are in jiffies, as floats, since the history's first firing. What is not known exactly is a span: when something
was heard (the capture may be a path away from the prober), when a silent firing came (where the wheel's multiples lie
is known only once a firing has shown it). Wherever two things may have happened, both are followed; settings
contradict a firing when no way leads to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from math import floor

import numpy as np
from numpy.typing import NDArray

from kacap.kernels import Row, entry, kernel
from kacap.timing.socket_timer import SLACK_NS, Step
from kacap.timing.wheel import HZ_VALUES, granule

PATH_NS = 100_000_000  # there and back between the capture and the prober, at most
SAME_MOMENT_NS = 50_000_000  # what is heard within this is kept as one (classify.learn)
HEARD = 4  # moments that are kept for one firing (classify.learn)
IN_FLIGHT_S = 0.3  # a round trip, after which bytes that were in flight are acknowledged
DRIFT = 50e-6  # between the clocks of the capture and of the prober
ROOM = 64


class Began(IntEnum):
    """What the gap before the first probe tells: when keepalive was switched on is not in a capture."""

    UNSEEN = 0  # no more than a bound: the connection is older than the capture, or keepalive came late
    ON_SOON = 1  # what an idle shorter than the interval would make of it
    ON_SINCE_OPEN = 2  # all: keepalive is taken to have been on since the connection opened


_ON_SOON, _ON_SINCE_OPEN = int(Began.ON_SOON), int(Began.ON_SINCE_OPEN)

# One firing. heard_n is -1 where too much was heard to follow it; since is -inf where nothing is known.
FIRING = np.dtype([("at", "<f8"), ("before", "<f8"), ("since", "<f8"), ("heard_n", "<i8")], align=True)
# The timer: its settings, the tolerances, and one firing that lay on a multiple of its granule.
TIMER = np.dtype(
    [(name, "<f8") for name in ("hz", "idle", "interval", "jitter", "slack", "path", "grid_at", "grid_step")],
    align=True,
)
# A timer that is armed: it fires between low and high, on a multiple of step; heard: what it was armed after.
ARMED = np.dtype([("low", "<f8"), ("high", "<f8"), ("step", "<i8"), ("heard", "<i8")], align=True)

_granule: Row = kernel(granule)


@kernel
def _multiple(timer: Row, expiry: Row, step: Row) -> Row:
    """Return the first multiple of ``step`` after ``expiry``, counted from the known one."""
    return timer.grid_at + step * (floor((expiry - timer.grid_at) / step) + 1.0)


@kernel
def _fires(timer: Row, low: Row, high: Row, step: Row) -> Row:
    """Return from when to when a timer may fire that expires between ``low`` and ``high`` (calc_index of timer.c).

    Exact, but for jitter, where a multiple of ``step`` is known; otherwise anywhere within a granule.
    """
    if timer.grid_step < step:
        return low, high + step
    return _multiple(timer, low - timer.jitter, step), _multiple(timer, high + timer.jitter, step)


@kernel
def _meets(timer: Row, low: Row, high: Row, at: Row) -> Row:
    """Return whether a firing that was seen ``at`` may lie between ``low`` and ``high``."""
    return low - timer.jitter - DRIFT * abs(low - timer.grid_at) <= at <= high + timer.slack


@kernel
def _arm(armed: Row, n: Row, span: Row, step: Row, heard: Row) -> Row:
    """Add a timer that fires within ``span`` to the first ``n`` armed; one with those like it whose spans meet."""
    for i in range(n):
        one = armed[i]
        like = one.step == step and one.heard == heard
        if like and ((span[0] <= one.high + step and one.low <= span[1] + step) or n == len(armed)):
            one.low, one.high = min(one.low, span[0]), max(one.high, span[1])
            return n
    if n < len(armed):
        one = armed[n]
        one.low, one.high, one.step, one.heard = span[0], span[1], step, heard
        n += 1
    return n


@kernel
def _arm_for(timer: Row, fired: Row, expiry: Row, state: Row) -> Row:
    """Arm until ``expiry`` a timer that fired within ``fired``, once for each granule that its delay may have.

    ``state`` is (armed, how many, what it was armed after). The wheel's clock may be a jiffy off the delay's.
    """
    armed, n, heard = state
    low = max(expiry[0], fired[0])
    high = max(expiry[1], low)
    step = _granule(np.int64(max(low - fired[1] - 2.0, 0.0)))
    coarsest = _granule(np.int64(max(high - fired[0] + 2.0, 0.0)))
    while step <= coarsest:
        n = _arm(armed, n, _fires(timer, low, high, step), step, heard)
        step *= 8
    return n


@kernel
def _sends(timer: Row, fired: Row, last: Row, at: Row) -> Row:
    """Return whether a timer that fired within ``fired`` may have sent the probe seen ``at``; ``last`` was heard."""
    if fired[1] - last[0] < timer.idle - timer.jitter:
        return False
    return _meets(timer, max(fired[0], last[0] + timer.idle), fired[1], at)


@kernel
def _walk(timer: Row, heards: Row, at: Row, armed: Row) -> Row:
    """Follow the silent firings of the timer ``armed[0, 0]`` to the one that sends the probe seen ``at``.

    Returns the granule of its arming, the finest where several are possible; 0: no way leads there.
    """
    found, now, n = 0, 0, 1
    for _ in range(2 * len(heards) + 3):
        then, left = 1 - now, 0
        for i in range(n):
            one = armed[now, i]
            if one.low - timer.slack > at:
                continue
            for place in range(one.heard, len(heards) + 1):  # so many had been heard when it fired
                low = max(one.low, heards[place - 1, 0]) if place else one.low
                high = min(one.high, heards[place, 1]) if place < len(heards) else one.high
                if low > high:
                    continue
                fired = (low, high)
                last = (heards[place - 1, 0], heards[place - 1, 1]) if place else (-np.inf, -np.inf)
                sure = place == one.heard
                if _meets(timer, low, high, at) if sure else _sends(timer, fired, last, at):
                    found = one.step if found == 0 else min(found, one.step)
                if not sure and low - last[1] < timer.idle:
                    expiry = (last[0] + timer.idle, last[1] + timer.idle)
                    left = _arm_for(timer, fired, expiry, (armed[then], left, place))
                if place < len(heards) and heards[place, 0] - high < IN_FLIGHT_S * timer.hz:
                    expiry = (low + timer.idle, high + timer.idle)  # bytes in flight: armed for all of idle
                    left = _arm_for(timer, fired, expiry, (armed[then], left, place))
        now, n = then, left
    return found


@kernel
def _follow(timer: Row, firing: Row, heards: Row, armed: Row) -> Row:
    """Return the granule of an arming that leads from the firing before to this one (1: unknown), 0: none does."""
    delay = timer.interval
    step = _granule(np.int64(delay))
    low, high = _fires(timer, firing.before + delay, firing.before + delay, step)
    if firing.heard_n == 0:
        return step if _meets(timer, low, high, firing.at) else 0
    if firing.heard_n > 0:
        _arm(armed[0], 0, (low, high), step, 0)
        return _walk(timer, heards[: firing.heard_n], firing.at, armed)
    earliest, latest = firing.before + min(delay, timer.idle), np.inf
    if firing.since > -np.inf:
        earliest = firing.since + timer.idle
        latest = max(earliest + timer.path + _granule(np.int64(timer.idle)), high)
    return 1 if _meets(timer, earliest, latest, firing.at) else 0


@kernel
def _contradictions(timer: Row, history: Row, most: Row, armed: Row) -> Row:
    """Return how many firings of a history (FIRING rows, heard spans, Began) the timer cannot have made."""
    firings, heards, began = history
    first = firings[0]
    late = first.at - first.since - timer.idle
    limit = _granule(np.int64(timer.idle)) + timer.slack + timer.path
    strict = began == _ON_SINCE_OPEN or (began == _ON_SOON and timer.interval > timer.idle)
    count = 1 if first.since > -np.inf and (late < -timer.jitter or (strict and late > limit)) else 0
    timer.grid_at, timer.grid_step = first.at, 1.0
    for i in range(1, len(firings)):
        if count > most:
            break
        step = _follow(timer, firings[i], heards[i], armed)
        if step == 0:
            count += 1
            timer.grid_at, timer.grid_step = firings[i].at, 1.0
        elif step >= timer.grid_step:
            timer.grid_at, timer.grid_step = firings[i].at, float(step)
    return count


@entry
def _count(timer: Row, history: Row, tried: Row, counts: Row, armed: Row) -> None:
    """Write the contradictions of each pair of seconds in ``tried``; exact up to the least of those before it."""
    least = len(history[0])
    for i in range(len(tried)):
        timer.idle, timer.interval = tried[i, 0] * timer.hz, tried[i, 1] * timer.hz
        counts[i] = _contradictions(timer, history, least, armed)
        least = min(least, counts[i])


@dataclass(frozen=True, slots=True)
class Columns:
    """A history as columns, in seconds since its first firing: FIRING rows, and spans of what was heard."""

    firings: NDArray[np.void]
    heards: NDArray[np.float64]

    def at(self, hz: int) -> Columns:
        """Return the same in jiffies."""
        firings = self.firings.copy()
        for name in ("at", "before", "since"):
            firings[name] *= hz
        return Columns(firings, self.heards * hz)


def contradictions(history: Columns, tried: NDArray[np.int64], hz: int, began: Began) -> NDArray[np.int64]:
    """Return how many firings of a history each pair (idle, interval) of ``tried``, in seconds, cannot explain.

    Counting one pair ends above the least of those before it. ``began`` says what the first gap tells.
    """
    counts = np.zeros(len(tried), np.int64)
    scaled, timer = history.at(hz), _TIMERS[hz].copy()[0]
    _count(timer, (scaled.firings, scaled.heards, int(began)), tried, counts, np.zeros((2, ROOM), ARMED))
    return counts


def _timer(hz: int) -> NDArray[np.void]:
    """Return a timer of one clock rate without settings, with its tolerances in jiffies."""
    timer = np.zeros(1, TIMER)
    jitter = 2.0 + 0.005 * hz
    timer["hz"], timer["jitter"] = hz, jitter
    timer["slack"], timer["path"] = jitter + SLACK_NS * hz / 1e9, PATH_NS * hz / 1e9
    return timer


_TIMERS = {hz: _timer(hz) for hz in HZ_VALUES}


def columns(steps: Sequence[Step]) -> Columns:
    """Return a history as columns: from when to when each thing may have been heard is a span."""
    firings, heards = np.zeros(len(steps), FIRING), np.zeros((len(steps), HEARD, 2))
    origin_ns = steps[0].time_ns
    firings["at"] = [(step.time_ns - origin_ns) / 1e9 for step in steps]
    firings["before"] = [0.0 if step.before_ns is None else (step.before_ns - origin_ns) / 1e9 for step in steps]
    firings["since"] = [-np.inf if step.since_ns is None else (step.since_ns - origin_ns) / 1e9 for step in steps]
    firings["heard_n"] = [-1 if step.heards_ns is None else min(len(step.heards_ns), HEARD) for step in steps]
    for i, step in enumerate(steps):
        if step.heards_ns:
            times = step.heards_ns[:HEARD]
            last_ns = times[-1] if step.since_ns is None else max(step.since_ns, times[-1])
            ends_ns = [*(min(a + SAME_MOMENT_NS, b) for a, b in pairwise(times)), last_ns]
            heards[i, : len(times), 0] = [(time_ns - origin_ns) / 1e9 for time_ns in times]
            heards[i, : len(times), 1] = [(end_ns + PATH_NS - origin_ns) / 1e9 for end_ns in ends_ns]
    return Columns(firings, heards)
