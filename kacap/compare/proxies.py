"""The two legs of a proxy, each seen at a site of its own, or both at either: joined by the times of their data."""

from __future__ import annotations

from collections.abc import Iterator

from kacap.compare.site import Site
from kacap.facts.legs import Joined, client_of, join
from kacap.model import Connection
from kacap.units import duration


def proxied(one: Site, two: Site, ahead_ns: int) -> list[Joined]:
    """Return the pairs of legs; the clock of site two is ``ahead_ns`` ahead (0: taken as one clock)."""
    legs = [one.messages.leg(connection) for connection in one.connections.values()]
    known = {frozenset((c.a, c.b)) for c in one.connections.values()}
    others = (c for c in two.connections.values() if frozenset((c.a, c.b)) not in known)
    return join([*legs, *(two.messages.leg(connection, ahead_ns) for connection in others)])


def lines(found: list[Joined]) -> Iterator[str]:
    """Yield two lines for each conversation: which legs, how sure, who probes, and which died first."""
    for one in found:
        death = death_words(one)
        yield f"{'proxy':<12}{_ends(one.front)} {joining_words(one)}"
        yield f"{'':<12}{probing_words(one)}{'; ' if death else ''}{death}"


def records(found: list[Joined]) -> Iterator[dict[str, object]]:
    """Yield the fields of a ``proxy`` record for each conversation."""
    for one in found:
        first = one.died_first
        yield {
            "front": [str(client_of(one.front)), str(one.front.destination)],
            "rear": [str(client_of(one.rear)), str(one.rear.destination)],
            "passed": one.passed,
            "messages": one.messages,
            "slowest_ns": one.slowest_ns,
            "chance": one.chance,
            "process": None if one.process is None else one.process.name,
            "pid": None if one.process is None else one.process.pid,
            "front_probers": [str(prober.side) for prober in one.front.probers],
            "rear_probers": [str(prober.side) for prober in one.rear.probers],
            "died_first": None if first is None else "front" if first[0] is one.front else "rear",
            "before_ns": None if first is None else first[1],
        }


def joining_words(one: Joined) -> str:
    """Return what the first leg goes on as, and how sure that is."""
    held = "" if one.process is None else f"same process ({one.process.name}, {one.process.pid}), "
    sure = f"{held}{one.passed:,} of {one.messages:,} messages passed on within {duration(one.slowest_ns)}"
    return f"goes on as {_ends(one.rear)}: {sure}; chance would do so {_chance(one.chance)}"


def _ends(connection: Connection) -> str:
    return f"{client_of(connection)} > {connection.destination}"


def _chance(chance: float) -> str:
    """Return in words how often chance would join two legs."""
    return "never in practice" if chance < 1e-12 else f"in one of {round(1 / chance):,} pairs"


def probing_words(one: Joined) -> str:
    """Return which leg is probed and which is bare."""
    front, rear = one.probed
    if front and rear:
        return f"both legs are probed, by {front[0].side} and by {rear[0].side}: each keeps only its own alive"
    if not front and not rear:
        return "neither leg is probed"
    leg, bare = ("first", "second") if front else ("second", "first")
    return f"only the {leg} leg is probed (by {(front or rear)[0].side}); the {bare} is bare, nothing keeps it alive"


def death_words(one: Joined) -> str:
    """Return which leg ended first and how; nothing where none has."""
    first = one.died_first
    if first is None:
        return ""
    leg, after = "first" if first[0] is one.front else "second", duration(max(first[1], 0))
    other = one.rear if first[0] is one.front else one.front
    then = f"{after} before the other" if other.ended.time_ns is not None else f"the other was open {after} later"
    return f"the {leg} leg ended first ({first[0].ended.how}), {then}"
