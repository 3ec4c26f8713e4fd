"""When a capture lost frames: a short list of spans, however often the source reports losses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kacap.summary import Drop

MOST = 256  # spans that are kept
ROOM = 16 * MOST  # spans that wait to be joined

Times: TypeAlias = NDArray[np.int64]
Counts: TypeAlias = NDArray[np.generic]
Flags: TypeAlias = NDArray[np.bool_]
Columns: TypeAlias = tuple[Times, Times, Counts, Times, Flags]


class Drops:
    """Time spans of lost frames, in the order of the reports; beyond ``MOST`` neighbours are joined."""

    def __init__(self) -> None:
        self._spans: list[Drop] = []

    def add(self, drop: Drop) -> None:
        """Take another span."""
        self._spans.append(drop)
        if len(self._spans) > ROOM:
            self._spans = shortened(self._spans)

    def go_on(self, drop: Drop) -> None:
        """Take another span; it extends the last one where it begins as that ends, on the same interface."""
        last = self._spans[-1] if self._spans else None
        if last is None or (last.until_ns, last.interface) != (drop.since_ns, drop.interface):
            return self.add(drop)
        self._spans[-1] = last._replace(until_ns=drop.until_ns, frames=last.frames + drop.frames)

    def spans(self) -> list[Drop]:
        """Return at most ``MOST`` spans in time order."""
        return shortened(self._spans)


def shortened(drops: Iterable[Drop]) -> list[Drop]:
    """Return ``drops`` in time order; beyond ``MOST``, those nearest to each other are joined."""
    spans = list(drops)
    unknown = np.array([drop.since_ns is None for drop in spans], np.bool_)
    until = np.array([drop.until_ns for drop in spans], np.int64)
    since = np.array([drop.until_ns if drop.since_ns is None else drop.since_ns for drop in spans], np.int64)
    frames = np.array([drop.frames for drop in spans], object)  # sums beyond 64 bits
    names = sorted({drop.interface or "" for drop in spans})
    name = np.array([names.index(drop.interface or "") for drop in spans], np.int64)
    order = np.lexsort((name, since, until))
    columns: Columns = since[order], until[order], frames[order], name[order], unknown[order]
    while (excess := len(columns[0]) - MOST) > 0:
        columns = _paired(columns, excess)
    return [
        Drop(None if open_ else start, end, lost, names[which] or None if which >= 0 else None)
        for start, end, lost, which, open_ in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _paired(columns: Columns, most: int) -> Columns:
    """Return the spans after joining up to ``most`` pairs of neighbours, the nearest ones.

    ``name`` is a number of an interface, -1 for several; where a span begins is ``unknown`` if that of a part is.
    """
    since, until, frames, name, unknown = columns
    gaps = since[1:] - until[:-1]
    near = gaps <= np.partition(gaps, most - 1)[most - 1]
    place = np.arange(len(near))
    # In a row of near neighbours the first joins the second, the third the fourth, and so on.
    since_far = place - np.maximum.accumulate(np.where(near, -1, place))
    joins = near & (since_far % 2 == 1)
    joins &= np.cumsum(joins) <= most
    first = np.flatnonzero(np.concatenate([[True], ~joins]))
    last = np.append(first[1:], len(since)) - 1
    several = name[first] != name[last]
    found_unknown = unknown[first] | unknown[last]
    ends = np.maximum(until[first], until[last])
    begins = np.where(found_unknown, ends, np.minimum(since[first], since[last]))
    sums = np.where(first == last, frames[first], frames[first] + frames[last])
    return begins, ends, sums, np.where(several, -1, name[first]), found_unknown


def total(counts: Iterable[int | None]) -> int | None:
    """Return the sum of the known ones; None when none is known."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
