"""One line of tshark's fields into one SEGMENT row, exactly as ``wire.decode`` fills it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

import numpy as np

from kacap.capture.tshark.fields import AT
from kacap.capture.tshark.layers import Layers, digest, layers
from kacap.errors import CaptureError
from kacap.segments import (
    HAS_LAST_BYTE,
    HAS_SACK,
    HAS_TCP_OPTIONS,
    HAS_TIMESTAMPS,
    IS_FRAGMENT,
    IS_IPV6,
    IS_QUOTE,
    SEGMENT,
    SegmentRows,
)
from kacap.wire import cursor as c
from kacap.wire import fields as f
from kacap.wire.skip_reasons import SkipReason

OTHER_LANE = 9  # beside those of wire.cursor: a tunnel that only tshark reads
ERRORS = {
    4: (f.ICMP_UNREACHABLE, f.ICMP_TIME_EXCEEDED, f.ICMP_PARAMETER_PROBLEM),
    6: tuple(range(f.ICMPV6_FIRST_ERROR, f.ICMPV6_LAST_ERROR + 1)),
}
ALL_FLAGS = 0xFF  # of tshark's twelve those of RFC 9293
ZERO = dict.fromkeys(SEGMENT.names or (), 0)

(PROTOCOLS, IP_SRC, IP_DST, IP_TTL, IP_ID, IP_MF, IP_OFFSET, IP_PROTO, V6_SRC, V6_DST, V6_HLIM, V6_MORE, V6_OFFSET) = (
    AT[name] for name in (
        "frame.protocols", "ip.src", "ip.dst", "ip.ttl", "ip.id", "ip.flags.mf", "ip.frag_offset", "ip.proto",
        "ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.fraghdr.more", "ipv6.fraghdr.offset",
    )
)  # fmt: skip
(SRC_PORT, DST_PORT, SEQ, ACK, LEN, HDR_LEN, FLAGS, WINDOW, TSVAL, TSECR, SACK_LE, SACK_RE, PAYLOAD) = (
    AT[f"tcp.{name}"] for name in (
        "srcport", "dstport", "seq", "ack", "len", "hdr_len", "flags", "window_size_value",
        "options.timestamp.tsval", "options.timestamp.tsecr", "options.sack_le", "options.sack_re", "payload",
    )
)  # fmt: skip

Values = tuple[int, ...]


def row_of(words: list[str], time_ns: int, frame: int, file: int) -> Values | SkipReason:
    """Return the values of a SEGMENT row, in the dtype's order, or why the frame has none.

    ``words`` are the values of ``fields.FIELDS``; ``frame`` is the number within its file ``file``.
    """
    found = layers(words[PROTOCOLS])
    try:
        if _is_later_fragment(words, found):
            return SkipReason.LATER_FRAGMENT
        if found.reason is not None:
            return _unreached(words, found)
        return _segment(words, found, time_ns, frame, file)
    except (IndexError, ValueError, OverflowError):  # tshark has not come to the field, or it makes no sense
        return SkipReason.CUT_ICMP if found.icmp else SkipReason.CUT_TCP


def table(rows: list[Values]) -> SegmentRows:
    """Return rows as SEGMENT. Raises CaptureError for a number that no header holds."""
    try:
        return np.array(rows, SEGMENT)
    except OverflowError:
        raise CaptureError("tshark tells numbers too large for any header: is it Wireshark's tshark?") from None


def _segment(words: list[str], found: Layers, time_ns: int, frame: int, file: int) -> Values | SkipReason:
    """Fill the row of a frame that has a TCP header."""
    row = ZERO | {"time_ns": time_ns, "frame": frame, "file": file, "encapsulation": _encapsulation(words, found)}
    (row["src_hi"], row["src_lo"]), (row["dst_hi"], row["dst_lo"]) = _ends(words, found.ip)
    version, at = found.outer
    row["ttl"] = int(_nth(words, V6_HLIM if version == 6 else IP_TTL, at))
    row["ip_id"] = 0 if version == 6 else int(_nth(words, IP_ID, at), 0)
    row["has"] = IS_IPV6 if found.ip[0] == 6 else 0
    if _is_first_fragment(words, found):
        row["has"] |= IS_FRAGMENT
    if found.icmp:
        name = "icmpv6" if found.icmp == 6 else "icmp"
        row["icmp_type"] = int(_nth(words, AT[f"{name}.type"], 0))
        row["icmp_code"] = int(_nth(words, AT[f"{name}.code"], 0))
        if row["icmp_type"] not in ERRORS[found.icmp]:
            return SkipReason.OTHER_ICMP
        row["by_hi"], row["by_lo"] = _ends(words, found.outer)[0]
        row["has"] |= IS_QUOTE
    return _tcp(words, found, row) or tuple(row.values())


def _tcp(words: list[str], found: Layers, row: dict[str, int]) -> SkipReason | None:
    """Fill what the TCP header holds; return why there is no segment. A quote may end after the sequence number."""
    quoted = found.icmp != 0
    for name, at in (("src_port", SRC_PORT), ("dst_port", DST_PORT), ("seq", SEQ)):
        row[name] = int(_first(words[at]))
    if not words[WINDOW]:
        return None if quoted else SkipReason.CUT_TCP
    header = int(_first(words[HDR_LEN]))
    length = int(_first(words[LEN])) if words[LEN] else _extent(words, found) - header
    if (header < f.TCP_LEN or length < 0) and not quoted:
        return SkipReason.BAD_DATA_OFFSET
    row["payload_len"], row["ack"] = max(length, 0), int(_first(words[ACK]) or 0)
    row["window"], row["flags"] = int(_first(words[WINDOW])), int(_first(words[FLAGS]), 16) & ALL_FLAGS
    if header > f.TCP_LEN:
        row["has"] |= HAS_TCP_OPTIONS
    if words[TSVAL] and words[TSECR]:
        row["has"] |= HAS_TIMESTAMPS
        row["tsval"], row["tsecr"] = int(_last(words[TSVAL])), int(_last(words[TSECR]))
    if words[SACK_LE] and words[SACK_RE]:
        row["has"] |= HAS_SACK
        row["sack_left"], row["sack_right"] = int(_first(words[SACK_LE])), int(_first(words[SACK_RE]))
    payload = _first(words[PAYLOAD]).replace(":", "")
    if length > 0 and len(payload) == 2 * length:
        row["has"] |= HAS_LAST_BYTE
        row["last_byte"] = int(payload[-2:], 16)
    return None


def _extent(words: list[str], found: Layers) -> int:
    """Return how long the segment is by its IP header: tshark gives no length to a fragment or a quoted segment."""
    version, at = found.ip
    if version == 4:
        return int(_nth(words, AT["ip.len"], at)) - int(_nth(words, AT["ip.hdr_len"], at))
    return int(_nth(words, AT["ipv6.plen"], at)) - (f.EXTENSION_MIN if found.fragment >= 0 else 0)


def _unreached(words: list[str], found: Layers) -> SkipReason:
    """Return why no TCP header was reached; where IP announces one, the lengths do not leave room for it."""
    announced = found.ip[0] == 4 and not found.icmp and _nth(words, IP_PROTO, found.ip[1]) == str(f.PROTOCOL_TCP)
    return SkipReason.BAD_IP_LENGTH if announced else found.reason or SkipReason.NOT_TCP


def _is_later_fragment(words: list[str], found: Layers) -> bool:
    """Return whether the innermost IP packet is a fragment other than the first."""
    if found.fragment >= 0:
        return int(_nth(words, V6_OFFSET, found.fragment)) != 0
    return found.ip[0] == 4 and int(_nth(words, IP_OFFSET, found.ip[1])) != 0


def _is_first_fragment(words: list[str], found: Layers) -> bool:
    """Return whether the segment's IP packet announces more fragments."""
    if found.fragment >= 0:
        return _true(_nth(words, V6_MORE, found.fragment))
    return found.ip[0] == 4 and _true(_nth(words, IP_MF, found.ip[1]))


