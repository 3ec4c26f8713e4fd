"""Holds the tables of the middle, makes room in them, and runs ``episodes.gather`` over batches of events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kacap.classify.emit import EVENT, EventRows
from kacap.classify.kinds import Kind
from kacap.classify.states import State
from kacap.classify.tables import (
    CHANGE,
    COUNTS,
    DECIDED,
    EPISODE,
    PROBE,
    PROBER,
    WATCHED,
    WATCHED_SIDE,
    ChangeRows,
    DecidedRows,
)
from kacap.flows import BEGAN, NEVER, ConnectionRows
from kacap.rows import Table
from kacap.timing.episodes import Middle
from kacap.timing.history import FIRING, HISTORY, POOL, STEP
from kacap.timing.passing import close, gather

_SAVED = ("watched", "sides", "probers", "histories", "probes", "episodes", "waiting", "steps")
_COUNTED = ("probers", "probes", "episodes", "waiting", "decided", "changes")


@dataclass(slots=True)
class Changes:
    """What one batch changed: CHANGE rows in order, and the DECIDED rows that they name."""

    rows: ChangeRows
    decided: DecidedRows


class Gatherer:
    """Everything known of the probing connections; row 0 of most tables is not used.

    ``listening``: changes are noted for the sink; of segments, those of a kind from ``reported_from`` on.
    """

    def __init__(self, *, listening: bool = False, reported_from: int = len(Kind)) -> None:
        self.counts = np.zeros(1, COUNTS)
        self.counts["listening"], self.counts["reported_from"] = listening, reported_from
        self.watched, self.sides = Table(WATCHED), Table(WATCHED_SIDE)
        self.probers, self.histories = Table(PROBER), Table(HISTORY)
        self.probes, self.episodes = Table(PROBE), Table(EPISODE)
        self.waiting, self.steps = Table(EVENT), Table(STEP)
        self.decided, self.changes = Table(DECIDED), Table(CHANGE)
        self._pool, self._firing, self._scratch = np.zeros(1, POOL), np.zeros(1, FIRING), np.zeros(1, EVENT)
        for name in ("probers", "episodes", "waiting"):
            getattr(self, name).used = 1
            self.counts[name] = 1

    def introduce(self, connections: ConnectionRows) -> None:
        """Add connections that events will name: CONNECTION rows in order of their ``watched``."""
        rows = np.zeros(len(connections), WATCHED)
        for name in ("a_hi", "a_lo", "b_hi", "b_lo", "a_port", "b_port", "first_ns", "id"):
            rows[name] = connections[name]
        rows["began"] = connections["state"] & BEGAN
        self.watched.append(rows)
        self.sides.append(np.zeros(2 * len(rows), WATCHED_SIDE))

    def take(self, events: EventRows) -> None:
        """Take EVENT rows that follow those taken before; their connections have been introduced."""
        if len(events):
            self._make_room(len(events))
            gather(events, self._middle())
            self._count()

    def close(self, watched: NDArray[np.int64], now_ns: int | None) -> None:
        """End connections, by their rows of WATCHED: they closed (None), or the capture ended at ``now_ns``."""
        if len(watched):
            if now_ns is not None:
                self._mark_scans()
            self._make_room(2 * len(watched))
            close(watched, np.int64(NEVER if now_ns is None else now_ns), self._middle(), self._scratch)
            self._count()

    def _mark_scans(self) -> None:
        """Mark undecided runs of one sender to several peers that carry the same numbers: no two connections do.

        At the end of the capture only: when a connection that is over is closed depends on how much room there is.
        """
        sides = self.sides.filled
        repeated = np.flatnonzero(sides["state"] == State.REPEATED)
        if len(repeated) < 2:
            return
        watched, of_b = self.watched.filled[repeated >> 1], repeated % 2 == 1
        own, peer = (
            [
                np.where(of_b == swapped, watched[f"a_{part}"], watched[f"b_{part}"]).astype(np.uint64)
                for part in ("hi", "lo", "port")
            ]
            for swapped in (False, True)
        )
        numbers = sides["run_seq"][repeated].astype(np.uint64) << np.uint64(32) | sides["run_ack"][repeated]
        senders, of = np.unique(np.column_stack([*own[:2], numbers]), axis=0, return_inverse=True)
        of = of.reshape(-1)
        runs = np.unique(np.column_stack([of, own[2], *peer]), axis=0)  # not the same one in another VLAN
        sides["scan"][repeated] = np.bincount(runs[:, 0].astype(np.int64), minlength=len(senders))[of] > 1

    def changed(self) -> Changes:
        """Return what has changed since the last call."""
        news = Changes(self.changes.filled.copy(), self.decided.filled.copy())
        self.changes.used = self.decided.used = 0
        self.counts["changes"] = self.counts["decided"] = 0
        return news

    def saved(self) -> dict[str, NDArray[np.void]]:
        """Return all that is known, as views of its rows; what has changed has been asked for."""
        self.histories.reserve(self.probers.used - self.histories.used)
        self.histories.used = self.probers.used  # row 0 has one too, before anybody probes
        return {"counts": self.counts} | {name: getattr(self, name).filled for name in _SAVED}

    def restore(self, saved: dict[str, NDArray[np.void]]) -> None:
        """Go on from what ``saved`` of another gatherer returned; who listens stays as it is."""
        own = {name: self.counts[name][0] for name in ("listening", "reported_from")}
        self.counts[:] = saved["counts"]
        for name, value in own.items():
            self.counts[name] = value
        for name in _SAVED:
            table: Table = getattr(self, name)
            table.used = 0
            table.append(saved[name])
        self._pool["used"] = self.steps.used

    def _make_room(self, events: int) -> None:
        """Make room for what so many events, and all that wait, can lead to."""
        more = events + self.waiting.used
        for table, rows in (
            (self.waiting, events + 1),
            (self.probers, more),
            (self.histories, more),
            (self.probes, more),
            (self.episodes, 2 * more),
            (self.steps, more),
        ):
            table.reserve(rows)
        self.decided.reserve(more if self.counts["listening"][0] else 1)
        self.changes.reserve(5 * more if self.counts["listening"][0] else 1)
        self._pool["used"] = self.steps.used

    def _middle(self) -> Middle:
        """Return the tables as the kernels take them."""
        return Middle(
            self.counts, self.watched.rows, self.sides.rows, self.waiting.rows, self.probers.rows,
            self.histories.rows, self.probes.rows, self.episodes.rows, self.decided.rows, self.changes.rows,
            self.steps.rows, self._pool, self._firing,
        )  # fmt: skip

    def _count(self) -> None:
        """Take over how many rows the kernels have filled."""
        for name in _COUNTED:
            getattr(self, name).used = int(self.counts[name][0])
        self.histories.used, self.steps.used = self.probers.used, int(self._pool["used"][0])
