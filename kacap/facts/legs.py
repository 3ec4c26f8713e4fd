"""The two legs of a proxy: connections of one host whose messages follow each other, one in and one out.

A proxy ends a connection and begins another; a keepalive keeps only one of them alive. No number in a segment tells
that they belong together; the times do: what comes in on one leg goes out on the other soon after, in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log

import numpy as np
from numpy.typing import NDArray

from kacap.clock import MILLISECOND_NS
from kacap.facts.ended import observed_until_ns
from kacap.model import Connection, Prober

PASSED_ON_NS = 50 * MILLISECOND_NS  # a proxy that only passes on takes less
FEWEST, SHARE = 3, 0.8  # messages that were passed on: so many, and of all of them this share
BY_CHANCE = 1e-6  # a pair is one if chance, over all pairs that were tried, would make it so less often than this
MOST = 400  # connections that are tried: pairs grow with the square

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Leg:
    """A connection with the times of its data, in order: towards its destination, and back."""

    connection: Connection
    towards: Times
    back: Times


@dataclass(frozen=True, slots=True)
class Joined:
    """Two legs of one conversation: the client's comes first. So many of its messages were passed on, after at most."""

    front: Connection
    rear: Connection
    passed: int
    messages: int
    slowest_ns: int
    chance: float

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


def join(legs: Sequence[Leg]) -> list[Joined]:
    """Return the pairs of legs that times show to be one conversation; each connection is in one pair at most."""
    tried = [leg for leg in legs if len(leg.towards) + len(leg.back) >= FEWEST][:MOST]
    pairs = max(len(tried) * (len(tried) - 1), 1)
    found = [
        joined for front in tried for rear in tried
        if front is not rear and (joined := _joined(front, rear)) is not None and joined.chance * pairs < BY_CHANCE
    ]  # fmt: skip
    found.sort(key=lambda one: (one.chance, one.slowest_ns))
    taken: set[int] = set()
    chosen = []
    for one in found:
        ends = {id(one.front), id(one.rear)}
        if not ends & taken:
            taken |= ends
            chosen.append(one)
    return chosen


def _joined(front: Leg, rear: Leg) -> Joined | None:
    """Return how well one leg follows the other; None: it does not."""
    if _ends(front.connection) == _ends(rear.connection):
        return None
    after = [*_delays(front.towards, rear.towards), *_delays(rear.back, front.back)]
    messages = len(front.towards) + len(rear.back)
    if len(after) < FEWEST or len(after) < SHARE * messages:
        return None
    chance = _tail(len(after), messages, max(_share(rear.towards), _share(front.back)))
    return Joined(front.connection, rear.connection, len(after), messages, max(after), chance)


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
