"""What a rule is given: one connection with its evidence, and what the capture as a whole shows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from kacap.classify.kinds import Ending
from kacap.evidence import Case, Presence
from kacap.model import Connection, Drop, Endpoint, Episode, FrameRef, Prober
from kacap.timing.expectations import Expectation
from kacap.timing.limits import LIMITS, Limit

Told = tuple[str, list[FrameRef]]  # a sentence and the frames that show it
MOST = 1 << 17  # sides whose presence is kept: a capture of more is told of by those that ended first


@dataclass(slots=True)
class Heard:
    """Who was heard when, by address, over all connections."""

    by_address: dict[str, list[Presence]] = field(default_factory=dict)
    kept: int = 0

    @property
    def full(self) -> bool:
        """Whether no more is kept."""
        return self.kept >= MOST

    def take(self, address: str, presence: Presence | None) -> None:
        """Take one side of a connection that has ended."""
        if presence is not None and not self.full:
            self.by_address.setdefault(address, []).append(presence)
            self.kept += 1

    def between(self, address: str, low_ns: int, high_ns: int) -> bool:
        """Return whether an address was certainly heard within a span: it never paused for as long."""
        return any(
            low_ns <= one.last_ns <= high_ns
            or low_ns <= one.first_ns <= high_ns
            or (one.first_ns < low_ns and one.last_ns > high_ns and one.quiet_ns <= high_ns - low_ns)
            for one in self.by_address.get(address, ())
        )

    def throughout(self, address: str, low_ns: int, high_ns: int) -> bool:
        """Return whether one connection of an address is older than a span and was heard of after it."""
        return any(one.first_ns <= low_ns and one.last_ns >= high_ns for one in self.by_address.get(address, ()))


@dataclass
class Context:
    """What the capture as a whole shows: who was heard when, what was dropped, what was expected."""

    probing: list[Connection] = field(default_factory=list)
    heard: Heard = field(default_factory=Heard)
    dropped: int = 0
    timed_drops: list[Drop] = field(default_factory=list)  # those of which is known when they were
    few: bool = True  # so few connections that those on which nobody probes are worth a finding each
    expected: Callable[[Connection], Expectation | None] = lambda connection: None
    limits: tuple[Limit, ...] = LIMITS
    bracketed: frozenset[Endpoint] = frozenset()  # destinations whose idle deaths are told of together

    @cached_property
    def alive_ns(self) -> dict[str, list[int]]:
        """By address when it answered a probe, sorted, nanoseconds."""
        times: dict[str, list[int]] = {}
        for prober in (prober for connection in self.probing for prober in connection.probers):
            for probe in (probe for episode in prober.episodes for probe in episode.probes):
                if probe.reply_after_ns is not None:
                    times.setdefault(prober.peer.address, []).append(probe.time_ns + probe.reply_after_ns)
        return {address: sorted(found) for address, found in times.items()}

    def alive(self, peer: Endpoint, side: Endpoint, low_ns: int, high_ns: int) -> bool:
        """Return whether a peer's address was heard within a span in which it said nothing to ``side``."""
        if peer.address == side.address:
            return False  # what is heard of it may be the side's own
        times = self.alive_ns.get(peer.address, [])
        place = bisect_left(times, low_ns)
        return (place < len(times) and times[place] <= high_ns) or self.heard.between(peer.address, low_ns, high_ns)


def episodes(case: Case, *endings: str) -> Iterator[tuple[Prober, Episode]]:
    """Yield the episodes of a connection that ended in one of the ways given."""
    for prober in case.connection.probers:
        if prober.steady and Ending.ANSWERED not in endings:
            continue
        for episode in prober.episodes:
            if episode.ending in endings:
                yield prober, episode


def frames_of(episode: Episode) -> list[FrameRef]:
    """Return the frames that show an episode: its probes and what closed it."""
    frames = [probe.frame for probe in episode.probes]
    return [*frames, episode.ending_frame] if episode.ending_frame else frames


def closing_ns(episode: Episode) -> int:
    """Return when an episode was given up: one more gap after its last probe."""
    extra = episode.gaps_ns[-1] if len(episode.gaps_ns) >= len(episode.probes) else 0
    return episode.probes[-1].time_ns + extra


Finder = Callable[[Case, Context], Iterator[Told]]


@dataclass(frozen=True, slots=True)
class Row:
    """One finding of the table: its id, when it holds, what to do, and the rule that looks for it."""

    id: str
    when: str
    remedy: str
    find: Finder
