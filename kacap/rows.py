"""Tables that grow in place: structured arrays over anonymous memory, enlarged without a copy where the system can.

An untouched page of such a table takes no memory, so that room for later rows costs nothing until they are written.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kacap.kernels import Row, entry

Rows = NDArray[np.void]


@entry
def _follow(previous: Row, last: Row, found: Row) -> None:
    """Write the rows that a chain leads to, its last at the end of ``found``."""
    row = last
    for i in range(len(found) - 1, -1, -1):
        found[i] = row
        row = previous[row]


def chain(previous: NDArray[np.int32], last: int, number: int) -> NDArray[np.int64]:
    """Return the last ``number`` rows of a chain in order, where ``previous`` names the row before each."""
    found = np.zeros(number, np.int64)
    _follow(previous, np.int64(last), found)
    return found


@entry
def _group(groups: Row, ends: Row, order: Row) -> None:
    """Write the positions of each group's members behind one another; ``ends`` begins as where each group begins."""
    for i in range(len(groups)):
        group = groups[i]
        order[ends[group]] = i
        ends[group] += 1


def by_group(groups: NDArray[np.integer[Any]], number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an order that puts members of the same group (from 0, below ``number``) together, as they come.

    With it come the bounds of each group in that order, one more than there are groups.
    """
    groups = groups.astype(np.int64)
    bounds = np.zeros(number + 1, np.int64)
    np.cumsum(np.bincount(groups, minlength=number), out=bounds[1:])
    order = np.empty(len(groups), np.int64)
    _group(groups, bounds[:-1].copy(), order)
    return order, bounds


def numbered(hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
    """Return the distinct addresses (halves) in order, and the number of each one given among them, from 0."""
    highs, of_high = np.unique(hi, return_inverse=True)
    lows, of_low = np.unique(lo, return_inverse=True)
    found, number = np.unique(of_high.astype(np.int64) * len(lows) + of_low, return_inverse=True)
    return list(zip(highs[found // len(lows)].tolist(), lows[found % len(lows)].tolist(), strict=True)), number


def _zeros(size: int) -> mmap.mmap:
    """Return so many bytes of private memory; a shared mapping could not grow (mremap(2))."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def newest(parts: list[Rows], most: int) -> list[Rows]:
    """Return the last ``most`` rows of some parts, as one part that shares nothing with them."""
    return [np.concatenate(parts)[-most:].copy()] if parts else []


class Table:
    """Rows of one dtype, all zero until written; ``rows`` has room for more than ``used``.

    ``rows`` is replaced when the table grows: take it anew after ``reserve``.
    """

    def __init__(self, dtype: np.dtype[np.void], room: int = 1024) -> None:
        self.dtype = dtype
        self.used = 0
        self._memory = _zeros(max(room, 1) * dtype.itemsize)
        self.rows: Rows = self._view()

    def _view(self) -> Rows:
        """Return the whole memory as rows."""
        return np.frombuffer(self._memory, self.dtype, len(self._memory) // self.dtype.itemsize)

    def reserve(self, more: int) -> None:
        """Make room for ``more`` rows behind those in use, at least doubling."""
        if self.used + more <= len(self.rows):
            return
        size = max(2 * len(self.rows), self.used + more) * self.dtype.itemsize
        del self.rows
        try:
            self._memory.resize(size)
        except (BufferError, SystemError, OSError):  # somebody holds a view, or the system has no mremap
            before, self._memory = self._view(), _zeros(size)
            self._view()[: self.used] = before[: self.used]
        self.rows = self._view()

    @property
    def filled(self) -> Rows:
        """The rows in use, as a view that is valid until the table grows."""
        return self.rows[: self.used]

    def append(self, rows: Rows) -> None:
        """Add rows behind those in use."""
        self.reserve(len(rows))
        self.rows[self.used : self.used + len(rows)] = rows
        self.used += len(rows)
