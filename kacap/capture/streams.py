"""Where bytes come from: a file, a file that is still growing, or standard input."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kacap.errors import CaptureError

POLL_SECONDS = 0.05  # how often a file that is still growing is looked at


class FileStream:
    """A regular file, or a pipe."""

    def __init__(self, file: Any, close: bool = True):
        """Read from ``file``, an open binary file; ``close`` False leaves it open (standard input)."""
        self._file, self._close = file, close
        self._read = getattr(file, "readinto1", file.readinto)  # what is there now, without waiting for more

    def readinto(self, view: memoryview) -> int:
        """Read some bytes into ``view``; 0 at the end."""
        return self._read(view) or 0

    def fileno(self) -> int:
        """Return the file's descriptor."""
        return int(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._close:
            self._file.close()


class GrowingStream(FileStream):
    """A file that someone else is writing: its end is waited at until ``stop`` says that it is the end."""

    def __init__(self, file: Any, stop: Callable[[], bool]):
        """Follow ``file``; ``stop`` is asked while waiting."""
        super().__init__(file)
        self._stop = stop

    def readinto(self, view: memoryview) -> int:
        """Read some bytes into ``view``, waiting for them; 0 when asked to stop."""
        while (got := super().readinto(view)) == 0 and not self._stop():
            time.sleep(POLL_SECONDS)
        return got


def open_stream(name: str, follow: bool, stop: Callable[[], bool]) -> FileStream:
    """Open the file called ``name``, or standard input for ``-``. Raises CaptureError saying why not."""
    if name == "-":
        if sys.stdin is None:
            raise CaptureError("-: standard input is closed; pipe a capture into it")
        return FileStream(sys.stdin.buffer, close=False)
    try:
        file = Path(name).open("rb", buffering=0)  # noqa: SIM115 (the stream closes it)
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
    return GrowingStream(file, stop) if follow else FileStream(file)
