"""From the fits of every timer to one prober's candidates for idle and interval, and what these take for granted.

An answered probe is followed by the next after the longer of idle and interval (tcp_keepalive_timer). So answered gaps
show idle only where an interval above it is excluded: by a run that nothing answered, or by the first gap, if keepalive
was on since the connection opened.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kacap.clock import SECOND_NS
from kacap.flows import DELAYED, NEVER
from kacap.kernels import Row, kernel
from kacap.rows import I4, U1, U2, dtype_of
from kacap.timing.assumes import Assumes
from kacap.timing.history import ABORT, EXACT
from kacap.timing.search import DRIFT, FIRST, IDLE, INTERVAL, PER_SECOND, REVERSED, lateness
from kacap.timing.systems import OTHERS, TIMERS

EARLIEST_NS = 600_000_000  # no known timer fires earlier than that (xnu)
JITTER = 0.1  # of its setting: by so much a timer that nobody knows may be early or late
ALIKE_NS = 20_000_000.0  # gaps that are alike, three and more, speak of a timer without jitter
OFF_GRID_NS = 10_000_000.0  # jitter of a timer that looks at whole seconds
FEW = 3  # gaps that are alike: not all of them hold firings that were not captured
HOLE = 1.5  # a gap so many times another of the same timer may hold firings that were not captured
BELOW = 4  # the fit of idle where the interval exceeds it


class SettingReason(IntEnum):
    """What is said of a setting beside its candidates."""

    NOTHING = 0
    NO_GAP = 1  # no gap of this timer is in the capture
    NO_TIMER = 2  # no timer explains the gaps
    EITHER = 3  # an interval above idle would explain answered probes as well
    GOVERNS = 4  # the interval is above idle
    TOO_MANY = 5  # more settings than are tried


_ENABLED, _LE_IDLE, _NO_MISSING = (
    int(Assumes.ENABLED_AT_CONNECT),
    int(Assumes.INTERVAL_LE_IDLE),
    int(Assumes.NO_FRAME_MISSING),
)
_FINE, _STEADY = int(Assumes.FINE_TIMER), int(Assumes.STEADY_TIMER)
_NO_DELAYED = int(Assumes.NO_FRAME_DELAYED)
_NO_GAP, _NO_TIMER = int(SettingReason.NO_GAP), int(SettingReason.NO_TIMER)
_EITHER, _GOVERNS = int(SettingReason.EITHER), int(SettingReason.GOVERNS)
_N = len(TIMERS)
_EXACT = TIMERS.index(OTHERS[0])

_OfTimer: TypeAlias = Annotated[NDArray[np.int32], ("<i4", (_N,))]


class EstimateRow(NamedTuple):
    """What explains one prober: the candidates of idle and interval by timer, in seconds (low 0: none)."""

    idle_low: _OfTimer
    idle_high: _OfTimer
    interval_low: _OfTimer
    interval_high: _OfTimer
    either_low: I4
    either_high: I4  # the interval, if it is that which spaces answered probes
    explains: U2  # bits of TIMERS: which explain all that shows
    idle_assumes: U2
    interval_assumes: U2
    idle_why: U1
    interval_why: U1


ESTIMATE = dtype_of(EstimateRow)
EstimateRows = NDArray[np.void]  # of ESTIMATE

# What a prober's steps show. answered: how many answered gaps; least, most: their extent; first: the first gap is
# known (first_gap, else 0); exact, exact_first, exact_interval: no frame is missing in them; normal: timers explain
# answered gaps by idle; above: an interval above idle explains them otherwise; opened: the first gap agrees; unsure: an
# early timer may have made it; holes: firings that speak against such an interval may lack probes in between;
# coarse: all firings lie on a grid of whole seconds, so that the timer may look no more often.
SHOWN = np.dtype(
    [
        ("least", "<f8"), ("most", "<f8"), ("first_gap", "<f8"), ("answered", "<i4"), ("began", "u1"),
        ("first", "u1"), ("exact", "u1"), ("exact_first", "u1"), ("exact_interval", "u1"), ("normal", "u1"),
        ("above", "u1"), ("opened", "u1"), ("unsure", "u1"), ("holes", "u1"), ("coarse", "u1"),
    ],
    align=True,
)  # fmt: skip


@kernel
def look(shown: Row, history: Row, steps: Row) -> None:
    """Write what a prober's steps show."""
    shown.least, shown.most, shown.first_gap = np.inf, 0.0, 0.0
    shown.began, shown.first, shown.answered = history.began, 0, history.idle_n
    shown.exact = shown.exact_first = shown.exact_interval = 1
    for i in range(len(steps)):
        step = steps[i]
        exact = (step.flags & EXACT) > 0
        if step.before_ns == NEVER:
            shown.first = step.since_ns != NEVER and step.heard >= 0
            shown.answered -= shown.first
            shown.exact = shown.exact_first = exact
            if shown.first:
                shown.first_gap = float(step.time_ns - step.since_ns)
        elif step.heard == 0:
            shown.exact_interval &= exact
        elif step.heard > 0 and not step.flags & ABORT:
            gap = float(step.time_ns - step.since_ns)
            shown.exact = exact if shown.most == 0 else shown.exact & exact
            shown.least, shown.most = min(shown.least, gap), max(shown.most, gap)
    shown.coarse = _on_seconds(steps)
    alike = shown.answered >= FEW and shown.most - shown.least <= ALIKE_NS  # a timer without jitter
    early = float(EARLIEST_NS) if alike else max(float(EARLIEST_NS), 2 * JITTER * history.gap_min_ns)
    least = min(shown.first_gap, shown.least) if shown.first else shown.least
    shown.unsure = not shown.began or history.gap_min_ns - least < early


