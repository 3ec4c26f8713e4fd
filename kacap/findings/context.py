"""What the capture as a whole shows: who was heard when, what was dropped, what was expected."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from kacap.findings.presence import Heard
from kacap.model import Connection, Drop, Endpoint
from kacap.timing.expectations import Expectation
from kacap.timing.limits import LIMITS, Limit


@dataclass
class Context:
    """What the capture as a whole shows."""

    probing: list[Connection] = field(default_factory=list)
    heard: Heard = field(default_factory=Heard)
    last_ns: int = 0  # the end of the capture
    dropped: int = 0
    timed_drops: list[Drop] = field(default_factory=list)  # those whose time span is known
    expected: Callable[[Connection], Expectation | None] = lambda connection: None
    limits: tuple[Limit, ...] = LIMITS
    bracketed: frozenset[Endpoint] = frozenset()  # destinations whose idle deaths are one finding

    @cached_property
    def _probed(self) -> dict[str, list[Connection]]:
        """By address the connections on which it was probed."""
        found: dict[str, list[Connection]] = {}
        for connection in self.probing:
            for prober in connection.probers:
                found.setdefault(prober.peer.address, []).append(connection)
        return found

    @cached_property
    def _replied_ns(self) -> dict[str, list[int]]:
        """When addresses answered probes, sorted, nanoseconds: filled for those that were asked about."""
        return {}

    def replied_ns(self, address: str) -> list[int]:
        """Return when an address answered probes, sorted, nanoseconds."""
        if address not in self._replied_ns:
            self._replied_ns[address] = sorted(
                probe.time_ns + probe.reply_after_ns
                for connection in self._probed.get(address, ())
                for prober in connection.probers if prober.peer.address == address and prober.replies
                for episode in prober.episodes
                for probe in episode.probes if probe.reply_after_ns is not None
            )  # fmt: skip
        return self._replied_ns[address]

    def alive(self, peer: Endpoint, side: Endpoint, low_ns: int, high_ns: int) -> bool:
        """Return whether a peer's address was heard within a span in which it said nothing to ``side``."""
        if peer.address == side.address:
            return False  # what is heard of it may be the side's own
        if self.heard.between(peer.address, low_ns, high_ns):
            return True
        times = self.replied_ns(peer.address)
        place = bisect_left(times, low_ns)
        return place < len(times) and times[place] <= high_ns
