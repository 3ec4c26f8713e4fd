"""Probing connections that are alike: to one place, in one state, at one pace. A large capture is told by these."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kacap.facts.standing import ProbingEnds, Standing

PACE_SPREAD = 1 / 8  # a Linux timer is up to one eighth late


@dataclass(frozen=True, slots=True)
class Group:
    """Connections that are alike.

    ``place`` is what they share: ``10.0.0.1:5432``, or an address where no port is shared. ``probes_from_place`` tells
    who probes. ``state`` is an index in ``standing.STATES``; ``pace_ns`` the shortest and longest mean time between a
    prober's probes, None where each sent one. ``members`` are places in the order of the ``Standing``, gravest first.
    """

    place: str
    probes_from_place: bool
    state: int
    pace_ns: tuple[int, int] | None
    members: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self.members)


def grouped(standing: Standing, most: int) -> list[Group]:
    """Return the groups of probing connections: gravest state first, then the largest.

    Where there would be more than ``most``, connections of any pace are alike.
    """
    if not len(standing):
        return []
    ends = standing.probing_ends
    place, from_place = _places(ends.number, ends.address)
    found = _groups(standing, ends, place, from_place, PACE_SPREAD)
    return found if len(found) <= most else _groups(standing, ends, place, from_place, np.inf)


def _groups(
    standing: Standing, ends: ProbingEnds, place: NDArray[np.int64], from_place: NDArray[np.bool_], spread: float
) -> list[Group]:
    """Return the groups whose paces differ by no more than ``spread`` from the shortest."""
    key = np.column_stack([standing.states, place, from_place])
    _, of_key = np.unique(key, axis=0, return_inverse=True)
    order = np.lexsort((ends.pace_ns, of_key.reshape(-1)))
    bounds = np.flatnonzero(_differs(of_key.reshape(-1)[order], ends.pace_ns[order], spread)) + 1
    found = []
    for start, end in pairwise([0, *bounds.tolist(), len(order)]):
        members = np.sort(order[start:end])
        low_ns, high_ns = int(ends.pace_ns[order[start]]), int(ends.pace_ns[order[end - 1]])
        first = int(members[0])
        found.append(
            Group(
                ends.name(first, bool(from_place[first]), with_port=int(place[first]) >= 0),
                bool(from_place[first]),
                int(standing.states[first]),
                (low_ns or high_ns, high_ns) if high_ns else None,
                members,
            )
        )
    return sorted(found, key=lambda group: (group.state, -len(group), int(group.members[0])))


def _places(number: NDArray[np.int64], address: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return for each connection the number of what it shares with most others, and whether its prober is there.

    ``number`` and ``address`` name prober and peer, shape (connections, 2). An endpoint has its number; where neither
    occurs twice it is the address that occurs more often, as -1 less its number.
    """
    counts = np.bincount(number.ravel())[number]
    hosts = np.bincount(address.ravel())[address]
    from_place = counts[:, 0] > counts[:, 1]
    alone = counts.max(axis=1) < 2
    from_place = np.where(alone, hosts[:, 0] > hosts[:, 1], from_place)
    column = np.where(from_place, 0, 1)
    rows = np.arange(len(number))
    return np.where(alone, -1 - address[rows, column], number[rows, column]), from_place


def _differs(keys: NDArray[np.int64], pace_ns: NDArray[np.int64], spread: float) -> NDArray[np.bool_]:
    """Return where, in an order by key and pace, the next connection is of another group than the one before it."""
    found = np.zeros(len(keys) - 1, np.bool_)
    first = 0
    for at in range(1, len(keys)):
        if keys[at] != keys[first] or pace_ns[at] > max(pace_ns[first], 1) * (1 + spread):
            found[at - 1] = True
            first = at
    return found
