"""Link headers: from the first byte of a frame to the network protocol it carries."""

from __future__ import annotations

from kacap.kernels import Row, inlined, kernel
from kacap.wire import cursor as c
from kacap.wire import fields as f
from kacap.wire.cursor import (
    ETHERNET,
    ETHERTYPE,
    IP,
    IPV4,
    IPV6,
    LLC,
    MPLS,
    NFLOG,
    PPP,
    PPPOE,
    RADIOTAP,
    VLAN,
    WIFI,
    Bytes,
    advance,
    enter,
    left,
    u8,
    u16,
    u32,
)
from kacap.wire.sequence import Int
from kacap.wire.skip_reasons import SkipReason


@inlined
def first_layer(data: Bytes, cursor: Row, link_type: Int) -> Int:
    """Return the first layer of a frame of ``link_type``; moves past headers that name only the next."""
    if link_type == f.LINK_ETHERNET:
        return ETHERNET
    if link_type == f.LINK_SLL:
        return cooked(data, cursor, f.SLL_PROTOCOL, f.SLL_LEN)
    if link_type == f.LINK_SLL2:
        return cooked(data, cursor, f.SLL2_PROTOCOL, f.SLL2_LEN)
    if link_type == f.LINK_NULL or link_type == f.LINK_LOOP:
        return family(data, cursor)
    if link_type == f.LINK_RAW or link_type == f.LINK_RAW_BSD or link_type == f.LINK_RAW_OPENBSD:
        return IP
    if link_type == f.LINK_IPV4:
        return IPV4
    if link_type == f.LINK_IPV6:
        return IPV6
    if link_type == f.LINK_PPP or link_type == f.LINK_PPP_HDLC:
        return PPP
    if link_type == f.LINK_RADIOTAP:
        return RADIOTAP
    if link_type == f.LINK_80211:
        return WIFI
    if link_type == f.LINK_NFLOG:
        return NFLOG
    return SkipReason.UNKNOWN_LINK_TYPE


@kernel
def ethernet(data: Bytes, cursor: Row, row: Row) -> Int:
    """Ethernet II or 802.3 with LLC: the type field decides (IEEE 802.3 section 3.2.6)."""
    if left(cursor) < f.ETHERNET_LEN:
        return SkipReason.CUT_LINK
    cursor.next = u16(data, cursor.pos + f.ETHERNET_TYPE)
    advance(cursor, f.ETHERNET_LEN)
    return LLC if cursor.next < f.FIRST_ETHERTYPE else ETHERTYPE


@kernel
def cooked(data: Bytes, cursor: Row, protocol: int, length: int) -> Int:
    """LINUX_SLL and LINUX_SLL2: a header of ``length`` bytes with an EtherType at ``protocol``."""
    if left(cursor) < length:
        return SkipReason.CUT_LINK
    cursor.next = u16(data, cursor.pos + protocol)
    advance(cursor, length)
    return LLC if cursor.next == f.SLL_LLC else ETHERTYPE


@kernel
def family(data: Bytes, cursor: Row) -> Int:
    """NULL and LOOP: an address family in either byte order; IPv6 has five numbers, one per system."""
    if left(cursor) < f.FAMILY_LEN:
        return SkipReason.CUT_LINK
    number = u32(data, cursor.pos)
    if number > 0xFFFF:
        number = number >> 24 | number >> 8 & 0xFF00 | number << 8 & 0xFF0000 | number << 24 & 0xFF000000
    advance(cursor, f.FAMILY_LEN)
    if number == f.FAMILY_IPV4:
        return IPV4
    if number == f.FAMILY_IPV6_LINUX or number == f.FAMILY_IPV6_WINDOWS or number == f.FAMILY_IPV6_BSD:
        return IPV6
    return IPV6 if number == f.FAMILY_IPV6_FREEBSD or number == f.FAMILY_IPV6_DARWIN else SkipReason.NOT_IP


@kernel
def llc(data: Bytes, cursor: Row, row: Row) -> Int:
    """LLC with SNAP in front of an EtherType (RFC 1042)."""
    if left(cursor) < f.LLC_LEN:
        return SkipReason.CUT_LINK
    pos = cursor.pos
    oui = u32(data, pos + f.LLC_OUI) >> 8
    if u32(data, pos) >> 8 != f.LLC_SNAP or (oui != 0 and oui != f.LLC_OUI_BRIDGED):
        return SkipReason.NOT_IP
    cursor.next = u16(data, pos + f.LLC_TYPE)
    advance(cursor, f.LLC_LEN)
    return ETHERTYPE


@kernel
def ethertype(data: Bytes, cursor: Row, row: Row) -> Int:
    """Read on by EtherType: IP, or one more header in between."""
    number = cursor.next
    if number == f.TYPE_IPV4:
        return IPV4
    if number == f.TYPE_IPV6:
        return IPV6
    if number == f.TYPE_VLAN or number == f.TYPE_VLAN_AD or number == f.TYPE_VLAN_9100 or number == f.TYPE_VLAN_9200:
        return VLAN
    if number == f.TYPE_MPLS or number == f.TYPE_MPLS_UPSTREAM:
        return MPLS
    if number == f.TYPE_PPPOE:
        return PPPOE
    if number == f.TYPE_ETHERNET:
        return ETHERNET
    return PPP if number == f.TYPE_PPP else SkipReason.NOT_IP


@kernel
def vlan(data: Bytes, cursor: Row, row: Row) -> Int:
    """One tag of 802.1Q or 802.1ad. Its VLAN goes into the encapsulation; 0 is a priority tag, the same as none."""
    if left(cursor) < f.VLAN_LEN:
        return SkipReason.CUT_LINK
    number = u16(data, cursor.pos + f.VLAN_TAG) & f.VLAN_ID_MASK
    if number:
        enter(cursor, c.VLAN_LANE, number)
    cursor.next = u16(data, cursor.pos + f.VLAN_TYPE)
    advance(cursor, f.VLAN_LEN)
    return LLC if cursor.next < f.FIRST_ETHERTYPE else ETHERTYPE


@kernel
def ip(data: Bytes, cursor: Row, row: Row) -> Int:
    """IP that nothing announces: the version is the first four bits."""
    if left(cursor) < 1:
        return SkipReason.CUT_IP
    version = u8(data, cursor.pos) >> 4
    if version == 4:
        return IPV4
    return IPV6 if version == 6 else SkipReason.BAD_IP_VERSION
