"""Which process holds which socket: one scan of /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_SOCKET = "socket:["


class Holder(NamedTuple):
    """A process that has a socket open: its id, the number of its file descriptor, and its printable name."""

    pid: int
    fd: int
    comm: str


@dataclass(slots=True)
class Holders:
    """What a scan found: the first holder of each socket by its inode, and the processes it could not look into."""

    by_inode: dict[int, Holder] = field(default_factory=dict)
    refused: int = 0


def holders(pid: int | None = None) -> Holders:
    """Scan the processes that /proc shows, or one; processes and files that vanish meanwhile are passed over.

    A socket that several processes share is given to the one with the lowest id.
    """
    found = Holders()
    for each in sorted(_processes()) if pid is None else [pid]:
        try:
            inodes = dict(_sockets(each))
        except PermissionError:
            found.refused += 1
        except OSError:
            continue
        else:
            _keep(found, each, inodes)
    return found


def _keep(found: Holders, pid: int, inodes: dict[int, int]) -> None:
    """Add the sockets of one process, inode to file descriptor; its name is read only when it has any."""
    new = [inode for inode in inodes if inode not in found.by_inode]
    if new:
        comm = name_of(pid)
        for inode in new:
            found.by_inode[inode] = Holder(pid, inodes[inode], comm)


def name_of(pid: int) -> str:
    """Return what a process calls itself (``comm``), each unprintable character as ``?``; ``?`` when it is gone."""
    try:
        text = Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n").decode(errors="replace")
    except OSError:
        return "?"
    return "".join(c if c.isprintable() else "?" for c in text) or "?"


def _processes() -> Iterator[int]:
    """Yield the ids in /proc."""
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def _sockets(pid: int) -> Iterator[tuple[int, int]]:
    """Yield inode and number of each socket among the open files of a process."""
    directory = f"/proc/{pid}/fd"
    for name in os.listdir(directory):  # noqa: PTH208 (10,000 names: no Path for each)
        try:
            target = os.readlink(f"{directory}/{name}")  # noqa: PTH115
        except FileNotFoundError:  # closed since the directory was read
            continue
        if target.startswith(_SOCKET):
            yield int(target[len(_SOCKET) : -1]), int(name)
