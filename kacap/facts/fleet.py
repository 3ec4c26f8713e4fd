"""How all connections that probe fare on one clock, by array: the fate of each, when it died, and its probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kacap.clock import SECOND_NS
from kacap.connections import Connections
from kacap.facts.ended import FIN
from kacap.facts.standing import STATES, Standing, by_gravity
from kacap.flows import NEVER
from kacap.model import Connection, Endpoint, Verdict
from kacap.units import clock_span, counted, duration, moment

# What became of a connection, gravest first; the first three are dead.
FATES = ("gave up", "reset", "unreachable", "waits", "closed", "up")
GAVE_UP, RESET, UNREACHABLE, WAITS, CLOSED, UP = range(len(FATES))
_OF_STATE = np.array([GAVE_UP, GAVE_UP, RESET, UNREACHABLE, WAITS, UP, CLOSED, UP, UP], np.int64)
TOGETHER = 6  # that died, from which it is said whether they did so together
assert len(_OF_STATE) == len(STATES)


class Fleet(Sequence[Connection]):
    """The connections that probe, by fate and then by time of death; the arrays have a row for each.

    ``first_ns``, ``until_ns``: observed from and until; ``died_ns``: when a dead one ended, ``NEVER`` for the others.
    """

    def __init__(self, connections: Sequence[Connection], now_ns: int) -> None:
        standing = by_gravity(connections)
        fates = _OF_STATE[standing.states]
        spans, how = _spans(standing)
        fates[(fates == UP) & (how == FIN)] = CLOSED
        died_ns = np.full(len(standing), NEVER, np.int64)
        dead = np.flatnonzero(fates <= UNREACHABLE)
        self._died_to: set[Endpoint] = set()
        for place, connection in zip(dead.tolist(), standing.at(dead).passing(), strict=True):
            died_ns[place] = NEVER if connection.ended.time_ns is None else connection.ended.time_ns
            self._died_to.add(connection.destination)
        over = (died_ns != NEVER) | (how == FIN)
        until_ns = np.where(over, spans[:, 1], np.maximum(spans[:, 1], now_ns))
        until_ns = np.where(died_ns != NEVER, died_ns, until_ns)
        late = np.where(died_ns == NEVER, np.iinfo(np.int64).max, died_ns)
        self._order = np.lexsort((np.arange(len(standing)), late, fates))
        self.standing, self.fates = standing, fates[self._order]
        self.first_ns, self.until_ns, self.died_ns = (x[self._order] for x in (spans[:, 0], until_ns, died_ns))

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self._order)

    def __getitem__(self, index: int) -> Connection:  # type: ignore[override]
        """Return the connection of a row."""
        return self.standing[int(self._order[index])]

    def at(self, rows: range) -> list[Connection]:
        """Return the connections of some rows, made together."""
        return list(self.standing.at(self._order[rows.start : rows.stop : rows.step]))

    @property
    def dead(self) -> int:
        """How many are dead: they gave up, were reset, or cannot be reached. They are the first rows."""
        return int((self.fates <= UNREACHABLE).sum())

    @property
    def failed(self) -> int:
        """How many are dead or wait for an answer: the first rows."""
        return int((self.fates <= WAITS).sum())

    def probes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return the row of the connection of each probe, when it was sent, and whether it was missed."""
        of, times_ns, missed = self.standing.probes()
        row_of = np.empty(len(self), np.int64)
        row_of[self._order] = np.arange(len(self))
        return row_of[of], times_ns, missed

    def verdict(self) -> Verdict:
        """Return what became of them in all, in one sentence, and its mood."""
        if len(self) == 1:
            return self[0].verdict
        dead = self.dead
        if not dead:
            return Verdict(f"{counted(len(self), 'connection')} with keepalive: {self.standing}", self._mood())
        numbers = Counter(FATES[fate] for fate in self.fates[:dead].tolist())
        how = ", ".join(f"{numbers[name]:,} {name}" for name in FATES if numbers[name])
        where = f", {'all ' if dead > 1 else ''}to {next(iter(self._died_to))}" if len(self._died_to) == 1 else ""
        times = self.died_ns[:dead][self.died_ns[:dead] != NEVER]
        when = f" {clock_span(int(times.min()), int(times.max()))}" if len(times) else ""
        verb = f"failed{when}: {how}" if len(numbers) > 1 else f"{next(iter(numbers))}{when}"
        return Verdict(f"{dead:,} of {len(self):,} connections {verb}{where}", "bad")

    def together(self) -> str:
        """Return when half of the dead died, where that is within a tenth of the time of all; else empty."""
        died_ns = self.died_ns[: self.dead]
        times = np.sort(died_ns[died_ns != NEVER])
        half = (len(times) + 1) // 2
        if len(times) < TOGETHER:
            return ""
        within = times[half - 1 :] - times[: len(times) - half + 1]
        at = int(within.argmin())
        if 10 * within[at] > times[-1] - times[0]:
            return ""
        span = f"within {duration(int(within[at]))} from" if within[at] >= SECOND_NS else "at"
        return f"{half:,} of {len(times):,} died {span} {moment(int(times[at]))}"

    def _mood(self) -> str:
        """Return the mood of connections that are all alive."""
        if (self.fates == WAITS).any() or self.standing.totals.missed:
            return "doubt"
        return "good"


def _spans(standing: Standing) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (first, last) segment of connections, nanoseconds, and how each ended by its segments (ENDED)."""
    if isinstance(standing.connections, Connections):
        rows, ends = standing.connections.rows[standing.order], standing.connections.ends[standing.order]
        return np.column_stack([rows["first_ns"], rows["last_ns"]]).astype(np.int64), ends["how"].astype(np.int64)
    spans = np.array([(c.first_ns, c.last_ns) for c in standing], np.int64).reshape(-1, 2)
    return spans, np.array([FIN if c.ended.how == "fin" else 0 for c in standing], np.int64)
