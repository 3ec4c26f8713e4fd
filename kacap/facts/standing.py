"""How probing connections stand: how grave each is, and in what state, by array; an order over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_text
from kacap.classify.kinds import ENDINGS, Ending
from kacap.classify.tables import Outcome
from kacap.connections import Connections
from kacap.facts.ended import RESET
from kacap.model import Connection, Endpoint, Prober
from kacap.rows import in_parts, numbered
from kacap.timing.gathering import Gatherer

# The states of a connection, gravest first. A prober's is that of its last episode's ending, where all its probes were
# answered the last but nothing that came after them counts.
STATES = (
    "gave up", "gave up early", "reset", "unreachable", "still waiting", "resumed", "closed", "some probes missed",
    "all answered",
)  # fmt: skip
_OF_ENDING = {
    Ending.GAVE_UP: 0,
    Ending.USER_TIMEOUT: 1,
    Ending.RESET: 2,
    Ending.UNREACHABLE: 3,
    Ending.OPEN: 4,
    Ending.RESUMED: 5,
    Ending.CLOSED: 6,
    Ending.ANSWERED: 7,
}
_RESET_STATE, _UNREACHABLE, _ANSWERED = 2, 3, len(STATES) - 1
_NOBODY = len(STATES)


def _state(ending: Ending, all_answered: bool) -> int:
    """Return the index in STATES of a prober."""
    state = _OF_ENDING[ending]
    return _ANSWERED if all_answered and state > _UNREACHABLE else state


# The same by the code of the ending, in two rows: not all were answered, all were.
_BY_CODE = np.array([[_state(ending, answered) for ending in ENDINGS] for answered in (False, True)], np.int64)


def state_of(prober: Prober) -> int:
    """Return the index in STATES of one prober: 0 is the gravest."""
    return _state(Ending(prober.ending), prober.replies >= prober.probes)


def gravest(connection: Connection) -> list[Prober]:
    """Return the probers of a connection, the one in the gravest state first."""
    if len(connection.probers) < 2:
        return connection.probers
    return sorted(connection.probers, key=lambda prober: (state_of(prober), -prober.missed))


class Totals(NamedTuple):
    """Numbers over several connections."""

    probers: int
    probes: int
    replies: int
    missed: int


class ProbingEnds(NamedTuple):
    """The gravest prober of each of several connections, and its peer, by array: one row a connection."""

    endpoint: Callable[[int], Endpoint]  # by its number
    number: NDArray[np.int64]  # of prober and peer, shape (connections, 2)
    address: NDArray[np.int64]  # of their addresses
    pace_ns: NDArray[np.int64]  # mean time between the prober's probes, 0: it sent one

    def name(self, row: int, prober: bool, *, with_port: bool) -> str:
        """Return the prober of a row, or its peer, with or without the port."""
        end = self.endpoint(int(self.number[row, 0 if prober else 1]))
        return str(end) if with_port else end.address


class Standing(Sequence[Connection]):
    """The connections that probe, gravest first, then most misses, then in order of their first segment.

    ``order`` are their places among ``connections``, ``states`` the index in STATES of each.
    """

    def __init__(self, connections: Sequence[Connection], order: NDArray[np.int64], states: NDArray[np.int64]) -> None:
        self.connections, self.order, self.states = connections, order, states

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.order)

    @overload
    def __getitem__(self, index: int) -> Connection: ...
    @overload
    def __getitem__(self, index: slice) -> Standing: ...
    def __getitem__(self, index: int | slice) -> Connection | Standing:
        """Return one of them, or some in the same order."""
        if isinstance(index, slice):
            return self.at(index)
        return self.connections[int(self.order[index])]

    def at(self, places: slice | NDArray[np.int64]) -> Standing:
        """Return those at some places, in the same order."""
        return Standing(self.connections, self.order[places], self.states[places])

    def __iter__(self) -> Iterator[Connection]:
        """Yield every one: many are made at a time."""
        for some in in_parts(self.order.tolist()):
            if isinstance(self.connections, Connections):
                yield from self.connections.at(some)
            else:
                yield from map(self.connections.__getitem__, some)

    def passing(self) -> Iterator[Connection]:
        """Yield every one, made for the moment where nobody has asked for it."""
        if isinstance(self.connections, Connections):
            return self.connections.passing(self.order.tolist())
        return iter(self)

    @property
    def totals(self) -> Totals:
        """How many probers they have, and what these sent and got in all."""
        if isinstance(self.connections, Connections):
            numbers = self.connections.probers[self.order].ravel()
            found = self.connections.views.gatherer.probers.filled[numbers[numbers > 0]]
            return Totals(len(found), *(int(found[name].sum()) for name in ("probes", "replies", "missed")))
        probers = [prober for connection in self for prober in connection.probers]
        numbers_sent = ((p.probes, p.replies, p.missed) for p in probers)
        return Totals(len(probers), *map(sum, zip(*numbers_sent, strict=True)) if probers else (0, 0, 0))

    def probes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return whose each probe is (a place in this order), when it was sent, nanoseconds, and if it was missed."""
        if isinstance(self.connections, Connections):
            probers = self.connections.probers[self.order]
            place = np.full(self.connections.views.gatherer.probers.used, -1, np.int64)
            for side in (0, 1):
                place[probers[:, side]] = np.arange(len(self))
            place[0] = -1  # row 0 is nobody
            sent = self.connections.views.gatherer.probes.filled
            of = place[sent["prober"]]
            known = of >= 0
            return of[known], sent["time_ns"][known], sent["outcome"][known] == Outcome.MISSED
        sent_by = [(n, p) for n, c in enumerate(self) for one in c.probers for e in one.episodes for p in e.probes]
        of = np.array([n for n, _ in sent_by], np.int64)
        times_ns = np.array([p.time_ns for _, p in sent_by], np.int64)
        return of, times_ns, np.array([p.outcome == "missed" for _, p in sent_by], np.bool_)

    @property
    def probing_ends(self) -> ProbingEnds:
        """The gravest prober of each connection, and its peer."""
        if isinstance(self.connections, Connections):
            return _ends_of_rows(self.connections.views.gatherer, self.connections.probers[self.order])
        probers = [gravest(connection)[0] for connection in self]
        ends = [(prober.side, prober.peer) for prober in probers]
        known = list(dict.fromkeys(end for pair in ends for end in pair))
        hosts = list(dict.fromkeys(end.address for end in known))
        return ProbingEnds(
            known.__getitem__,
            np.array([[known.index(end) for end in pair] for pair in ends], np.int64).reshape(-1, 2),
            np.array([[hosts.index(end.address) for end in pair] for pair in ends], np.int64).reshape(-1, 2),
            _pace_ns(
                np.array([prober.probes for prober in probers], np.int64),
                np.array([prober.last_probe_ns - prober.first_probe_ns for prober in probers], np.int64),
            ),
        )

    @property
    def gaps_ns(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The silences before runs of probes, and the gaps within runs, nanoseconds, sorted."""
        if isinstance(self.connections, Connections):
            first, later = self.connections.views.gaps(self.connections.probers[self.order].ravel())
        else:
            episodes = [e for connection in self for prober in connection.probers for e in prober.episodes]
            first = np.array([e.first_gap_ns for e in episodes if e.first_gap_ns is not None], np.int64)
            later = np.array([gap for e in episodes for gap in e.gaps_ns], np.int64)
        return np.sort(first), np.sort(later)

    def __str__(self) -> str:
        """Return how they fare in all: ``1 gave up, 1 reset, 22 all answered``."""
        numbers = np.bincount(self.states, minlength=len(STATES))
        return ", ".join(f"{n:,} {state}" for state, n in zip(STATES, numbers.tolist(), strict=False) if n)


def _states_of(table: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the index in STATES of each row of PROBER; row 0, which is nobody, comes behind all."""
    states: NDArray[np.int64] = _BY_CODE[(table["replies"] >= table["probes"]).astype(np.intp), table["ending"]]
    states[0] = _NOBODY
    return states


def _ends_of_rows(gatherer: Gatherer, pairs: NDArray[np.int64]) -> ProbingEnds:
    """Return the gravest of two probers each (rows of PROBER, 0: none) and its peer."""
    table = gatherer.probers.filled
    missed = table["missed"].astype(np.int64)[pairs]
    worst = np.argmin((_states_of(table)[pairs] << 40) - missed, axis=1)
    probers = pairs[np.arange(len(pairs)), worst]
    watched, of_b = table["watched"][probers], table["side"][probers] == 1

    def column(name: str) -> NDArray[np.uint64]:
        """Return a column of the probers' ends, then of their peers'; whole rows would take ten times the memory."""
        a, b = (gatherer.watched.rows[f"{side}_{name}"][watched] for side in ("a", "b"))
        return np.concatenate([np.where(of_b, b, a), np.where(of_b, a, b)])

    hi, lo, port = map(column, ("hi", "lo", "port"))
    hosts, host = numbered(hi, lo)
    keys, number = np.unique(host << 16 | port.astype(np.int64), return_inverse=True)

    def endpoint(at: int) -> Endpoint:
        return Endpoint(address_text(*hosts[int(keys[at]) >> 16]), int(keys[at]) & 0xFFFF)

    sent, span_ns = table["probes"][probers].astype(np.int64), table["last_ns"][probers] - table["first_ns"][probers]
    pace_ns = _pace_ns(sent, span_ns)
    return ProbingEnds(endpoint, number.reshape(2, -1).T, host.reshape(2, -1).T, pace_ns)


def _pace_ns(sent: NDArray[np.int64], span_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the mean time between the probes of each prober; 0 where it sent one."""
    return np.where(sent > 1, span_ns // np.maximum(sent - 1, 1), 0)


def by_gravity(connections: Sequence[Connection]) -> Standing:
    """Return the probing connections, gravest first; of some in that order already the same."""
    if isinstance(connections, Standing):
        return connections
    states, missed, numbers = _columns(connections)
    probing = np.flatnonzero(states < _NOBODY)
    order = probing[np.lexsort((numbers[probing], -missed[probing], states[probing]))]
    return Standing(connections, order, states[order])


def _columns(connections: Sequence[Connection]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return state, missed probes and serial number of connections; where nobody probes the state is one beyond all."""
    if isinstance(connections, Standing):
        states, missed, numbers = _columns(connections.connections)
        return states[connections.order], missed[connections.order], numbers[connections.order]
    if isinstance(connections, Connections):
        probers, table = connections.probers, connections.views.gatherer.probers.filled
        of_prober = _states_of(table)
        states, missed = of_prober[probers].min(axis=1), table["missed"][probers].sum(axis=1).astype(np.int64)
        numbers, was_reset = connections.rows["id"].astype(np.int64), connections.ends["how"] == RESET
    else:
        states = np.array([min(map(state_of, c.probers), default=_NOBODY) for c in connections], np.int64)
        missed = np.array([sum(p.missed for p in c.probers) for c in connections], np.int64)
        numbers = np.array([c.connection for c in connections], np.int64)
        was_reset = np.array([c.ended is not None and c.ended.how == "reset" for c in connections], np.bool_)
    # An RST ends what still waited or was answered; after a run with an ending of its own it only sweeps up.
    reset = was_reset & (states > _UNREACHABLE) & (states < _NOBODY)
    return np.where(reset, _RESET_STATE, states), missed, numbers


def numbers_of(connections: Sequence[Connection]) -> set[int]:
    """Return the serial numbers of the probing connections."""
    states, _, numbers = _columns(connections)
    return set(numbers[states < _NOBODY].tolist())
