"""Work inside another network namespace (setns(2), ip-netns(8)): in a thread that ends there, so nothing is restored.

A namespace is given by the path of its file, by a name, or by the id of a process in it. As in iproute2's ``ip link set
... netns``, a number is a name where ``ip netns`` knows a namespace of that name, else a process id.
"""

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
_NAMED, _PROCESSES = Path("/run/netns"), Path("/proc")


def path_of(netns: str | int) -> Path:
    """Return the namespace's file; an ``int`` is a process id. Raises ``KacapError`` if it does not exist."""
    text, path = str(netns), name_of(netns)
    path = path / "ns" / "net" if path.parent == _PROCESSES else path
    try:
        path.stat()
    except PermissionError as error:
        raise _denied(text) from error
    except OSError as error:
        what = "process, and no namespace of that name" if text.isdecimal() else "network namespace"
        names = ", ".join(sorted(file.name for file in _NAMED.iterdir())) if _NAMED.is_dir() else ""
        raise KacapError(f"--netns {text}: no such {what}; named ones: {names or 'none'}") from error
    return path


def name_of(netns: str | int) -> Path:
    """Return what a namespace is called by: its file, or the directory of its process; it may not exist."""
    text = str(netns)
    path = Path(text) if "/" in text else _NAMED / text
    return _PROCESSES / text if isinstance(netns, int) or (text.isdecimal() and not path.exists()) else path


def inside(netns: str | int | None, work: Callable[[], T]) -> T:
    """Return ``work()``, done in a network namespace (None: right here); what it raises is raised here.

    Sockets and processes that ``work`` opens stay in that namespace, and /proc/sys/net shows its settings. Needs
    CAP_SYS_ADMIN; raises ``KacapError`` without, and for a namespace that does not exist.
    """
    if netns is None:
        return work()
    results, errors = list[T](), list[BaseException]()

    def enter_and_work() -> None:
        try:
            enter(netns)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter_and_work, name="kacap-netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def of_process(pid: int) -> int | None:
    """Return ``pid`` if that process is in another network namespace than this one, for ``inside``; else None.

    None as well where /proc does not show it. Raises ``KacapError`` when there is no such process.
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
    path, text, libc = path_of(netns), str(netns), ctypes.CDLL(None, use_errno=True)
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise _denied(text) from error
    try:
        if libc.setns(file, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise _denied(text) if code in (1, 13) else KacapError(f"--netns {text}: {os.strerror(code)}")
    finally:
        os.close(file)


def _denied(text: str) -> KacapError:
    needs = "needs CAP_SYS_ADMIN, and for a process CAP_SYS_PTRACE, as root has"
    return KacapError(f"--netns {text}: no permission to enter it: {needs}")
