"""Gives up what was needed to open the device: whatever reads packets of strangers has no rights at all.

credentials(7), capabilities(7), prctl(2). The identity of all threads changes together (glibc sees to it), but
capabilities, the bounding set and no_new_privs belong to each thread: they are given up while there is one, and looked
at in all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kacap.capture.rights import CAPABILITIES, effective
from kacap.errors import CaptureError, UsageError

# What the reader of other processes' sockets needs (pidfd_getfd, /proc/PID/fd, sock_diag).
FOR_SOCKETS = frozenset({"CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN"})
FOR_CAPTURE = frozenset({"CAP_NET_RAW", "CAP_NET_ADMIN"})  # what a program that captures needs
NOBODIES = ("tcpdump", "nobody")  # whom root becomes, the first that there is

LINUX = sys.platform.startswith("linux")
_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 8, 23, 24, 38, 47
_RAISE, _CLEAR_ALL = 2, 4  # of the ambient set
_CAPABILITY_VERSION_3 = 0x20080522
LEAVING_S = 1.0  # Python's join returns before a thread is gone: for so long it is waited for


@dataclass(frozen=True, slots=True)
class User:
    """Whom to become."""

    name: str
    uid: int
    gid: int


def user_named(name: str) -> User:
    """Return a user of this system by name or number. Raises UsageError."""
    import pwd

    try:
        found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"-Z {name}: no such user") from None
    return User(found.pw_name, found.pw_uid, found.pw_gid)


def whom_to_become(wanted: str | None) -> User | None:
    """Return the user to go on as: the wanted one, for root without a wish the first of ``NOBODIES``; None: stay.

    Raises UsageError when a wanted user is unknown, or this process is not root and cannot become anybody.
    """
    if os.name != "posix" or (wanted is None and os.geteuid() != 0):
        return None
    if wanted is None:
        for name in NOBODIES:
            with contextlib.suppress(UsageError):
                if may_become(user := user_named(name)):
                    return user
        return None
    user = user_named(wanted)
    if user.uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise UsageError(f"-Z {wanted}: only root can become another user")
    if not may_become(user):
        raise UsageError(f"-Z {wanted}: root of this user namespace cannot become {wanted}")
    return user


def may_become(user: User) -> bool:
    """Return whether root can become ``user``: not in a user namespace that does not know him."""
    return in_child(lambda: _change_user(user))


def may_write(user: User, directory: str) -> bool:
    """Return whether ``user`` can make files in ``directory``."""

    def look() -> None:
        _change_user(user)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError

    return in_child(look)


def check_directory(path: str, option: str, user: User | None, *, opens: str) -> None:
    """Refuse a file that ``user`` (None: this one) is to make and may not; ``opens`` says why he has to.

    Raises UsageError.
    """
    if user is not None and not may_write(user, str(Path(path).parent)):
        raise UsageError(
            f"{option} {path}: {opens} as {user.name}, who may not make files there; -Z USER names somebody who may"
        )


def in_child(work: Callable[[], None]) -> bool:
    """Return whether ``work`` ends well in a process of its own, which ends with it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def is_privileged() -> bool:
    """Return whether this process has rights to give up."""
    return os.name == "posix" and (os.geteuid() == 0 or effective() != 0)


def drop(user: User | None, keep: frozenset[str] = frozenset(), *, ambient: bool = False) -> None:
    """Become ``user`` (None: stay who this is) for good, with no capability but those in ``keep`` that there are.

    With ``ambient`` a program that is started next has them too; else no program that is started gains anything. Raises
    CaptureError if a right would remain, in whichever thread.
    """
    if os.name != "posix":
        return
    had = effective()
    kept = had & sum(1 << CAPABILITIES[name] for name in keep)
    libc = ctypes.CDLL(None, use_errno=True)
    if LINUX:
        libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
        _empty_bounding_set(libc, kept if ambient else 0)
        libc.prctl(_PR_SET_KEEPCAPS, 1 if kept else 0, 0, 0, 0)
    if user is not None:
        _change_user(user)
    if LINUX:
        _set_capabilities(libc, kept, inherited=ambient)
        if ambient:
            for number in (n for n in range(64) if kept >> n & 1):
                libc.prctl(_PR_CAP_AMBIENT, _RAISE, number, 0, 0)
            return
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _check(kept, bool(had >> CAPABILITIES["CAP_SETPCAP"] & 1))
    if user is not None:
        _try_back(user)


def _change_user(user: User) -> None:
    """Take on a user's groups and identity, real, effective and saved. Raises OSError."""
    os.initgroups(user.name, user.gid)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def _empty_bounding_set(libc: ctypes.CDLL, kept: int) -> None:
    """Take all but ``kept`` out of what programs started from here can ever have; without the right to, leave it."""
    for number in range(64):
        if libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1 and not kept >> number & 1:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)


def _set_capabilities(libc: ctypes.CDLL, mask: int, *, inherited: bool) -> None:
    """Make ``mask`` this thread's effective and permitted capabilities (capset(2))."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    words = [part for half in (mask & 0xFFFFFFFF, mask >> 32) for part in (half, half, half if inherited else 0)]
    if libc.capset(header, struct.pack("6I", *words)) != 0:
        raise CaptureError(f"cannot drop capabilities: {os.strerror(ctypes.get_errno())}")


def rights_of_threads() -> dict[str, set[str]]:
    """Return what /proc says of this process's threads: for each line on capabilities and privileges, its values."""
    found: dict[str, set[str]] = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended
            for line in (task / "status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name.startswith(("Cap", "NoNewPrivs")):
                    found.setdefault(name, set()).add(value.strip())
    return found


def _check(kept: int, unbound: bool) -> None:
    """Make sure that no thread has more than ``kept``, nor, with ``unbound``, a bounding set. Raises CaptureError."""
    end_s = time.monotonic() + LEAVING_S
    while (wrong := _remaining(kept, unbound)) and time.monotonic() < end_s:
        time.sleep(LEAVING_S / 100)
    if wrong:
        raise CaptureError(f"{wrong}; refusing to go on")


def _remaining(kept: int, unbound: bool) -> str:
    """Return in words what some thread still has or may still get, nothing if all is as it should be."""
    try:
        found = rights_of_threads()
    except OSError:  # no /proc: what the calls returned must do
        return ""
    nothing = {"CapInh", "CapAmb", "CapBnd"} if unbound else {"CapInh", "CapAmb"}
    for name, values in found.items():
        allowed = {0} if name in nothing else {0, kept}
        wrong = [value for value in values if int(value, 16) not in allowed]
        if wrong and name in nothing | {"CapEff", "CapPrm"}:
            return f"rights remain after giving them up ({name} {', '.join(wrong)})"
    if found.get("NoNewPrivs", {"1"}) != {"1"}:
        return "a thread that somebody else started can still gain rights"
    return ""


def _try_back(user: User) -> None:
    """Make sure that there is no way back to root. Raises CaptureError."""
    with contextlib.suppress(OSError):
        os.setresuid(0, 0, 0)
    if 0 in os.getresuid():
        raise CaptureError(f"still root after becoming {user.name}; refusing to go on")
