"""tshark on this machine: where it is, which version, how it is started, and what it says when it fails."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import IO, Protocol, TypeVar

from kacap.errors import CaptureError
from kacap.trusted import find_program, plain_environment
from kacap.units import clean

HOW_TO_GET = "install it: apt install tshark, dnf install wireshark-cli, brew install wireshark"
Result = TypeVar("Result")
OLDEST = "3.0"  # it knows every field that is asked for


class NoTsharkError(CaptureError):
    """tshark, or what drives it, is not on this machine; the message says which and how to get it."""


@dataclass(frozen=True, slots=True)
class Program:
    """The tshark that was found."""

    path: str
    version: str


@cache
def find() -> Program:
    """Return tshark, from a directory that no other user can write to. Raises NoTsharkError."""
    path = find_program("tshark")
    if path is None:
        raise NoTsharkError(f"tshark is not found where only you and root can write; {HOW_TO_GET}")
    try:
        import pyshark.tshark.tshark as theirs
        from packaging.version import parse
    except Exception as error:  # whatever keeps pyshark from being imported on this Python
        raise NoTsharkError(f"pyshark, which drives tshark, cannot be used ({error}); pip install pyshark") from None
    try:
        version = _without_configuration(theirs, lambda: theirs.get_tshark_version(path))
    except Exception as error:
        raise NoTsharkError(f"{path} does not tell its version ({error}); {HOW_TO_GET}") from None
    if version < parse(OLDEST):
        raise NoTsharkError(f"{path} is version {version}, and {OLDEST} or newer is needed; {HOW_TO_GET}")
    return Program(path, str(version))


class _Configurable(Protocol):
    """pyshark's module that starts tshark."""

    get_config: Callable[[], object]


def _without_configuration(theirs: _Configurable, work: Callable[[], Result]) -> Result:
    """Return ``work()``, while pyshark reads no config.ini: that of the current directory may be anybody's."""
    before = theirs.get_config
    theirs.get_config = lambda: None
    try:
        return work()
    finally:
        theirs.get_config = before


class Running:
    """A tshark process. ``stdin`` takes what is written to it, ``stdout`` gives its lines or bytes."""

    def __init__(self, words: Sequence[str], *, feed: bool = False) -> None:
        """Start tshark with ``words``; with ``feed`` a capture is written to it. Raises NoTsharkError, CaptureError."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        source = subprocess.PIPE if feed else subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(
                [find().path, *words],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=1 << 20,
                env=plain_environment(),
            )
        except OSError as error:
            self._errors.close()
            raise NoTsharkError(f"{find().path} cannot be started: {error.strerror}; {HOW_TO_GET}") from None
        except BaseException:
            self._errors.close()
            raise

    @property
    def stdin(self) -> IO[bytes]:
        """Where a capture is written to."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """What tshark writes."""
        assert self.process.stdout is not None
        return self.process.stdout

    def failure(self) -> str:
        """Wait for the end; return what tshark said against the capture, empty when it was content."""
        if self.process.wait() == 0:
            return ""
        self._errors.seek(0)
        said = [line.removeprefix("tshark: ") for line in self._errors.read().decode(errors="replace").splitlines()]
        lines = [line for line in said if line and not line.startswith(("Running as user", " **", "(tshark:"))]
        return " ".join(lines) or f"it ended with {self.process.returncode}"

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            if stream is not None:
                _close(stream)


def _close(stream: IO[bytes]) -> None:
    """Close a stream whose other end may be gone, with bytes still in it."""
    with suppress(OSError):
        stream.close()


@cache
def tell(what: str) -> None:
    """Write one line on stderr, once."""
    sys.stderr.write(f"kacap: {clean(what)}\n")
