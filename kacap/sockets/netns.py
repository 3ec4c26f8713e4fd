"""Work inside another network namespace: in a thread of its own, which ends there, so that nothing must be restored."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kacap.errors import KacapError

T = TypeVar("T")

_CLONE_NEWNET = 0x4000_0000
_NAMED = Path("/run/netns")


def path_of(netns: str | int) -> Path:
    """Return the namespace's file: of a process id, of a name that ``ip netns`` knows, or the path itself.

    Raises ``KacapError`` where there is none.
    """
    words = str(netns)
    path = Path(f"/proc/{words}/ns/net") if words.isdecimal() else _NAMED / words if "/" not in words else Path(words)
    try:
        path.stat()
    except PermissionError as error:
        raise _denied(words) from error
    except OSError as error:
        what = "process" if words.isdecimal() else "network namespace"
        named = ", ".join(sorted(each.name for each in _NAMED.iterdir())) if _NAMED.is_dir() else ""
        raise KacapError(f"--netns {words}: no such {what}; named ones: {named or 'none'}") from error
    return path


def inside(netns: str | int | None, work: Callable[[], T]) -> T:
    """Return what ``work()`` returns in a network namespace (None: right here); what it raises is raised.

    Sockets that ``work`` opens stay in that namespace, and /proc/sys/net shows its settings. Needs CAP_SYS_ADMIN;
    raises ``KacapError`` without, and for a namespace that does not exist.
    """
    if netns is None:
        return work()
    results, errors = list[T](), list[BaseException]()

    def there() -> None:
        try:
            enter(netns)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def of_process(pid: int) -> int | None:
    """Return ``pid`` where it lives in another network namespace than this process, as ``inside`` takes it; else None.

    None as well where that cannot be told. Raises ``KacapError`` when there is no such process.
    """
    if not Path(f"/proc/{pid}").exists():
        raise KacapError(f"no process {pid}")
    try:
        same = os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net")  # noqa: PTH121
    except OSError:
        return None
    return None if same else pid


def enter(netns: str | int) -> None:
    """Move the calling thread into a network namespace (setns(2); Python has it from 3.12). Raises as ``inside``."""
    path, words, libc = path_of(netns), str(netns), ctypes.CDLL(None, use_errno=True)
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise _denied(words) from error
    try:
        if libc.setns(file, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise _denied(words) if code in (1, 13) else KacapError(f"--netns {words}: {os.strerror(code)}")
    finally:
        os.close(file)


def _denied(words: str) -> KacapError:
    needs = "needs CAP_SYS_ADMIN, and for a process CAP_SYS_PTRACE, as root has"
    return KacapError(f"--netns {words}: no permission to enter it: {needs}")
