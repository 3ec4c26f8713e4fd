"""The plain twin of the decoder: what a frame holds, slowly and from the RFCs. Imports nothing of kacap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

MAX_HEADERS = 24


@dataclass
class Segment:
    """One TCP segment, or what an ICMP error quotes of one. Addresses are 128-bit numbers; encapsulation: tags."""

    src: int = 0
    dst: int = 0
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    payload_len: int = 0
    has_options: bool = False
    timestamps: tuple[int, int] | None = None
    sack: tuple[int, int] | None = None
    last_byte: int | None = None
    ttl: int = 0
    ip_id: int = 0
    is_ipv6: bool = False
    is_fragment: bool = False
    is_quote: bool = False
    by: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    encapsulation: tuple[tuple[str, int], ...] = ()
    # Set by whoever has a whole capture:
    frame: int = 0
    time_ns: int = 0


class Skip(Exception):  # noqa: N818 - not an error: the reason why a frame has no segment
    """The name of the reason."""


@dataclass
class Walk:
    """What is known of the frame so far."""

    segment: Segment = field(default_factory=Segment)
    headers: int = 0
    quoted: bool = False

    def header(self) -> None:
        self.headers += 1
        if self.headers > MAX_HEADERS:
            raise Skip("TOO_DEEP")

    def tag(self, what: str, number: int) -> None:
        self.segment.encapsulation += ((what, number),)


@dataclass
class Rest:
    """The bytes still to read, and how long the packet says it goes on (more than ``data`` when it was cut)."""

    data: bytes
    extent: int

    def need(self, n: int, reason: str) -> bytes:
        if len(self.data) < n:
            raise Skip(reason)
        return self.data

    def after(self, n: int) -> Rest:
        return Rest(self.data[n:], self.extent - n)


def be(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def decode_frame(data: bytes, wire_len: int, link_type: int) -> Segment | str:
    """Return the segment in a frame of which ``data`` was captured, or the name of the reason why there is none."""
    walk = Walk()
    try:
        if link_type not in LINKS:
            raise Skip("UNKNOWN_LINK_TYPE")
        LINKS[link_type](walk, Rest(data, wire_len))
    except Skip as reason:
        name = str(reason)
        return "OTHER_ICMP" if walk.quoted and name in ("NOT_TCP", "NOT_IP") else name
    return walk.segment


# Links


def ethernet(walk: Walk, rest: Rest) -> None:
    walk.header()
    number = be(rest.need(14, "CUT_LINK"), 12, 2)
    by_type(walk, rest.after(14), number)


def by_type(walk: Walk, rest: Rest, number: int, may_be_length: bool = True) -> None:
    if may_be_length and number < 0x600:
        llc(walk, rest)
    elif number in ETHERTYPES:
        ETHERTYPES[number](walk, rest)
    else:
        raise Skip("NOT_IP")


def vlan(walk: Walk, rest: Rest) -> None:
    walk.header()
    tag = be(rest.need(4, "CUT_LINK"), 0, 2) % 4096
    if tag:
        walk.tag("vlan", tag)
    by_type(walk, rest.after(4), be(rest.data, 2, 2))


def llc(walk: Walk, rest: Rest) -> None:
    walk.header()
    data = rest.need(8, "CUT_LINK")
    if data[:3] != b"\xaa\xaa\x03" or data[3:6] not in (b"\0\0\0", b"\0\0\xf8"):
        raise Skip("NOT_IP")
    by_type(walk, rest.after(8), be(data, 6, 2), may_be_length=False)


def sll(walk: Walk, rest: Rest) -> None:
    number = be(rest.need(16, "CUT_LINK"), 14, 2)
    llc(walk, rest.after(16)) if number == 4 else by_type(walk, rest.after(16), number, may_be_length=False)


def sll2(walk: Walk, rest: Rest) -> None:
    number = be(rest.need(20, "CUT_LINK"), 0, 2)
    llc(walk, rest.after(20)) if number == 4 else by_type(walk, rest.after(20), number, may_be_length=False)


def null(walk: Walk, rest: Rest) -> None:
    data = rest.need(4, "CUT_LINK")[:4]
    families = (int.from_bytes(data, "little"), int.from_bytes(data, "big"))
    if 2 in families:
        ipv4(walk, rest.after(4))
    elif any(family in (10, 23, 24, 28, 30) for family in families):
        ipv6(walk, rest.after(4))
    else:
        raise Skip("NOT_IP")


def raw(walk: Walk, rest: Rest) -> None:
    version = rest.need(1, "CUT_IP")[0] >> 4
    if version not in (4, 6):
        raise Skip("BAD_IP_VERSION")
    ipv4(walk, rest) if version == 4 else ipv6(walk, rest)


def ppp(walk: Walk, rest: Rest) -> None:
    walk.header()
    data = rest.need(4, "CUT_LINK")
    if data[:2] in (b"\x0f\x00", b"\x8f\x00"):
        return by_type(walk, rest.after(4), be(data, 2, 2), may_be_length=False)
    if data[:2] == b"\xff\x03":
        rest = rest.after(2)
    size = 1 if rest.data[0] & 1 else 2
    number = be(rest.data, 0, size)
    if number not in (0x21, 0x57, 0x281):
        raise Skip("NOT_IP")
    return {0x21: ipv4, 0x57: ipv6, 0x281: mpls}[number](walk, rest.after(size))


def radiotap(walk: Walk, rest: Rest) -> None:
    walk.header()
    data = rest.need(8, "CUT_LINK")
    length = int.from_bytes(data[2:4], "little")
    if data[0] or length < 8:
        raise Skip("BAD_TUNNEL")
    header = rest.need(length, "CUT_LINK")[:length]
    words = 1
    while 4 * words + 4 <= length and header[4 * words + 3] & 0x80:
        words += 1
    at = 4 + 4 * words
    if header[4] & 1:
        at = -(-at // 8) * 8 + 8
    padded = bool(header[4] & 2) and at < length and bool(header[at] & 0x20)
    wifi(walk, rest.after(length), padded)


def wifi(walk: Walk, rest: Rest, padded: bool = False) -> None:
    walk.header()
    data = rest.need(24, "CUT_LINK")
    kind, subtype = data[0] >> 2 & 3, data[0] >> 4
    if kind != 2 or subtype & 4:
        raise Skip("NOT_IP")
    if data[1] & 0x40:
        raise Skip("ENCRYPTED")
    if data[22] % 16:
        raise Skip("AGGREGATED")
    length = 30 if data[1] & 3 == 3 else 24
    if subtype & 8:
        if rest.need(length + 2, "CUT_LINK")[length] & 0x80:
            raise Skip("AGGREGATED")
        length += 6 if data[1] & 0x80 else 2
    llc(walk, rest.after(-(-length // 4) * 4 if padded else length))


def nflog(walk: Walk, rest: Rest) -> None:
    walk.header()
    rest = rest.after(4)
    while len(rest.data) >= 4:
        order = "little" if int.from_bytes(rest.data[2:4], "little") & 0x7FFF < 256 else "big"
        length, number = (int.from_bytes(rest.data[at : at + 2], order) for at in (0, 2))
        if length < 4:
            raise Skip("BAD_TUNNEL")
        if number & 0x7FFF == 9:
            return raw(walk, rest.after(4))
        rest = rest.after(-(-length // 4) * 4)
    raise Skip("CUT_LINK")


# Tunnels


def mpls(walk: Walk, rest: Rest) -> None:
    walk.header()
    data = rest.need(5, "CUT_TUNNEL")
    if not data[2] & 1:
        return mpls(walk, rest.after(4))
    nibble = data[4] >> 4
    if nibble in (4, 6):
        return raw(walk, rest.after(4))
    no_control_word = nibble or be(data[4:18], 12, 2) in (0x0800, 0x86DD, 0x8100, 0x88A8)
    return ethernet(walk, rest.after(4 if no_control_word else 8))


def pppoe(walk: Walk, rest: Rest) -> None:
    walk.header()
    data = rest.need(6, "CUT_TUNNEL")
    if data[0] != 0x11:
        raise Skip("BAD_TUNNEL")
    walk.tag("pppoe", be(data, 2, 2))
    ppp(walk, rest.after(6))


def gre(walk: Walk, rest: Rest) -> None:
    walk.header()
    data = rest.need(4, "CUT_TUNNEL")
    checksum, routing, key_there, sequence = (data[0] & bit for bit in (0x80, 0x40, 0x20, 0x10))
    if data[1] & 7 or routing:
        raise Skip("BAD_TUNNEL")
    number, rest = be(data, 2, 2), rest.after(8 if checksum else 4)
    key = 0
    if key_there:
        key = be(rest.need(4, "CUT_TUNNEL"), 0, 4)
        rest = rest.after(4)
    if sequence:
        rest = rest.after(4)
    if number == 0x88BE:
        walk.tag("erspan", 0)
        return ethernet(walk, rest.after(8 if sequence else 0))
    walk.tag("gre", key // 256 if number == 0x6558 else key)
    return by_type(walk, rest, number, may_be_length=False)


def udp(walk: Walk, rest: Rest) -> None:
    walk.header()
    port = be(rest.need(8, "CUT_TUNNEL"), 2, 2)
    rest = rest.after(8)
    if port not in (2152, 4789, 6081, 8472):
        raise Skip("NOT_TCP")
    data = rest.need(8, "CUT_TUNNEL")
    if port == 2152:
        return gtpu(walk, rest)
    if port == 6081:
        if data[0] >> 6:
            raise Skip("BAD_TUNNEL")
        walk.tag("geneve", be(data, 4, 3))
        return by_type(walk, rest.after(8 + data[0] % 64 * 4), be(data, 2, 2), may_be_length=False)
    if not data[0] & 8:
        raise Skip("BAD_TUNNEL")
    walk.tag("vxlan", be(data, 4, 3))
    return ethernet(walk, rest.after(8))


def gtpu(walk: Walk, rest: Rest) -> None:
    flags, kind = rest.data[0], rest.data[1]
    if flags >> 4 != 3 or kind != 255:
        raise Skip("BAD_TUNNEL")
    walk.tag("gtpu", 0)
    rest = rest.after(8)
    if flags & 7:
        following = rest.need(5, "CUT_TUNNEL")[3] if flags & 4 else 0
        rest = Rest(rest.need(5, "CUT_TUNNEL"), rest.extent).after(4)
        while following:
            size = rest.data[0] * 4
            if not size:
                raise Skip("BAD_TUNNEL")
            following = rest.need(size + 1, "CUT_TUNNEL")[size - 1]
            rest = rest.after(size)
    raw(walk, rest)


# Internet


def ip_header(walk: Walk, rest: Rest, header: int, total: int) -> Rest:
    """What belongs to the packet after ``header`` bytes; ``total`` 0: its length is that of what encloses it."""
    extent = total or rest.extent
    if extent < header:
        raise Skip("BAD_IP_LENGTH")
    return Rest(rest.data[:extent], extent).after(header)


def ipv4(walk: Walk, rest: Rest) -> None:
    walk.header()
    data = rest.need(20, "CUT_IP")
    if data[0] >> 4 != 4:
        raise Skip("BAD_IP_VERSION")
    header = data[0] % 16 * 4
    if header < 20:
        raise Skip("BAD_IP_LENGTH")
    rest.need(header, "CUT_IP")
    inner = ip_header(walk, rest, header, be(data, 2, 2))
    segment = walk.segment
    segment.src, segment.dst = (0xFFFF << 32 | be(data, at, 4) for at in (12, 16))
    segment.is_ipv6 = False
    if not walk.quoted:
        segment.ttl, segment.ip_id = data[8], be(data, 4, 2)
    fragment(segment, be(data, 6, 2) % 0x2000, bool(data[6] & 0x20))
    protocol(walk, inner, data[9])


def ipv6(walk: Walk, rest: Rest) -> None:
    walk.header()
    data = rest.need(40, "CUT_IP")
    if data[0] >> 4 != 6:
        raise Skip("BAD_IP_VERSION")
    length = be(data, 4, 2)
    inner = ip_header(walk, rest, 40, length + 40 if length else 0)
    segment = walk.segment
    segment.src, segment.dst = be(data, 8, 16), be(data, 24, 16)
    segment.is_ipv6, segment.is_fragment = True, False
    if not walk.quoted:
        segment.ttl, segment.ip_id = data[7], 0
    protocol(walk, inner, data[6])


def fragment(segment: Segment, offset: int, more: bool) -> None:
    if offset:
        raise Skip("LATER_FRAGMENT")
    segment.is_fragment = more


def extension(walk: Walk, rest: Rest, number: int) -> None:
    walk.header()
    data = rest.need(8, "CUT_IP")
    size = (data[1] + 2) * 4 if number == 51 else (data[1] + 1) * 8
    if number == 44:
        size = 8
        more = bool(data[3] & 1) or False
        if be(data, 2, 2) // 8:
            raise Skip("LATER_FRAGMENT")
        walk.segment.is_fragment = walk.segment.is_fragment or more
    protocol(walk, rest.after(size), data[0])


def protocol(walk: Walk, rest: Rest, number: int) -> None:
    six = walk.segment.is_ipv6
    if number == 50:
        raise Skip("ENCRYPTED")
    if number == 51 or (six and number in (0, 43, 44, 60)):
        return extension(walk, rest, number)
    if number in (4, 41):
        walk.tag("ip", number)
        return ipv4(walk, rest) if number == 4 else ipv6(walk, rest)
    if number == (58 if six else 1) and not walk.quoted:
        return icmp(walk, rest)
    if number not in PROTOCOLS:
        raise Skip("NOT_TCP")
    return PROTOCOLS[number](walk, rest)


def icmp(walk: Walk, rest: Rest) -> None:
    walk.header()
    data, segment = rest.need(8, "CUT_ICMP"), walk.segment
    if data[0] not in ((1, 2, 3, 4) if segment.is_ipv6 else (3, 11, 12)):
        raise Skip("OTHER_ICMP")
    segment.is_quote, segment.by = True, segment.src
    segment.icmp_type, segment.icmp_code = data[0], data[1]
    walk.quoted = True
    (ipv6 if segment.is_ipv6 else ipv4)(walk, rest.after(8))


def tcp(walk: Walk, rest: Rest) -> None:
    walk.header()
    data, segment = rest.data, walk.segment
    if not walk.quoted and rest.extent < 20:
        raise Skip("BAD_IP_LENGTH")
    rest.need(8 if walk.quoted else 16, "CUT_ICMP" if walk.quoted else "CUT_TCP")
    segment.sport, segment.dport, segment.seq = be(data, 0, 2), be(data, 2, 2), be(data, 4, 4)
    if len(data) < 16:
        return
    header = data[12] // 16 * 4
    if not walk.quoted and not 20 <= header <= rest.extent:
        raise Skip("BAD_DATA_OFFSET")
    segment.ack, segment.flags, segment.window = be(data, 8, 4), data[13], be(data, 14, 2)
    segment.payload_len = max(0, rest.extent - header)
    segment.has_options = header > 20
    options(segment, data[20:header])
    if segment.payload_len and len(data) >= rest.extent:
        segment.last_byte = data[rest.extent - 1]


def options(segment: Segment, data: bytes) -> None:
    while data and data[0]:
        if data[0] == 1:
            data = data[1:]
            continue
        if len(data) < 2 or not 2 <= data[1] <= len(data):
            return
        if data[0] == 8 and data[1] == 10:
            segment.timestamps = be(data, 2, 4), be(data, 6, 4)
        if data[0] == 5 and data[1] >= 10:
            segment.sack = be(data, 2, 4), be(data, 6, 4)
        data = data[data[1] :]


Layer = Callable[[Walk, Rest], None]
LINKS: dict[int, Layer] = {
    0: null, 1: ethernet, 9: ppp, 12: raw, 14: raw, 50: ppp, 101: raw, 105: wifi, 108: null, 113: sll, 127: radiotap,
    228: ipv4, 229: ipv6, 239: nflog, 276: sll2,
}  # fmt: skip
ETHERTYPES: dict[int, Layer] = {
    0x0800: ipv4, 0x86DD: ipv6, 0x8100: vlan, 0x88A8: vlan, 0x9100: vlan, 0x9200: vlan, 0x8847: mpls, 0x8848: mpls,
    0x8864: pppoe, 0x6558: ethernet, 0x880B: ppp,
}  # fmt: skip
PROTOCOLS: dict[int, Layer] = {6: tcp, 17: udp, 47: gre, 137: mpls}
