"""A stream of bytes seen through a buffer: the unread tail moves to the front, what follows is read behind it.

Memory stays the size of a few blocks, whatever the size of the file: those that a batch under way refers to stay as
they are, and are used again after that. Of a record larger than a block a reader may want the beginning alone; else it
takes a block of its own, and the formats bound how large a record may be.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 4 << 20

LEAST_READ = 1 << 16  # bytes, where a block has little room behind what is wanted of a record
KEPT = 2  # batches that were handed out last, whose blocks stay as they are

Block = NDArray[np.uint8]


class StreamDamage(Exception):  # noqa: N818 (it is turned into a Damage, and never reaches a user)
    """The bytes of a compressed or failing stream stop making sense; the message says how."""


class Stream(Protocol):
    """What bytes come from: a file, a pipe, a decompressor."""

    def readinto(self, view: memoryview) -> int:
        """Read some bytes into ``view`` and return how many; 0 at the end. Raises StreamDamage."""

    def close(self) -> None:
        """Let go of the file."""


class Blocks:
    """Memory that windows use again, as the system has mapped it already; what was handed out last stays as it is.

    Larger blocks, of which few can be held, are not used again: each belongs to who has its frames.
    """

    def __init__(self) -> None:
        self._free: list[Block] = []
        self._out: deque[Block] = deque(maxlen=KEPT)

    def hand_out(self, block: Block) -> None:
        """Let a block stay as it is until ``KEPT`` more have been handed out, itself perhaps."""
        if len(block) == BLOCK_BYTES:
            self._out.append(block)

    def is_out(self, block: Block) -> bool:
        """Return whether a block has to stay as it is."""
        return len(block) != BLOCK_BYTES or any(block is each for each in self._out)

    def take(self, size: int) -> Block:
        """Return a block of at least so many bytes, whatever is in it."""
        for place, block in enumerate(self._free):
            if len(block) >= size and not self.is_out(block):
                return self._free.pop(place)
        return np.empty(size, np.uint8)

    def leave(self, block: Block) -> None:
        """Take a block back that a window has no more use for."""
        if len(block) == BLOCK_BYTES and len(self._free) <= KEPT:
            self._free.append(block)


class Window:
    """The unread part of a stream: ``buffer[start:end]``; byte ``buffer[0]`` is byte ``base`` of the stream."""

    def __init__(self, stream: Stream, head: bytes = b"", size: int = BLOCK_BYTES, blocks: Blocks | None = None):
        """Look at ``stream`` from its beginning, in one of ``blocks``; its first bytes ``head`` were already read."""
        self.stream, self._size, self._blocks = stream, size, blocks or Blocks()
        self.buffer: Block = self._blocks.take(max(size, len(head)))
        self.buffer[: len(head)] = np.frombuffer(head, np.uint8)
        self.start, self.end, self.base = 0, len(head), 0
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
        """Close the stream; leave the buffer to others, or to the system."""
        self.stream.close()
        self._blocks.leave(self.buffer)
        self.buffer = np.empty(0, np.uint8)

    def _make_room(self, need: int) -> None:
        """Move the unread bytes to the front; of another buffer where this is too small, or has to stay as it is."""
        if self.end - self.start >= need:
            return
        before, unread = self.buffer, self.buffer[self.start : self.end]
        if need > len(before) or self._blocks.is_out(before):
            self.buffer = self._blocks.take(max(need, self._size))
            self._blocks.leave(before)
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
            self.fault = f"reading failed: {error.strerror or error}"
        return 0
