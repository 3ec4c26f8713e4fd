"""The connections of an analysis as a sequence: rows until somebody asks for one, then an object made of its row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import overload

import numpy as np
from numpy.typing import NDArray

from kacap.flows import CUT
from kacap.model import Connection
from kacap.rows import in_order, in_parts
from kacap.timing.estimate import Estimates
from kacap.timing.settings import Settings
from kacap.views import Views, unprobed

Complete = Callable[[Connection, int, tuple[int, ...]], None]


class Connections(Sequence[Connection]):
    """CONNECTION rows in order of their first segment, and in ``probers`` the PROBER rows of sides a and b, 0: none.

    ``estimates`` are by row of PROBER. ``complete`` fills in what no row holds (verdicts) when an object is made, once
    for each, with its row of ENDED.
    """

    def __init__(
        self, rows: NDArray[np.void], ends: NDArray[np.void], views: Views, estimates: Estimates, complete: Complete
    ) -> None:
        if (order := in_order(rows["id"])) is not None:
            rows, ends = rows[order], ends[order]
        self.rows, self.ends = rows, ends
        self.views, self.estimates, self._complete = views, estimates, complete
        self.probers = probers_of(self.rows, views)
        self._made: dict[int, Connection] = {}

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Connection: ...
    @overload
    def __getitem__(self, index: slice) -> list[Connection]: ...
    def __getitem__(self, index: int | slice) -> Connection | list[Connection]:
        """Return one connection, or several."""
        if isinstance(index, slice):
            return self.at(range(*index.indices(len(self))))
        return self.at([range(len(self))[index]])[0]

    def __iter__(self) -> Iterator[Connection]:
        """Yield every connection."""
        for some in in_parts(range(len(self))):
            yield from self.at(some)

    def at(self, places: Sequence[int]) -> list[Connection]:
        """Return the connections at these places (from 0)."""
        new = [place for place in places if place not in self._made]
        if new:
            self._made |= zip(new, self._make(new), strict=True)
        return [self._made[place] for place in places]

    def passing(self, places: Sequence[int] | None = None) -> Iterator[Connection]:
        """Yield connections (None: all), made for the moment where nobody has asked for them."""
        for some in in_parts(range(len(self)) if places is None else places):
            new = [place for place in some if place not in self._made]
            made = dict(zip(new, self._make(new), strict=True)) if new else {}
            yield from (self._made.get(place) or made[place] for place in some)

    def places(self, numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return where connections with these serial numbers are, -1: not here."""
        own = self.rows["id"]
        places = np.searchsorted(own, numbers)
        here = np.append(own, 0)[places] == numbers
        return np.where(here, places, -1)

    def __repr__(self) -> str:
        """Return them as a list is written."""
        return repr(self[:])

    def __eq__(self, other: object) -> bool:
        """Return whether ``other`` is a sequence of equal connections."""
        return isinstance(other, Sequence) and self[:] == list(other)

    __hash__ = None  # type: ignore[assignment]

    def _make(self, places: list[int]) -> list[Connection]:
        """Return the objects of some rows."""
        rows = self.rows[places]
        made = made_of(rows, self.views)
        probers = [prober for connection in made for prober in connection.probers]
        settings = Settings(self.estimates, np.array([prober.row for prober in probers], np.int64))
        for place, prober in enumerate(probers):
            prober.estimated = partial(settings.of, place)
        known = zip(made, rows["state"].tolist(), self.ends[places].tolist(), strict=True)
        for connection, state, ended in known:
            for prober in connection.probers:
                prober.cut = bool(state & CUT)
            self._complete(connection, state, ended)
        return made


def passing(connections: Sequence[Connection]) -> Iterator[Connection]:
    """Yield connections that nobody keeps."""
    return connections.passing() if isinstance(connections, Connections) else iter(connections)


def by_number(connections: Sequence[Connection], wanted: set[int]) -> dict[int, Connection]:
    """Return those of some connections that have these serial numbers, by them."""
    if isinstance(connections, Connections):
        places = connections.places(np.array(sorted(wanted), np.int64))
        return {one.connection: one for one in connections.at(places[places >= 0].tolist())}
    return {one.connection: one for one in connections if one.connection in wanted}


def made_of(rows: NDArray[np.void], views: Views) -> list[Connection]:
    """Return the connections of CONNECTION rows with their probers, whose settings are not estimated yet."""
    made, watched, numbers = unprobed(rows), rows["watched"].astype(np.int64), probers_of(rows, views)
    probing, side = np.nonzero(numbers)
    for place, prober in zip(probing.tolist(), views.probers(numbers[probing, side]), strict=True):
        made[place].probers.append(prober)
    known = np.flatnonzero(watched >= 0)
    waiting = views.gatherer.watched.rows["window_probes"][watched[known]]
    for place, number in zip(known.tolist(), waiting.tolist(), strict=True):
        made[place].window_probes += number
    return made


def probers_of(rows: NDArray[np.void], views: Views) -> NDArray[np.int64]:
    """Return the rows of PROBER of sides a and b of CONNECTION rows, shape (connections, 2); 0: does not probe."""
    watched = rows["watched"].astype(np.int64)
    sides = views.gatherer.sides.rows["prober"]
    found = np.zeros((len(rows), 2), np.int64)
    known = watched >= 0
    found[known, 0], found[known, 1] = sides[2 * watched[known]], sides[2 * watched[known] + 1]
    return found
