"""How far the two clocks are apart: bounded by segments that both sites saw, in both directions.

A segment takes some time from one site to the other, never a negative one. So what passed site one first gives an
upper bound for how far clock two is ahead, what passed site two first a lower one; the truth lies between them.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from kacap.compare.matching import Pair, numbered
from kacap.compare.site import Identity, Site


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Clock two is ``ahead_ns`` ahead of clock one, give or take ``doubt_ns``; None: seen in one direction only.

    ``shared`` is how many segments both sites saw.
    """

    ahead_ns: int = 0
    doubt_ns: int | None = None
    shared: int = 0


@dataclass(frozen=True, slots=True)
class NearerSites:
    """Which site is nearer to side a and to side b (1, 2, or 0 where nothing tells), and by how many hops."""

    near: tuple[int, int] = (0, 0)
    hops: tuple[int, int] = (0, 0)


Shared = list[tuple[int, int]]


def shared(one: Site, two: Site, pair: Pair) -> Shared:
    """Return (row at one, row at two) of the segments of a pair that are the only ones of their kind at both.

    Where probes without timestamps are all alike, the IP ID tells them apart.
    """
    mine, theirs = defaultdict[Identity, list[int]](list), defaultdict[Identity, list[int]](list)
    for row in one.of[pair.one.connection]:
        mine[one.identity(row)].append(row)
    for row in two.of[pair.two.connection]:
        theirs[numbered(two, row, pair)].append(row)
    found: Shared = []
    for key, rows in mine.items():
        others = theirs.get(key, [])
        if len(rows) == len(others) == 1:
            found.append((rows[0], others[0]))
        elif others:
            found += _by_ip_id(one, two, rows, others)
    return found


def _by_ip_id(one: Site, two: Site, rows: list[int], others: list[int]) -> Iterator[tuple[int, int]]:
    """Yield those of rows that are otherwise alike whose IP ID is theirs alone at both sites."""
    numbers = [Counter(int(site.rows[row]["ip_id"]) for row in which) for site, which in ((one, rows), (two, others))]
    at_two = {int(two.rows[row]["ip_id"]): row for row in others}
    for row in rows:
        number = int(one.rows[row]["ip_id"])
        if number and numbers[0][number] == numbers[1][number] == 1:
            yield row, at_two[number]


def overlap(one: Site, two: Site, pair: Pair) -> bool:
    """Return whether a pair has any segment in common: equal addresses alone may be another day's."""
    mine = {one.identity(row) for row in one.of[pair.one.connection]}
    return any(numbered(two, row, pair) in mine for row in two.of[pair.two.connection])


def sides(one: Site, two: Site, pairs: Shared) -> NearerSites:
    """Return which site is nearer to whom: where a side's segments have the higher TTL."""
    lost: tuple[list[int], list[int]] = ([], [])
    for row, other in pairs:
        lost[not one.from_a(row)].append(int(one.rows[row]["ttl"]) - int(two.rows[other]["ttl"]))
    hops = tuple(round(statistics.median(found)) if found else 0 for found in lost)
    near = tuple(1 if n > 0 else 2 if n < 0 else 0 for n in hops)
    if near == (0, 0):
        near = _by_time(one, two, pairs)
    elif 0 in near:
        near = tuple(n or 3 - sum(near) for n in near)
    return NearerSites(near, (abs(hops[0]), abs(hops[1])))  # type: ignore[arg-type]


def _by_time(one: Site, two: Site, pairs: Shared) -> tuple[int, int]:
    """Return which site is nearer where no router lies between: what goes from one to two shows later there."""
    late: tuple[list[int], list[int]] = ([], [])
    for row, other in pairs:
        late[not one.from_a(row)].append(two.time_ns(other) - one.time_ns(row))
    if not all(late):
        return (1, 2)
    return (1, 2) if statistics.median(late[0]) >= statistics.median(late[1]) else (2, 1)


def clocks(one: Site, two: Site, found: list[tuple[Shared, NearerSites]]) -> ClockOffset:
    """Return how far the clocks are apart, by all segments that both sites saw."""
    upper, lower = list[int](), list[int]()
    for first, difference_ns in _differences(one, two, found):
        (upper if first == 1 else lower).append(difference_ns)
    count = len(upper) + len(lower)
    if not upper or not lower:
        known = [min(upper)] if upper else [max(lower)] if lower else [0]
        return ClockOffset(known[0], None, count)
    high, low = min(upper), max(lower)
    if high < low:  # they drift apart: the middle of what the typical segments say
        high, low = round(statistics.median(upper)), round(statistics.median(lower))
    return ClockOffset((high + low) // 2, abs(high - low) // 2, count)


def _differences(one: Site, two: Site, found: list[tuple[Shared, NearerSites]]) -> Iterator[tuple[int, int]]:
    """Yield (the site that a segment passed first, time at two minus time at one)."""
    for pairs, near in found:
        for row, other in pairs:
            yield near.near[not one.from_a(row)], two.time_ns(other) - one.time_ns(row)
