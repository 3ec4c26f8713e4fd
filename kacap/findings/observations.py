"""What findings rest on, observed beside the tracker: rows for each connection slot, and pools for what few have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kacap.findings.observed import NOTE, OBSERVED, POOLS, SPAN
from kacap.findings.observing import observe
from kacap.rows import Table

FIRST_NOTES, FIRST_SPANS = 1024, 64


@dataclass(slots=True)
class Observed:
    """OBSERVED rows of some connections, in their order, with the pools that these refer to."""

    rows: NDArray[np.void]
    notes: NDArray[np.void]
    spans: NDArray[np.void]

    def picked(self, slots: NDArray[np.intp]) -> Observed:
        """Return the rows of some of them, with their part of the pools."""
        return _picked(self, slots)


class Observations:
    """OBSERVED rows, one for each slot of the tracker's; they move when its rows do."""

    def __init__(self, slots: int = 0) -> None:
        self._table = Table(OBSERVED, slots)
        self.notes, self.spans = np.zeros(FIRST_NOTES, NOTE), np.zeros(FIRST_SPANS, SPAN)
        self.pools = np.zeros(1, POOLS)

    @property
    def observed(self) -> NDArray[np.void]:
        """The OBSERVED rows, room for more included."""
        return self._table.rows

    def take(self, segments: NDArray[np.void], labels: NDArray[np.void]) -> None:
        """Watch classified segments, SEGMENT rows with their LABELs, before the tracker moves a row."""
        self.pools["position"] = 0
        while True:
            observe(segments, labels, (self.pools, self.observed, self.notes, self.spans))
            if int(self.pools["position"][0]) >= len(segments):
                return
            self.notes, self.spans = _grown(self.notes, self._used("notes")), _grown(self.spans, self._used("spans"))

    def _used(self, pool: str) -> int:
        """Return how many rows of a pool are in use."""
        return int(self.pools[pool][0])

    def of(self, slots: NDArray[np.intp]) -> Observed:
        """Return what was seen of some slots, as a copy that later segments leave alone."""
        notes, spans = self.notes[: self._used("notes")], self.spans[: self._used("spans")]
        return _picked(Observed(self.observed, notes, spans), slots)

    def restore(self, saved: Observed) -> None:
        """Go on from what ``rest`` of others returned, before the tracker that these rows belong to does."""
        self._table.append(saved.rows)
        for name, pool in (("notes", saved.notes), ("spans", saved.spans)):
            self.pools[name] = len(pool)
            setattr(self, name, _grown(pool, len(pool)))

    def release(self) -> None:
        """Give memory back: nothing is to be taken any more."""
        self._table = Table(OBSERVED, 1)

    def rest(self, number: int) -> Observed:
        """Return what was seen of the first slots, no copy: nothing is to be taken any more."""
        return Observed(self.observed[:number], self.notes[: self._used("notes")], self.spans[: self._used("spans")])

    def move(self, kept: NDArray[np.intp] | None, used: int, size: int) -> None:
        """Keep the rows of these slots, which become the first (None: the first ``used``), with room for ``size``."""
        if kept is not None:
            seen = self.of(kept)
            self.observed[: len(kept)] = seen.rows
            self.observed[len(kept) :] = np.zeros((), OBSERVED)
            for name, pool in (("notes", seen.notes), ("spans", seen.spans)):
                self.pools[name] = len(pool)
                setattr(self, name, _grown(pool, len(pool)))
        self._table.used = used
        self._table.reserve(size - used)


def joined(parts: Sequence[Observed]) -> Observed:
    """Return the rows of several, one after the other, with one pool of each kind."""
    rows = np.concatenate([np.zeros(0, OBSERVED), *(part.rows for part in parts)])
    notes = np.concatenate([np.zeros(0, NOTE), *(part.notes for part in parts)])
    spans = np.concatenate([np.zeros(0, SPAN), *(part.spans for part in parts)])
    at_row = at_note = at_span = 0
    for part in parts:
        mine = rows[at_row : at_row + len(part.rows)]
        for name in ("first_note", "last_note", "killed_note"):
            mine[name] += np.where(mine[name] > 0, at_note, 0).astype(np.int32)
        for side in ("a", "b"):
            for name in ("span", "kept"):
                mine[side][name] += np.where(mine[side][name] > 0, at_span, 0).astype(np.int32)
        own = notes[at_note : at_note + len(part.notes)]
        own["next"] += np.where(own["next"] > 0, at_note, 0).astype(np.int32)
        own["slot"] += at_row
        spans["slot"][at_span : at_span + len(part.spans)] += at_row
        at_row, at_note, at_span = at_row + len(part.rows), at_note + len(own), at_span + len(part.spans)
    return Observed(rows, notes, spans)


def _grown(pool: NDArray[np.void], used: int) -> NDArray[np.void]:
    """Return a pool with the rows in use, and room for as many again."""
    larger = np.zeros(2 * max(used, FIRST_SPANS), pool.dtype)
    larger[:used] = pool[:used]
    return larger


def _picked(observed: Observed, slots: NDArray[np.intp]) -> Observed:
    """Return the rows of some slots, numbered from 0, with their part of the pools."""
    rows = observed.rows[slots]
    renumbered = np.full(len(observed.rows), -1, np.int64)
    renumbered[slots] = np.arange(len(slots))
    notes, note_row = _part(observed.notes, renumbered)
    spans, span_row = _part(observed.spans, renumbered)
    for name in ("first_note", "last_note", "killed_note"):
        rows[name] = note_row[rows[name]]
    notes["next"] = note_row[notes["next"]]
    for side in ("a", "b"):
        for name in ("span", "kept"):
            rows[side][name] = span_row[rows[side][name]]
    return Observed(rows, notes, spans)


def _part(pool: NDArray[np.void], renumbered: NDArray[np.int64]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Return the rows of a pool that belong to some slots, and the new row of each (from 1; 0: none)."""
    slot = renumbered[pool["slot"]]
    mine = slot >= 0
    part = pool[mine]
    part["slot"] = slot[mine]
    moved = np.zeros(len(pool) + 1, np.int64)
    moved[1:][mine] = np.arange(1, len(part) + 1)
    return part, moved
