"""Probing connections that are alike: to one place, in one state, at one pace. A large capture is told by these."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kacap.facts.standing import Standing

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
    order = np.lexsort((ends.pace_ns, from_place, place, standing.states))
    differs = np.zeros(len(order) - 1, np.bool_)
    for column in (standing.states, place, from_place):
        differs |= column[order[1:]] != column[order[:-1]]
    any_pace = [0, *(np.flatnonzero(differs) + 1).tolist(), len(order)]
    bounds = _by_pace(any_pace, ends.pace_ns[order], most)
    found = []
    for start, end in pairwise(any_pace if len(bounds) > most + 1 else bounds):
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


def _by_pace(bounds: list[int], pace_ns: NDArray[np.int64], most: int) -> list[int]:
    """Return the bounds of groups whose paces differ by no more than PACE_SPREAD from the shortest, some if too many.

    ``bounds`` are those of groups of any pace, within which ``pace_ns`` rises.
    """
    found: list[int] = []
    for start, end in pairwise(bounds):
        while start < end and len(found) <= most:
            found.append(start)
            limit_ns = int(max(int(pace_ns[start]), 1) * (1 + PACE_SPREAD))
            start += int(np.searchsorted(pace_ns[start:end], limit_ns, "right"))
    return [*found, bounds[-1]]


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
