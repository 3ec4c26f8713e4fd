"""A time axis for people: long silences compressed by breaks that say their length, ticks at 10, 60, 300, 3600 s.

Times in, positions out: integer nanoseconds become floating positions; every linear piece keeps its scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

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
    + [n * DAY_NS for n in (1, 2, 5, 10, 20, 30, 60, 120, *(365 * years for years in (1, 2, 5, 10, 20, 50, 100)))]
)
# A step that is a multiple of the first is counted in the second.
_UNITS = (
    (5 * MINUTE_NS, MINUTE_NS, "minutes"),
    (10 * MILLISECOND_NS, SECOND_NS, "seconds"),
    (1, MILLISECOND_NS, "milliseconds"),
)
LETTER, BESIDE = 0.068, 0.3  # inches: a digit of 8 points, and the room right of an axis that a label may take

# A step of so much is counted in that unit: 60, 120, 180 s, but 5, 10, 15 min.
_COUNTED = (
    (DAY_NS, DAY_NS, "d"),
    (HOUR_NS, HOUR_NS, "h"),
    (5 * MINUTE_NS, MINUTE_NS, "min"),
    (100 * MILLISECOND_NS, SECOND_NS, "s"),
    (100 * MICROSECOND_NS, MILLISECOND_NS, "ms"),
    (1, MICROSECOND_NS, "us"),
)


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

    def ticks(self, origin_ns: int, inches: float = 7.3) -> tuple[list[float], list[str], str]:
        """Return tick positions, their labels counted from ``origin_ns``, and what these count, for so wide an axis.

        From an hour on a label is ``2 h 05 min`` with the time of day (UTC) below it.
        """
        in_hours = self.counts_hours(origin_ns)
        least = self.to_scale_ns // MOST_TICKS
        for step in (*(s for s in _STEPS if s >= least), _STEPS[-1]):
            size, words = next(row[1:] for row in _UNITS if step % row[0] == 0)
            drawn = self._multiples(step, origin_ns)
            xs = [float(self.x(time + origin_ns)) for time in drawn]
            labels = [f"{time / size:.10g}" for time in drawn]
            if in_hours:
                labels = _with_clock(drawn, step, origin_ns, dated=self.label_lines(origin_ns) > 2)
            xs, labels = self._on_page(xs, labels, inches)
            kept = self._apart(xs, labels, inches)
            # Beside a break two ticks may lie close; elsewhere a label left out would make the others irregular.
            if len(kept) == len(xs) or (self.breaks and 2 * len(kept) > len(xs)) or step == _STEPS[-1]:
                break
        words = "time, and time of day in UTC," if in_hours else words
        return [xs[n] for n in kept], [labels[n] for n in kept], words

    def label_lines(self, origin_ns: int) -> int:
        """Return how many lines the label of a tick has: time, time of day from an hour on, day where it changes."""
        if not self.counts_hours(origin_ns):
            return 1
        return 2 + (self.first_ns // DAY_NS != self.last_ns // DAY_NS)

    def counts_hours(self, origin_ns: int) -> bool:
        """Return whether times counted from ``origin_ns`` go beyond an hour."""
        return max(abs(self.first_ns - origin_ns), abs(self.last_ns - origin_ns)) >= HOUR_NS

    def _on_page(self, xs: list[float], labels: list[str], inches: float) -> tuple[list[float], list[str]]:
        """Return ticks and labels without the last ones where their labels would run off the page."""
        scale, kept = inches / (self.width * 1.03), len(xs)
        while kept and (xs[kept - 1] + 0.015 * self.width) * scale + _half(labels[kept - 1]) > inches + BESIDE:
            kept -= 1
        return xs[:kept], labels[:kept]

    def _apart(self, xs: list[float], labels: list[str], inches: float) -> list[int]:
        """Return which ticks have room for their labels: 0 always has, then from left to right."""
        kept: list[int] = []
        taken = -np.inf
        scale = inches / (self.width * 1.03)
        for n in range(len(xs)):
            half = _half(labels[n]) + 0.05
            if xs[n] * scale - half > taken:
                kept.append(n)
                taken = xs[n] * scale + half
        return kept

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


def _half(label: str) -> float:
    """Return half the width of a label, inches."""
    return max(map(len, label.split("\n"))) * LETTER / 2


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


def _with_clock(times_ns: list[int], step_ns: int, origin_ns: int, *, dated: bool) -> list[str]:
    """Return labels of lines: ``2 h 05 min`` since the origin, time of day; ``dated``: the first of a day, its date."""
    labels, before = [], None
    for time_ns in times_ns:
        at = datetime.fromtimestamp((origin_ns + time_ns) // SECOND_NS, UTC)
        clock = f"{at:%H:%M}" if step_ns % MINUTE_NS == 0 else f"{at:%H:%M:%S}"
        if dated and at.date() != before:
            clock += f"\n{at:%b} {at.day}"
        before = at.date()
        labels.append(f"{hours(time_ns, step_ns)}\n{clock}")
    return labels


def hours(time_ns: int, step_ns: int) -> str:
    """Return a time of an axis that goes beyond an hour: ``2 h``, ``2 h 05 min``, ``5 min 30 s``; days from 4 on."""
    if time_ns == 0:
        return "0"
    sign, time_ns = "-" if time_ns < 0 else "", abs(time_ns)
    if step_ns % DAY_NS == 0:
        return f"{sign}{time_ns // DAY_NS} d"
    whole, rest = divmod(time_ns, HOUR_NS)
    minutes, seconds = divmod(rest, MINUTE_NS)
    words = [f"{whole} h"] if whole else []
    if minutes or (step_ns % HOUR_NS and whole):
        words.append(f"{minutes:02d} min" if whole else f"{minutes} min")
    words += [f"{seconds / SECOND_NS:g} s"] if seconds or step_ns % MINUTE_NS else []
    return sign + " ".join(words)


def log_ticks(low_ns: int, high_ns: int, inches: float = 7.3) -> tuple[list[float], list[str]]:
    """Return ticks of a logarithmic axis between two durations, and their labels: 1, 10, 60 s, 5 min, 1 h.

    The axis is so many inches wide: labels without room are left out, the roundest stay.
    """
    near = {n: _label(n) for n in _STEPS if low_ns <= n <= high_ns}
    if high_ns > 1_000 * low_ns:
        near = {n: name for n, name in near.items() if (n < SECOND_NS and str(n)[0] == "1") or n in _LOG}
    elif len(near) < 3:  # so short an axis is read as if it were linear
        near = dict(zip(*span_ticks(low_ns, high_ns), strict=True))
    scale = inches / float(np.log(max(high_ns / low_ns, 1.01)))
    kept: list[float] = []
    half = {n: (len(name) * LETTER + 0.1) / 2 for n, name in near.items()}
    for n in sorted(near, key=lambda n: (n not in _LOG, n)):
        if all(abs(float(np.log(n / other))) * scale > half[n] + half[other] for other in kept):
            kept.append(n)
    return [float(n) for n in sorted(kept)], [near[n] for n in sorted(kept)]


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