@kernel
def _on_seconds(steps: Row) -> Row:
    """Return whether all firings are whole seconds apart: a timer that looks once in one, two or five may make them.

    Linux's wheel hardly ever does.
    """
    for i in range(1, len(steps)):
        away = float(steps[i].time_ns - steps[0].time_ns)
        off = away % PER_SECOND
        if min(off, PER_SECOND - off) > OFF_GRID_NS + DRIFT * away:
            return False
    return len(steps) > 1


@kernel
def fit_below(timer: Row, path: Row, steps: Row, interval: Row, fit: Row) -> None:
    """Write the idles that, with a longer interval (a FIT, s), explain a prober.

    Where something was heard late, so that the probe came later than the interval, it was idle that spaced it;
    ``fit.missed`` counts those of them where a probe in between may not have been captured.
    """
    fit.low = fit.high = fit.missed = 0
    if interval.low == 0:
        return
    low, least = 1.0, np.inf
    for i in range(len(steps)):
        step = steps[i]
        first = step.before_ns == NEVER
        if step.since_ns == NEVER or step.heard < 0 or step.flags & ABORT or (step.heard == 0 and not first):
            continue
        gap = float(step.time_ns - step.since_ns)
        least = min(least, gap)
        latest = interval.high * PER_SECOND + lateness(timer, interval.high * PER_SECOND)
        if not first and step.time_ns - step.before_ns > latest:
            low = max(low, np.ceil((gap - path - lateness(timer, gap)) / SECOND_NS))
            fit.missed += 0 if step.flags & EXACT else 1
    high = (least + timer.early) // SECOND_NS
    if 1 <= low <= high:
        fit.low, fit.high = np.int64(low), np.int64(high)


@kernel
def _meet(one: Row, other: Row) -> Row:
    """Return the (low, high) that two fits share, (0, 0): nothing."""
    low, high = max(one.low, other.low), min(one.high, other.high)
    return (low, high) if one.low and other.low and low <= high else (0, 0)


