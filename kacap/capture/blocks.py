"""A stream of bytes seen through one reused buffer: the unread tail moves to the front, what follows is read behind it.

Memory stays the size of the buffer, whatever the size of the file; only a record larger than the buffer makes it
grow, and the formats bound how large a record may be.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 4 << 20

Spares = list[NDArray[np.uint8]]


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

    def __init__(self, stream: Stream, head: bytes = b"", size: int = BLOCK_BYTES, spares: Spares | None = None):
        """Look at ``stream`` from its beginning; its first bytes ``head`` were already read.

        ``spares`` are buffers that other windows have no more use for: memory that the system has mapped already.
        """
        self.stream, self._spares = stream, spares
        fits = spares and len(spares[-1]) >= max(size, len(head))
        self.buffer: NDArray[np.uint8] = spares.pop() if spares and fits else np.empty(max(size, len(head)), np.uint8)
        self.buffer[: len(head)] = np.frombuffer(head, np.uint8)
        self.start, self.end, self.base = 0, len(head), 0
        self.fault: str | None = None  # why the stream ended early

    @property
    def unread(self) -> int:
        """Bytes in the buffer that nobody has consumed."""
        return self.end - self.start

    @property
    def offset(self) -> int:
        """Offset in the stream of the next unread byte."""
        return self.base + self.start

    def fill(self, need: int) -> bool:
        """Read on until ``need`` bytes are unread; return False where the stream ends before."""
        self._make_room(need)
        while self.unread < need:
            got = self._read()
            if got == 0:
                return False
            self.end += got
        return True

    def take(self, count: int) -> bytes:
        """Consume and return up to ``count`` bytes; fewer at the end of the stream."""
        self.fill(count)
        taken = self.buffer[self.start : min(self.end, self.start + count)].tobytes()
        self.start += len(taken)
        return taken

    def close(self) -> None:
        """Close the stream; leave the buffer to others, or to the system."""
        self.stream.close()
        if self._spares is not None and not self._spares and len(self.buffer) == BLOCK_BYTES:
            self._spares.append(self.buffer)
        self.buffer = np.empty(0, np.uint8)

    def _make_room(self, need: int) -> None:
        """Move the unread bytes to the front, into a larger buffer if ``need`` asks for one."""
        if self.unread >= need:
            return
        target = self.buffer if need <= len(self.buffer) else np.empty(need, np.uint8)
        target[: self.unread] = self.buffer[self.start : self.end].copy()
        self.buffer, self.base = target, self.base + self.start
        self.start, self.end = 0, self.unread

    def _read(self) -> int:
        """Read once behind the unread bytes; a damaged stream ends here and says why in ``fault``."""
        if self.fault is not None:
            return 0
        try:
            return self.stream.readinto(memoryview(self.buffer.data)[self.end :])
        except StreamDamage as damage:
            self.fault = str(damage)
        except OSError as error:
            self.fault = f"reading failed: {error.strerror or error}"
        return 0
