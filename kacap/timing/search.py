"""Searches the settings, in whole seconds, that explain a prober's firings by one timer.

A timer fires after its setting, late by a span that is its own (``systems``), on a grid: with Linux's wheel on a
multiple of the granule of the delay it was armed for (``wheel``). For idle that delay may be any remainder of it
(tcp_keepalive_timer arms for what is left since something was heard), so that any granule up to idle's own may show;
for the interval it is the setting itself. What holds for one setting holds down to the next at which any firing
changes its granule: the search goes from piece to piece, and a piece costs one pass over the firings.
"""

from __future__ import annotations

from math import floor

import numpy as np

from kacap.clock import SECOND_NS
from kacap.flows import NEVER
from kacap.kernels import Row, kernel
from kacap.timing.history import ABORT
from kacap.timing.wheel import granule

PER_SECOND = float(SECOND_NS)  # nanoseconds, where the arithmetic is in floating point
PLAIN_NS = SECOND_NS  # heard so soon after a probe: its reply
DRIFT = 50e-6  # between the clocks of the capture and of the prober
GRID_NS = 20_000_000.0  # jitter of a timer that ticks
MOST_SECONDS = 4_294_967  # 32 bits of milliseconds; Linux: an int of jiffies
PIECES = 4096  # that are tried for one prober at most
NOTHING = -1.0  # a gap that says nothing

# What is searched: the first gap alone, idle, the interval, the interval where it exceeds idle.
FIRST, IDLE, INTERVAL, REVERSED = 0, 1, 2, 3

# The settings of one timer that leave the fewest firings unexplained, in seconds (low 0: none), and how many.
FIT = np.dtype([("low", "<i4"), ("high", "<i4"), ("missed", "<i4"), ("n", "<i4")], align=True)
# Where a pass over the firings is: the newest on a known grid, its step (0: not known), how far the setting may be
# lowered until anything changes, and how many pieces may still be tried.
WALK = np.dtype([("at", "<i8"), ("step", "<f8"), ("reach", "<f8"), ("pieces", "<i8")], align=True)
# One firing's gap: the least and the most that it may be; free: of any granule; bound: it is a bound only.
GAP = np.dtype([("least", "<f8"), ("most", "<f8"), ("free", "u1"), ("bound", "u1")], align=True)

_granule: Row = kernel(granule)


@kernel
def _take_gap(gap: Row, step: Row, what: Row, about: Row) -> None:
    """Write what a firing says of the setting that is searched: its gap, or NOTHING.

    ``about`` is (timer, path, the longest gap that the longest possible idle explains).
    """
    timer, path, longest = about
    gap.least, gap.most, gap.free, gap.bound = NOTHING, NOTHING, 1, 0
    if step.before_ns == NEVER:
        if what <= IDLE and step.since_ns != NEVER and step.heard >= 0:
            gap.most = float(step.time_ns - step.since_ns)
            gap.least = max(gap.most - path, 0.0)
            gap.bound = what == IDLE
        return
    if step.heard < 0 or what == FIRST:
        return
    plain = step.heard > 0 and step.since_ns - step.before_ns < PLAIN_NS
    whole = float(step.time_ns - step.before_ns)
    if what == IDLE:
        if step.heard > 0 and not step.flags & ABORT:
            since = float(step.time_ns - step.since_ns)
            gap.least, gap.most = max(since - path, 0.0), whole if plain and timer.hz == 0 else since
        return
    gap.least = gap.most = whole
    gap.free = 0
    by_interval = what == REVERSED and (plain or step.time_ns - step.since_ns > longest)
    gap.bound = step.heard > 0 and not by_interval


@kernel
def lateness(timer: Row, setting: Row) -> Row:
    """Return by how much (ns) a timer may be late that is set to so much."""
    if timer.hz == 0:
        return timer.late + timer.share * setting
    return timer.late + _granule(np.int64(setting * timer.hz / PER_SECOND)) * PER_SECOND / timer.hz


@kernel
def _on_grid(walk: Row, time_ns: Row, step: Row, early: Row, late: Row) -> Row:
    """Return whether a firing lies on the grid that the walk knows: at most so early and late."""
    away = float(time_ns - walk.at)
    off = away % step
    drift = DRIFT * abs(away)
    return off <= late + drift or step - off <= early + drift


@kernel
def _near(walk: Row, distance: Row) -> None:
    """Note that something changes when the setting is lowered by so much."""
    if 0 <= distance < walk.reach:
        walk.reach = distance


