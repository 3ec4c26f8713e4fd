"""Which connection at one site is which at the other: by addresses, else through what no NAT changes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kacap.compare.site import Identity, Site
from kacap.model import Connection, Endpoint
from kacap.segments import ACK, SYN
from kacap.wire.sequence import after, distance

SHARED = 2  # segments in common that show two connections to be one, where no SYN does
SHARED_STAMPS = 3  # ... where the sequence numbers are not the same

Key = Callable[[Site, int], tuple[int, ...]]


@dataclass(slots=True)
class Pair:
    """One connection at both sites. ``how`` says by what it was recognised; ``swapped``: side a here is side b there.

    ``shift`` is what a box adds to the sequence numbers of side a and of side b (of site one), 0 where it does not.
    """

    one: Connection
    two: Connection
    how: str
    swapped: bool
    shift: tuple[int, int] = (0, 0)

    def endpoints_two(self) -> tuple[Endpoint, Endpoint]:
        """Return what side a and side b of site one are called at site two."""
        return (self.two.b, self.two.a) if self.swapped else (self.two.a, self.two.b)


def match(one: Site, two: Site) -> list[Pair]:
    """Return the connections that probe at either site and are shown by both."""
    found: list[Pair] = []
    ones: set[int] = set()
    twos: set[int] = set()
    for mine, number, how in [*_partners(one, two, True), *_partners(one, two, False)]:
        if mine not in ones and number not in twos:
            ones.add(mine)
            twos.add(number)
            found.append(_pair(one, two, one.connections[mine], two.connections[number], how))
    return found


def _partners(one: Site, two: Site, forth: bool) -> Iterator[tuple[int, int, str]]:
    """Yield (connection at one, at two, how) for each that probes at site one (``forth``) or two."""
    here, there = (one, two) if forth else (two, one)
    finder = Finder(there)
    for connection in here.probing:
        partner = finder.find(here, connection)
        if partner is not None:
            number, how = partner
            yield (connection.connection, number, how) if forth else (number, connection.connection, how)


class Finder:
    """The connections of a site, to be found by endpoints, by segments, or by timestamps."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ends: dict[frozenset[Endpoint], list[Connection]] = defaultdict(list)
        for connection in site.connections.values():
            self._ends[frozenset((connection.a, connection.b))].append(connection)
        self._by: dict[str, dict[tuple[int, ...], set[int]]] = {}

    def find(self, here: Site, connection: Connection) -> tuple[int, str] | None:
        """Return (number, how) of the connection that ``connection`` of ``here`` is; None where it is not seen."""
        rows = here.of[connection.connection]
        same = {each.connection for each in self._ends[frozenset((connection.a, connection.b))]}
        shared = self._shared("segments", Site.identity, here, rows)
        best = max(shared, key=lambda number: (shared[number], number in same), default=None)
        if best is not None and best not in same and (shared[best] >= SHARED or self._by_syn(here, rows, best)):
            return best, "sequence numbers"
        if same:
            return max(sorted(same), key=lambda number: shared[number]), "addresses and ports"
        stamped = self._shared("stamps", _stamps, here, [row for row in rows if here.rows[row]["tsval"]])
        for number, n in stamped.most_common(1):
            if n >= SHARED_STAMPS:
                return number, "timestamps"
        return None

    def _shared(self, name: str, key: Key, here: Site, rows: list[int]) -> Counter[int]:
        """Return how many different segments each connection has in common with ``rows``."""
        if name not in self._by:
            index: dict[tuple[int, ...], set[int]] = defaultdict(set)
            for number, theirs in self._site.of.items():
                for row in theirs:
                    index[key(self._site, row)].add(number)
            self._by[name] = index
        index = self._by[name]
        return Counter(number for each in {key(here, row) for row in rows} for number in index.get(each, ()))

    def _by_syn(self, here: Site, rows: list[int], number: int) -> bool:
        """Return whether a SYN is in common: its initial number is chance enough."""
        theirs = {self._site.identity(row) for row in self._site.of[number] if self._site.rows[row]["flags"] & SYN}
        return any(here.identity(row) in theirs for row in rows if here.rows[row]["flags"] & SYN)


def _stamps(site: Site, row: int) -> tuple[int, ...]:
    """Return what is left to know a segment by where its numbers are rewritten."""
    return site.identity(row)[2:]


def _pair(one: Site, two: Site, mine: Connection, theirs: Connection, how: str) -> Pair:
    """Return the pair, with which side is which and what is added to the sequence numbers."""
    pair = Pair(mine, theirs, how, (theirs.a, theirs.b) == (mine.b, mine.a))
    if {mine.a, mine.b} != {theirs.a, theirs.b}:
        votes = [
            one.from_a(row) != two.from_a(other)
            for key in ((Site.identity, _stamps) if how == "timestamps" else (Site.identity,))
            for row, other in common(one, two, pair, key)
        ]
        pair.swapped = sum(votes) * 2 > len(votes)
    pair.shift = (_shift(one, two, pair, True), _shift(one, two, pair, False))
    return pair


def common(one: Site, two: Site, pair: Pair, key: Key) -> Iterator[tuple[int, int]]:
    """Yield the rows that both sites show, once each at either site by ``key``."""
    mine, theirs = (_once(site, connection, key) for site, connection in ((one, pair.one), (two, pair.two)))
    for each in mine.keys() & theirs.keys():
        yield mine[each], theirs[each]


def _once(site: Site, connection: Connection, key: Key) -> dict[tuple[int, ...], int]:
    """Return the rows of a connection that no other of its rows is like."""
    found: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row in site.of[connection.connection]:
        found[key(site, row)].append(row)
    return {each: rows[0] for each, rows in found.items() if len(rows) == 1}


def _shift(one: Site, two: Site, pair: Pair, from_a: bool) -> int:
    """Return what a box adds to the sequence numbers of one side: the commonest difference, by SYN or timestamps."""
    votes: Counter[int] = Counter()
    for row, other in _alike(one, two, pair):
        if one.from_a(row) == from_a and (two.from_a(other) != pair.swapped) == from_a:
            votes[int(distance(two.rows[other]["seq"], one.rows[row]["seq"]))] += 1
    return votes.most_common(1)[0][0] if votes else 0


def _alike(one: Site, two: Site, pair: Pair) -> Iterator[tuple[int, int]]:
    """Yield rows that are one segment whatever its numbers: the SYNs, and what carries the same timestamps."""
    for flags in {int(one.rows[row]["flags"]) for row in one.of[pair.one.connection] if one.rows[row]["flags"] & SYN}:
        firsts = [
            next((row for row in site.of[c.connection] if site.rows[row]["flags"] == flags), None)
            for site, c in ((one, pair.one), (two, pair.two))
        ]
        if firsts[0] is not None and firsts[1] is not None:
            yield firsts[0], firsts[1]
    for row, other in common(one, two, pair, _stamps):
        if one.rows[row]["tsval"]:
            yield row, other


def numbered(two: Site, row: int, pair: Pair) -> Identity:
    """Return the identity of a row of site two in the numbers of site one."""
    seq, ack, length, flags, *stamps = two.identity(row)
    own, other = pair.shift if two.from_a(row) != pair.swapped else pair.shift[::-1]
    acknowledged = int(after(ack, -other)) if flags & ACK else ack
    return (int(after(seq, -own)), acknowledged, length, flags, *stamps)  # type: ignore[return-value]