def _ends(words: list[str], ip: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return source and destination of an IP header, each as two 64-bit numbers."""
    version, at = ip
    source, destination = (V6_SRC, V6_DST) if version == 6 else (IP_SRC, IP_DST)
    return address(_nth(words, source, at)), address(_nth(words, destination, at))


@lru_cache(1 << 16)
def address(text: str) -> tuple[int, int]:
    """Return an address as two 64-bit numbers, IPv4 as ::ffff:a.b.c.d."""
    found = ip_address(text)
    number = int(found) | (f.MAPPED if found.version == 4 else 0)
    return number >> 64, number & (1 << 64) - 1


def _encapsulation(words: list[str], found: Layers) -> int:
    """Return the encapsulation: what ``wire`` mixes for the same VLANs and tunnels."""
    if not found.tunnels:
        return 0
    return encapsulation(tuple(step for header in found.tunnels if (step := _step(words, *header)) is not None))


def _step(words: list[str], name: str, at: int) -> tuple[int, int] | None:
    """Return what one header mixes in: (encapsulation, number); None for the priority tag, which is not a VLAN."""
    if name in ("vlan", "ieee8021ad"):
        number = int(_nth(words, AT[f"{name}.id"], at))
        return (c.VLAN_LANE, number) if number else None
    if name == "pppoes":
        return c.PPPOE_LANE, int(_last(words[AT["pppoe.session_id"]]), 0)
    if name == "gre":
        return _gre(words, at)
    if name in ("vxlan", "geneve"):
        return c.VXLAN_LANE if name == "vxlan" else c.GENEVE_LANE, int(_nth(words, AT[f"{name}.vni"], at), 0)
    if name in ("ip", "ipv6"):
        return c.IP_LANE, f.PROTOCOL_IPV6 if name == "ipv6" else f.PROTOCOL_IPV4
    if name == "gtp":
        return c.GTPU_LANE, 0
    return None if name == "erspan" else (OTHER_LANE, digest(name))


def _gre(words: list[str], at: int) -> tuple[int, int]:
    """Return what a GRE header mixes in: its key (NVGRE's without the low byte, a flow's hash); ERSPAN has none."""
    protocol = int(_nth(words, AT["gre.proto"], at), 0)
    if protocol == f.TYPE_ERSPAN:
        return c.ERSPAN_LANE, 0
    keyed = [_true(word) for word in words[AT["gre.flags.key"]].split(",")]
    key = int(_nth(words, AT["gre.key"], sum(keyed[:at])), 0) if keyed[at] else 0
    return c.GRE_LANE, key >> f.NVGRE_FLOW_BITS if protocol == f.TYPE_ETHERNET else key


@lru_cache(1 << 12)
def encapsulation(steps: tuple[tuple[int, int], ...]) -> int:
    """Return the encapsulation of headers entered one after the other, by the decoder's own rule."""
    mix = getattr(c.enter, "__wrapped__", c.enter)
    cursor = np.zeros(1, c.CURSOR).view(np.recarray)[0]  # whose fields are attributes, as they are where it is compiled
    for header, number in steps:
        mix(cursor, header, number)
    return int(cursor.encapsulation)


def _nth(words: list[str], name: int, at: int) -> str:
    """Return one occurrence of a field. Raises IndexError if there is no such occurrence."""
    return words[name].split(",")[at]


def _first(word: str) -> str:
    return word.partition(",")[0]


def _last(word: str) -> str:
    return word.rpartition(",")[2]


def _true(word: str) -> bool:
    """Read a flag: 1 or 0, from tshark 4.2 on True or False."""
    return word in ("1", "True")
