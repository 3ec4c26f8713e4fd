"""Tables that grow in place: structured arrays over anonymous memory, enlarged without a copy where the system can.

An untouched page of such a table takes no memory, so that room for later rows costs nothing until they are written.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from inspect import unwrap
from typing import Annotated, NamedTuple, TypeAlias, get_type_hints

import numpy as np
from numpy.typing import NDArray

from kacap.kernels import Row, entry

Rows = NDArray[np.void]
KEPT_AT_ONCE = 4096  # rows
AT_ONCE = 256  # objects that are made together: in a third of the time of one after the other
FEW = 16  # rows of chains: up to so many are followed sooner by Python than a kernel is called

# A field of a row, as Python and its type checker see it, and as it lies in memory.
I8: TypeAlias = Annotated[int, "<i8"]
I4: TypeAlias = Annotated[int, "<i4"]
I2: TypeAlias = Annotated[int, "<i2"]
I1: TypeAlias = Annotated[int, "i1"]
U8: TypeAlias = Annotated[int, "<u8"]
U4: TypeAlias = Annotated[int, "<u4"]
U2: TypeAlias = Annotated[int, "<u2"]
U1: TypeAlias = Annotated[int, "u1"]


def dtype_of(row: type[NamedTuple]) -> np.dtype[np.void]:
    """Return the dtype of a table whose rows a NamedTuple declares, of fields such as ``I8``.

    So each field is written once: ``row._make(table[i].item())`` is a view of a row whose types are known.
    """
    fields = get_type_hints(row, include_extras=True)
    return np.dtype([(name, kind.__metadata__[0]) for name, kind in fields.items()], align=True)


@entry
def _follow(previous: Row, lasts: Row, ends: Row, found: Row) -> None:
    """Write the rows that chains lead to, each chain's last before its end in ``found``."""
    first = 0
    for k in range(len(lasts)):
        row = lasts[k]
        for i in range(ends[k] - 1, first - 1, -1):
            found[i] = row
            row = np.int64(previous[row])
        first = ends[k]


