"""Which connection matters most: what went wrong comes first, in every report alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from kacap.classify.kinds import Ending
from kacap.model import Connection, Prober
from kacap.report.sentences import ENDINGS


def severity(prober: Prober) -> int:
    """Return how grave a prober's state is, 0 the gravest: its ending, and misses before a good one."""
    row = ENDINGS[Ending(prober.ending)]
    if prober.replies >= prober.probes and row.severity > ENDINGS[Ending.UNREACHABLE].severity:
        return ENDINGS[Ending.ANSWERED].severity + 1
    return row.severity


def gravest(connection: Connection) -> list[Prober]:
    """Return the probers of a connection, the one in the gravest state first."""
    return sorted(connection.probers, key=lambda prober: (severity(prober), -prober.missed))


def by_severity(connections: Iterable[Connection]) -> list[Connection]:
    """Return the connections that probe, gravest first, then most misses, then in order of appearance."""

    def order(connection: Connection) -> tuple[int, int, int]:
        worst = gravest(connection)[0]
        return severity(worst), -sum(p.missed for p in connection.probers), connection.connection

    return sorted((c for c in connections if c.probers), key=order)


def totals(connections: Sequence[Connection]) -> str:
    """Return how several probing connections fare: ``1 gave up, 1 reset, 22 all answered``."""
    seen = Counter(_state(gravest(c)[0]) for c in connections)
    order = [*(row.total for row in ENDINGS.values()), "some probes missed"]
    return ", ".join(f"{seen[state]:,} {state}" for state in order if seen[state])


def _state(prober: Prober) -> str:
    """Return the short name of a prober's state."""
    row = ENDINGS[Ending(prober.ending)]
    if row.severity <= ENDINGS[Ending.UNREACHABLE].severity:
        return row.total
    if prober.replies >= prober.probes:
        return ENDINGS[Ending.ANSWERED].total
    return "some probes missed" if prober.ending == Ending.ANSWERED else row.total
