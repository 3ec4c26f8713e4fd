"""What a watch of days adds up, by destination, side and process: few labels, whatever connects.

Made of the live events alone (``report.live_rows``). A label is a destination (address and port, never an ephemeral
one), the side that probes and, where it is asked for, the process; beyond a number of destinations, or of process
names, what is counted counts as ``other``. Every event is counted once, in the series that its destination has then.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kacap.clock import SECOND_NS
from kacap.model import Endpoint
from kacap.report.live_rows import Cause, LiveEvent, ProbingConnection, What
from kacap.units import clean

OTHER = "other"
MOST_PROCESSES = 20
QUIET_NS = 300 * SECOND_NS  # a destination on which nobody probes keeps its series for so long
REPLY_S = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LATE_S = (0.0, 0.004, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

ProcessOf = Callable[[Endpoint, Endpoint], str]


class Label(NamedTuple):
    """What a series is about; ``side``: the end that probes, ``client`` or ``server``."""

    destination: str
    side: str
    process: str


@dataclass(slots=True)
class Histogram:
    """Counts by upper bound, in seconds, the last one open; ``total_ns`` is the sum of all values."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total_ns: int = 0

    def take(self, value_ns: int) -> None:
        """Count a value."""
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)
        self.counts[bisect_left(self.bounds, value_ns / SECOND_NS)] += 1
        self.total_ns += value_ns

    def cumulative(self) -> list[tuple[str, int]]:
        """Return (upper bound, values up to it) as Prometheus has them."""
        total, found = 0, []
        for bound, count in zip(
            (*map(str, self.bounds), "+Inf"), self.counts or [0] * (len(self.bounds) + 1), strict=True
        ):
            total += count
            found.append((bound, total))
        return found


@dataclass(slots=True)
class Tally:
    """What happened under one label since the watch began."""

    probes: int = 0
    replies: int = 0
    missed: int = 0
    survived: int = 0
    resets: int = 0
    deaths: Counter[Cause] = field(default_factory=Counter)
    reply: Histogram = field(default_factory=lambda: Histogram(REPLY_S))
    late: Histogram = field(default_factory=lambda: Histogram(LATE_S))


@dataclass(slots=True)
class LabelState:
    """How the connections under one label stand now; ``verdict_ns``: when the first of them will be given up."""

    probing: int = 0
    missing: int = 0
    longest_run: int = 0
    verdict_ns: int | None = None

    def take(self, row: ProbingConnection) -> None:
        """Count a connection that is open."""
        self.probing += 1
        if not row.missing:
            return
        self.missing += 1
        self.longest_run = max(self.longest_run, row.run)
        due_ns = row.dies_ns()
        if due_ns is not None:
            self.verdict_ns = due_ns if self.verdict_ns is None else min(due_ns, self.verdict_ns)


class Tallies:
    """Counts events by label; ``limit`` destinations have series of their own, the busiest.

    ``process_of`` returns the name of the process behind a prober and its peer; without it the label is empty.
    """

    def __init__(self, limit: int, process_of: ProcessOf | None = None) -> None:
        self.by_label: dict[Label, Tally] = {}
        self._limit, self._process_of = limit, process_of
        self._placed: dict[str, int] = {}  # destination to when somebody last probed there
        self._processes: set[str] = set()

    def take(self, events: Iterable[LiveEvent]) -> None:
        """Count what happened."""
        for event in events:
            if event.prober is not None:
                self._count(self.by_label.setdefault(self.label(event.prober), Tally()), event)

    def _count(self, tally: Tally, event: LiveEvent) -> None:
        if event.what == What.PROBE:
            tally.probes += 1
            if event.after_ns is not None:
                tally.late.take(max(event.after_ns, 0))
        elif event.what == What.ANSWERED:
            tally.replies += 1
            tally.reply.take(event.after_ns or 0)
        elif event.what == What.MISSING:
            tally.missed += 1
        elif event.what == What.SURVIVED:
            tally.survived += 1
        elif event.what == What.DEAD and event.cause is not None:
            tally.deaths[event.cause] += 1
        if event.what == What.RESET or event.cause in (Cause.RESET_BY_PEER, Cause.RESET_BY_BOX):
            tally.resets += 1

    def label(self, row: ProbingConnection) -> Label:
        """Return the label of a prober; a destination that is new takes a free place."""
        service = row.service or row.peer
        destination = str(service)
        if destination not in self._placed:
            if len(self._placed) < self._limit:
                self._placed[destination] = row.probe_ns
            else:
                destination = OTHER
        return Label(destination, "server" if row.prober == service else "client", self._process(row))

    def _process(self, row: ProbingConnection) -> str:
        """Return the name of a row's process, ``other`` beyond a number of names."""
        if self._process_of is None:
            return ""
        if row.process is None:
            row.process = clean(self._process_of(row.prober, row.peer))
        if row.process not in self._processes and len(self._processes) < MOST_PROCESSES:
            self._processes.add(row.process)
        return row.process if row.process in self._processes else OTHER

    def states(self, rows: Iterable[ProbingConnection], now_ns: int) -> dict[Label, LabelState]:
        """Return how open connections stand, by label; each label that ever had one is there."""
        held = list(rows)
        self._settle(Counter(str(row.service or row.peer) for row in held), now_ns)
        found = {label: LabelState() for label in self.by_label}
        for row in held:
            found.setdefault(self.label(row), LabelState()).take(row)
        return found

    def _settle(self, probing: Mapping[str, int], now_ns: int) -> None:
        """Give places to busier destinations; a series that loses its place ends, and counts from 0 if it returns."""
        for name in self._placed.keys() & probing.keys():
            self._placed[name] = now_ns
        waiting = sorted(probing.keys() - self._placed.keys(), key=lambda name: (-probing[name], name))
        placed = sorted(self._placed, key=lambda name: (probing.get(name, 0), self._placed[name], name))
        for newcomer, weakest in zip(waiting, placed, strict=False):
            number = probing.get(weakest, 0)
            quiet = not number and now_ns - self._placed[weakest] >= QUIET_NS
            if not quiet and (not number or probing[newcomer] <= 2 * number):
                return
            del self._placed[weakest]
            self._placed[newcomer] = now_ns
            for label in [label for label in self.by_label if label.destination == weakest]:
                del self.by_label[label]
