"""What findings rest on, observed beside the tracker: rows for each connection slot, and pools for what few have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kacap.classify.emit import LabelRows
from kacap.classify.tracker import Move
from kacap.findings.observed import NOTE, OBSERVED, POOLS, SENT, SPAN, NoteRows, ObservedRows, SentRows, SpanRows
from kacap.findings.observing import ROOM, observe
from kacap.rows import Table, clear, keep
from kacap.segments import SegmentRows

FIRST_ROWS = 1024  # of a pool


@dataclass(slots=True)
class Observed:
    """OBSERVED rows of some connections, in their order, with the pools that these refer to."""

    rows: ObservedRows
    notes: NoteRows
    spans: SpanRows
    sent: SentRows

    def picked(self, slots: NDArray[np.intp]) -> Observed:
        """Return the rows of some of them, with their part of the pools."""
        return _picked(self, slots)


class Observations:
    """OBSERVED rows, one for each slot of the tracker's; they move when its rows do."""

    def __init__(self, slots: int = 0) -> None:
        self._table = Table(OBSERVED, slots)
        self._notes, self._spans, self._sent = (Table(dtype, FIRST_ROWS) for dtype in (NOTE, SPAN, SENT))
        self.pools = np.zeros(1, POOLS)

    @property
    def observed(self) -> ObservedRows:
        """The OBSERVED rows, room for more included."""
        return self._table.rows

    def take(self, segments: SegmentRows, labels: LabelRows) -> None:
        """Watch classified segments, SEGMENT rows with their LABELs, once all rows moved as the tracker's did."""
        self.pools["position"] = 0
        while True:
            pools = self._notes.rows, self._spans.rows, self._sent.rows
            observe(segments, labels, (self.pools, self.observed, *pools))
            self._notes.used, self._spans.used, self._sent.used = self.pools[["notes", "spans", "sent"]].item()
            if int(self.pools["position"][0]) >= len(segments):
                return
            del pools
            for pool in (self._notes, self._spans, self._sent):
                pool.reserve(ROOM + 1)

    def of(self, slots: NDArray[np.intp]) -> Observed:
        """Return what was seen of some slots, as a copy that later segments leave alone."""
        return _picked(self.rest(len(self.observed)), slots)

    def restore(self, saved: Observed) -> None:
        """Go on from what ``rest`` of others returned."""
        self._table.append(saved.rows)
        for name, pool, rows in (
            ("notes", self._notes, saved.notes),
            ("spans", self._spans, saved.spans),
            ("sent", self._sent, saved.sent),
        ):
            pool.append(rows)
            pool.reserve(ROOM + 1)
            self.pools[name] = pool.used

    def release(self) -> None:
        """Give memory back: nothing is to be taken any more."""
        self._table = Table(OBSERVED, 1)

    def rest(self, number: int) -> Observed:
        """Return what was seen of the first slots, no copy: valid until more is taken."""
        return Observed(self.observed[:number], self._notes.filled, self._spans.filled, self._sent.filled)

    def follow(self, moved: Move | None) -> Observed | None:
        """Move as the tracker's rows did; return what was seen of those that ended, None where nothing moved."""
        if moved is None:
            return None
        seen = self.of(moved.ended)
        self.move(moved.kept, moved.used, moved.size)
        return seen

    def move(self, kept: NDArray[np.intp] | None, used: int, size: int) -> None:
        """Of the first ``used`` rows keep those of these slots (None: all), as the first, with room for ``size``."""
        if kept is not None:
            before = self.rest(len(self.observed))
            keep(self.observed, kept)
            seen = _renumbered(self.observed[: len(kept)], before, kept)
            clear(self.observed[len(kept) : used])  # no more: what is untouched takes no memory
            for name, pool, rows in (
                ("notes", self._notes, seen.notes),
                ("spans", self._spans, seen.spans),
                ("sent", self._sent, seen.sent),
            ):
                pool.replace(rows)
                self.pools[name] = pool.used
            del before, seen  # which views of the rows would keep from growing in place
        self._table.used = used if kept is None else len(kept)
        self._table.reserve(size - self._table.used)


def joined(parts: Sequence[Observed]) -> Observed:
    """Return the rows of several, one after the other, with one pool of each kind."""
    rows, notes, spans, sent = (
        np.concatenate([np.zeros(0, dtype), *(getattr(part, name) for part in parts)])
        for name, dtype in (("rows", OBSERVED), ("notes", NOTE), ("spans", SPAN), ("sent", SENT))
    )
    at_row = at_note = at_span = at_sent = 0
    for part in parts:
        mine = rows[at_row : at_row + len(part.rows)]
        for name in ("first_note", "last_note", "killed_note"):
            _shift(mine[name], at_note)
        for side in ("a", "b"):
            _shift(mine[side]["data"], at_sent)
        own, data = notes[at_note : at_note + len(part.notes)], sent[at_sent : at_sent + len(part.sent)]
        _shift(own["next"], at_note)
        for name in ("span", "kept"):
            _shift(data[name], at_span)
        for pool in (own, data, spans[at_span : at_span + len(part.spans)]):
            pool["slot"] += at_row
        at_row, at_note, at_sent = at_row + len(part.rows), at_note + len(own), at_sent + len(data)
        at_span += len(part.spans)
    return Observed(rows, notes, spans, sent)


def _shift(numbers: NDArray[np.int32], by: int) -> None:
    """Add to numbers of rows, counted from 1, how many rows come before them now."""
    numbers += np.where(numbers > 0, by, 0).astype(np.int32)


def _picked(observed: Observed, slots: NDArray[np.intp]) -> Observed:
    """Return the rows of some slots, numbered from 0, with their part of the pools."""
    return _renumbered(observed.rows.take(slots), observed, slots)


def _renumbered(rows: NDArray[np.void], observed: Observed, slots: NDArray[np.intp]) -> Observed:
    """Return ``rows``, those of some slots, with their part of the pools, where they refer to it from now on."""
    renumbered = np.full(len(observed.rows), -1, np.int64)
    renumbered[slots] = np.arange(len(slots))
    notes, note_row = _part(observed.notes, renumbered)
    spans, span_row = _part(observed.spans, renumbered)
    sent, sent_row = _part(observed.sent, renumbered)
    for name in ("first_note", "last_note", "killed_note"):
        rows[name] = note_row[rows[name]]
    notes["next"] = note_row[notes["next"]]
    for name in ("span", "kept"):
        sent[name] = span_row[sent[name]]
    for side in ("a", "b"):
        rows[side]["data"] = sent_row[rows[side]["data"]]
    return Observed(rows, notes, spans, sent)


def _part(pool: NDArray[np.void], renumbered: NDArray[np.int64]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Return the rows of a pool that belong to some slots, and the new row of each (from 1; 0: none)."""
    slot = renumbered[pool["slot"]]
    mine = slot >= 0
    part = pool.compress(mine)
    part["slot"] = slot[mine]
    moved = np.zeros(len(pool) + 1, np.int64)
    moved[1:][mine] = np.arange(1, len(part) + 1)
    return part, moved