@kernel
def _step_of_wheel(timer: Row, gap: Row, setting: Row, walk: Row, time_ns: Row) -> Row:
    """Return the finest granule (ns) of Linux's timer wheel that lets a setting explain a gap, 0: none does.

    What fires too late for a setting does so for all below it.
    """
    jiffy = PER_SECOND / timer.hz
    top = _granule(np.int64(setting / jiffy + 0.5))
    step = jiffy if gap.free else top * jiffy
    spare = step + timer.late - (gap.least - setting)
    while spare < 0:
        if step >= top * jiffy:
            return 0.0
        spare, step = spare + 7 * step, 8 * step
    _near(walk, spare)
    if top > 1:  # below this the setting's own granule is finer
        _near(walk, setting - 63 * (top // 8) * jiffy)
    if walk.step >= step and not _on_grid(walk, time_ns, step, timer.early, timer.late):
        return 0.0
    return step


@kernel
def _step(timer: Row, gap: Row, setting: Row, walk: Row, time_ns: Row) -> Row:
    """Return the step (ns) of the grid that a firing lies on if the setting explains its gap, 0: it does not."""
    if gap.most - setting < -timer.early:
        _near(walk, max(setting - timer.early - gap.most - 1.0, 0.0))
        return 0.0
    if gap.bound:
        return 1e-9
    if timer.hz > 0:
        return _step_of_wheel(timer, gap, setting, walk, time_ns)
    spare = timer.late + timer.share * setting - (gap.least - setting)
    if spare < 0:
        return 0.0
    _near(walk, spare / (1 + timer.share))
    if timer.grid == 0:
        return 1e-9
    on = walk.step == 0 or _on_grid(walk, time_ns, timer.grid, GRID_NS, GRID_NS)
    return timer.grid if on else 0.0


@kernel
def _missed(about: Row, steps: Row, setting: Row, state: Row, what: Row, most: Row) -> Row:
    """Return how many firings a setting (ns) of a timer leaves unexplained; counting ends above ``most``.

    ``about`` is as for ``_take_gap``, ``state`` (a WALK row, a GAP row).
    """
    walk, gap = state
    timer = about[0]
    walk.at, walk.step, walk.reach = steps[0].time_ns, timer.grid, np.inf
    missed = 0
    for i in range(len(steps)):
        _take_gap(gap, steps[i], what, about)
        if gap.most == NOTHING:
            continue
        step = _step(timer, gap, setting, walk, steps[i].time_ns)
        if step == 0:
            missed += steps[i].n
            if missed > most:
                break
            walk.at, walk.step = steps[i].time_ns, timer.grid
        elif step >= walk.step and not gap.bound and timer.hz > 0:
            walk.at, walk.step = steps[i].time_ns, step
    return missed


@kernel
def _extent(about: Row, steps: Row, what: Row, state: Row) -> Row:
    """Return the least gap (ns) of what is searched, that no setting may exceed, and how many gaps there are."""
    gap = state[1]
    least, n = np.inf, 0
    for i in range(len(steps)):
        _take_gap(gap, steps[i], what, about)
        if gap.most != NOTHING:
            least = min(least, gap.most)
            n += 0 if gap.bound else steps[i].n
    return least, n


@kernel
def search(of: Row, steps: Row, what: Row, fit: Row, state: Row) -> None:
    """Fill ``fit`` with the settings of a timer that explain a prober's STEP rows best.

    ``of`` is (TIMER row, the path's round trip in ns), ``state`` (WALK row, GAP row) scratch. One firing of eight may
    stay unexplained: a stolen processor now and then, or frames that were not captured.
    """
    walk = state[0]
    timer, path = of
    about = (timer, path, 0.0)
    fit.low = fit.high = 0
    if what == REVERSED:
        least, _ = _extent(about, steps, IDLE, state)
        idle = floor((least + timer.early) / SECOND_NS) * PER_SECOND
        about = (timer, path, idle + lateness(timer, idle) + path)
    least, fit.n = _extent(about, steps, what, state)
    if fit.n == 0:
        if what == REVERSED and least < np.inf:  # idle may have spaced all: no more than a bound
            fit.low, fit.high = 1, min(floor((least + timer.early) / SECOND_NS), MOST_SECONDS)
        return
    fit.missed = fit.n // 8
    high = min(floor((least + timer.early) / SECOND_NS), MOST_SECONDS)
    while high >= 1:
        walk.pieces -= 1
        if walk.pieces < 0:
            fit.low = fit.high = 0
            return
        missed = _missed(about, steps, high * PER_SECOND, state, what, fit.missed)
        low = 1
        if walk.reach < high * PER_SECOND:
            low = max(high - floor(walk.reach / SECOND_NS), 1)
        if missed < fit.missed or (missed == fit.missed and fit.low == 0):
            fit.low, fit.high, fit.missed = low, high, missed
        elif missed == fit.missed:
            fit.low = low
        high = low - 1
