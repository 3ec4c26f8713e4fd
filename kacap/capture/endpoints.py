"""BPF expressions on connections: run on the headers that a segment between the two endpoints would have."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import numpy as np
from numpy.typing import NDArray

from kacap.capture.filters import RAW, compile_filter, match_frames
from kacap.capture.frames import FRAME, FrameBatch
from kacap.errors import FilterError
from kacap.model import Endpoint
from kacap.segments import ACK
from kacap.wire import fields as f

TTL = 64
NO_OPTIONS = f.TCP_LEN // 4 << 4  # the data offset of a TCP header without options


def header(source: Endpoint, target: Endpoint) -> NDArray[np.uint8]:
    """Return the bytes of an IP packet with a bare TCP ACK from ``source`` to ``target``: 40 for IPv4, 60 for IPv6.

    Only what an expression about endpoints can ask for is filled in: version, protocol, addresses, ports.
    """
    addresses = [ip_address(end.address) for end in (source, target)]
    is_v6 = any(isinstance(address, IPv6Address) for address in addresses)
    packet = bytearray((f.IPV6_LEN if is_v6 else f.IPV4_LEN) + f.TCP_LEN)
    start = _ipv6(packet) if is_v6 else _ipv4(packet)
    offsets = (f.IPV6_SOURCE, f.IPV6_DESTINATION) if is_v6 else (f.IPV4_SOURCE, f.IPV4_DESTINATION)
    for at, address in zip(offsets, addresses, strict=True):
        packet[at : at + len(address.packed)] = address.packed
    for at, end in ((f.TCP_SOURCE_PORT, source), (f.TCP_DESTINATION_PORT, target)):
        packet[start + at : start + at + 2] = end.port.to_bytes(2, "big")
    packet[start + f.TCP_DATA_OFFSET], packet[start + f.TCP_FLAGS] = NO_OPTIONS, ACK
    return np.frombuffer(bytes(packet), np.uint8)


def _ipv4(packet: bytearray) -> int:
    """Fill in an IPv4 header without addresses; return its length."""
    packet[0], packet[f.IPV4_TTL], packet[f.IPV4_PROTOCOL] = 0x40 | f.IPV4_LEN // 4, TTL, f.PROTOCOL_TCP
    packet[f.IPV4_TOTAL_LENGTH : f.IPV4_TOTAL_LENGTH + 2] = len(packet).to_bytes(2, "big")
    return f.IPV4_LEN


def _ipv6(packet: bytearray) -> int:
    """Fill in an IPv6 header without addresses; return its length."""
    packet[0], packet[f.IPV6_NEXT_HEADER], packet[f.IPV6_HOP_LIMIT] = 0x60, f.PROTOCOL_TCP, TTL
    packet[f.IPV6_PAYLOAD_LENGTH : f.IPV6_PAYLOAD_LENGTH + 2] = f.TCP_LEN.to_bytes(2, "big")
    return f.IPV6_LEN


class EndpointsFilter:
    """One expression about addresses and ports; it matches a connection when either direction matches."""

    def __init__(self, expression: str) -> None:
        """Compile ``expression``. Raises FilterError for what libpcap refuses, and for what only a frame can tell.

        It is compiled for raw IP, so that libpcap itself refuses VLANs and Ethernet addresses.
        """
        try:
            self.program = compile_filter(expression, RAW)
        except FilterError as error:
            raise FilterError(f"{error} (a rule sees the addresses and ports of a connection only)") from None
        self.expression = expression

    def __call__(self, a: Endpoint, b: Endpoint) -> bool:
        """Return whether a segment from ``a`` to ``b``, or one from ``b`` to ``a``, would match."""
        packets = (header(a, b), header(b, a))
        frames = np.zeros(2, FRAME)
        frames["offset"] = 0, len(packets[0])
        frames["captured_len"] = frames["wire_len"] = len(packets[0])
        frames["link_type"] = RAW
        kept = np.zeros(2, np.bool_)
        match_frames(self.program, FrameBatch(np.concatenate(packets), frames), RAW, kept)
        return bool(kept.any())
