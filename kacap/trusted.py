"""Whose a directory is: programs are started, and machine code is loaded, only from where no other user can write.

A walk from the root directory opens each part of a path relative to the one before (openat(2)) and asks the descriptor,
so that nothing can be exchanged between the look and the use.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kacap.errors import KacapError

POSIX = os.name == "posix"
MOST_LINKS = 40  # as many as Linux follows (path_resolution(7))
# Groups that may do all that root does: root's own, and admin of macOS.
_ADMINISTRATORS = (0, 80) if sys.platform == "darwin" else (0,)
# A link is opened itself, not what it leads to; macOS has a flag of its own for that.
_HANDLE = getattr(os, "O_PATH", getattr(os, "O_NONBLOCK", 0)) | getattr(os, "O_SYMLINK", getattr(os, "O_NOFOLLOW", 0))
_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/homebrew/bin",
           "/opt/local/bin", "/Applications/Wireshark.app/Contents/MacOS")  # fmt: skip


class UntrustedError(KacapError):
    """Somebody else could change what lies at a path; the message says where and who."""


@contextmanager
def trusted(path: Path, *, make: bool = False, last_link: bool = True) -> Iterator[int]:
    """Open a file or directory that nobody but this user and root can change, and yield its descriptor.

    ``path`` and each directory above it must belong to this user or root. No group and nobody else may write to them;
    to a directory above they may where its sticky bit keeps each file its owner's (/tmp). A link is followed where
    this user or root made it, the last part's only with ``last_link``. ``make``: directories that are missing are made,
    for this user alone. Raises UntrustedError, and OSError as open(2) does. Where the system is not POSIX nothing is
    checked.
    """
    descriptor = _walk(path, make, last_link)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _walk(path: Path, make: bool, last_link: bool) -> int:
    """Return the descriptor of the last part of ``path``; see ``trusted``."""
    whole = path.absolute()
    parts, at, links = list(reversed(whole.parts[1:])), os.open(whole.anchor, _HANDLE), 0
    try:
        check_owner(at, Path(whole.anchor), bool(parts))
        so_far = Path(whole.anchor)
        while parts:
            name = parts.pop()
            below = _open(at, name, make)
            if stat.S_ISLNK(os.fstat(below).st_mode):
                os.close(below)
                links += 1
                target = Path(_followed(at, name, so_far / name, links, last_link or bool(parts)))
                if target.is_absolute():
                    at, so_far = _replaced(at, os.open(target.anchor, _HANDLE)), Path(target.anchor)
                parts += reversed(target.parts[1:] if target.is_absolute() else target.parts)
                continue
            at, so_far = _replaced(at, below), so_far / name
            check_owner(at, so_far, bool(parts))
    except BaseException:
        os.close(at)
        raise
    return at


def _open(at: int, name: str, make: bool) -> int:
    """Return a descriptor of what is called ``name`` in the directory ``at``, of a link itself."""
    try:
        return os.open(name, _HANDLE, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # somebody was faster: the check tells who
        os.mkdir(name, 0o700, dir_fd=at)
    return os.open(name, _HANDLE, dir_fd=at)


def _replaced(old: int, new: int) -> int:
    """Close the one descriptor and return the other."""
    os.close(old)
    return new


def _followed(at: int, name: str, path: Path, links: int, allowed: bool) -> str:
    """Return where a link leads, if it is to be followed. Raises UntrustedError."""
    if not allowed or links > MOST_LINKS:
        raise UntrustedError(f"{path} is a link")
    owner = os.stat(name, dir_fd=at, follow_symlinks=False).st_uid
    if owner not in (0, os.geteuid()):
        raise UntrustedError(f"{path} is a link of the user with number {owner}")
    return os.readlink(name, dir_fd=at)


def check_owner(descriptor: int, path: Path, above: bool = False) -> None:
    """Raise UntrustedError where another user could change what lies there; ``above``: more of the path follows."""
    if not POSIX:
        return
    found = os.fstat(descriptor)
    if found.st_uid not in (0, os.geteuid()):
        raise UntrustedError(f"{path} belongs to the user with number {found.st_uid}")
    group = found.st_mode & stat.S_IWGRP and found.st_gid not in _ADMINISTRATORS
    if (group or found.st_mode & stat.S_IWOTH) and not (above and found.st_mode & stat.S_ISVTX):
        raise UntrustedError(f"{path} can be written by {'its group' if group else 'everybody'}")


def find_program(name: str) -> str | None:
    """Return the absolute path of a program in ``search_path`` that no other user can change; None without one."""
    if not POSIX:
        roots = [os.environ.get(each) for each in ("ProgramFiles", "ProgramFiles(x86)")]
        paths = [Path(root, "Wireshark", f"{name}.exe") for root in roots if root]
        return next((str(path) for path in paths if path.is_file()), None)
    for directory in search_path().split(os.pathsep):
        path = Path(directory, name)
        if os.access(path, os.X_OK) and path.is_file() and is_trusted(path):
            return str(path)
    return None


def search_path() -> str:
    """Return a PATH to look for programs in: what of this process's, and of the usual places, no other user can change.

    The current directory and relative parts of the PATH do not count.
    """
    names = dict.fromkeys([*os.environ.get("PATH", "").split(os.pathsep), *_DIRECTORIES])
    return os.pathsep.join(name for name in names if Path(name).is_absolute() and is_trusted(Path(name)))


def is_trusted(path: Path) -> bool:
    """Return whether ``path`` is there and nobody but this user and root can change it."""
    try:
        with trusted(path):
            return True
    except (OSError, UntrustedError):
        return False


def plain_environment() -> dict[str, str]:
    """Return the environment of a program that kacap starts: of this one's no more than the user's own home."""
    kept = {name: os.environ[name] for name in ("HOME", "XDG_CONFIG_HOME") if os.environ.get(name)}
    kept = {name: value for name, value in kept.items() if not POSIX or is_trusted(Path(value))}
    if POSIX:
        return {"HOME": "/nonexistent", "PATH": os.pathsep.join(_DIRECTORIES), "LC_ALL": "C.UTF-8", **kept}
    return {**kept, **{name: os.environ[name] for name in ("SystemRoot", "TEMP", "APPDATA") if name in os.environ}}


def forgo_scapys_cache() -> None:
    """Let scapy load nothing from its cache and write none: before anything else of scapy is imported.

    It keeps pickles below $XDG_CACHE_HOME, whoever's that is, and runs what they say (before 2.8). Raises ImportError
    where there is no scapy.
    """
    import scapy.main

    scapy.main.SCAPY_CACHE_FOLDER = None
