"""Connections that are over, as far as they are reported one by one; a long watch forgets the oldest of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kacap.connections import Connections, probers_of
from kacap.facts.ended import ENDED
from kacap.findings.connection_facts import ConnectionFacts
from kacap.findings.observations import Observed, joined
from kacap.findings.screening import traits
from kacap.flows import CONNECTION
from kacap.model import Connection
from kacap.rows import Rows, in_order, in_parts, newest
from kacap.views import Views, unprobed


@dataclass(frozen=True, slots=True)
class Looked:
    """What findings may rest on, in order of the connections' serial numbers, which ``numbers`` holds once more."""

    rows: Rows  # of CONNECTION
    observed: Observed
    numbers: NDArray[np.uint32]
    traits: NDArray[np.int64]

    def facts_of(self, connection: Connection) -> ConnectionFacts | None:
        """Return what was observed of a connection; None: nothing to tell."""
        row = int(np.searchsorted(self.numbers, connection.connection))
        known = row < len(self.numbers) and self.numbers[row] == connection.connection
        return self.at(connection, row) if known else None

    def at(self, connection: Connection, row: int) -> ConnectionFacts:
        """Return what was observed of the connection in a row."""
        return ConnectionFacts(connection, self.observed, row, int(self.traits[row]))

    def each(self, connections: Connections) -> Iterator[ConnectionFacts]:
        """Yield all, in order, with their ``connections``; those without a record there as well."""
        places = connections.places(self.numbers)
        for some in in_parts(range(len(places))):
            here = places[some]
            recorded, others = connections.passing(here[here >= 0].tolist()), iter(unprobed(self.rows[some][here < 0]))
            for row, place in zip(some, here.tolist(), strict=True):
                yield self.at(next(recorded if place >= 0 else others), row)


@dataclass(slots=True)
class Past:
    """CONNECTION rows, their rows of ENDED, and what findings may rest on: CONNECTION rows with their OBSERVED rows."""

    rows: list[Rows] = field(default_factory=list)
    ends: list[Rows] = field(default_factory=list)
    looked_at: list[tuple[Rows, Observed]] = field(default_factory=list)
    held: int = 0
    forgotten: int = 0

    def take(self, rows: Rows, ends: Rows) -> None:
        """Take connections that have closed."""
        if len(rows):
            self.rows.append(rows)
            self.ends.append(ends)
            self.held += len(rows)

    def joined(self, none: Rows) -> tuple[Rows, Rows]:
        """Return all of them; ``none`` are no rows of CONNECTION."""
        if len(self.rows) == 1:
            return self.rows[0], self.ends[0]
        return np.concatenate([none, *self.rows]), np.concatenate([np.zeros(0, ENDED), *self.ends])

    def looked(self, views: Views) -> Looked:
        """Return what findings may rest on."""
        rows, observed = np.zeros(0, CONNECTION), joined([])
        if len(self.looked_at) == 1:
            rows, observed = self.looked_at[0]
        elif self.looked_at:
            rows = np.concatenate([rows for rows, _ in self.looked_at])
            observed = joined([observed for _, observed in self.looked_at])
        if (order := in_order(rows["id"])) is not None:
            rows, observed = rows[order], observed.picked(order)
        found = traits(observed, probers_of(rows, views), views.gatherer.probers.rows)
        return Looked(rows, observed, rows["id"].copy(), found)

    def forget(self, most: int) -> None:
        """Keep the newest ``most``, once there are twice as many."""
        if self.held >= 2 * most:
            self.forgotten += self.held - most
            self.rows, self.ends, self.held = newest(self.rows, most), newest(self.ends, most), most
        number = sum(len(rows) for rows, _ in self.looked_at)
        while number >= 2 * most and len(self.looked_at) > 1:
            number -= len(self.looked_at.pop(0)[0])
