"""A stream of bytes seen through a buffer: the unread tail moves to the front, what follows is read behind it.

Memory stays the size of a block, whatever the size of the file. Of a record larger than that a reader may want the
beginning alone; else the buffer grows, and the formats bound how large a record may be.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 4 << 20

KEPT = 2  # spares: a file that is compressed is looked at through two windows
LEAST_READ = 1 << 16  # bytes, where a block has little room behind what is wanted of a record
READING_FAILED = "reading failed: "  # what the system's own words follow in ``Window.fault``

Block = NDArray[np.uint8]
Spares = list[Block]  # of BLOCK_BYTES, that windows have no more use for: memory that the system has mapped already


class StreamDamage(Exception):  # noqa: N818 (it is turned into a Damage, and never reaches a user)
    """The bytes of a compressed or failing stream stop making sense; the message says how."""


class Stream(Protocol):
    """What bytes come from: a file, a pipe, a decompressor."""

    def readinto(self, view: memoryview) -> int:
        """Read some bytes into ``view`` and return how many; 0 at the end. Raises StreamDamage."""

    def close(self) -> None:
        """Let go of the file."""


class Window:
    """The unread part of a stream: ``buffer[start:end]``; byte ``buffer[0]`` is byte ``base`` of the stream."""

    def __init__(self, stream: Stream, size: int = BLOCK_BYTES, spares: Spares | None = None):
        """Look at ``stream`` from its beginning, in one of ``spares``."""
        self.stream, self._size, self._spares = stream, size, spares
        self.buffer: Block = spares.pop() if spares and size == BLOCK_BYTES else np.empty(size, np.uint8)
        self.start = self.end = self.base = 0
        self.wanted: int | None = None  # bytes that a reader wants of a record larger than a block; None: all
        self.left_out = 0  # unread bytes that came after these and are not in the buffer
        self.fault: str | None = None  # why the stream ended early

    @property
    def unread(self) -> int:
        """Bytes read from the stream that nobody has consumed."""
        return self.end - self.start + self.left_out

    @property
    def offset(self) -> int:
        """Offset in the stream of the next unread byte."""
        return self.base + self.start

    def fill(self, need: int) -> bool:
        """Read on until ``need`` bytes are unread; return False where the stream ends before.

        Of more than a block only the first ``wanted`` are kept.
        """
        if self.wanted is not None and need > max(self._size, self.wanted):
            return self._fill_begin(need, self.wanted)
        self._make_room(need)
        while self.unread < need:
            got = self._read()
            if got == 0:
                return False
            self.end += got
        return True

    def _fill_begin(self, need: int, wanted: int) -> bool:
        """Read on until ``need`` bytes are unread, of which the first are kept; return False where it ends before."""
        while True:
            beyond = max(self.end - self.start - wanted, 0)
            self.end, self.left_out = self.end - beyond, self.left_out + beyond
            if self.unread >= need:
                return True
            self._make_room(max(self._size, wanted + LEAST_READ))
            got = self._read(need - self.unread)
            if got == 0:
                return False
            self.end += got

    def consume(self, start: int, left_out: int = 0) -> None:
        """Go on at ``buffer[start]``; ``left_out`` tells how many bytes left out are still unread."""
        self.base += self.left_out - left_out
        self.start, self.left_out = start, left_out

    def take(self, count: int) -> bytes:
        """Consume and return up to ``count`` bytes; fewer at the end of the stream."""
        self.fill(count)
        taken = self.buffer[self.start : min(self.end, self.start + count)].tobytes()
        self.start += len(taken)
        return taken

    def close(self) -> None:
        """Close the stream; leave the buffer to whoever opens a window next, or to the system."""
        self.stream.close()
        if self._spares is not None and len(self._spares) < KEPT and len(self.buffer) == BLOCK_BYTES:
            self._spares.append(self.buffer)
        self.buffer = np.empty(0, np.uint8)

    def _make_room(self, need: int) -> None:
        """Move the unread bytes to the front; of another buffer where this is too small, or larger than is needed."""
        if self.end - self.start >= need:
            return
        before, unread = self.buffer, self.buffer[self.start : self.end]
        if len(before) != max(need, self._size):
            self.buffer = np.empty(max(need, self._size), np.uint8)
        self.buffer[: len(unread)] = unread.copy() if self.buffer is before else unread
        self.base += self.start
        self.start, self.end = 0, len(unread)

    def _read(self, most: int | None = None) -> int:
        """Read once behind the unread bytes, ``most`` at most; a damaged stream ends here and says why in ``fault``."""
        if self.fault is not None:
            return 0
        try:
            end = len(self.buffer) if most is None else self.end + most
            return self.stream.readinto(memoryview(self.buffer.data)[self.end : end])
        except StreamDamage as damage:
            self.fault = str(damage)
        except OSError as error:
            self.fault = f"{READING_FAILED}{error.strerror or error}"
        return 0
