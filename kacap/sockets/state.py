"""What one live socket is set to, who set it, and when its keepalive acts next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kacap.clock import SECOND_NS
from kacap.sockets.diag import Address, DiagSocket
from kacap.sockets.processes import Holder
from kacap.sockets.values import Values

SOCKET_OPTION = "socket option"
EQUALS_SYSCTL = "equals the sysctl"

_MS = 1_000_000
_NO_KEEPALIVE = ("SYN-SENT", "SYN-RECV", "TIME-WAIT", "CLOSED", "LISTEN", "BOUND")  # no such timer in these states


@dataclass(frozen=True, slots=True)
class Sysctls:
    """A namespace's net.ipv4.tcp_keepalive_time, _intvl and _probes: what a socket without an option follows."""

    idle: int | None = None
    interval: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class SocketState:
    """One TCP socket. ``local`` and ``remote`` are (address, port); None is what is not known or does not apply.

    ``idle`` and ``interval`` are in seconds, a ``user_timeout_ns`` of 0 means not set. ``values`` says where they come
    from: ``socket`` (itself), ``estimate`` (idle from the running timer, see ``estimated_idle``) or ``none``;
    ``why`` tells what was in the way. ``keepalive`` without values is what the timer shows. ``set_by`` names for idle,
    interval and count ``SOCKET_OPTION``, or ``EQUALS_SYSCTL``: ``getsockopt`` gives the sysctl's value for a socket
    without an option, so that an option of the same value cannot be told. ``timer`` is the kernel's pending one; any
    but ``keepalive`` hides it. ``next_probe_ns`` counts from the reading. ``detect_ns`` is how long after its last word
    a dead peer is given up, the timer's own lateness left out.
    """

    cookie: int
    state: str
    local: Address
    remote: Address
    uid: int
    inode: int
    pid: int | None = None
    process: str | None = None
    keepalive: bool | None = None
    idle: int | None = None
    interval: int | None = None
    count: int | None = None
    user_timeout_ns: int | None = None
    set_by: tuple[str | None, str | None, str | None] = (None, None, None)
    timer: str | None = None
    next_probe_ns: int | None = None
    unanswered: int = 0
    detect_ns: int | None = None
    values: Literal["socket", "estimate", "none"] = "none"
    why: str | None = None

    @property
    def where_set(self) -> str | None:
        """Where idle, interval and count were set, in words; None where they are not known from the socket."""
        options = [
            name for name, by in zip(("idle", "interval", "count"), self.set_by, strict=True) if by == SOCKET_OPTION
        ]
        if None in self.set_by:
            return None
        return (
            EQUALS_SYSCTL if not options else SOCKET_OPTION + (f" ({', '.join(options)})" if len(options) < 3 else "")
        )


def from_values(sock: DiagSocket, holder: Holder, values: Values, sysctls: Sysctls) -> SocketState:
    """Return the state of a socket whose options were read."""
    probing = values.keepalive and sock.state not in _NO_KEEPALIVE
    return SocketState(
        *_identity(sock),
        pid=holder.pid,
        process=holder.comm,
        keepalive=values.keepalive,
        idle=values.idle,
        interval=values.interval,
        count=values.count,
        user_timeout_ns=values.user_timeout_ms * _MS,
        set_by=(
            _set_by(values.idle, sysctls.idle),
            _set_by(values.interval, sysctls.interval),
            _set_by(values.count, sysctls.count),
        ),
        timer=sock.timer,
        next_probe_ns=_next_probe_ns(sock, values.idle) if probing else None,
        unanswered=sock.unanswered if sock.timer == "keepalive" else 0,
        detect_ns=detection_ns(values) if probing else None,
        values="socket",
    )


def from_timer(sock: DiagSocket, holder: Holder | None, idle: int | None, why: str) -> SocketState:
    """Return the state of a socket whose options cannot be read: what its timer shows, with an estimate of idle."""
    keepalive = _keepalive(sock)
    return SocketState(
        *_identity(sock),
        pid=holder.pid if holder else None,
        process=holder.comm if holder else None,
        keepalive=keepalive,
        idle=idle,
        timer=sock.timer,
        next_probe_ns=_next_probe_ns(sock, idle or 0) if keepalive else None,
        unanswered=sock.unanswered if sock.timer == "keepalive" else 0,
        values="none" if idle is None else "estimate",
        why=why,
    )


def estimated_idle(sock: DiagSocket) -> int | None:
    """Return idle in whole seconds as a running keepalive timer shows it; None when it shows nothing.

    ``expires + min(last_data_recv, last_ack_recv)`` is idle (within a tick) when the timer was armed as the peer spoke,
    the interval just after an answered probe, and less than idle when the peer spoke since: the largest of
    several looks counts. While the timer is late (expires 0) or probes are unanswered it says nothing. It is too large
    while keepalive was switched on after the peer's last word. tcp_keepalive_timer(), inet_sk_diag_fill().
    """
    elapsed = _elapsed_ms(sock)
    if elapsed is None or not _keepalive(sock) or sock.timer != "keepalive" or not sock.expires_ms or sock.unanswered:
        return None
    return (sock.expires_ms + elapsed + 500) // 1000


def detection_ns(values: Values) -> int | None:
    """Return after how many nanoseconds of silence keepalive gives a peer up, by tcp_keepalive_timer().

    Without a user timeout: idle + count x interval. With one, count is ignored: the first firing after at least one
    probe at which the silence is as long as the timeout. None for an interval below 1, which only a sysctl can hold.
    """
    if values.interval < 1:
        return None
    beyond_ms = values.user_timeout_ms - values.idle * 1000
    firings = max(1, -(-beyond_ms // (values.interval * 1000))) if values.user_timeout_ms else values.count
    return (max(values.idle, 0) + firings * values.interval) * SECOND_NS


def _identity(sock: DiagSocket) -> tuple[int, str, Address, Address, int, int]:
    return sock.cookie, sock.state, sock.local, sock.remote, sock.uid, sock.inode


def _set_by(value: int, sysctl: int | None) -> str | None:
    return None if sysctl is None else EQUALS_SYSCTL if value == sysctl else SOCKET_OPTION


def _elapsed_ms(sock: DiagSocket) -> int | None:
    """Return how long the socket has heard nothing (keepalive_time_elapsed(), include/net/tcp.h)."""
    if sock.last_data_recv_ms is None or sock.last_ack_recv_ms is None:
        return None
    return min(sock.last_data_recv_ms, sock.last_ack_recv_ms)


def _keepalive(sock: DiagSocket) -> bool | None:
    """Return whether keepalive is on, as far as the timers show; a retransmission or persist timer hides it."""
    if sock.state in _NO_KEEPALIVE or (sock.state == "FIN-WAIT-2" and not sock.inode):
        return None  # an orphan in FIN-WAIT-2 waits for its end in the same timer
    return {"keepalive": True, None: False}.get(sock.timer)


def _next_probe_ns(sock: DiagSocket, idle: int) -> int | None:
    """Return when the next probe is due: the timer's end, or idle after the last word where the timer comes too early.

    None while another timer hides it: data in flight, or a closed window, suspends keepalive.
    """
    if sock.timer != "keepalive":
        return None
    elapsed = _elapsed_ms(sock)
    rest = 0 if elapsed is None or sock.unanswered else idle * 1000 - elapsed
    return max(sock.expires_ms, rest) * _MS
