"""Gives up what was needed to open the device: a reader of hostile packets should be nobody special.

credentials(7), capabilities(7), prctl(2). Python changes the identity of all threads (glibc does); capabilities belong
to the calling thread, so what is kept, only this thread keeps.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from kacap.capture.rights import CAPABILITIES, effective
from kacap.errors import CaptureError, UsageError

# What the reader of other processes' sockets needs (pidfd_getfd, /proc/PID/fd, sock_diag).
FOR_SOCKETS = frozenset({"CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN"})

_PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 8, 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True, slots=True)
class User:
    """Whom to become."""

    name: str
    uid: int
    gid: int
    home: str


def user_named(name: str) -> User:
    """Return a user of this system by name or number. Raises UsageError."""
    import pwd

    try:
        found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"-Z {name}: no such user") from None
    return User(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


def whom_to_become(wanted: str | None) -> User | None:
    """Return the user to go on as: the wanted one, else who called sudo; None: stay.

    Raises UsageError when a wanted user is unknown, or this process is not root and cannot become anybody.
    """
    if wanted is None:
        caller = os.environ.get("SUDO_USER")
        return user_named(caller) if caller and caller != "root" and os.geteuid() == 0 else None
    user = user_named(wanted)
    if user.uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise UsageError(f"-Z {wanted}: only root can become another user")
    return user


def may_run_python(user: User) -> bool:
    """Return whether ``user`` may read Python, kacap and its packages: what lies in root's home he may not."""
    packages = [importlib.util.find_spec(name) for name in ("kacap", "numba")]
    files = [os.__file__, *(spec.origin for spec in packages if spec is not None and spec.origin)]
    with acting_as(user):
        return all(os.access(file, os.R_OK) for file in files)


@contextlib.contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Do something as ``user`` and come back: files made meanwhile are his, and in his directories."""
    if user is None:
        yield
        return
    environment = {name: os.environ.get(name) for name in ("HOME", "XDG_CACHE_HOME")}
    groups, gid = os.getgroups(), os.getgid()
    os.environ["HOME"] = user.home
    os.environ.pop("XDG_CACHE_HOME", None)
    os.initgroups(user.name, user.gid)
    os.setresgid(user.gid, user.gid, gid)
    os.setresuid(user.uid, user.uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(gid, gid, gid)
        os.setgroups(groups)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def drop(user: User | None, keep: frozenset[str] = frozenset()) -> None:
    """Become ``user`` for good, with no capability but those in ``keep`` that this process has.

    None: stay who this is; where that is not root, its capabilities go as well. Raises CaptureError if a right would
    remain.
    """
    if user is None and (os.geteuid() == 0 or not effective()):
        return
    kept = effective() & sum(1 << CAPABILITIES[name] for name in keep)
    libc = ctypes.CDLL(None, use_errno=True)
    if user is not None:
        libc.prctl(_PR_SET_KEEPCAPS, 1 if kept else 0, 0, 0, 0)
        os.initgroups(user.name, user.gid)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
        os.environ["HOME"] = user.home
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _set_capabilities(libc, kept)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _check(user, kept)


def _set_capabilities(libc: ctypes.CDLL, mask: int) -> None:
    """Make ``mask`` this thread's effective and permitted capabilities, and inherit none (capset(2))."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    words = (mask & 0xFFFFFFFF, mask >> 32)
    data = struct.pack("6I", words[0], words[0], 0, words[1], words[1], 0)
    if libc.capset(header, data) != 0:
        raise CaptureError(f"cannot drop capabilities: {os.strerror(ctypes.get_errno())}")


def _check(user: User | None, kept: int) -> None:
    """Make sure that there is no way back."""
    if effective() != kept:
        raise CaptureError("capabilities remain after dropping them; refusing to go on")
    if user is None:
        return
    with contextlib.suppress(OSError):
        os.setresuid(0, 0, 0)
    if 0 in os.getresuid():
        raise CaptureError(f"still root after becoming {user.name}; refusing to go on")
