"""The keepalive settings of a socket that another process holds: borrowed for a moment, read, given back.

``pidfd_open`` (Linux 5.3), ``pidfd_getfd`` (5.6), ``getsockopt``, ``close``. The copy shares the open file with its
owner: nothing but ``getsockopt`` is ever done to it, no flag, no option, no shutdown. Linux asks for the right to
trace the process (``PTRACE_MODE_ATTACH_REALCREDS``); nothing is traced or stopped.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Self

from kacap.sockets.processes import Holder

_SYS_PIDFD_GETFD = 438  # the same on every architecture
CLOSED = "closed while it was read"
RIGHTS = "needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, as root has"


@dataclass(frozen=True, slots=True)
class Values:
    """What ``getsockopt`` returns: seconds, seconds, probes, milliseconds (0: none)."""

    keepalive: bool
    idle: int
    interval: int
    count: int
    user_timeout_ms: int


class UnreadableError(Exception):
    """Why the settings of one socket cannot be read, in words that a row can show."""


class Borrower:
    """Reads sockets of other processes; keeps one pidfd for each process until it is closed."""

    def __init__(self) -> None:
        self._pidfds: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pidfd in self._pidfds.values():
            os.close(pidfd)
        self._pidfds.clear()

    def read(self, holder: Holder, inode: int, family: int) -> Values:
        """Return the settings of the socket ``inode`` that ``holder`` has open.

        Raises ``UnreadableError`` without the right, and when process or file are gone or have become another.
        """
        try:
            fd = self._copy(holder)
        except OSError as error:
            raise UnreadableError(_reason(error, holder)) from error
        if os.fstat(fd).st_ino != inode:  # the number was closed and used again since the scan
            os.close(fd)
            raise UnreadableError(CLOSED)
        return _values(fd, family)

    def _copy(self, holder: Holder) -> int:
        """Return a copy of the holder's file descriptor; it is close-on-exec from birth."""
        if holder.pid not in self._pidfds:
            self._pidfds[holder.pid] = os.pidfd_open(holder.pid)
        pidfd = self._pidfds[holder.pid]
        if native := getattr(os, "pidfd_getfd", None):
            return int(native(pidfd, holder.fd))
        fd: int = _syscall()(_SYS_PIDFD_GETFD, pidfd, holder.fd, 0)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return fd


@cache
def _syscall() -> Callable[[int, int, int, int], int]:
    """Return libc's syscall(2), for a Python without ``os.pidfd_getfd``."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.argtypes, call.restype = [ctypes.c_long] * 4, ctypes.c_long
    return call


def _values(fd: int, family: int) -> Values:
    """Read and close ``fd``."""
    # A kind that says SOCK_NONBLOCK keeps Python from setting that flag itself, which it does, on the file that the
    # owner shares, once a default timeout is set. No call is made here but getsockopt and close.
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    with socket.socket(family, kind, socket.IPPROTO_TCP, fileno=fd) as borrowed:
        ask = borrowed.getsockopt
        tcp = socket.IPPROTO_TCP
        return Values(
            bool(ask(socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
            ask(tcp, socket.TCP_KEEPIDLE),
            ask(tcp, socket.TCP_KEEPINTVL),
            ask(tcp, socket.TCP_KEEPCNT),
            ask(tcp, socket.TCP_USER_TIMEOUT),
        )


def _reason(error: OSError, holder: Holder) -> str:
    """Return why a socket could not be borrowed."""
    if error.errno in (errno.ESRCH, errno.EBADF):
        return CLOSED
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"no permission: process {holder.pid} may not be traced (other user, Yama or seccomp); {RIGHTS}"
    if error.errno == errno.ENOSYS:
        return "this kernel has no pidfd_getfd: Linux 5.6 brought it"
    return f"pidfd_getfd: {os.strerror(error.errno or 0)}"
