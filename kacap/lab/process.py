"""Processes that take their namespaces with them when they end, however they end.

Nothing here has a name in the file system: a network namespace lives exactly as long as the processes inside, and each
process asks the kernel to be killed when its parent dies. So a SIGKILL of the command undoes everything too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from kacap.errors import KacapError

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1

FORBIDDEN = (
    "user namespaces are forbidden here: run the lab as root, or allow them "
    "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container --privileged)"
)


def own_user_namespace() -> bool:
    """Enter a user namespace as its root, unless this process may make network namespaces already.

    Returns True when one was needed. Raises ``KacapError`` where the system forbids both. The mount namespace keeps
    anything mounted inside from the outside; the lab mounts nothing.
    """
    if _may_make_network():
        return False
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise KacapError(f"{FORBIDDEN} [{error.strerror}]") from error
    if not _may_make_network():
        raise KacapError(FORBIDDEN)
    return True


def unshare(flags: int) -> None:
    """Leave the namespaces that ``flags`` (CLONE_NEW*) names for fresh ones, unshare(2). Raises ``OSError``."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` ends; leave at once if it has ended already.

    Call it after the namespaces are entered: a change of credentials clears the wish (prctl(2)).
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def spawn(work: Callable[[Connection], None]) -> tuple[int, Connection]:
    """Fork a child that runs ``work(its end of a pipe)`` and dies with this process.

    Returns the child's pid and this end. The child ignores SIGINT and SIGHUP: its parent decides when it ends.
    """
    parent = os.getpid()
    here, there = Pipe()
    pid = os.fork()
    if pid:
        there.close()
        return pid, here
    here.close()
    _run_child(work, there, parent)
    raise AssertionError("unreachable")


def _run_child(work: Callable[[Connection], None], pipe: Connection, parent: int) -> None:
    code = 0
    try:
        die_with_parent(parent)
        for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all that it runs
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work(pipe)
    except (EOFError, BrokenPipeError):
        pass
    except OSError as error:
        print(f"kacap lab: {error}", file=sys.stderr)
        code = 1
    except BaseException:  # the child must never run on into its parent's code
        traceback.print_exc()
        code = 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def _may_make_network() -> bool:
    """Try it in a child, so that this process stays where it is."""
    pid = os.fork()
    if pid == 0:
        try:
            unshare(CLONE_NEWNET)
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
