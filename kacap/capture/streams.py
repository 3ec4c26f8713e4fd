"""Where bytes come from: a file, a file that is still growing, or standard input."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from kacap.capture.blocks import StreamDamage
from kacap.errors import CaptureError

POLL_SECONDS = 0.05  # how often a file that is still growing is looked at


class Readable(Protocol):
    """An open binary file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read some bytes; None where none are there yet."""
        ...

    def fileno(self) -> int:
        """Return the descriptor."""
        ...

    def close(self) -> None:
        """Close it."""


class FileStream:
    """A regular file, or a pipe."""

    def __init__(self, file: Readable, close: bool = True):
        """Read from ``file``, an open binary file; ``close`` False leaves it open (standard input)."""
        self._file, self._close = file, close
        self.taken = 0  # bytes read so far
        self._read = getattr(file, "readinto1", file.readinto)  # what is there now, without waiting for more

    def readinto(self, view: memoryview) -> int:
        """Read some bytes into ``view``; 0 at the end."""
        got = self._read(view) or 0
        self.taken += got
        return got

    def fileno(self) -> int:
        """Return the file's descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        if self._close:
            self._file.close()


class GrowingStream(FileStream):
    """A file that someone else is writing: its end is waited at until ``stop`` says that it is the end."""

    def __init__(self, file: Readable, name: str, stop: Callable[[], bool]):
        """Follow ``file``, called ``name``; ``stop`` is asked while waiting."""
        super().__init__(file)
        self._name, self._stop, self._at = Path(name), stop, 0

    def readinto(self, view: memoryview) -> int:
        """Read some bytes into ``view``, waiting for them; 0 when asked to stop.

        Raises StreamDamage when no more can come: the file was cut, taken away, or another one took its place.
        """
        while not self._stop():
            fate = self._fate()  # before the look for more: what came before it was taken away is read to its end
            if got := super().readinto(view):
                self._at += got
                return got
            if fate:
                raise StreamDamage(f"{fate}; what was there until then is all that was followed")
            time.sleep(POLL_SECONDS)
        return super().readinto(view)

    def _fate(self) -> str:
        """Return what has befallen the file; empty while more can come."""
        mine = os.fstat(self.fileno())
        if not stat.S_ISREG(mine.st_mode):
            return ""
        if mine.st_size < self._at:
            return "the file was cut to less than had been read of it"
        try:
            there = self._name.stat()
        except OSError:
            return "the file was deleted, or renamed"
        return "" if os.path.samestat(mine, there) else "another file has taken its name"


def open_stream(name: str, follow: bool, stop: Callable[[], bool]) -> FileStream:
    """Open the file called ``name``, or standard input for ``-``. Raises CaptureError saying why not."""
    if name == "-":
        if sys.stdin is None:
            raise CaptureError("-: standard input is closed; pipe a capture into it")
        # What Python has buffered it hands out only with what comes next: a pipe is read without a buffer.
        unbuffered = getattr(sys.stdin.buffer, "raw", None) or sys.stdin.buffer
        return FileStream(unbuffered, close=False)  # type: ignore[arg-type]
    try:
        file = open(name, "rb", buffering=0)  # noqa: PTH123, SIM115 (the stream closes it; a Path takes longer)
    except FileNotFoundError:
        raise CaptureError(f"{name}: no such file; check the path") from None
    except IsADirectoryError:
        raise CaptureError(
            f"{name}: is a directory; name the captures in it, as in '{name.rstrip('/')}/*.pcap*'"
        ) from None
    except PermissionError:
        raise CaptureError(f"{name}: permission denied; ask its owner for read access, or use sudo") from None
    except (OSError, ValueError) as error:
        raise CaptureError(f"{name}: cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    return GrowingStream(file, name, stop) if follow else FileStream(file)
