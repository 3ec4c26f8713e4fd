"""The known idle limits of boxes as lines of a chart: one for each number of seconds, with who has it."""

from __future__ import annotations

import re

from kacap.clock import SECOND_NS
from kacap.timing.limits import LIMITS

_TAIL = re.compile(r"[,(]| \S*(?:timeout|session-ttl)| as kube| minimum| to its")


def _grouped() -> list[tuple[int, str]]:
    """Return (seconds, words) for each different limit, sorted."""
    by: dict[int, list[str]] = {}
    for row in LIMITS:
        name = _TAIL.split(row.what)[0].strip()
        if name not in by.setdefault(row.seconds, []):
            by[row.seconds].append(name)
    found = []
    for number, names in sorted(by.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        found.append((number, f"{number} s {names[0]}{more}"))
    return found


def near(most_ns: int) -> list[tuple[int, str]]:
    """Return (nanoseconds, words) of the limits that a silence of ``most_ns`` reaches or nearly does."""
    return [(s * SECOND_NS, words) for s, words in _grouped() if most_ns / 10 < s * SECOND_NS < 1.15 * most_ns]


def within(low_ns: int, high_ns: int) -> list[tuple[int, str]]:
    """Return (nanoseconds, words) of the limits between two durations."""
    return [(s * SECOND_NS, words) for s, words in _grouped() if low_ns < s * SECOND_NS < high_ns]


def steps(most_ns: int) -> tuple[list[str], list[str]]:
    """Return the limits that a silence has crossed, and those that it has not, in words."""
    below = [words for s, words in _grouped() if s * SECOND_NS <= most_ns]
    return below, [words for s, words in _grouped() if s * SECOND_NS > most_ns]
