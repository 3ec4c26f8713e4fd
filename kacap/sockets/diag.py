"""Every TCP socket of a network namespace, as the kernel's sock_diag tells it to any user: one dump for each family.

Linux only: ``AF_NETLINK``, ``NETLINK_SOCK_DIAG``. Names are those of <linux/netlink.h>, <linux/sock_diag.h>,
<linux/inet_diag.h> and <linux/tcp.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from kacap.errors import KacapError

Address = tuple[str, int]

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_INET_DIAG_INFO = 2
_ALL_STATES = 0xFFFF_FFFF

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: len, type, flags, seq, pid
_REQUEST = struct.Struct("=BBBBI48x")  # struct inet_diag_req_v2: family, protocol, ext, pad, states, id (any)
# struct inet_diag_msg: family, state, timer, retrans; id: sport, dport (network order), src, dst, if, cookie;
# expires, rqueue, wqueue, uid, inode
_MESSAGE = struct.Struct("=BBBB2s2s16s16sIQIIIII")
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: len, type
_INFO_PROBES = 3  # struct tcp_info: tcpi_probes, u8
_INFO_LAST_RECEIVED = struct.Struct("=II")  # tcpi_last_data_recv, tcpi_last_ack_recv, in ms
_INFO_LAST_RECEIVED_AT = 52

_V4_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2

STATES = (
    "", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSED", "CLOSE-WAIT", "LAST-ACK",
    "LISTEN", "CLOSING", "SYN-RECV", "BOUND",
)  # fmt: skip  # include/net/tcp_states.h
TIMERS = (None, "retransmission", "keepalive", "time-wait", "persist")  # idiag_timer

_RECEIVE_BYTES = 1 << 18
_ROOM = 1 << 22  # the kernel fills its answer ahead of the reader, up to the socket's buffer
_ATTEMPTS = 5
_PATIENCE_S = 10.0


class DiagSocket(NamedTuple):
    """One socket as ``struct inet_diag_msg`` has it; times in milliseconds.

    ``local`` and ``remote`` are (address, port), numeric, IPv4 where IPv4-mapped. ``timer`` is one of ``TIMERS``; any
    other hides a pending keepalive timer. ``expires_ms`` stays 0 while the timer is late. ``unanswered`` is
    ``icsk_probes_out``. ``inode`` is 0 where no process holds the socket. The ``last_*`` are None where the kernel
    gave no ``tcp_info`` (TIME-WAIT, SYN-RECV).
    """

    cookie: int
    family: int
    state: str
    local: Address
    remote: Address
    timer: str | None
    expires_ms: int
    unanswered: int
    uid: int
    inode: int
    last_data_recv_ms: int | None
    last_ack_recv_ms: int | None


def dump(link: socket.socket) -> list[DiagSocket]:
    """Return every TCP socket of the namespace where ``link`` was opened.

    A dump that the kernel calls interrupted, or that overran its buffer, is made again; what changed its place
    between two parts of an answer comes once. Raises ``KacapError`` where the kernel refuses.
    """
    found: dict[int, DiagSocket] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        for each in _family(link, family):
            found[each.cookie] = each
    return list(found.values())


def connection() -> socket.socket:
    """Return a netlink socket for ``dump``, in the network namespace of the calling thread."""
    try:
        link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    except OSError as error:
        raise KacapError(f"sock_diag cannot be opened: {os.strerror(error.errno or 0)}") from error
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
    link.settimeout(_PATIENCE_S)
    return link


def _family(link: socket.socket, family: int) -> list[DiagSocket]:
    """Return the sockets of one address family; the last answer stands where every one was interrupted."""
    for attempt in range(_ATTEMPTS):
        number = family * _ATTEMPTS + attempt
        request = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0, _ALL_STATES)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        length = _HEADER.size + len(request)
        link.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, flags, number, 0) + request)
        sockets, whole = _answer(link, number, family)
        if whole:
            break
    return sockets


def _answer(link: socket.socket, sequence: int, family: int) -> tuple[list[DiagSocket], bool]:
    """Return the sockets of one dump, and whether it is whole: neither interrupted nor overrun."""
    sockets: list[DiagSocket] = []
    whole = True
    while True:
        try:
            data = link.recv(_RECEIVE_BYTES)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise KacapError(f"sock_diag gave no answer: {error.strerror or error}") from error
            whole = False  # some parts are lost; the end of the dump still comes
            continue
        for kind, flags, number, start, end in _messages(data):
            if number != sequence:  # what an overrun answer left behind
                continue
            whole = whole and not flags & _NLM_F_DUMP_INTR
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                _check(data[start:end], family)
                return sockets, whole
            if kind == _SOCK_DIAG_BY_FAMILY and end - start >= _MESSAGE.size:
                sockets.append(_socket(data, start, end))


def _messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield type, flags, sequence number, and where the payload starts and ends, of each whole netlink message."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            return
        yield kind, flags, number, at + _HEADER.size, at + length
        at += (length + 3) & ~3


def _check(payload: bytes, family: int) -> None:
    """Raise for the negative error number that ends a refused dump; a kernel without IPv6 has none of its sockets."""
    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
    if code == errno.ENOENT and family == socket.AF_INET6:
        return
    if code == errno.ENOENT:
        raise KacapError("the kernel has no tcp_diag: load it with `modprobe tcp_diag`")
    if code:
        raise KacapError(f"sock_diag refuses to list sockets: {os.strerror(code)}")


def _socket(data: bytes, start: int, end: int) -> DiagSocket:
    """Read one ``struct inet_diag_msg`` and the attribute behind it that has the idle clocks."""
    (family, state, timer, retrans, sport, dport, src, dst, _, cookie, expires, _, _, uid, inode) = (
        _MESSAGE.unpack_from(data, start)
    )
    probes, data_ms, ack_ms = _idle_clocks(data, start + _MESSAGE.size, end)
    return DiagSocket(
        cookie=cookie,
        family=family,
        state=STATES[state] if state < len(STATES) else str(state),
        local=(_address(family, src), int.from_bytes(sport)),
        remote=(_address(family, dst), int.from_bytes(dport)),
        timer=TIMERS[timer] if timer < len(TIMERS) else str(timer),
        expires_ms=expires,
        unanswered=retrans if probes is None else probes,  # idiag_retrans counts something else under other timers
        uid=uid,
        inode=inode,
        last_data_recv_ms=data_ms,
        last_ack_recv_ms=ack_ms,
    )


def _idle_clocks(data: bytes, at: int, end: int) -> tuple[int | None, int | None, int | None]:
    """Return tcpi_probes, tcpi_last_data_recv and tcpi_last_ack_recv; None where there is no ``tcp_info``."""
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        body = at + _ATTRIBUTE.size
        if kind == _INET_DIAG_INFO and length - _ATTRIBUTE.size >= _INFO_LAST_RECEIVED_AT + _INFO_LAST_RECEIVED.size:
            return data[body + _INFO_PROBES], *_INFO_LAST_RECEIVED.unpack_from(data, body + _INFO_LAST_RECEIVED_AT)
        at += (length + 3) & ~3
    return None, None, None


def _address(family: int, packed: bytes) -> str:
    """Return the text of an address; IPv4 where it is IPv4-mapped, as the wire has it."""
    if family == socket.AF_INET:
        return socket.inet_ntop(family, packed[:4])
    if packed.startswith(_V4_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)
