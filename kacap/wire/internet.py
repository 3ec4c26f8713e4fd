"""IPv4, IPv6 and what stands between them and TCP.

A packet ends where its IP length says, never where the frame ends: padding and trailers do not count.
"""

from __future__ import annotations

import numpy as np

from kacap.kernels import Row, inlined, kernel
from kacap.segments import IS_FRAGMENT, IS_IPV6
from kacap.wire import cursor as c
from kacap.wire import fields as f
from kacap.wire.cursor import (
    EXTENSION,
    GRE,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    MPLS,
    PROTOCOL,
    TCP,
    UDP,
    Bytes,
    advance,
    enter,
    left,
    u8,
    u16,
    u32,
    u64,
)
from kacap.wire.sequence import Int
from kacap.wire.skip_reasons import SkipReason

NOT_FROM_IP = 0xFF ^ IS_IPV6 ^ IS_FRAGMENT  # what an enclosing IP header left is void: the innermost counts


@inlined
def ipv4(data: Bytes, cursor: Row, row: Row) -> Int:
    """IPv4 with options (RFC 791 section 3.1). Total length 0 is segmentation offload: the wire length holds."""
    pos = cursor.pos
    if left(cursor) < f.IPV4_LEN:
        return SkipReason.CUT_IP
    header = (u8(data, pos) & 0x0F) * 4
    if u8(data, pos) >> 4 != 4:
        return SkipReason.BAD_IP_VERSION
    if header < f.IPV4_LEN:
        return SkipReason.BAD_IP_LENGTH
    if left(cursor) < header:
        return SkipReason.CUT_IP
    total = u16(data, pos + f.IPV4_TOTAL_LENGTH)
    if total != 0:
        cursor.limit = pos + total
    if cursor.limit < pos + header:
        return SkipReason.BAD_IP_LENGTH
    row.src_hi, row.dst_hi = np.uint64(0), np.uint64(0)
    row.src_lo = np.uint64(f.MAPPED | u32(data, pos + f.IPV4_SOURCE))
    row.dst_lo = np.uint64(f.MAPPED | u32(data, pos + f.IPV4_DESTINATION))
    row.has = row.has & NOT_FROM_IP
    keep(cursor, row, u8(data, pos + f.IPV4_TTL), u16(data, pos + f.IPV4_ID))
    cursor.next = u8(data, pos + f.IPV4_PROTOCOL)
    advance(cursor, header)
    return fragment_of(row, u16(data, pos + f.IPV4_FRAGMENT), f.IPV4_FRAGMENT_OFFSET, f.IPV4_MORE_FRAGMENTS)


@kernel
def ipv6(data: Bytes, cursor: Row, row: Row) -> Int:
    """IPv6's fixed header (RFC 8200 section 3). Payload length 0 is a jumbogram or offload: the wire length holds."""
    pos = cursor.pos
    if left(cursor) < f.IPV6_LEN:
        return SkipReason.CUT_IP
    if u8(data, pos) >> 4 != 6:
        return SkipReason.BAD_IP_VERSION
    payload = u16(data, pos + f.IPV6_PAYLOAD_LENGTH)
    if payload != 0:
        cursor.limit = pos + f.IPV6_LEN + payload
    if cursor.limit < pos + f.IPV6_LEN:
        return SkipReason.BAD_IP_LENGTH
    row.src_hi, row.src_lo = u64(data, pos + f.IPV6_SOURCE), u64(data, pos + f.IPV6_SOURCE + 8)
    row.dst_hi, row.dst_lo = u64(data, pos + f.IPV6_DESTINATION), u64(data, pos + f.IPV6_DESTINATION + 8)
    row.has = row.has & NOT_FROM_IP | IS_IPV6
    keep(cursor, row, u8(data, pos + f.IPV6_HOP_LIMIT), np.int64(0))
    cursor.next = u8(data, pos + f.IPV6_NEXT_HEADER)
    advance(cursor, f.IPV6_LEN)
    return PROTOCOL


@kernel
def keep(cursor: Row, row: Row, ttl: Int, ip_id: Int) -> None:
    """Note what belongs to this IP header, and end the captured bytes where its length says.

    Of a quoted header only the addresses count: TTL and IP ID are those of the ICMP packet.
    """
    if cursor.end > cursor.limit:
        cursor.end = cursor.limit
    if not cursor.quote:
        row.ttl = ttl
        row.ip_id = ip_id


@kernel
def fragment_of(row: Row, field: Int, offset_mask: int, more_mask: int) -> Int:
    """A first fragment holds the TCP header, a later one does not."""
    if field & offset_mask:
        return SkipReason.LATER_FRAGMENT
    if field & more_mask:
        row.has |= IS_FRAGMENT
    return PROTOCOL


@kernel
def protocol(data: Bytes, cursor: Row, row: Row) -> Int:
    """What IPv4's protocol or IPv6's next header announces."""
    number = cursor.next
    if number == f.PROTOCOL_TCP:
        return TCP
    if number == f.PROTOCOL_AH:
        return EXTENSION
    if number == f.PROTOCOL_UDP:
        return UDP
    if number == f.PROTOCOL_ESP:
        return SkipReason.ENCRYPTED
    if number == f.PROTOCOL_GRE:
        return GRE
    if number == f.PROTOCOL_IPV4 or number == f.PROTOCOL_IPV6:
        enter(cursor, c.IP_LANE, number)
        return IPV4 if number == f.PROTOCOL_IPV4 else IPV6
    if number == f.PROTOCOL_MPLS:
        return MPLS
    if row.has & IS_IPV6:
        if number == f.PROTOCOL_HOP_BY_HOP or number == f.PROTOCOL_ROUTING or number == f.PROTOCOL_DESTINATION:
            return EXTENSION
        if number == f.PROTOCOL_FRAGMENT:
            return EXTENSION
        if number == f.PROTOCOL_ICMPV6 and not cursor.quote:
            return ICMPV6
    elif number == f.PROTOCOL_ICMP and not cursor.quote:
        return ICMP
    return SkipReason.NOT_TCP


@kernel
def extension(data: Bytes, cursor: Row, row: Row) -> Int:
    """One extension header (RFC 8200 section 4): counted in 8 bytes without the first, AH in 4 without two."""
    pos = cursor.pos
    if left(cursor) < f.EXTENSION_MIN:
        return SkipReason.CUT_IP
    number = cursor.next
    cursor.next = u8(data, pos + f.EXTENSION_NEXT)
    length = (u8(data, pos + f.EXTENSION_LENGTH) + 1) * 8
    if number == f.PROTOCOL_AH:
        length = (u8(data, pos + f.EXTENSION_LENGTH) + 2) * 4
    if number == f.PROTOCOL_FRAGMENT:
        advance(cursor, f.EXTENSION_MIN)
        return fragment_of(row, u16(data, pos + f.FRAGMENT_OFFSET), f.FRAGMENT_OFFSET_MASK, f.FRAGMENT_MORE)
    advance(cursor, length)
    return PROTOCOL
