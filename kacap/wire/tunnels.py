"""Tunnels: the inner connection is what is analysed.

What names the tunnel in both directions goes into the encapsulation: PPPoE's session, the GRE key, the VNI of VXLAN and
GENEVE, and the mere presence of IP in IP, GRE, ERSPAN and GTP-U, so that a packet captured inside and outside its
tunnel is not taken for a repetition. What each direction numbers for itself stays out: GTP-U's TEID, MPLS labels
(one side often has no label left), and ERSPAN's session (which may mirror one direction only).
"""

from __future__ import annotations

import numpy as np

from kacap.kernels import Row, kernel
from kacap.wire import cursor as c
from kacap.wire import fields as f
from kacap.wire.cursor import ETHERNET, ETHERTYPE, IP, IPV4, IPV6, MPLS, PPP, Bytes, advance, enter, left, u8, u16, u32
from kacap.wire.sequence import Int
from kacap.wire.skip_reasons import SkipReason


@kernel
def mpls(data: Bytes, cursor: Row, row: Row) -> Int:
    """One label; after the last, the first four bits tell IP, a control word (0), or Ethernet (RFC 4928).

    0 is also how most hardware addresses begin: it is Ethernet's after all when an EtherType stands in its place.
    """
    pos = cursor.pos
    if left(cursor) < f.MPLS_LEN + 1:
        return SkipReason.CUT_TUNNEL
    advance(cursor, f.MPLS_LEN)
    if not u32(data, pos) & f.MPLS_BOTTOM:
        return MPLS
    first = u8(data, pos + f.MPLS_LEN) >> 4
    if first == 4 or first == 6:
        return IP
    if first == 0 and not names_packet(data, cursor):
        advance(cursor, f.MPLS_LEN)
    return ETHERNET


@kernel
def names_packet(data: Bytes, cursor: Row) -> bool:
    """Whether an Ethernet header at the cursor would name IP or a VLAN tag."""
    if left(cursor) < f.ETHERNET_LEN:
        return False
    number = u16(data, cursor.pos + f.ETHERNET_TYPE)
    return bool(number == f.TYPE_IPV4 or number == f.TYPE_IPV6 or number == f.TYPE_VLAN or number == f.TYPE_VLAN_AD)


@kernel
def pppoe(data: Bytes, cursor: Row, row: Row) -> Int:
    """PPPoE's session stage (RFC 2516 section 4), then PPP."""
    pos = cursor.pos
    if left(cursor) < f.PPPOE_LEN:
        return SkipReason.CUT_TUNNEL
    if u8(data, pos + f.PPPOE_VERSION_TYPE) != f.PPPOE_11:
        return SkipReason.BAD_TUNNEL
    enter(cursor, c.PPPOE_LANE, u16(data, pos + f.PPPOE_SESSION))
    advance(cursor, f.PPPOE_LEN)
    return PPP


@kernel
def ppp(data: Bytes, cursor: Row, row: Row) -> Int:
    """PPP with or without address and control (RFC 1662 section 3.1), or Cisco's HDLC with an EtherType."""
    pos = cursor.pos
    if left(cursor) < f.CISCO_HDLC_LEN:
        return SkipReason.CUT_LINK
    first = u16(data, pos)
    if first == f.CISCO_HDLC_UNICAST or first == f.CISCO_HDLC_MULTICAST:
        cursor.next = u16(data, pos + 2)
        advance(cursor, f.CISCO_HDLC_LEN)
        return ETHERTYPE
    if first == f.PPP_ADDRESS_CONTROL:
        pos += 2
    number, length = u16(data, pos), 2
    if number & 0x100:
        number, length = number >> 8, 1
    cursor.pos = pos + length
    if number == f.PPP_IPV4:
        return IPV4
    if number == f.PPP_IPV6:
        return IPV6
    return MPLS if number == f.PPP_MPLS else SkipReason.NOT_IP


