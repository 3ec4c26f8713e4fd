"""Who was heard when, by address, over all connections of a capture: kept as rows, looked up by bisection."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_halves
from kacap.findings.observed import HEARD, ObservedRows
from kacap.flows import ConnectionRows
from kacap.rows import joined, newest

PRESENCE = np.dtype(
    [("hi", "<u8"), ("lo", "<u8"), ("first_ns", "<i8"), ("last_ns", "<i8"), ("quiet_ns", "<i8")], align=True
)
PresenceRows = NDArray[np.void]  # of PRESENCE
BLOCK = 1024  # presences that are searched together


class AtAddress:
    """The presences of one address, as PRESENCE rows in order of ``first_ns``."""

    def __init__(self, rows: PresenceRows) -> None:
        self.firsts = _numbers(rows["first_ns"])
        self.lasts = _numbers(np.sort(rows["last_ns"]))
        # The newest ``last_ns`` of the first one, the first two, ...
        self.newest = _numbers(np.maximum.accumulate(rows["last_ns"]))
        self.rows = rows

    @cached_property
    def _blocks(self) -> list[tuple[list[int], list[int]]]:
        """For each block of rows: ``last_ns`` in order, and the shortest pause of those from there on."""
        blocks = []
        for start in range(0, len(self.rows), BLOCK):
            rows = self.rows[start : start + BLOCK]
            rows = rows[np.argsort(rows["last_ns"], kind="stable")]
            shortest = np.minimum.accumulate(rows["quiet_ns"][::-1])[::-1]
            blocks.append((rows["last_ns"].tolist(), shortest.tolist()))
        return blocks

    def between(self, low_ns: int, high_ns: int) -> bool:
        """Return whether the address was certainly heard within a span: it never paused for as long."""
        for times in (self.firsts, self.lasts):
            first = bisect_left(times, low_ns)
            if first < len(times) and times[first] <= high_ns:
                return True
        before = bisect_left(self.firsts, low_ns)
        if before == 0 or self.newest[before - 1] <= high_ns:
            return False
        return self._pauses_less(before, high_ns, high_ns - low_ns)

    def _pauses_less(self, before: int, high_ns: int, pause_ns: int) -> bool:
        """Return whether one of the first rows lasts beyond ``high_ns`` and never paused for longer than that."""
        whole = before // BLOCK
        for lasts, shortest in self._blocks[:whole]:
            first = bisect_right(lasts, high_ns)
            if first < len(lasts) and shortest[first] <= pause_ns:
                return True
        rest = self.rows[whole * BLOCK : before]
        return bool(((rest["last_ns"] > high_ns) & (rest["quiet_ns"] <= pause_ns)).any())

    def throughout(self, low_ns: int, high_ns: int) -> bool:
        """Return whether one connection began before a span and had segments after it."""
        before = bisect_right(self.firsts, low_ns)
        return before > 0 and self.newest[before - 1] >= high_ns


def _numbers(column: NDArray[np.int64]) -> array[int]:
    """Return a column for bisection: a list would take five times the memory, searchsorted three times as long."""
    return array("q", column.tobytes())


@dataclass
class Heard:
    """Who was heard when, by address; an RST does not count, it may be anybody's."""

    parts: list[PresenceRows] = field(default_factory=list)
    _by_address: dict[str, AtAddress] = field(default_factory=dict)

    def take(self, connections: ConnectionRows, observed: ObservedRows) -> None:
        """Take the sides of connections that have ended: CONNECTION rows and their OBSERVED."""
        for side in ("a", "b"):
            seen = observed[side]
            heard = seen["known"] & HEARD != 0
            rows = np.zeros(int(heard.sum()), PRESENCE)
            for name in ("first_ns", "last_ns", "quiet_ns"):
                rows[name] = seen[name][heard]
            rows["hi"], rows["lo"] = connections[f"{side}_hi"][heard], connections[f"{side}_lo"][heard]
            self.parts.append(rows)
        self._by_address.clear()
        self.__dict__.pop("_sorted", None)

    def forget(self, most: int) -> None:
        """Keep the newest ``most`` presences."""
        self.parts = newest(self.parts, most)

    @cached_property
    def _sorted(self) -> tuple[PresenceRows, NDArray[np.uint64], NDArray[np.uint64]]:
        """All presences in order of address and ``first_ns``, and the two halves of their addresses."""
        rows = joined([np.zeros(0, PRESENCE), *self.parts])
        highs = [rows["hi"]] if (rows["hi"] != rows["hi"][:1]).any() else []  # as in IPv4 none is needed
        rows = rows.take(np.lexsort((rows["first_ns"], rows["lo"], *highs)))
        return rows, rows["hi"].copy(), rows["lo"].copy()

    def at(self, address: str) -> AtAddress:
        """Return the presences of an address."""
        found = self._by_address.get(address)
        if found is None:
            rows, his, los = self._sorted
            hi, lo = map(np.uint64, address_halves(address))
            low, high = np.searchsorted(his, hi, "left"), np.searchsorted(his, hi, "right")
            start, end = (low + np.searchsorted(los[low:high], lo, side) for side in ("left", "right"))
            found = self._by_address[address] = AtAddress(rows[start:end])
        return found

    def between(self, address: str, low_ns: int, high_ns: int) -> bool:
        """Return whether an address was certainly heard within a span: it never paused for as long."""
        return self.at(address).between(low_ns, high_ns)

    def throughout(self, address: str, low_ns: int, high_ns: int) -> bool:
        """Return whether one connection of an address began before a span and had segments after it."""
        return self.at(address).throughout(low_ns, high_ns)
