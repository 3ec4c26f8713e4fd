"""Work inside another network namespace: a thread of its own enters it and ends there (setns(2), ip-netns(8))."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kacap.errors import CaptureError, UsageError

T = TypeVar("T")
CLONE_NEWNET = 0x40000000


def namespace_path(name: str) -> Path:
    """Return the file of a network namespace given by name (``ip netns``), pid or path. Raises UsageError."""
    named = Path(name) if "/" in name else Path("/run/netns") / name
    if named.exists():
        return named
    if name.isdecimal():
        if not Path("/proc", name).exists():
            raise UsageError(f"--netns {name}: no such process")
        return Path("/proc", name, "ns", "net")
    raise UsageError(f"--netns {name}: no such namespace (ip netns list shows the named ones; a pid will do as well)")


def inside(name: str | None, work: Callable[[], T]) -> T:
    """Return ``work()``, done in the namespace ``name``; sockets and processes that it opens stay there.

    None: right here. Raises what ``work`` raises, and CaptureError where the namespace cannot be entered.
    """
    if name is None:
        return work()
    path = namespace_path(name)
    result: list[T] = []
    failure: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            _enter(path, name)
            result.append(work())
        except BaseException as error:  # raised again below, in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=enter_and_work, name="kacap-netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _enter(path: Path, name: str) -> None:
    """Move this thread into a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        with path.open("rb") as file:
            if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
    except OSError as error:
        raise CaptureError(
            f"--netns {name}: cannot enter the namespace ({error.strerror}); it takes CAP_SYS_ADMIN: "
            "sudo $(command -v kacap) live ..."
        ) from None
