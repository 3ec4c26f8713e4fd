"""Holds the columns of all open connections, grows and sweeps them, and runs the classifier over batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kacap.classify.emit import EVENT, LABEL
from kacap.classify.kernel import classify
from kacap.flows import (
    A_FIN,
    B_FIN,
    CONNECTION,
    FINISHED,
    HEADER,
    LINGER_NS,
    NEVER,
    RECENT,
    RECENT_ROWS,
    SIDE,
    WAS_RESET,
    rebuild,
    zeros_on_lines,
)

FIRST_ROWS = 4096
EVENT_ROWS = 4096


@dataclass(slots=True)
class Tracked:
    """What one batch of segments gave: rows of CONNECTION that ended before it and that are new to later stages,
    rows of EVENT in order, and each segment with its LABEL (valid until the next batch)."""

    closed: NDArray[np.void]
    watched: object  # what ``beside`` knows of the rows that ended
    opened: NDArray[np.void]
    events: NDArray[np.void]
    segments: NDArray[np.void]
    labels: NDArray[np.void]


class Companion(Protocol):
    """Rows of its own for each slot of the tracker's, that move when these do (``findings.observations``)."""

    def take(self, segments: NDArray[np.void], labels: NDArray[np.void]) -> None:
        """Take segments that were just classified."""

    def of(self, slots: NDArray[np.intp]) -> object:
        """Return what is known of some slots."""

    def move(self, kept: NDArray[np.intp], size: int) -> None:
        """Keep only the slots given, in order, with room for ``size``."""


class Tracker:
    """Connections across batches. Memory grows with open connections; finished ones are handed out and forgotten."""

    def __init__(self, *, all_segments: bool = False, beside: Companion | None = None) -> None:
        self.header = np.zeros(1, HEADER)
        self.header["next_id"] = 1
        self.header["now_ns"] = NEVER
        self.header["all_segments"] = all_segments
        self.connections = zeros_on_lines(FIRST_ROWS, CONNECTION)
        self.sides = zeros_on_lines(2 * FIRST_ROWS, SIDE)
        self.table = np.full(4 * FIRST_ROWS, -1, np.int64)
        self.recent = np.zeros(RECENT_ROWS, RECENT)
        self.recent["time_ns"] = NEVER
        self.events = np.zeros(EVENT_ROWS, EVENT)
        self.labels = np.zeros(0, LABEL)
        self.introduced = 0  # rows of WATCHED that later stages know
        self.beside = beside
        if beside is not None:
            beside.move(np.zeros(0, np.intp), FIRST_ROWS)

    @property
    def used(self) -> int:
        """Rows of ``connections`` in use."""
        return int(self.header["used"][0])

    @property
    def now_ns(self) -> int:
        """The newest time seen, nanoseconds."""
        return int(self.header["now_ns"][0])

    def take(self, segments: NDArray[np.void]) -> Tracked:
        """Classify SEGMENT rows that follow those taken before."""
        closed, watched = self.sweep(len(segments))
        if len(segments) > len(self.labels):
            self.labels = np.zeros(len(segments), LABEL)
        self.header["position"] = 0
        events = []
        while int(self.header["position"][0]) < len(segments):
            self.header["events"] = 0
            columns = (self.header, self.connections, self.sides, self.table, self.recent, self.events)
            classify(segments, self.labels, columns)
            events.append(self.events[: int(self.header["events"][0])].copy())
        found = np.concatenate(events) if events else self.events[:0]
        if self.beside is not None:
            self.beside.take(segments, self.labels)
        return Tracked(closed, watched, self._introduce(found), found, segments, self.labels[: len(segments)])

    def _introduce(self, events: NDArray[np.void]) -> NDArray[np.void]:
        """Return the CONNECTION rows of the events' connections that no earlier batch has introduced, in order."""
        fresh = events[events["watched"] >= self.introduced]
        watched, first = np.unique(fresh["watched"], return_index=True)
        self.introduced += len(watched)
        rows: NDArray[np.void] = self.connections[fresh["slot"][first]]
        return rows

    def sweep(self, room: int) -> tuple[NDArray[np.void], object]:
        """Make room for so many new connections; return the CONNECTION rows of those that have ended, and the rest.

        An ended connection's next segment would start another, so forgetting it changes no result.
        """
        if self.used + room <= len(self.connections):
            return self.connections[:0], None
        rows = self.connections[: self.used]
        closed = (rows["state"] & WAS_RESET != 0) | ((rows["state"] & (A_FIN | B_FIN)) == A_FIN | B_FIN)
        rows["state"][closed & (rows["last_ns"] < self.now_ns - LINGER_NS)] |= FINISHED
        ended = rows["state"] & FINISHED != 0
        gone: NDArray[np.void] = rows[ended].copy()
        watched = self.beside.of(np.flatnonzero(ended)) if self.beside is not None else None
        self._resize(np.flatnonzero(~ended), room)
        return gone, watched

    def _resize(self, kept: NDArray[np.intp], room: int) -> None:
        """Keep only the rows given, with room for more, at most half of the new capacity in use."""
        size = len(self.connections)
        while size < 2 * (len(kept) + room):
            size *= 2
        connections, sides = zeros_on_lines(size, CONNECTION), zeros_on_lines(2 * size, SIDE)
        connections[: len(kept)] = self.connections[kept]
        sides[: 2 * len(kept)] = self.sides.reshape(-1, 2)[kept].reshape(-1)
        self.connections, self.sides = connections, sides
        self.table = np.full(4 * size, -1, np.int64)
        self.header["used"], self.header["finished"] = len(kept), 0
        rebuild(self.table, connections, len(kept))
        if self.beside is not None:
            self.beside.move(kept, size)

    def rest(self) -> NDArray[np.void]:
        """Return the CONNECTION rows that are still held, finished or not: what the end of a capture closes."""
        rows: NDArray[np.void] = self.connections[: self.used]
        return rows
