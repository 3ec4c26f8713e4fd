"""The files that kacap writes, all in one place: what a path leads to decides how it is written.

A regular file, or none yet, is written aside and put in its place in one step: whoever looks sees the old one or the
whole new one, and a failure leaves nothing. A device, a pipe and a link are written through, as every program does.
What belongs to another user in a directory that everybody can write to is not touched, and never what is being read.
"""

from __future__ import annotations

import os
import secrets
import signal
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kacap.errors import KacapError, UsageError

STDOUT = "-"
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM") if hasattr(signal, name)]
_WRITE = os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class OutputError(KacapError):
    """What was begun cannot be written to its end: the disk is full, or fails."""


@contextmanager
def output(path: str | Path, inputs: Iterable[str] = ()) -> Iterator[BinaryIO]:
    """Yield a file that becomes ``path`` (``-``: standard output) when the block ends well.

    Raises UsageError where nothing can be written at ``path``, or it is one of ``inputs``; OutputError where the
    writing fails. A reader of standard output that goes away raises BrokenPipeError.
    """
    check(path, inputs)
    try:
        with _opened(path) as out:
            yield out
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{_named(path)}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """Yield the file to write to. Raises OSError."""
    if path == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    found = _look(target)
    if found is None or stat.S_ISREG(found.st_mode):
        with _aside(target, found) as out:
            yield out
    else:
        with os.fdopen(os.open(target, _WRITE | _truncating(target), 0o666), "wb") as out:
            yield out


@contextmanager
def _aside(target: Path, before: os.stat_result | None) -> Iterator[BinaryIO]:
    """Yield a new file beside ``target`` that takes its place when the block ends well, with the old one's mode."""
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}~")
    made = False
    try:
        with _uninterrupted():
            file = os.open(beside, _WRITE | os.O_CREAT | os.O_EXCL, 0o666 if before is None else 0o600)
            made = True
        with os.fdopen(file, "wb") as out:
            if before is not None and hasattr(os, "fchmod"):
                with suppress(PermissionError):
                    os.fchown(out.fileno(), before.st_uid, before.st_gid)
                os.fchmod(out.fileno(), stat.S_IMODE(before.st_mode))
            yield out
            out.flush()
            os.fsync(out.fileno())  # what is found after a power cut is whole, too
        with _uninterrupted():
            beside.replace(target)
            made = False
    finally:
        with _uninterrupted():
            if made:
                with suppress(OSError):
                    beside.unlink()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let signals that end kacap wait until the block has ended."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check(path: str | Path, inputs: Iterable[str] = ()) -> None:
    """Raise UsageError, before anything is read, where ``path`` cannot be written or is one of the files ``inputs``."""
    refuse_inputs(path, inputs)
    if path == STDOUT:
        return
    target = Path(path)
    try:
        found = _look(target)
        if found is None or stat.S_ISREG(found.st_mode):
            target.parent.stat()
            needed = [(target.parent, os.W_OK | os.X_OK), *([] if found is None else [(target, os.W_OK)])]
        elif stat.S_ISDIR(target.stat().st_mode if target.exists() else 0):
            raise IsADirectoryError(None, "is a directory")
        else:
            needed = [(target, os.W_OK)] if target.exists() else []
        for each, right in needed:
            if not os.access(each, right):
                raise PermissionError(None, "no permission to write" + (f" in {each}" if each != target else ""))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{_named(path)}: cannot be written: {why}") from error


def refuse_inputs(path: str | Path, inputs: Iterable[str]) -> None:
    """Raise UsageError where what is written is a file that is read, whatever the two are called."""
    with suppress(OSError, ValueError):
        written = os.fstat(sys.stdout.fileno()) if path == STDOUT else Path(path).stat()
        for name in inputs:
            with suppress(OSError, ValueError):
                read = os.fstat(sys.stdin.fileno()) if name == "-" else Path(name).stat()
                if stat.S_ISREG(read.st_mode) and os.path.samestat(read, written):
                    raise UsageError(f"{_named(path)}: output would overwrite the input; name another file")


def _look(target: Path) -> os.stat_result | None:
    """Return what is at ``target``, a link itself; None: nothing. Raises UsageError for another user's in /tmp."""
    try:
        found = target.lstat()
    except FileNotFoundError:
        return None
    above = target.parent.stat()
    shared = above.st_mode & stat.S_ISVTX and above.st_mode & (stat.S_IWOTH | stat.S_IWGRP)
    if shared and os.name == "posix" and found.st_uid not in (os.geteuid(), above.st_uid):
        what = "a link" if stat.S_ISLNK(found.st_mode) else "a file"
        raise UsageError(f"{_named(target)}: is {what} of another user in a directory that everybody can write to")
    return found


def create(name: str) -> int:
    """Return a descriptor of a file that grows in the open, as a capture does: made for this user alone (0600).

    One that is there is begun anew; a device, a pipe or a link is written through. Raises OSError, and UsageError as
    ``output`` does.
    """
    check(name)
    return os.open(name, _WRITE | _truncating(Path(name)), 0o600)


def _truncating(path: Path) -> int:
    """Return the flags that make a file, or begin it anew; none for a pipe or a device."""
    with suppress(OSError):
        if not stat.S_ISREG(path.stat().st_mode):
            return 0
    return os.O_CREAT | os.O_TRUNC


def _named(path: str | Path) -> str:
    return "standard output" if path == STDOUT else str(path)
