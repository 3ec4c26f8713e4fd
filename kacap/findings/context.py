"""What the capture as a whole shows: who was heard when, what was dropped, what was expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kacap.facts.probing import Probing
from kacap.findings.presence import Heard
from kacap.model import Connection, Endpoint
from kacap.summary import Drop
from kacap.timing.expectations import Expectation
from kacap.timing.limits import LIMITS, Limit


@dataclass
class Context:
    """What the capture as a whole shows."""

    probing: Probing
    heard: Heard = field(default_factory=Heard)
    last_ns: int = 0  # the end of the capture
    dropped: int = 0
    timed_drops: list[Drop] = field(default_factory=list)  # those whose time span is known
    expected: Callable[[Connection], Expectation | None] = lambda connection: None
    limits: tuple[Limit, ...] = LIMITS

    def alive(self, peer: Endpoint, side: Endpoint, low_ns: int, high_ns: int) -> bool:
        """Return whether a peer's address sent anything to others within a span when it sent nothing to ``side``."""
        if peer.address == side.address:
            return False  # its segments may be the side's own
        if self.heard.between(peer.address, low_ns, high_ns):
            return True
        return self.probing.replied_within(peer.address, low_ns, high_ns)
