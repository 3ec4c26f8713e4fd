"""The two legs of a proxy: connections of one host whose messages follow each other, one in and one out.

A proxy ends a connection and begins another; a keepalive keeps only one of them alive. No number in a segment tells
that they belong together; the times do: what comes in on one leg goes out on the other soon after, in both directions.
Where the sockets can be asked, both legs are held by one process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, lgamma, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kacap.classify.emit import LabelRows
from kacap.classify.kinds import Kind
from kacap.clock import MILLISECOND_NS, MINUTE_NS
from kacap.facts.ended import observed_until_ns
from kacap.model import Connection, Endpoint, Prober
from kacap.segments import SegmentRows

PASSED_ON_NS = 50 * MILLISECOND_NS  # a proxy that only passes on takes less
FEWEST, SHARE = 3, 0.8  # messages that were passed on: so many, and of all of them this share
BY_CHANCE = 1e-6  # a pair is one if chance, over all pairs that were tried, would make it so less often than this
IN_PROCESS = 1e-3  # the same where one process holds both: no other connection comes into question
MOST = 400  # connections that are tried: pairs grow with the square
ENOUGH = 64  # messages that are kept of a connection each way, the newest
AT_ONCE = 4  # connections that may take the places of others with one batch
QUIET_NS = MINUTE_NS  # who says nothing for so long gives its place to another connection

_DATA = int(Kind.DATA)
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Leg:
    """A connection with the times of its data, in order: towards its destination, and back; all since ``since_ns``."""

    connection: Connection
    towards: Times
    back: Times
    since_ns: int = 0


class Holder(NamedTuple):
    """The process that has a socket."""

    pid: int
    name: str


HolderOf = Callable[[Endpoint, Endpoint], Holder | None]  # of the socket of the first end, connected to the second


class Messages:
    """When connections sent data that is new, each way: ``ENOUGH`` times of at most ``most`` connections (None: all).

    A connection that is over its quiet time, or that was tried in vain, gives its place to another.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._times: dict[int, tuple[deque[int], deque[int]]] = {}  # from a, from b; who spoke last comes last
        self._vain: set[int] = set()

    def take(self, segments: SegmentRows, labels: LabelRows) -> None:
        """Take consecutive SEGMENT rows with their rows of LABEL."""
        rows = np.flatnonzero((labels["kind"] == _DATA) & (labels["id"] > 0))
        if self._most is not None and len(rows):
            numbers = labels["id"][rows]
            known = np.isin(numbers, self.numbers)
            fresh = np.unique(numbers[~known])[: max(self._most - len(self._times), AT_ONCE)]
            rows = rows[known | np.isin(numbers, fresh)]
        if not len(rows):
            return
        rows = rows[np.argsort(labels["id"][rows], kind="stable")]
        numbers, starts = np.unique(labels["id"][rows], return_index=True)
        for number, own in zip(numbers.tolist(), np.split(rows, starts[1:]), strict=True):
            times, from_a = segments["time_ns"][own], labels["from_a"][own] != 0
            if (held := self._place(number, int(times[-1]))) is not None:
                held[0].extend(times[from_a][-ENOUGH:].tolist())
                held[1].extend(times[~from_a][-ENOUGH:].tolist())

    def _place(self, number: int, now_ns: int) -> tuple[deque[int], deque[int]] | None:
        """Return where the times of a connection go; None: there is no room."""
        held = self._times.pop(number, None)
        if held is None and self._most is not None and len(self._times) >= self._most:
            oldest = next(iter(self._times))
            if now_ns - max(times[-1] for times in self._times[oldest] if times) >= QUIET_NS:
                self.drop([oldest])
            elif self._vain:
                self.drop([next(iter(self._vain))])
            else:
                return None
        self._times[number] = held = held or (deque(maxlen=ENOUGH), deque(maxlen=ENOUGH))
        return held

    @property
    def numbers(self) -> list[int]:
        """The serial numbers of the connections that are held."""
        return list(self._times)

    def leg(self, connection: Connection, ahead_ns: int = 0) -> Leg:
        """Return a connection with its times, by a clock that is ``ahead_ns`` behind the one they were taken with."""
        both = self._times.get(connection.connection, (deque[int](), deque[int]()))
        since_ns = max((times[0] for times in both if len(times) == ENOUGH), default=ahead_ns) - ahead_ns
        from_a, from_b = (np.sort(np.array(times, np.int64)) - ahead_ns for times in both)
        to_b = connection.destination == connection.b
        return Leg(connection, *((from_a, from_b) if to_b else (from_b, from_a)), since_ns)

    def give_up(self, numbers: Iterable[int]) -> None:
        """Let connections go first that have said enough and follow no other."""
        self._vain |= {number for number in numbers if max(map(len, self._times[number])) == ENOUGH}

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget connections."""
        for number in numbers:
            self._times.pop(number, None)
            self._vain.discard(number)


@dataclass(frozen=True, slots=True)
class Joined:
    """Two legs of one conversation: the client's comes first. So many of its messages were passed on, after at most.

    ``process`` holds the sockets of both; None: not known.
    """

    front: Connection
    rear: Connection
    passed: int
    messages: int
    slowest_ns: int
    chance: float
    process: Holder | None = None

    @property
    def probed(self) -> tuple[list[Prober], list[Prober]]:
        """Who probes on either leg."""
        return self.front.probers, self.rear.probers

    @property
    def died_first(self) -> tuple[Connection, int] | None:
        """Which leg ended first, and by how many nanoseconds; None: both are open, or ended at once."""
        ends = [(one.ended.time_ns, one) for one in (self.front, self.rear) if one.ended.time_ns is not None]
        if not ends:
            return None
        if len(ends) == 1:
            (at_ns, one), other = ends[0], self.rear if ends[0][1] is self.front else self.front
            return one, observed_until_ns(other.ended, other.last_ns, other.observed_until_ns) - at_ns
        (first_ns, one), (second_ns, _) = sorted(ends, key=lambda end: end[0])
        return (one, second_ns - first_ns) if second_ns > first_ns else None


def client_of(connection: Connection) -> Endpoint:
    """Return the end that connected."""
    return connection.a if connection.destination == connection.b else connection.b


def join(legs: Sequence[Leg], holder_of: HolderOf | None = None) -> list[Joined]:
    """Return the pairs of legs that times show to be one conversation; each connection is in one pair at most.

    ``holder_of`` says who holds a socket: what two processes hold is no pair.
    """
    tried = [leg for leg in legs if len(leg.towards) + len(leg.back) >= FEWEST][:MOST]
    pairs = max(len(tried) * (len(tried) - 1), 1)
    limit = BY_CHANCE if holder_of is None else IN_PROCESS
    likely = (
        joined
        for front in tried
        for rear in tried
        if front is not rear and (joined := _joined(front, rear)) is not None and joined.chance * pairs < limit
    )
    found = [sure for one in likely if (sure := _held(one, pairs, holder_of)) is not None]
    found.sort(key=lambda one: (one.chance, one.slowest_ns))
    taken: set[int] = set()
    chosen = []
    for one in found:
        ends = {id(one.front), id(one.rear)}
        if not ends & taken:
            taken |= ends
            chosen.append(one)
    return chosen


def _held(one: Joined, pairs: int, holder_of: HolderOf | None) -> Joined | None:
    """Return a pair with the process that holds both; None where two do, or where times alone do not tell."""
    if holder_of is not None:
        front = holder_of(one.front.destination, client_of(one.front))
        rear = holder_of(client_of(one.rear), one.rear.destination)
        if front is not None and rear is not None:
            return replace(one, process=front) if front.pid == rear.pid else None
    return one if one.chance * pairs < BY_CHANCE else None


def _joined(front: Leg, rear: Leg) -> Joined | None:
    """Return how well one leg follows the other; None: it does not."""
    if _ends(front.connection) == _ends(rear.connection):
        return None
    since_ns = max(front.since_ns, rear.since_ns)
    came, back = _since(front.towards, since_ns), _since(rear.back, since_ns)
    after = [*_delays(came, rear.towards), *_delays(back, front.back)]
    messages = len(came) + len(back)
    if len(after) < FEWEST or len(after) < SHARE * messages:
        return None
    chance = _tail(len(after), messages, max(_share(rear.towards), _share(front.back)))
    return Joined(front.connection, rear.connection, len(after), messages, max(after), chance)


def _since(times: Times, since_ns: int) -> Times:
    return times[np.searchsorted(times, since_ns) :]


def _ends(connection: Connection) -> frozenset[object]:
    return frozenset((connection.a, connection.b))


def _delays(came: Times, went: Times) -> list[int]:
    """Return how long after each message that came one went out, nanoseconds, where that was soon."""
    place = np.searchsorted(went, came)
    known = place < len(went)
    after = went[place[known]] - came[known]
    delays: list[int] = after[after <= PASSED_ON_NS].tolist()
    return delays


def _share(times: Times) -> float:
    """Return in which share of a connection's time a message is at most so long ahead: what chance alone would hit."""
    if len(times) < 2:
        return PASSED_ON_NS / (60_000 * MILLISECOND_NS)
    span = max(int(times[-1] - times[0]), PASSED_ON_NS)
    return min(len(times) * PASSED_ON_NS / span, 1.0)


def _tail(hits: int, of: int, share: float) -> float:
    """Return how often chance hits at least so many times (binomial)."""
    if share >= 1:
        return 1.0
    total = 0.0
    for k in range(hits, of + 1):
        ways = lgamma(of + 1) - lgamma(k + 1) - lgamma(of - k + 1)
        total += exp(ways + k * log(share) + (of - k) * log(1 - share))
    return min(total, 1.0)