@kernel
def gre(data: Bytes, cursor: Row, row: Row) -> Int:
    """GRE with checksum, key and sequence number (RFC 2784, RFC 2890), NVGRE (RFC 7637), ERSPAN I and II."""
    pos = cursor.pos
    if left(cursor) < f.GRE_LEN:
        return SkipReason.CUT_TUNNEL
    flags = u16(data, pos + f.GRE_FLAGS)
    if flags & (f.GRE_VERSION | f.GRE_ROUTING):
        return SkipReason.BAD_TUNNEL
    number = u16(data, pos + f.GRE_TYPE)
    advance(cursor, f.GRE_LEN + (f.GRE_FIELD if flags & f.GRE_CHECKSUM else 0))
    key: Int = np.int64(0)
    if flags & f.GRE_KEY:
        if left(cursor) < f.GRE_FIELD:
            return SkipReason.CUT_TUNNEL
        key = u32(data, cursor.pos)
        advance(cursor, f.GRE_FIELD)
    if flags & f.GRE_SEQUENCE:
        advance(cursor, f.GRE_FIELD)
    if number == f.TYPE_ERSPAN:
        enter(cursor, c.ERSPAN_LANE, np.int64(0))
        advance(cursor, f.ERSPAN2_LEN if flags & f.GRE_SEQUENCE else 0)
        return ETHERNET
    enter(cursor, c.GRE_LANE, key >> f.NVGRE_FLOW_BITS if number == f.TYPE_ETHERNET else key)
    cursor.next = number
    return ETHERTYPE


@kernel
def udp(data: Bytes, cursor: Row, row: Row) -> Int:
    """UDP is read only for the tunnels that its destination port announces (RFC 768)."""
    if left(cursor) < f.UDP_LEN:
        return SkipReason.CUT_TUNNEL
    port = u16(data, cursor.pos + f.UDP_DESTINATION_PORT)
    advance(cursor, f.UDP_LEN)
    if port == f.PORT_VXLAN or port == f.PORT_VXLAN_LINUX:
        return vxlan(data, cursor)
    if port == f.PORT_GENEVE:
        return geneve(data, cursor)
    return gtpu(data, cursor) if port == f.PORT_GTPU else SkipReason.NOT_TCP


@kernel
def vxlan(data: Bytes, cursor: Row) -> Int:
    """VXLAN (RFC 7348 section 5): Ethernet in a numbered network."""
    pos = cursor.pos
    if left(cursor) < f.VXLAN_LEN:
        return SkipReason.CUT_TUNNEL
    if not u8(data, pos + f.VXLAN_FLAGS) & f.VXLAN_HAS_VNI:
        return SkipReason.BAD_TUNNEL
    enter(cursor, c.VXLAN_LANE, u32(data, pos + f.VXLAN_VNI) >> 8)
    advance(cursor, f.VXLAN_LEN)
    return ETHERNET


@kernel
def geneve(data: Bytes, cursor: Row) -> Int:
    """GENEVE (RFC 8926 section 3.4): any EtherType, after options."""
    pos = cursor.pos
    if left(cursor) < f.GENEVE_LEN:
        return SkipReason.CUT_TUNNEL
    first = u8(data, pos + f.GENEVE_VERSION)
    if first >> 6:
        return SkipReason.BAD_TUNNEL
    enter(cursor, c.GENEVE_LANE, u32(data, pos + f.GENEVE_VNI) >> 8)
    cursor.next = u16(data, pos + f.GENEVE_TYPE)
    advance(cursor, f.GENEVE_LEN + (first & 0x3F) * 4)
    return ETHERTYPE


@kernel
def gtpu(data: Bytes, cursor: Row) -> Int:
    """GTP-U user data (3GPP TS 29.281 section 5), after a chain of extension headers; then IP of either version."""
    pos = cursor.pos
    if left(cursor) < f.GTPU_LEN:
        return SkipReason.CUT_TUNNEL
    flags = u8(data, pos + f.GTPU_FLAGS)
    if flags & f.GTPU_VERSION_MASK != f.GTPU_VERSION_1 or u8(data, pos + f.GTPU_TYPE) != f.GTPU_GPDU:
        return SkipReason.BAD_TUNNEL
    enter(cursor, c.GTPU_LANE, np.int64(0))
    advance(cursor, f.GTPU_LEN)
    if not flags & f.GTPU_OPTIONAL:
        return IP
    length: Int = np.int64(f.GTPU_OPTIONAL_LEN)
    more = flags & f.GTPU_EXTENSION
    while left(cursor) > length:
        advance(cursor, length)
        if not more or not u8(data, cursor.pos - f.GTPU_OPTIONAL_LEN + f.GTPU_NEXT):
            return IP
        length = u8(data, cursor.pos) * 4
        if length == 0:
            return SkipReason.BAD_TUNNEL
    return SkipReason.CUT_TUNNEL