@kernel
def _join(row: Row, m: Row, span: Row) -> None:
    """Widen the candidates for idle of one timer."""
    if span[0]:
        row.idle_low[m] = min(row.idle_low[m], span[0]) if row.idle_low[m] else span[0]
        row.idle_high[m] = max(row.idle_high[m], span[1])


@kernel
def _compare(shown: Row, fits: Row) -> None:
    """Write which of idle and interval may have spaced the answered probes."""
    shown.normal = shown.above = shown.opened = shown.holes = 0
    least = 1 << 30
    for m in range(len(fits)):
        if fits[m, IDLE].low:
            shown.normal, least = 1, min(least, fits[m, IDLE].low)
    for m in range(len(fits)):
        if fits[m, BELOW].low and fits[m, BELOW].low < least:
            shown.above = 1
        if fits[m, BELOW].missed:
            shown.holes = 1
        if _meet(fits[m, FIRST], fits[m, IDLE])[0] or _meet(fits[m, FIRST], fits[m, BELOW])[0]:
            shown.opened = 1


@kernel
def _write_idle(row: Row, shown: Row, fits: Row) -> None:
    """Write the candidates for idle, and what they assume."""
    only_first = shown.answered <= 0
    unsure = shown.unsure and not shown.normal
    opened = shown.above and shown.began and shown.opened and not unsure
    wide = shown.above and not opened and (shown.began or not shown.normal or (shown.first and not shown.opened))
    for m in range(len(fits)):
        if only_first:
            _join(row, m, _meet(fits[m, FIRST], fits[m, FIRST]))
        elif opened:
            _join(row, m, _meet(fits[m, FIRST], fits[m, IDLE]))
            _join(row, m, _meet(fits[m, FIRST], fits[m, BELOW]))
        else:
            _join(row, m, _meet(fits[m, IDLE], fits[m, IDLE]))
            if wide or not shown.above:
                _join(row, m, _meet(fits[m, BELOW], fits[m, BELOW]))
                if wide and unsure and fits[m, BELOW].low:  # it may be idle that spaces them after all
                    row.idle_high[m] = max(row.idle_high[m], fits[m, REVERSED].high)
    if only_first:
        row.idle_assumes = _ENABLED if shown.began else _ENABLED | _LE_IDLE
    elif shown.above and not wide:
        row.idle_assumes = _ENABLED if opened else _LE_IDLE
    if wide:
        row.idle_why = _EITHER if shown.normal or unsure else 0
        row.idle_assumes |= _NO_MISSING if shown.holes and not shown.exact else 0
        return
    doubtful = shown.answered < FEW or shown.most > HOLE * shown.least or shown.holes or not shown.began
    if (opened and not shown.exact_first) or (doubtful and not shown.exact):
        row.idle_assumes |= _NO_MISSING


@kernel
def _write_interval(row: Row, history: Row, shown: Row, fits: Row) -> None:
    """Write the candidates for the interval, and what they assume."""
    governs = shown.above and not shown.normal and not shown.unsure
    for m in range(len(fits)):
        fit = fits[m, REVERSED] if governs else fits[m, INTERVAL]
        if fit.low and (not governs or fits[m, BELOW].low):
            row.interval_low[m], row.interval_high[m] = fit.low, fit.high
        other = fits[m, REVERSED]
        if fits[m, BELOW].low:
            row.either_low = min(row.either_low, other.low) if row.either_low else other.low
            row.either_high = max(row.either_high, other.high)
    if governs:
        row.interval_why = _GOVERNS
        row.interval_assumes = _ENABLED if shown.answered <= 1 else 0
        row.interval_assumes |= 0 if shown.exact else _NO_MISSING
    elif history.interval_n == 0:
        row.interval_why = _NO_GAP
    elif not shown.exact_interval:  # replies may have come that the capture lacks, unless the prober gave up
        sure = history.exhausted_n and history.interval_n >= FEW
        hole = history.interval_max_ns > HOLE * history.interval_min_ns
        row.interval_assumes = 0 if sure and not hole else _NO_MISSING


