"""The TCP sockets of this machine with the keepalive settings that each really has. Linux only.

sock_diag lists sockets and timers, /proc their processes, ``pidfd_getfd`` and ``getsockopt`` the values; nothing is
stopped, and nothing set. Without the rights, a row says so and shows what its timer tells.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from kacap.errors import KacapError
from kacap.netns import inside, of_process
from kacap.sockets.diag import DiagSocket, connection, dump
from kacap.sockets.processes import Holders, holders
from kacap.sockets.state import SocketState, Sysctls, estimated_idle, from_timer, from_values
from kacap.sockets.values import RIGHTS, Borrower, UnreadableError

_SYSCTLS = Path("/proc/sys/net/ipv4")


def read_sockets(
    *, port: int | None = None, pid: int | None = None, netns: str | int | None = None
) -> list[SocketState]:
    """Return the TCP sockets of a network namespace, in every state, by local and remote address.

    ``port`` keeps those with it on either side; ``pid`` those of one process, in that process's namespace unless
    ``netns`` (a name, a path or a process id) is given. Raises ``KacapError`` on a system other than Linux,
    for a process or namespace that does not exist, and for one that may not be looked into.
    """
    return Reader(port=port, pid=pid, netns=netns).read()


class Reader:
    """Reads the same sockets again and again; estimates of idle become better with each look."""

    def __init__(self, *, port: int | None = None, pid: int | None = None, netns: str | int | None = None) -> None:
        if not sys.platform.startswith("linux"):
            raise KacapError(
                f"sockets are read by Linux's sock_diag and pidfd_getfd, which {sys.platform} does not have"
            )
        self._port = port
        self._pid = pid
        self._netns = of_process(pid) if pid is not None and netns is None else netns
        self._estimates: dict[int, int] = {}

    def read(self) -> list[SocketState]:
        """Look once; see ``read_sockets``."""
        found, held, sysctls = self.look()
        with Borrower() as borrower:
            states = [self.state(sock, held, sysctls, borrower) for sock in found]
        return sorted(states, key=lambda state: (state.local, state.remote))

    def look(self) -> tuple[list[DiagSocket], Holders, Sysctls]:
        """Return the sockets in question, who holds them, and the namespace's sysctls."""
        link, sysctls = inside(self._netns, lambda: (connection(), read_sysctls()))
        with closing(link):
            found = dump(link)
        self._estimates = {
            sock.cookie: self._estimates[sock.cookie] for sock in found if sock.cookie in self._estimates
        }
        held = holders(self._pid)  # after the sockets: who holds none now has closed it
        if self._pid is not None and held.refused:
            raise KacapError(f"no permission to look into process {self._pid}: {RIGHTS}")
        if self._port is not None:
            found = [sock for sock in found if self._port in (sock.local[1], sock.remote[1])]
        if self._pid is not None:
            found = [sock for sock in found if sock.inode in held.by_inode]
        return found, held, sysctls

    def state(self, sock: DiagSocket, held: Holders, sysctls: Sysctls, borrower: Borrower) -> SocketState:
        """Return one socket's state: from the socket itself where that may be read, else from its timer."""
        holder = held.by_inode.get(sock.inode)
        try:
            if holder is None:
                raise UnreadableError(_unheld(sock, held))
            return from_values(sock, holder, borrower.read(holder, sock.inode, sock.family), sysctls)
        except UnreadableError as error:
            return from_timer(sock, holder, self._estimate(sock), str(error))

    def _estimate(self, sock: DiagSocket) -> int | None:
        """Return the largest estimate of idle over all looks."""
        now = estimated_idle(sock)
        if now is not None:
            self._estimates[sock.cookie] = max(now, self._estimates.get(sock.cookie, 0))
        return self._estimates.get(sock.cookie)


def read_sysctls() -> Sysctls:
    """Return the keepalive sysctls of the calling thread's network namespace; None for what cannot be read."""
    return Sysctls(*(_number(_SYSCTLS / f"tcp_keepalive_{name}") for name in ("time", "intvl", "probes")))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _unheld(sock: DiagSocket, held: Holders) -> str:
    """Return why nobody is known to hold a socket."""
    if not sock.inode:
        return "no process holds it" + (": not accepted yet, or the kernel's own" if sock.state == "ESTAB" else "")
    if held.refused:
        who = f"the process of uid {sock.uid} that holds it"
        return f"no permission: {who} may not be looked into, or has closed it; {RIGHTS}"
    return "no process found that holds it: closed meanwhile, or in another PID namespace"