def chains(previous: NDArray[np.int32], lasts: NDArray[np.integer], numbers: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the last so many rows of chains, each in order and one after the other."""
    if (numbers == 1).all():  # as most are
        return lasts.astype(np.int64)
    ends = np.cumsum(numbers, dtype=np.int64)
    found = np.zeros(int(ends[-1]) if len(ends) else 0, np.int64)
    follow = _follow if len(found) > FEW else unwrap(_follow)
    follow(previous, lasts.astype(np.int64), ends, found)
    return found


def chain(previous: NDArray[np.int32], last: int, number: int) -> NDArray[np.int64]:
    """Return the last ``number`` rows of a chain in order, where ``previous`` names the row before each."""
    return chains(previous, np.array([last]), np.array([number]))


@entry
def _group(groups: Row, ends: Row, order: Row) -> None:
    """Write the positions of each group's members behind one another; ``ends`` begins as where each group begins."""
    for i in range(len(groups)):
        group = groups[i]
        order[ends[group]] = i
        ends[group] += 1


def by_group(groups: NDArray[np.integer], number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an order that puts members of the same group (from 0, below ``number``) together, as they come.

    With it come the bounds of each group in that order, one more than there are groups.
    """
    groups = groups.astype(np.int64)
    bounds = np.zeros(number + 1, np.int64)
    np.cumsum(np.bincount(groups, minlength=number), out=bounds[1:])
    order = np.empty(len(groups), np.int64)
    _group(groups, bounds[:-1].copy(), order)
    return order, bounds


def in_order(numbers: NDArray[np.integer]) -> NDArray[np.intp] | None:
    """Return the order that sorts numbers, None where they are sorted, as serial numbers mostly are."""
    known = numbers.astype(np.int64)
    return np.argsort(known, kind="stable") if (np.diff(known) < 0).any() else None


def newest_up_to(times: NDArray[np.int64], latest: int) -> NDArray[np.int64]:
    """Return for each time the newest up to it, ``latest`` before all of them, one behind the other in memory.

    Most are in order: to see that takes a tenth of the time that a running maximum takes.
    """
    times = np.ascontiguousarray(times)
    if len(times) and times[0] >= latest and (times[1:] >= times[:-1]).all():
        return times
    newest: NDArray[np.int64] = np.maximum(np.maximum.accumulate(times), latest)
    return newest


def numbered(hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
    """Return the distinct addresses (halves) in order, and the number of each one given among them, from 0."""
    lows, of_low = np.unique(lo, return_inverse=True)
    if (hi == hi[:1]).all():  # as in IPv4
        return [(high, low) for high in hi[:1].tolist() for low in lows.tolist()], of_low
    highs, of_high = np.unique(hi, return_inverse=True)
    found, number = np.unique(of_high.astype(np.int64) * len(lows) + of_low, return_inverse=True)
    return list(zip(highs[found // len(lows)].tolist(), lows[found % len(lows)].tolist(), strict=True)), number


def plain(rows: Rows) -> Rows:
    """Return the same rows without their fields, which NumPy copies one after the other, twenty times as slowly."""
    return rows.view(np.dtype((np.void, rows.itemsize)))


def copied(rows: Rows) -> Rows:
    """Return a copy of rows."""
    return plain(rows).copy().view(rows.dtype)


def clear(rows: Rows) -> None:
    """Let rows that lie behind one another be all zero."""
    rows.view(np.uint8)[:] = 0


def joined(parts: Sequence[Rows]) -> Rows:
    """Return rows of one dtype, at least of one part, one part after the other; no copy where they lie so already."""
    if len(parts) == 1:
        return parts[0]
    whole, starts = parts[0].base, [part.ctypes.data for part in parts]
    ends = [start + part.nbytes for start, part in zip(starts, parts, strict=True)]
    alike = all(part.base is whole and part.flags.c_contiguous for part in parts)
    if isinstance(whole, np.ndarray) and alike and starts[1:] == ends[:-1]:
        first = starts[0] - whole.ctypes.data
        return whole.view(np.uint8)[first : first + ends[-1] - starts[0]].view(parts[0].dtype)
    return np.concatenate([plain(part) for part in parts]).view(parts[0].dtype)


def _zeros(size: int) -> mmap.mmap:
    """Return so many bytes of private memory; a shared mapping could not grow (mremap(2))."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def keep(rows: Rows, kept: NDArray[np.intp]) -> None:
    """Put the ``kept`` rows, numbers in order, in front of all others, some at a time: a copy of all is too large."""
    for start in range(0, len(kept), KEPT_AT_ONCE):
        some = kept[start : start + KEPT_AT_ONCE]
        plain(rows)[start : start + len(some)] = plain(rows.take(some, axis=0))


def newest(parts: list[Rows], most: int) -> list[Rows]:
    """Return the last ``most`` rows of some parts, as one part that shares nothing with them."""
    return [copied(joined(parts)[-most:])] if parts else []


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
            plain(self._view())[: self.used] = plain(before[: self.used])
        self.rows = self._view()

    def replace(self, rows: Rows) -> None:
        """Hold these rows instead, as many as there were or fewer; all behind them are zero again."""
        plain(self.rows)[: len(rows)] = plain(rows.astype(self.dtype, copy=False))
        clear(self.rows[len(rows) : self.used])
        self.used = len(rows)

    @property
    def filled(self) -> Rows:
        """The rows in use, as a view that is valid until the table grows."""
        return self.rows[: self.used]

    def append(self, rows: Rows) -> None:
        """Add rows behind those in use."""
        self.reserve(len(rows))
        plain(self.rows)[self.used : self.used + len(rows)] = plain(rows.astype(self.dtype, copy=False))
        self.used += len(rows)


def in_parts(places: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield so many of them at a time as are made together."""
    return (places[start : start + AT_ONCE] for start in range(0, len(places), AT_ONCE))