@kernel
def _needs_steadiness(low: Row, high: Row, gaps: Row, exact: Row) -> Row:
    """Return whether a timer with jitter that is set to something else may have made the gaps as well.

    ``low`` and ``high`` hold the candidates by timer (s), ``gaps`` is (how many, the least, the most in ns).
    ``exact``: a timer of the connection's own explains them, and the simpler explanation holds.
    """
    n, least, most = gaps
    if most - least <= ALIKE_NS and (n >= FEW or exact):
        return False
    first, last = np.ceil(most / (1 + JITTER) / SECOND_NS), np.floor(least / (1 - JITTER) / SECOND_NS)
    lowest, highest = np.inf, 0.0
    for m in range(len(low)):
        if low[m]:
            lowest, highest = min(lowest, float(low[m])), max(highest, float(high[m]))
    return first <= last and (first < lowest or last > highest)


@kernel
def _write_steadiness(row: Row, history: Row, shown: Row) -> None:
    """Write which candidates assume that the timer has no more jitter than those that are known."""
    only_first = shown.answered <= 0 or (shown.above and row.idle_assumes & _ENABLED)
    least = min(shown.first_gap, shown.least) if shown.first else shown.least
    idle = shown.answered, least, max(shown.first_gap, shown.most)
    if only_first:
        idle = 1, shown.first_gap, shown.first_gap
    if _needs_steadiness(row.idle_low, row.idle_high, idle, row.idle_low[_EXACT] > 0):
        row.idle_assumes |= _STEADY
    interval = history.interval_n, float(history.interval_min_ns), float(history.interval_max_ns)
    if row.interval_why == _GOVERNS:
        interval = history.firings - 1, float(history.gap_min_ns), float(history.gap_max_ns)
    if _needs_steadiness(row.interval_low, row.interval_high, interval, row.interval_low[_EXACT] > 0):
        row.interval_assumes |= _STEADY


@kernel
def decide(row: Row, history: Row, shown: Row, fits: Row) -> None:
    """Fill the ESTIMATE row of one prober from its fits by timer; ``shown`` is scratch that ``look`` has filled."""
    _compare(shown, fits)
    _write_idle(row, shown, fits)
    _write_interval(row, history, shown, fits)
    has_gap = shown.answered > 0 or shown.first
    idle = interval = False
    for m in range(len(fits)):
        idle = idle or row.idle_low[m] > 0
        interval = interval or row.interval_low[m] > 0
        fitting = fits[m, IDLE].low > 0 or fits[m, BELOW].low > 0
        if shown.answered <= 0:
            fitting = not shown.first or fits[m, FIRST].low > 0
        fitting = fitting and (history.interval_n == 0 or fits[m, INTERVAL].low > 0)
        if fitting and (has_gap or history.interval_n):
            row.explains |= 1 << m
    for m in range(len(fits)):  # one timer makes all gaps
        if row.explains and not row.explains >> m & 1:
            row.idle_low[m] = row.idle_high[m] = row.interval_low[m] = row.interval_high[m] = 0
    if history.interval_n and not shown.above and (row.interval_assumes & _NO_MISSING or not interval):
        row.idle_assumes |= _NO_MISSING  # it is the interval that shows that idle spaces answered probes
    delayed = (_NO_DELAYED if history.flags & DELAYED else 0) | (_FINE if shown.coarse else 0)
    row.idle_assumes |= delayed
    row.interval_assumes |= delayed
    _write_steadiness(row, history, shown)
    if not idle:
        row.idle_why, row.idle_assumes = _NO_TIMER if has_gap else _NO_GAP, 0
    if (history.interval_n or row.interval_why == _GOVERNS) and not interval:
        row.interval_why, row.interval_assumes = _NO_TIMER, 0
