"""Where the files of one capture do not follow on one another: overlaps, gaps, and files that are missing by number.

tcpdump's -C and -W number the files at the end of their names, dumpcap and editcap in the middle, before the time.
A ring goes on with its first number after its last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from kacap.clock import SECOND_NS
from kacap.summary import Break

COUNTED_DIGITS = 7  # of a counter at most; more are a date
TELLING = 3  # times the longest silence within the files: so long a gap between two of them is not one of these
LEAST_GAP_NS = SECOND_NS
_DUMPCAP = re.compile(r"_(?P<number>\d{5,7})_\d{14}(?=\.|$)")
_TCPDUMP = re.compile(r"(?P<number>\d+)(?=(\.gz|\.zst)?$)")


class Span(NamedTuple):
    """What one file holds, in nanoseconds: its first and its last frame, and the longest silence between two."""

    name: str
    first_ns: int
    last_ns: int
    silence_ns: int


def breaks_between(spans: Sequence[Span]) -> list[Break]:
    """Return the breaks between the files of a capture, in order of time.

    A gap is told where it is three times longer than any silence within a file; that frames are missing is not
    certain. Overlaps are told of files that one program numbered, or named alike; two views of one thing overlap
    all along.
    """
    ordered = sorted(spans, key=lambda span: (span.first_ns, span.last_ns))
    counters = _counters(ordered)
    silence_ns = max((span.silence_ns for span in ordered), default=0)
    found: list[Break] = []
    latest = ordered[0] if ordered else None
    for before, after in pairwise(ordered):
        assert latest is not None
        lack = _missing(counters, before, after)
        if lack:
            found.append(Break("missing", before.last_ns, after.first_ns, before.name, after.name, lack))
        elif after.first_ns < latest.last_ns and _alike(latest.name) == _alike(after.name):
            until_ns = min(latest.last_ns, after.last_ns)
            found.append(Break("overlap", after.first_ns, until_ns, latest.name, after.name, 0))
        elif silence_ns and after.first_ns - latest.last_ns > max(LEAST_GAP_NS, TELLING * silence_ns):
            found.append(Break("gap", latest.last_ns, after.first_ns, latest.name, after.name, 0))
        latest = max(latest, after, key=lambda span: span.last_ns)
    return found


def _alike(name: str) -> str:
    """Return a name without its numbers: the same for the files of one rotated set."""
    return re.sub(r"\d+", "#", name.rpartition("/")[2].removesuffix(".gz").removesuffix(".zst")).rstrip("#")


def _number(name: str) -> tuple[str, int] | None:
    """Return what a name is without its counter, and the counter; tcpdump's first file has none and counts as 0."""
    plain = name.rpartition("/")[2]
    found = _DUMPCAP.search(plain) or _TCPDUMP.search(plain)
    if found is None:
        return plain.removesuffix(".gz").removesuffix(".zst"), 0
    number = found["number"]
    if len(number) > COUNTED_DIGITS:
        return None
    stem = plain[: found.start("number")]
    return (stem, int(number)) if found.re is _TCPDUMP else (f"{stem}#{plain[found.end() :]}", int(number))


def _counters(ordered: Sequence[Span]) -> dict[str, tuple[str, int, int, int]]:
    """Return (set, counter, least and most counter of the set) of each file that a counter is known of.

    Numbers are taken for a counter where most files have the number after that of the file before.
    """
    sets: dict[str, list[tuple[str, int]]] = {}
    for span in ordered:
        numbered = _number(span.name)
        if numbered is not None:
            directory = span.name.rpartition("/")[0]
            sets.setdefault(f"{directory}/{numbered[0]}", []).append((span.name, numbered[1]))
    found = {}
    for stem, members in sets.items():
        numbers = [number for _, number in members]
        steps = [b - a for a, b in pairwise(numbers)]
        if len(members) > 2 and 2 * sum(step == 1 for step in steps) >= len(steps):
            least, most = min(numbers), max(numbers)
            found.update({name: (stem, number, least, most) for name, number in members})
    return found


def _missing(counters: dict[str, tuple[str, int, int, int]], before: Span, after: Span) -> int:
    """Return how many files are missing between two, by their counters; 0 where none is, or no counter is known."""
    if before.name not in counters or after.name not in counters:
        return 0
    stem, number, least, most = counters[before.name]
    other, following, _, _ = counters[after.name]
    if stem != other or (number == most and following == least):
        return 0
    return max(following - number - 1, 0)
