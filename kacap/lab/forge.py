"""Segments that no socket sent: a Windows-style probe, a reset by a box on the way. Scapy packs them."""

from __future__ import annotations

import socket
import time
from typing import Required, TypedDict

from kacap.errors import KacapError
from kacap.trusted import forgo_scapys_cache

forgo_scapys_cache()

from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import Ether  # noqa: E402


class Segment(TypedDict, total=False):
    """What ``packet`` makes a segment of."""

    source: Required[tuple[str, int]]
    target: Required[tuple[str, int]]
    seq: Required[int]
    ack: Required[int]
    flags: Required[str]
    payload: int
    ttl: int


def packet(
    source: tuple[str, int], target: tuple[str, int], seq: int, ack: int, flags: str, payload: int = 0, ttl: int = 64
) -> bytes:
    """Return the IP packet of one segment; ``payload`` counts null bytes, ``flags`` are scapy's letters."""
    network: IP | IPv6
    if ":" in source[0]:
        network = IPv6(src=source[0], dst=target[0], hlim=ttl)
    else:
        network = IP(src=source[0], dst=target[0], ttl=ttl, id=0xBEEF)
    window = 0 if "R" in flags else 64
    segment = TCP(sport=source[1], dport=target[1], seq=seq, ack=ack, flags=flags, window=window)
    return bytes(network / segment / bytes(payload))


def send(segment: Segment) -> None:
    """Send one segment, made by ``packet``, as this host's routes say."""
    send_packet(packet(**segment), segment["target"][0])


def send_packet(data: bytes, target: str) -> None:
    """Send a ready IP packet; IPPROTO_RAW leaves the header as it is, in both families."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(data, (target, 0))


def wait_for(interface: str, seq: int, seconds: float) -> None:
    """Return as soon as a segment with sequence number ``seq`` passes ``interface``; raise after ``seconds``."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 3))
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                frame = Ether(sock.recv(65535))
            except TimeoutError:
                break
            if TCP in frame and frame[TCP].seq == seq:
                return
    raise KacapError(f"no probe with sequence number {seq} came within {seconds} s")
