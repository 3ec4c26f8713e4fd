"""Frames of several files in time order, with memory for a block of each file that is open at the moment.

A file is opened when the others reach its first frame, so that rotated files are read one after the other,
and closed at its end. Files that overlap are merged up to a horizon: the smallest last time of the batches at hand,
up to which no file can come with anything new. Frames of one file keep their order, whatever their times say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kacap.capture.frames import FrameBatch
from kacap.capture.records import RecordReader
from kacap.rows import copied, joined, newest_up_to

EARLIEST = int(np.iinfo(np.int64).min)

# Of a frame in the merged order: its time (never less than that of the frames before it in its file), its file's index.
Position = tuple[int, int]


@dataclass(slots=True)
class Waiting:
    """A file that is not open yet: the time of its first frame, and how to open it."""

    first_ns: int
    index: int
    open: Callable[[], RecordReader | None]


@dataclass(slots=True)
class Extent:
    """What was read of one file, in nanoseconds: its first and last frame, the longest silence between two."""

    first_ns: int
    last_ns: int
    silence_ns: int = 0

    def take(self, keys: NDArray[np.int64]) -> None:
        """Take the times of more frames, none of them below that of one before."""
        self.silence_ns = max(self.silence_ns, int(keys[0]) - self.last_ns, int(np.diff(keys).max(initial=0)))
        self.last_ns = int(keys[-1])


class FileCursor:
    """The frames of one open file that have not been handed out."""

    def __init__(self, reader: RecordReader, extents: dict[int, Extent] | None = None):
        """Take ``reader``'s first batch; ``extents``, by file, takes what is read of it."""
        self.index = reader.index
        self._reader, self._batches, self._extents = reader, reader.batches(), extents
        self._latest = np.iinfo(np.int64).min
        self.alive = self.advance()

    def advance(self) -> bool:
        """Fetch the next batch; return False, with the file closed, at the end."""
        batch = next(self._batches, None)
        if batch is None:
            self._reader.close()
            self.alive = False
            return False
        self._buffer, self._frames = batch.buffer, batch.frames
        # Sorting by the running maximum keeps a file's own order where its clock was set back.
        self._keys = newest_up_to(batch.frames["time_ns"], self._latest)
        self._latest = int(self._keys[-1])
        if self._extents is not None:
            first_ns = int(self._keys[0])
            self._extents.setdefault(self.index, Extent(first_ns, first_ns)).take(self._keys)
        return True

    @property
    def last(self) -> Position:
        """The position of the last frame at hand."""
        return int(self._keys[-1]), self.index

    def take(self, horizon: Position) -> tuple[FrameBatch, NDArray[np.int64]]:
        """Hand out the frames up to and including ``horizon``, with their keys."""
        side = "right" if self.index <= horizon[1] else "left"
        count = int(np.searchsorted(self._keys, horizon[0], side))  # type: ignore[call-overload]
        taken, keys = FrameBatch(self._buffer, self._frames[:count]), self._keys[:count]
        self._frames, self._keys = self._frames[count:], self._keys[count:]
        return taken, keys

    @property
    def spent(self) -> bool:
        """Whether everything at hand was handed out."""
        return len(self._frames) == 0


def merge(waiting: list[Waiting], extents: dict[int, Extent] | None = None) -> Iterator[FrameBatch]:
    """Yield the frames of all files in time order: by time, then file, then position in the file.

    ``extents``, by file, takes what has been read of each.
    """
    waiting = sorted(waiting, key=lambda file: (file.first_ns, file.index))
    cursors: list[FileCursor] = []
    while cursors or waiting:
        last = min((cursor.last for cursor in cursors), default=None)
        if last is None or (waiting and (waiting[0].first_ns, waiting[0].index) <= last):
            _open(waiting.pop(0), cursors, extents)
            continue
        yield _interleave([cursor.take(last) for cursor in cursors])
        for cursor in cursors:
            if cursor.spent:
                cursor.advance()
        cursors = [cursor for cursor in cursors if cursor.alive]


def _open(file: Waiting, cursors: list[FileCursor], extents: dict[int, Extent] | None) -> None:
    """Add ``file`` to the open ones, unless it holds no frame."""
    reader = file.open()
    if reader is not None:
        cursor = FileCursor(reader, extents)
        if cursor.alive:
            cursors.append(cursor)


def _interleave(parts: list[tuple[FrameBatch, NDArray[np.int64]]]) -> FrameBatch:
    """Join the parts into one batch, ordered by key, then file, then position."""
    parts = [part for part in parts if len(part[0].frames)]
    if len(parts) == 1:
        return parts[0][0]
    pieces, rows, base = [], [], 0
    for batch, _ in parts:
        frames = copied(batch.frames)
        first = int(frames["offset"][0])
        piece = batch.buffer[first : int(frames["offset"][-1]) + int(frames["captured_len"][-1])]
        frames["offset"] += base - first
        pieces.append(piece)
        rows.append(frames)
        base += len(piece)
    frames = joined(rows)
    order = np.lexsort((frames["file"], np.concatenate([keys for _, keys in parts])))
    return FrameBatch(np.concatenate(pieces), frames.take(order))
