"""A pytest fixture that reads what a socket is really set to: assert it, rather than wait for a probe.

    def test_the_client_keeps_its_connections_alive(keepalive_of):
        assert keepalive_of(client.socket).idle == 60                         # a socket of this process
        assert {k.idle for k in keepalive_of(server.pid, port=5432)} == {60}  # another process's connections, Linux

pytest loads this module in every run of every project where kacap is installed: it imports nothing of kacap before the
fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast, overload

import pytest

if TYPE_CHECKING:
    from socket import socket

    from kacap.sockets.keepalive import Keepalive


class Socket(Protocol):
    """What can be asked for an option: a socket, an SSLSocket, asyncio's ``get_extra_info("socket")``."""

    def getsockopt(self, level: int, optname: int, /) -> int:
        """Return a socket option."""
        ...


class KeepaliveOf:
    """What the fixture ``keepalive_of`` is: call it with a socket, or with the id of a process."""

    @overload
    def __call__(self, socket_or_pid: int, *, port: int | None = None) -> list[Keepalive | None]: ...
    @overload
    def __call__(self, socket_or_pid: Socket) -> Keepalive | None: ...
    def __call__(
        self, socket_or_pid: Socket | int, *, port: int | None = None
    ) -> Keepalive | list[Keepalive | None] | None:
        """Return what a socket is set to, None where SO_KEEPALIVE is off; for a process, a list over its connections.

        A process's TCP connections (those with ``port`` on either side) need Linux 5.6 and the right to trace it.
        Raises ``KacapError`` if one cannot be read, and if there is no socket: an empty list would pass every test.
        """
        if isinstance(socket_or_pid, int):
            return _of_process(socket_or_pid, port)
        if not callable(getattr(socket_or_pid, "getsockopt", None)):
            raise TypeError(f"keepalive_of takes a socket or a process id, not {type(socket_or_pid).__name__}")
        return _of_socket(socket_or_pid)


@pytest.fixture(scope="session")
def keepalive_of() -> KeepaliveOf:
    """Read keepalive settings: of a socket, or of a process's connections by its id; nothing is changed."""
    return KeepaliveOf()


def _of_socket(sock: Socket) -> Keepalive | None:
    """Return the settings of a socket of this process, None where keepalive is off."""
    from socket import SO_KEEPALIVE, SOL_SOCKET

    from kacap.sockets.keepalive import Keepalive

    return Keepalive.of(cast("socket", sock)) if sock.getsockopt(SOL_SOCKET, SO_KEEPALIVE) else None


def _of_process(pid: int, port: int | None) -> list[Keepalive | None]:
    """Return the settings of a process's connections, by their addresses."""
    from kacap.clock import SECOND_NS
    from kacap.errors import KacapError
    from kacap.sockets.keepalive import Keepalive
    from kacap.sockets.reader import read_sockets

    found = [state for state in read_sockets(pid=pid, port=port) if state.state not in ("LISTEN", "BOUND", "CLOSED")]
    if not found:
        raise KacapError(f"process {pid} has no TCP connection" + ("" if port is None else f" with port {port}"))
    for state in found:
        if state.values != "socket":
            raise KacapError(f"a socket of process {pid} cannot be read: {state.why}")
    return [
        Keepalive(s.idle, s.interval, s.count, (s.user_timeout_ns or 0) / SECOND_NS) if s.keepalive else None
        for s in found
    ]
