"""Two ends on this very machine, for a second terminal to watch: they set their options, connect and say nothing."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from kacap.errors import KacapError
from kacap.lab.host import options_of
from kacap.lab.process import spawn
from kacap.sockets.keepalive import Keepalive

SETTLE_S = 0.5  # a process that is killed closes its sockets, which ends its peer, before it can be waited for
Say = Callable[[str], None]
_UNITS = {"tcp_keepidle": " s", "tcp_keepintvl": " s", "tcp_user_timeout": " ms"}


def serve(
    address: str, port: int, settings: Keepalive | None, say: Say, ready: Callable[[], None] | None = None
) -> None:
    """Listen, accept any number of connections, apply ``settings`` to each and tell how each ends; never returns.

    ``say`` gets one or more whole lines at a time, ``ready`` is called once the listener stands. Raises ``KacapError``
    when the address cannot be listened on; a signal ends it.
    """
    try:
        listener = socket.create_server((address, port), family=_family(address), reuse_port=False)
    except (OSError, OverflowError) as error:
        raise KacapError(f"cannot listen on {_shown((address, port))}: {_reason(error)}") from error
    say(f"listening on {_shown((address, port))}")
    if ready:
        ready()
    open_ends: dict[int, socket.socket] = {}
    while True:
        watched = [listener.fileno(), *open_ends]
        for descriptor in select.select(watched, [], [])[0]:
            if descriptor == listener.fileno():
                sock = listener.accept()[0]
                _apply(sock, options_of(sock), settings, say)
                open_ends[sock.fileno()] = sock
            elif _over(open_ends[descriptor], say):
                open_ends.pop(descriptor).close()


def connect(address: str, port: int, settings: Keepalive | None, say: Say) -> None:
    """Apply ``settings``, connect, and stay until the connection ends, telling how.

    Raises ``KacapError`` when nothing listens there; a signal ends it.
    """
    sock = socket.socket(_family(address))
    before = options_of(sock)
    if settings:
        settings.apply(sock)
    try:
        sock.connect((address, port))
    except OSError as error:
        hint = f"; start one with: kacap lab server {address} {port}" if error.errno == errno.ECONNREFUSED else ""
        raise KacapError(f"cannot connect to {_shown((address, port))}: {_reason(error)}{hint}") from error
    _apply(sock, before, None, say)
    while not _over(sock, say):
        pass


def pair(address: str, port: int, settings: Keepalive, say: Say) -> None:
    """Fork a server that probes with ``settings`` and a client that answers; return when either ends.

    Raises ``KacapError`` when the address cannot be listened on, and when an end dies. Both children end with the
    caller, also when it is killed.
    """
    ends: dict[int, str] = {}
    try:
        work = {"server": _server_child(address, port, settings, say), "client": _client_child(address, port, say)}
        for name, end in work.items():
            pid, pipe = spawn(end)
            ends[pid] = name
            _hear(pipe, ends)
        _see_one_end(ends)
    finally:
        for pid in ends:
            with suppress(ProcessLookupError, ChildProcessError):  # a signal to all of them came first
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _hear(pipe: Connection, ends: dict[int, str]) -> None:
    """Wait until an end has begun. Raises ``KacapError`` with why it has not."""
    try:
        trouble = pipe.recv()
    except EOFError:
        _see_one_end(ends)
        trouble = "an end of the pair has gone"
    if trouble:
        raise KacapError(trouble)


def _see_one_end(ends: dict[int, str]) -> None:
    """Wait until either of the pair ends, and forget it. Raises ``KacapError`` when one did not do so by itself."""
    _see_end(ends, 0)
    deadline = time.monotonic() + SETTLE_S
    while ends and time.monotonic() < deadline:
        if not _see_end(ends, os.WNOHANG):
            time.sleep(0.01)


def _see_end(ends: dict[int, str], options: int) -> bool:
    """Forget an end that has gone and return True. Raises ``KacapError`` when it did not end by itself."""
    pid, status = os.waitpid(-1, options)
    if not pid:
        return False
    name, code = ends.pop(pid, "child"), os.waitstatus_to_exitcode(status)
    if code:
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"failed with {code}"
        raise KacapError(f"the {name} of the pair {how}: there is nobody left to probe or to answer")
    return True


def _server_child(address: str, port: int, settings: Keepalive, say: Say) -> Callable[[Connection], None]:
    def work(pipe: Connection) -> None:
        try:
            serve(address, port, settings, lambda text: say(_as("server", text)), lambda: pipe.send(""))
        except KacapError as error:
            pipe.send(str(error))

    return work


def _client_child(address: str, port: int, say: Say) -> Callable[[Connection], None]:
    def work(pipe: Connection) -> None:
        pipe.send("")
        connect(address, port, None, lambda text: say(_as("client", text)))

    return work


def _as(end: str, text: str) -> str:
    return "\n".join(f"{end}  {line}" for line in text.splitlines())


def _apply(sock: socket.socket, before: dict[str, int], settings: Keepalive | None, say: Say) -> None:
    """Set the options and tell each as it was and as it is."""
    if settings:
        settings.apply(sock)
    after = options_of(sock)
    lines = [f"connected {_shown(sock.getsockname())} to {_shown(sock.getpeername())}"]
    for name, was in before.items():
        unit = _UNITS.get(name, "")
        lines.append(f"  {name.upper():<16} was {was}{unit}, is {after[name]}{unit}")
    say("\n".join(lines))  # in one piece: two ends may speak at once


def _over(sock: socket.socket, say: Say) -> bool:
    """Read what came; True when the connection has ended, after telling how."""
    peer = "the peer"
    try:
        if sock.recv(65536):
            return False
        say(f"{time.strftime('%H:%M:%S')} {peer} closed the connection")
    except OSError as error:
        say(f"{time.strftime('%H:%M:%S')} the connection is over: {_reason(error)}")
    return True


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _shown(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    name = errno.errorcode.get(number or 0, "")
    return f"{getattr(error, 'strerror', None) or error}{f' ({name})' if name else ''}"
