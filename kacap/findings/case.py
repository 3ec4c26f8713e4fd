"""What a rule is given: one connection with its evidence, and what the capture as a whole shows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kacap.evidence import Case
from kacap.model import Connection, FrameRef
from kacap.timing.expectations import Expectation

Told = tuple[str, list[FrameRef]]  # a sentence and the frames that show it


@dataclass(slots=True)
class Context:
    """What the capture as a whole shows: who was heard when, what was dropped, what was expected."""

    alive_ns: dict[str, list[int]] = field(default_factory=dict)  # by address: when it answered a probe, sorted
    dropped: int = 0
    last_ns: int = 0
    few: bool = True  # so few connections that those on which nobody probes are worth a finding each
    expected: Callable[[Connection], Expectation | None] = lambda connection: None

    def heard_between(self, address: str, low_ns: int, high_ns: int) -> int | None:
        """Return when an address answered a probe of any connection within a span, None: never."""
        times = self.alive_ns.get(address, [])
        place = bisect_left(times, low_ns)
        return times[place] if place < len(times) and times[place] <= high_ns else None


Finder = Callable[[Case, Context], Iterator[Told]]


@dataclass(frozen=True, slots=True)
class Row:
    """One finding of the table: its id, when it holds, what to do, and the rule that looks for it."""

    id: str
    when: str
    remedy: str
    find: Finder
