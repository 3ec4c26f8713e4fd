"""When a capture lost frames: a short list of spans, however often the source reports losses."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from kacap.model import Drop

MOST = 256  # spans that are kept


class Drops:
    """Time spans of lost frames, in the order of the reports; beyond ``MOST`` neighbours are joined."""

    def __init__(self) -> None:
        self._spans: list[Drop] = []

    def add(self, drop: Drop) -> None:
        """Take another span."""
        self._spans.append(drop)
        if len(self._spans) > 2 * MOST:
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
    spans = sorted(drops, key=lambda drop: (drop.until_ns, _start(drop), drop.interface or ""))
    while (excess := len(spans) - MOST) > 0:
        spans = _paired(spans, excess)
    return spans


def _paired(spans: list[Drop], most: int) -> list[Drop]:
    """Return the spans after joining up to ``most`` pairs of neighbours, the nearest ones."""
    gaps = [_start(after) - before.until_ns for before, after in pairwise(spans)]
    widest = sorted(gaps)[most - 1]
    paired = spans[:1]
    fresh = True  # the last span has not been joined yet
    for gap, drop in zip(gaps, spans[1:], strict=True):
        if fresh and most and gap <= widest:
            paired[-1], fresh, most = _both(paired[-1], drop), False, most - 1
        else:
            paired.append(drop)
            fresh = True
    return paired


def _start(drop: Drop) -> int:
    """Return when a span begins; its end where the begin is unknown."""
    return drop.until_ns if drop.since_ns is None else drop.since_ns


def _both(first: Drop, second: Drop) -> Drop:
    """Return the span from the earlier one's begin to the later one's end."""
    known = [drop.since_ns for drop in (first, second) if drop.since_ns is not None]
    since_ns = min(known) if len(known) == 2 else None
    name = first.interface if first.interface == second.interface else None
    return Drop(since_ns, max(first.until_ns, second.until_ns), first.frames + second.frames, name)


def total(counts: Iterable[int | None]) -> int | None:
    """Return the sum of the known ones; None when none is known."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
