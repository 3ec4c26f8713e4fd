"""Holds the columns of all open connections, grows and sweeps them, and runs the classifier over batches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kacap.classify.ahead import AHEAD, COMING
from kacap.classify.capture_clock import CaptureClock
from kacap.classify.emit import EVENT, LABEL, EventRows, LabelRows
from kacap.classify.kernel import classify
from kacap.flows import (
    A_FIN,
    B_FIN,
    BUCKET,
    CONNECTION,
    CUT,
    FINISHED,
    LINGER_NS,
    LONE,
    LONE_ACK,
    NEVER,
    RECENT,
    RECENT_ROWS,
    SIDE,
    TRACKER_STATE,
    WAS_RESET,
    ConnectionRows,
    rebuild,
)
from kacap.rows import Table, copied, joined, keep
from kacap.segments import SegmentRows

FIRST_ROWS = 4096
COLLECTED = 1 << 15  # rows of connections that have ended are collected once they are so many, and an eighth of all
EVENT_ROWS = 64  # more than segments: one may bring several events
BUFFERS = 6  # of events and labels: more than batches are under way at once (``pipeline.AHEAD``)


class Move(NamedTuple):
    """What became of the slots of CONNECTION rows before a batch: of the first ``used`` those ``kept`` stay, in order,
    as the first (None: all), and those that ``ended`` do not; there is room for ``size``."""

    ended: NDArray[np.intp]
    kept: NDArray[np.intp] | None
    used: int
    size: int


@dataclass(slots=True)
class Tracked:
    """What one batch of segments gave: rows of CONNECTION that ended before it, how the others moved (None: none did),
    and those that are new to later stages; rows of EVENT in order, and each segment with its LABEL (events and labels
    are valid for some batches); and which rows of WATCHED were over at ``cut_ns``, when the clock was set."""

    closed: NDArray[np.void]
    moved: Move | None
    opened: NDArray[np.void]
    events: EventRows
    segments: SegmentRows
    labels: LabelRows
    cut: NDArray[np.int64]
    cut_ns: int


class Tracker:
    """Connections across batches. Memory grows with open connections; finished ones are handed out and forgotten."""

    def __init__(self, *, all_segments: bool = False) -> None:
        self.state = np.zeros(1, TRACKER_STATE)
        self.state["next_id"] = 1
        self.state["now_ns"] = NEVER
        self.state["all_segments"] = all_segments
        # Private: a random number, so that nobody can choose addresses that all fall into one bucket of the hash table.
        self.state["seed"] = int.from_bytes(os.urandom(8), "little")
        self._connections, self._sides = Table(CONNECTION, FIRST_ROWS), Table(SIDE, 2 * FIRST_ROWS)
        self.table = np.full(2 * FIRST_ROWS, -1, BUCKET)
        self._coming = np.zeros(2 * AHEAD, COMING)
        self.recent = np.zeros(RECENT_ROWS, RECENT)
        self.recent["time_ns"] = NEVER
        self._events: list[NDArray[np.void]] = [np.zeros(0, EVENT)] * BUFFERS
        self._labels: list[NDArray[np.void]] = [np.zeros(0, LABEL)] * BUFFERS
        self._batches = 0
        self.clock = CaptureClock()
        self.introduced = 0  # rows of WATCHED that later stages know

    @property
    def connections(self) -> ConnectionRows:
        """The CONNECTION rows, room for more included."""
        return self._connections.rows

    @property
    def sides(self) -> NDArray[np.void]:
        """The SIDE rows, two for each CONNECTION."""
        return self._sides.rows

    @property
    def used(self) -> int:
        """Rows of ``connections`` in use."""
        return int(self.state["used"][0])

    @property
    def let_go(self) -> int:
        """How many connections of a single segment were forgotten, because there were too many of them."""
        return int(self.state["let_go"][0])

    @property
    def now_ns(self) -> int:
        """The newest time seen, nanoseconds."""
        return int(self.state["now_ns"][0])

    def take(self, segments: SegmentRows) -> Tracked:
        """Classify SEGMENT rows that follow those taken before."""
        segments, cuts = self.clock.take(segments)
        closed, moved = self.sweep(len(segments))
        labels = self._room(self._labels, len(segments))
        found = self._classify(segments, labels, cuts)
        self._batches += 1
        opened = self._introduce(found)
        return Tracked(closed, moved, opened, found, segments, labels[: len(segments)], *self._over(segments, cuts))

    def _room(self, buffers: list[NDArray[np.void]], number: int) -> NDArray[np.void]:
        """Return room for so many rows of this batch, in memory that is used again after ``BUFFERS`` batches."""
        place = self._batches % BUFFERS
        if len(buffers[place]) < number:
            buffers[place] = np.zeros(number, buffers[place].dtype)
        return buffers[place]

    def _over(self, segments: SegmentRows, cuts: list[int]) -> tuple[NDArray[np.int64], int]:
        """Return the rows of WATCHED that were cut among these segments, and when."""
        if not cuts:
            return np.zeros(0, np.int64), 0
        rows = self.rest()
        watched = rows["watched"][(rows["state"] & CUT != 0) & (rows["watched"] >= 0)]
        return watched.astype(np.int64), int(segments["time_ns"][cuts[0]])

    def _classify(self, segments: SegmentRows, labels: LabelRows, cuts: list[int]) -> EventRows:
        """Label segments, whose clock was set before those at ``cuts``; return their EVENT rows."""
        buffer = self._room(self._events, len(segments) + EVENT_ROWS)
        self.state["position"] = 0
        full: list[NDArray[np.void]] = []
        ends = [*cuts, len(segments)]
        while True:
            self.state["events"] = 0
            columns = (self.state, self.connections, self.sides, self.table, self.recent, buffer, self._coming)
            classify(segments[: ends[0]], labels, columns)
            events: EventRows = buffer[: int(self.state["events"][0])]
            if int(self.state["position"][0]) >= ends[0]:
                ends = ends[1:]
                if not ends:
                    return joined([*full, events])
                self._cut()
            full.append(copied(events))

    def _cut(self) -> None:
        """Let every connection be over for what comes: no time of before may be compared with one of after."""
        rows = self.rest()
        unfinished = rows["state"] & FINISHED == 0
        rows["state"][unfinished] = (rows["state"][unfinished] & ~np.uint16(LONE | LONE_ACK)) | FINISHED | CUT
        self.state["finished"] += int(unfinished.sum())
        self.state["lone"] = self.state["lone_acks"] = 0

    def _introduce(self, events: EventRows) -> NDArray[np.void]:
        """Return the CONNECTION rows of the events' connections that no earlier batch has introduced, in order."""
        known, self.introduced = self.introduced, int(self.state["watched"][0])
        if known == self.introduced:
            return self.connections[:0]
        # They were numbered in the order of their first events.
        newest = np.maximum.accumulate(np.maximum(events["watched"], known - 1))
        first = np.flatnonzero(np.diff(newest, prepend=known - 1) > 0)
        rows: NDArray[np.void] = self.connections.take(events["slot"][first])
        return rows

    def sweep(self, room: int) -> tuple[NDArray[np.void], Move | None]:
        """Make room for so many new connections; return the CONNECTION rows of those that ended, and how all moved.

        An ended connection's next segment would start another, so forgetting it changes no result.
        """
        waiting = int(self.state["finished"][0]) >= max(COLLECTED, self.used // 8)
        if self.used + room <= len(self.connections) and not waiting:
            return self.connections[:0], None
        rows, used = self.connections[: self.used], self.used
        self._finish_closed(rows)
        finished = rows["state"] & FINISHED != 0
        ended = np.flatnonzero(finished)
        gone: NDArray[np.void] = rows.take(ended)
        kept = np.flatnonzero(~finished) if len(gone) else None
        del rows
        self._resize(kept, room)
        return gone, Move(ended, kept, used, len(self.connections))

    def _finish_closed(self, rows: ConnectionRows) -> None:
        """Mark the connections that closed so long ago that a segment now would start another."""
        closed = (rows["state"] & WAS_RESET != 0) | ((rows["state"] & (A_FIN | B_FIN)) == A_FIN | B_FIN)
        closed &= (rows["state"] & LONE == 0) & (rows["last_ns"] < self.now_ns - LINGER_NS)
        rows["state"][closed] |= FINISHED

    def _resize(self, kept: NDArray[np.intp] | None, room: int) -> None:
        """Keep only the rows given (None: all), with room for more."""
        used = self.used if kept is None else len(kept)
        if kept is not None:
            keep(self.connections, kept)
            keep(self.sides[: 2 * (len(self.sides) // 2)].reshape(-1, 2), kept)
        self._connections.used, self._sides.used = used, 2 * used
        self._connections.reserve(room)
        self._sides.reserve(2 * (len(self.connections) - used))
        size = len(self.table)
        while size < 2 * len(self.connections):
            size *= 2
        self.table = np.full(size, -1, BUCKET)
        self.state["used"] = used
        self.state["finished"] = self.state["oldest"] = self.state["oldest_ack"] = 0
        rebuild(self.table, self.connections, self.state)

    def end(self) -> ConnectionRows:
        """Return the CONNECTION rows that are still held: those that the end of a capture closes; take nothing more."""
        self._sides, self.table, self._events, self._labels = Table(SIDE, 1), self.table[:0], [], []
        rows = self.rest()
        self._finish_closed(rows)
        return rows

    def saved(self) -> dict[str, NDArray[np.void]]:
        """Return all that the tracker knows, as views of its rows."""
        return {
            "tracker": self.state,
            "connections": self.rest(),
            "sides": self.sides[: 2 * self.used],
            "recent": self.recent,
            "clock": self.clock.state,
            "clock_steps": self.clock.steps,
        }

    def restore(self, saved: dict[str, NDArray[np.void]]) -> None:
        """Go on from what ``saved`` of another tracker returned.

        The digests of the hash table are this tracker's own: its seed is not handed on.
        """
        own = {name: self.state[name][0] for name in ("seed", "all_segments")}
        self.state[:] = saved["tracker"]
        for name, value in own.items():
            self.state[name] = value
        self._connections.append(saved["connections"])
        self._sides.append(saved["sides"])
        self.recent[:] = saved["recent"]
        self.clock.state[:], self.clock.steps = saved["clock"], saved["clock_steps"].copy()
        self.introduced = int(self.state["watched"][0])
        self._resize(None, 0)
        for name, alone in (("lone", LONE), ("lone_acks", LONE_ACK)):
            self.state[name] = int(np.count_nonzero(self.rest()["state"] & alone))

    def release(self) -> None:
        """Give memory back: nothing is to be taken any more."""
        self._connections = Table(CONNECTION, 1)
        self.state["used"] = 0

    def rest(self) -> NDArray[np.void]:
        """Return the CONNECTION rows that are still held, finished or not."""
        rows: NDArray[np.void] = self.connections[: self.used]
        return rows
