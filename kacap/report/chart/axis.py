"""A time axis for people: long silences compressed by breaks that say their length, ticks at 10, 60, 300, 3600 s.

Times in, positions out: integer nanoseconds become floating positions; every linear piece keeps its scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kacap.clock import DAY_NS, HOUR_NS, MICROSECOND_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS

MOST_BREAKS = 3
BREAK_WIDTH = 0.12  # of what is drawn to scale
DOMINATES = 3  # a silence this many times longer than all else is compressed
MOST_TICKS = 12

_STEPS = sorted(
    [n * 10**power * MICROSECOND_NS for power in range(6) for n in (1, 2, 5)]
    + [n * SECOND_NS for n in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800)]
    + [n * HOUR_NS for n in (1, 2, 4, 6, 12)]
    + [n * DAY_NS for n in (1, 2, 5, 10, 20, 30, 60, 120, 365, 730)]
)
_UNITS = (
    (DAY_NS, 3 * DAY_NS, "days"), (HOUR_NS, 3 * HOUR_NS, "hours"), (MINUTE_NS, 3 * MINUTE_NS, "minutes"),
    (SECOND_NS, 0, "seconds"),
)  # fmt: skip

# A step of so much is counted in that unit: 60, 120, 180 s, but 5, 10, 15 min.
_COUNTED = (
    (DAY_NS, DAY_NS, "d"), (HOUR_NS, HOUR_NS, "h"), (5 * MINUTE_NS, MINUTE_NS, "min"),
    (100 * MILLISECOND_NS, SECOND_NS, "s"), (100 * MICROSECOND_NS, MILLISECOND_NS, "ms"), (1, MICROSECOND_NS, "us"),
)  # fmt: skip


class TimeAxis:
    """Places times between ``first_ns`` and ``last_ns``; ``breaks`` are the silences (start, end) to compress."""

    def __init__(self, first_ns: int, last_ns: int, breaks: Sequence[tuple[int, int]] = ()) -> None:
        self.first_ns, self.last_ns, self.breaks = first_ns, max(last_ns, first_ns + MILLISECOND_NS), sorted(breaks)
        self.to_scale_ns = self.last_ns - self.first_ns - sum(end - start for start, end in self.breaks)
        self._knots, self._xs = self._pieces()

    def _pieces(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the pieces: times since ``first_ns``, and their positions."""
        knots, xs = [0.0], [0.0]
        for start, end in self.breaks:
            xs.append(xs[-1] + (start - self.first_ns) - knots[-1])
            xs.append(xs[-1] + BREAK_WIDTH * self.to_scale_ns)
            knots += [float(start - self.first_ns), float(end - self.first_ns)]
        xs.append(xs[-1] + (self.last_ns - self.first_ns) - knots[-1])
        knots.append(float(self.last_ns - self.first_ns))
        return np.array(knots), np.array(xs)

    @property
    def width(self) -> float:
        """The position of the last time; the first one's is 0."""
        return float(self._xs[-1])

    def x(self, times_ns: ArrayLike) -> NDArray[np.float64]:
        """Return the positions of times in nanoseconds, any shape; before and after the axis the scale goes on."""
        since = (np.asarray(times_ns, np.int64) - np.int64(self.first_ns)).astype(np.float64)
        beyond = np.minimum(since, 0.0) + np.maximum(since - self._knots[-1], 0.0)
        xs: NDArray[np.float64] = np.interp(since, self._knots, self._xs) + beyond
        return xs

    def ticks(self, origin_ns: int) -> tuple[list[float], list[str], str]:
        """Return tick positions, their labels counted from ``origin_ns``, and the unit of the labels."""
        step = next((s for s in _STEPS if self.to_scale_ns <= MOST_TICKS * s), _STEPS[-1])
        unit, name = next(
            (unit, name)
            for unit, least_ns, name in _UNITS
            if self.to_scale_ns >= least_ns and (step % unit == 0 or not least_ns)
        )
        xs: list[float] = []
        labels: list[str] = []
        for time in self._multiples(step, origin_ns):
            x = float(self.x(time + origin_ns))
            if not xs or x - xs[-1] > self.width / 16:
                xs.append(x)
                labels.append(f"{time / unit:.10g}")
        return xs, labels, name

    def _multiples(self, step_ns: int, origin_ns: int) -> list[int]:
        """Return the multiples of ``step_ns`` since ``origin_ns`` on pieces drawn to scale; a break is not walked."""
        starts = [self.first_ns, *(end for _, end in self.breaks)]
        ends = [*(start for start, _ in self.breaks), self.last_ns]
        found = {
            time_ns
            for start, end in zip(starts, ends, strict=True)
            for time_ns in range(-(-(start - origin_ns) // step_ns) * step_ns, end - origin_ns + 1, step_ns)
        }
        return sorted(found)


def span_ticks(low_ns: int, top_ns: int) -> tuple[list[float], list[str]]:
    """Return ticks between two durations (the lower may be negative), and their labels with the unit."""
    step_ns = next((s for s in _STEPS if top_ns - low_ns <= 6 * s), _STEPS[-1])
    first, last = -(-low_ns // step_ns), top_ns // step_ns
    unit, name = next((unit, name) for least, unit, name in _COUNTED if step_ns >= least)
    xs = [float(n * step_ns) for n in range(first, last + 1)]
    return xs, ["0" if not at else f"{at / unit:.10g} {name}" for at in xs]


def long_silences(times_ns: ArrayLike, anchors_ns: ArrayLike) -> list[tuple[int, int]]:
    """Return the silences between events that would squeeze all else: at most three, as (start, end).

    A silence counts when it is three times as long as everything else together, and when what it would squeeze has
    a rhythm to show: at least two gaps between ``anchors_ns`` (probes and endings) elsewhere.
    """
    events = np.unique(np.asarray(times_ns, np.int64))
    gaps = np.diff(events)
    rest = int(gaps.sum())
    found: list[tuple[int, int]] = []
    for at in np.argsort(-gaps, kind="stable")[:MOST_BREAKS]:
        start, end = int(events[at]), int(events[at + 1])
        rest -= end - start
        if end - start <= DOMINATES * rest or not _rhythm(anchors_ns, [*found, (start, end)]):
            break
        found.append((start, end))
    return found


def _rhythm(anchors_ns: ArrayLike, breaks: Sequence[tuple[int, int]]) -> bool:
    """Return whether at least two gaps between anchors would remain outside the breaks."""
    anchors = np.unique(np.asarray(anchors_ns, np.int64))
    kept = np.ones(max(len(anchors) - 1, 0), np.bool_)
    for start, end in breaks:
        kept &= ~((anchors[:-1] <= start) & (end <= anchors[1:]))
    return int(kept.sum()) >= 2


def log_ticks(low_ns: int, high_ns: int) -> tuple[list[float], list[str]]:
    """Return ticks of a logarithmic axis between two durations, and their labels: 1, 10, 60 s, 5 min, 1 h."""
    near = [n for n in _STEPS if low_ns <= n <= high_ns]
    wide = high_ns > 1_000 * low_ns
    round_ones = [n for n in near if (n < SECOND_NS and str(n)[0] == "1") or n in _LOG] if wide else near
    return [float(n) for n in round_ones], [_label(n) for n in round_ones]


_LOG = (
    SECOND_NS,
    5 * SECOND_NS,
    10 * SECOND_NS,
    30 * SECOND_NS,
    60 * SECOND_NS,
    300 * SECOND_NS,
    HOUR_NS,
    6 * HOUR_NS,
    DAY_NS,
    10 * DAY_NS,
    30 * DAY_NS,
    365 * DAY_NS,
)


def _label(value_ns: int) -> str:
    """Return a tick's label: ``60 s``, ``5 min``, ``2 h``."""
    unit, name = next((unit, name) for least, unit, name in _COUNTED if value_ns >= least)
    return f"{value_ns / unit:.10g} {name}"
