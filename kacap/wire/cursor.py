"""The state that walks a frame from header to header, and big-endian reads.

A step of the walk takes (data, cursor, row), reads the header at ``cursor["pos"]``, moves the cursor past it and
returns what comes next: a layer below, ``SEGMENT_DONE`` once ``row`` holds a segment, or a ``SkipReason``. A step reads
only bytes below ``cursor["end"]``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.kernels import Row, kernel
from kacap.wire.sequence import Int

Bytes = NDArray[np.uint8]

CURSOR = np.dtype(
    [
        ("pos", "<i8"),  # index of the next unread byte in the buffer
        ("end", "<i8"),  # index after the last byte that was captured and belongs to the current packet
        ("limit", "<i8"),  # index where the current packet ends by its own length, captured or not
        ("next", "<i8"),  # EtherType or protocol number of what comes next
        ("headers", "<i8"),  # read so far
        ("quote", "<i8"),  # 1: inside the packet that an ICMP error quotes
        ("encapsulation", "<u8"),
    ],
    align=True,
)

# What a step returns: a reason (below SEGMENT_DONE), the end, or a state. The first three only decide what comes next;
# each of the others reads one header, and MAX_HEADERS of them are read in one frame.
SEGMENT_DONE = 64
ETHERTYPE, PROTOCOL, IP = 65, 66, 67
FIRST_HEADER = 70
ETHERNET, VLAN, LLC, IPV4, IPV6, EXTENSION, TCP, ICMP, ICMPV6 = 70, 71, 72, 73, 74, 75, 76, 77, 78
MPLS, PPPOE, PPP, GRE, UDP, RADIOTAP, WIFI, NFLOG = 80, 81, 82, 83, 84, 85, 86, 87
MAX_HEADERS = 24  # a VXLAN in a VXLAN with four VLAN tags each needs 21

# What ``enter`` mixes into the encapsulation beside an identifier. Kernels take these as ``c.NAME``: a bare global is a
# literal type of its own to numba, and the callee would be compiled once for each.
VLAN_LANE, PPPOE_LANE, GRE_LANE, ERSPAN_LANE, VXLAN_LANE, GENEVE_LANE, GTPU_LANE, IP_LANE = 1, 2, 3, 4, 5, 6, 7, 8


@kernel
def u8(data: Bytes, pos: Int) -> Int:
    """Return the byte at ``pos``.

    An index without a sign is none from the end, so that the compiler makes one load of bytes that follow one another.
    """
    return np.int64(data[np.uint64(pos)])


@kernel
def u16(data: Bytes, pos: Int) -> Int:
    """Return the big-endian 16-bit number at ``pos``."""
    return u8(data, pos) << 8 | u8(data, pos + 1)


@kernel
def u32(data: Bytes, pos: Int) -> Int:
    """Return the big-endian 32-bit number at ``pos``."""
    return u16(data, pos) << 16 | u16(data, pos + 2)


@kernel
def u64(data: Bytes, pos: Int) -> np.uint64:
    """Return the big-endian 64-bit number at ``pos``."""
    return np.uint64(u32(data, pos)) << np.uint64(32) | np.uint64(u32(data, pos + 4))


@kernel
def left(cursor: Row) -> Int:
    """Return how many captured bytes the current packet still has."""
    return np.int64(cursor.end) - np.int64(cursor.pos)


@kernel
def advance(cursor: Row, length: Int) -> None:
    """Move past ``length`` bytes."""
    cursor.pos = np.int64(cursor.pos) + length


@kernel
def enter(cursor: Row, header: int, number: Int) -> None:
    """Mix an identifier of an enclosing ``header`` (``number`` below 2^32) into the encapsulation.

    Products stay below 2^64 and nothing overflows, compiled or not.
    """
    encapsulation = np.uint64(cursor.encapsulation)
    encapsulation = encapsulation << np.uint64(29) | encapsulation >> np.uint64(35)
    encapsulation ^= np.uint64(number + 1) * np.uint64(0x9E3779B1)
    cursor.encapsulation = encapsulation ^ encapsulation >> np.uint64(32) ^ np.uint64(header) << np.uint64(56)
