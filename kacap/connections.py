"""The connections of an analysis as a sequence: rows until somebody asks for one, then an object made of its row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from kacap.flows import CUT
from kacap.model import Connection, Prober
from kacap.timing.estimate import Estimates
from kacap.timing.settings import settings_of
from kacap.views import Views, connection

Complete = Callable[[Connection, int, np.void], None]


class Connections(Sequence[Connection]):
    """CONNECTION rows in order of their first segment, and in ``probers`` the PROBER rows of sides a and b, 0: none.

    ``estimates`` are by row of PROBER. ``complete`` fills in what no row holds (verdicts) when an object is made, once
    for each, with its row of ENDED.
    """

    def __init__(
        self, rows: NDArray[np.void], ends: NDArray[np.void], views: Views, estimates: Estimates, complete: Complete
    ) -> None:
        if (np.diff(rows["id"].astype(np.int64)) < 0).any():
            order = np.argsort(rows["id"], kind="stable")
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
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        if index not in self._made:
            self._made[index] = self._make(index)
        return self._made[index]

    def passing(self) -> Iterator[Connection]:
        """Yield every connection, made for the moment where nobody has asked for it."""
        for index in range(len(self)):
            yield self._made.get(index) or self._make(index)

    def places(self, numbers: NDArray[np.integer[Any]]) -> list[int]:
        """Return where connections with these serial numbers are, -1: not here."""
        own = self.rows["id"]
        places = np.searchsorted(own, numbers)
        here = np.append(own, 0)[places] == numbers
        found: list[int] = np.where(here, places, -1).tolist()
        return found

    def __repr__(self) -> str:
        """Return them as a list is written."""
        return repr(list(self))

    def __eq__(self, other: object) -> bool:
        """Return whether ``other`` is a sequence of equal connections."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def _make(self, index: int) -> Connection:
        """Return the object of a row."""
        made = connection(self.rows[index])
        made.probers = [self._prober(int(number)) for number in self.probers[index] if number]
        watched = int(self.rows["watched"][index])
        if watched >= 0:
            made.window_probes += int(self.views.gatherer.watched.rows["window_probes"][watched])
        state = int(self.rows["state"][index])
        for prober in made.probers:
            prober.cut = bool(state & CUT)
        self._complete(made, state, self.ends[index])
        return made

    def _prober(self, number: int) -> Prober:
        made = self.views.prober(number)
        made.idle, made.interval, made.count = settings_of(self.estimates, number)
        return made


def probers_of(rows: NDArray[np.void], views: Views) -> NDArray[np.int64]:
    """Return the rows of PROBER of sides a and b of CONNECTION rows, shape (connections, 2); 0: does not probe."""
    watched = rows["watched"].astype(np.int64)
    sides = views.gatherer.sides.rows["prober"]
    found = np.zeros((len(rows), 2), np.int64)
    known = watched >= 0
    found[known, 0], found[known, 1] = sides[2 * watched[known]], sides[2 * watched[known] + 1]
    return found
