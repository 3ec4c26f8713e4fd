"""A long way: the router carries TCP between its two sides by hand, each packet so much later.

It needs no netem. The kernel's own forwarding is switched off; packets are read from the wire with AF_PACKET and sent
on through a raw socket, which keeps what they carry (packet(7), raw(7)). IPv4 only.
"""

from __future__ import annotations

import heapq
import select
import socket
import struct
import time
from multiprocessing.connection import Connection

_ETH_P_IP = 0x0800
_PACKET_HOST = 0
_TCP = 6
_WAIT_S = 0.5  # at most, without a packet


def carry(interfaces: tuple[str, ...], seconds: float, pipe: Connection) -> None:
    """Carry TCP packets that arrive on ``interfaces`` on, ``seconds`` after they came, until ``pipe`` says so.

    Sends ``True`` once packets are being carried. Runs in a process of its own inside the router's namespace.
    """
    sides = [_listen(interface) for interface in interfaces]
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    waiting: list[tuple[float, int, bytes]] = []
    number = 0
    pipe.send(True)
    while not pipe.poll():
        due = waiting[0][0] - time.monotonic() if waiting else _WAIT_S
        ready, _, _ = select.select([*(side.fileno() for side in sides), pipe.fileno()], [], [], max(due, 0))
        for side in sides:
            if side.fileno() in ready and (packet := _take(side)):
                number += 1
                heapq.heappush(waiting, (time.monotonic() + seconds, number, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            packet = heapq.heappop(waiting)[2]
            out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


def _listen(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
    sock.bind((interface, _ETH_P_IP))
    return sock


def _take(side: socket.socket) -> bytes:
    """Return the next packet as it goes on; empty for a packet that is not carried."""
    data, address = side.recvfrom(65_535)
    if address[2] != _PACKET_HOST or data[9] != _TCP:
        return b""
    return onward(data)


def onward(data: bytes) -> bytes:
    """Return an IPv4 packet with TCP as a router sends it on: the TTL one less, and checksums that fit.

    A sender on a veth leaves the checksum of TCP to its device, which never writes it.
    """
    head = 4 * (data[0] & 15)
    packet = bytearray(data[: struct.unpack_from("!H", data, 2)[0]])
    packet[8] -= 1
    packet[10:12] = b"\0\0"
    packet[10:12] = _checksum(bytes(packet[:head]))
    packet[head + 16 : head + 18] = b"\0\0"
    pseudo = bytes(packet[12:20]) + struct.pack("!HH", _TCP, len(packet) - head)
    packet[head + 16 : head + 18] = _checksum(pseudo + bytes(packet[head:]))
    return bytes(packet)


def _checksum(data: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
