"""Frames for property tests: one small builder for each header, stacked at random, then cut and damaged; and events.

Builders are plain ``struct`` code from the RFCs; they compute no checksum, since the decoder reads none.
"""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from kacap.classify.kind_reasons import KindReason as Why
from kacap.classify.kinds import Grade, Kind
from kacap.flows import NEVER

U8, U16, U32 = st.integers(0, 255), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
SIZES = st.integers(0, 40)
LINK_TYPES = (0, 1, 9, 12, 14, 50, 101, 105, 108, 113, 127, 228, 229, 239, 276)
OPTIONS = st.sampled_from(
    [
        b"",
        bytes.fromhex("0101080a0000000100000002"),
        bytes.fromhex("080a000000010000000201050a0000000300000004000000"),
        bytes.fromhex("0101050a0000000300000004"),
        bytes.fromhex("020405b4"),
        bytes.fromhex("0800ffff"),
        bytes.fromhex("08ff0000"),
        bytes.fromhex("0000080a"),
        bytes.fromhex("01010108"),
        bytes.fromhex("050200000512345678abcdef"),
    ]
)


@st.composite
def tcp(draw: DrawFn) -> tuple[int, bytes]:
    options = draw(OPTIONS)
    options += b"\0" * (-len(options) % 4)
    offset = draw(st.sampled_from([5 + len(options) // 4] * 8 + [0, 4, 15]))
    header = struct.pack(
        ">HHIIBBHHH", draw(U16), draw(U16), draw(U32), draw(U32), offset << 4, draw(U8), draw(U16), 0, 0
    )
    return 6, header + options + draw(st.binary(max_size=5))


@st.composite
def icmp_error(draw: DrawFn, version: int) -> tuple[int, bytes]:
    kind = draw(st.sampled_from([3, 11, 12, 5, 0] if version == 4 else [1, 2, 3, 4, 128]))
    quoted = draw(ip(version, tcp()))
    return (1 if version == 4 else 58), bytes([kind, draw(U8), 0, 0, 0, 0, 0, 0]) + quoted[1][
        : draw(st.integers(20, 90))
    ]


@st.composite
def ip(draw: DrawFn, version: int, inner: SearchStrategy[tuple[int, bytes]]) -> tuple[int, bytes]:
    """Return (EtherType, packet); lengths are right most of the time, 0 or wrong else."""
    number, payload = draw(inner)
    wrong = draw(st.sampled_from([None] * 12 + [0, 20, 45, 65535]))
    if version == 6:
        number, payload = draw(extensions(number, payload))
        length = len(payload) if wrong is None else wrong
        return 0x86DD, struct.pack(">IHBB", 6 << 28, length, number, draw(U8)) + draw(addresses(16)) + payload
    options = draw(st.sampled_from([b"", b"", b"\x01" * 4, b"\x94\x04\0\0" * 2]))
    if draw(st.integers(0, 9)) == 0:
        payload, number = struct.pack(">BBHII", number, 4, 0, 1, 2) + b"\0" * 12 + payload, 51
    length = 20 + len(options) + len(payload) if wrong is None else wrong
    fragment = draw(st.sampled_from([0x4000] * 9 + [0x2000, 0x0007, 0]))
    return 0x0800, struct.pack(
        ">BBHHHBBH", 0x45 + len(options) // 4, 0, length, draw(U16), fragment, draw(U8), number, 0
    ) + draw(addresses(4)) + options + payload


@st.composite
def addresses(draw: DrawFn, size: int) -> bytes:
    return draw(st.binary(min_size=2 * size, max_size=2 * size))


@st.composite
def extensions(draw: DrawFn, number: int, payload: bytes) -> tuple[int, bytes]:
    for kind in draw(st.lists(st.sampled_from([0, 43, 44, 51, 60]), max_size=3)):
        if kind == 44:
            payload = struct.pack(">BBHI", number, 0, draw(st.sampled_from([0, 1, 0, 8])), 7) + payload
        else:
            size = draw(st.integers(0, 2))
            length = size * 8 + 8 if kind != 51 else (size + 2) * 4
            payload = bytes([number, size]) + b"\0" * (length - 2) + payload
        number = kind
    return number, payload


def any_ip(inner: SearchStrategy[tuple[int, bytes]]) -> SearchStrategy[tuple[int, bytes]]:
    return ip(4, inner) | ip(6, inner)


PLAIN = any_ip(tcp()) | ip(4, icmp_error(4)) | ip(6, icmp_error(6)) | st.tuples(U16, st.binary(max_size=40))


def ethernet(inner: SearchStrategy[tuple[int, bytes]]) -> SearchStrategy[bytes]:
    return tagged(inner).map(lambda typed: b"\x02" * 12 + struct.pack(">H", typed[0]) + typed[1])


@st.composite
def tagged(draw: DrawFn, inner: SearchStrategy[tuple[int, bytes]]) -> tuple[int, bytes]:
    """Return (EtherType, bytes), behind VLAN tags, labels, PPPoE or LLC at times."""
    number, data = draw(inner)
    how = draw(st.sampled_from(["plain", "plain", "vlan", "mpls", "pppoe", "llc"]))
    if how == "llc":
        return len(data) + 8, bytes.fromhex("aaaa03000000") + struct.pack(">H", number) + data
    if how == "mpls":
        labels = draw(st.integers(1, 3))
        entries = [struct.pack(">I", draw(U32) & 0xFFFFFEFF | (0x100 if i == labels - 1 else 0)) for i in range(labels)]
        return 0x8847, b"".join(entries) + data
    if how == "pppoe":
        return 0x8864, struct.pack(">BBHH", 0x11, 0, draw(U16), len(data) + 2) + point_to_point(number, data)
    for _ in range(draw(st.integers(1, 4)) if how == "vlan" else 0):
        number, data = draw(st.sampled_from([0x8100, 0x88A8])), struct.pack(">HH", draw(U16), number) + data
    return number, data


def point_to_point(number: int, data: bytes) -> bytes:
    return struct.pack(">H", {0x0800: 0x21, 0x86DD: 0x57}.get(number, 0xC021)) + data


@st.composite
def tunnelled(draw: DrawFn, inner: SearchStrategy[tuple[int, bytes]]) -> tuple[int, bytes]:
    """Return (protocol number, bytes): a tunnel with ``inner`` in it."""
    number, packet = draw(inner)
    how = draw(st.sampled_from(["ip", "gre", "teb", "erspan", "vxlan", "geneve", "gtpu"]))
    if how == "ip":
        return (4 if number == 0x0800 else 41), packet
    if how in ("gre", "teb", "erspan"):
        flags = draw(st.sampled_from([0, 0x2000, 0x1000, 0x3000, 0xB000, 0x4000, 1]))
        fields = b"".join(draw(U32).to_bytes(4, "big") for bit in (0x8000, 0x2000, 0x1000) if flags & bit)
        if how == "gre":
            return 47, struct.pack(">HH", flags, number) + fields + packet
        frame = draw(ethernet(st.just((number, packet))))
        if how == "teb":
            return 47, struct.pack(">HH", flags, 0x6558) + fields + frame
        return 47, struct.pack(">HH", flags, 0x88BE) + fields + (b"\x10" * 8 if flags & 0x1000 else b"") + frame
    if how == "vxlan":
        inside = struct.pack(">BBHI", draw(st.sampled_from([8, 8, 8, 0])), 0, 0, draw(U32))
        return 17, udp(draw(st.sampled_from([4789, 8472])), inside + draw(ethernet(st.just((number, packet)))))
    if how == "geneve":
        size = draw(st.integers(0, 3))
        return 17, udp(6081, struct.pack(">BBHI", size, 0, number, draw(U32)) + b"\0" * 4 * size + packet)
    flags, more = draw(
        st.sampled_from([(0x30, b""), (0x32, b"\0\1\0\0"), (0x34, b"\0\1\0\x85\1\0\0\0"), (0x34, b"\0\0\0\1\0")])
    )
    return 17, udp(2152, struct.pack(">BBHI", flags, 255, len(packet), draw(U32)) + more + packet)


def udp(port: int, payload: bytes) -> bytes:
    return struct.pack(">HHHH", 50000, port, 8 + len(payload), 0) + payload


INSIDE = (
    PLAIN | any_ip(tunnelled(PLAIN)) | any_ip(tunnelled(any_ip(tunnelled(PLAIN)))) | any_ip(st.tuples(U8, st.binary()))
)


@st.composite
def link(draw: DrawFn) -> tuple[int, bytes]:
    """Return (link type, frame)."""
    kind = draw(st.sampled_from([*LINK_TYPES, 1, 1, 1, 147]))
    number, data = draw(INSIDE if kind in (0, 12, 14, 101, 108, 228, 229, 239) else tagged(INSIDE))
    family = struct.pack(
        draw(st.sampled_from(["<I", ">I"])), 2 if number == 0x0800 else draw(st.sampled_from([10, 24, 30]))
    )
    snap = bytes.fromhex("aaaa03000000") + struct.pack(">H", number) + data
    order = draw(st.sampled_from("<>"))
    before = struct.pack(f"{order}HH4xHH2s2x", 8, 1, 6, 10, b"ab")
    frames = {
        0: family + data,
        108: family + data,
        1: b"\x02" * 12 + struct.pack(">H", number) + data,
        9: draw(st.sampled_from([b"", b"\xff\x03"])) + point_to_point(number, data),
        50: draw(
            st.sampled_from([b"\xff\x03" + point_to_point(number, data), struct.pack(">HH", 0x0F00, number) + data])
        ),
        113: b"\0" * 14 + struct.pack(">H", number) + data,
        276: struct.pack(">H", number) + b"\0" * 18 + data,
        239: b"\x02\0\0\1" + before + struct.pack(f"{order}HH", len(data) + 4, 9) + data,
        105: draw(wifi(snap)),
        127: draw(radiotap(snap)),
    }
    return kind, frames.get(kind, data)


@st.composite
def wifi(draw: DrawFn, body: bytes, pad: bool = False) -> bytes:
    control = draw(st.sampled_from([0x08, 0x08, 0x88, 0x88, 0x48, 0x80]))
    flags = draw(st.sampled_from([1, 2, 3, 1, 2, 0x80, 0x41]))
    header = bytes([control, flags]) + b"\2" * 20 + bytes([draw(st.sampled_from([0, 0, 0, 1])), 0])
    header += b"\3" * 6 if flags & 3 == 3 else b""
    if control & 0x80:
        header += bytes([draw(st.sampled_from([0, 0, 0, 0x80])), 0]) + (b"\0" * 4 if flags & 0x80 else b"")
    return header + (b"\0" * (-len(header) % 4) if pad else b"") + body


@st.composite
def radiotap(draw: DrawFn, body: bytes) -> bytes:
    pad = draw(st.booleans())
    clock, more = draw(st.booleans()), draw(st.integers(0, 2))
    words = [struct.pack("<I", (0x80000000 if i < more else 0) | (2 | clock if i == 0 else 0)) for i in range(more + 1)]
    header = b"\0" * 4 + b"".join(words)
    if clock:
        header += b"\0" * (-len(header) % 8) + b"\1" * 8
    header += bytes([0x20 if pad else 0x10])
    return b"\0\0" + struct.pack("<H", len(header)) + header[4:] + draw(wifi(body, pad))


@st.composite
def frames(draw: DrawFn) -> tuple[bytes, int, int]:
    """Return (captured bytes, wire length, link type): whole, cut, padded or with some bytes damaged."""
    kind, data = draw(link())
    data += draw(st.sampled_from([b"", b"", b"\0" * 6]))
    wire_len = len(data)
    damage = draw(
        st.lists(st.tuples(st.integers(0, max(0, len(data) - 1)), U8), max_size=draw(st.sampled_from([0, 0, 0, 3])))
    )
    spoiled = bytearray(data)
    for at, value in damage:
        if at < len(spoiled):
            spoiled[at] = value
    kept = draw(st.sampled_from([wire_len, wire_len, wire_len, draw(st.integers(0, wire_len))]))
    return bytes(spoiled[:kept]), wire_len, kind


# Events for resolving and gathering: what one segment alone shows of itself, and what came before it.

HEARDS_NS = (None, 0, 10**6, 10**9, 2 * 10**9, 60 * 10**9)
STEPS_NS = (0, 10**6, 3 * 10**8, 10**9, 10**9, 2 * 10**9, 2 * 10**9 + 10**7, 4 * 10**9, 6 * 10**9, 60 * 10**9, -(10**6))
PLAIN, PUSH, CLOSE, OPEN_, BREAK = 16, 24, 17, 18, 20  # flags


def _shapes() -> dict[str, dict[str, int]]:
    """Every event that the classifier can write, by what it is."""
    kinds = {kind.name: int(kind) for kind in Kind}
    grades = {grade.name: int(grade) for grade in Grade}
    shapes = {
        "probe": ("PROBE", "PROVEN", Why.BELOW_ACKNOWLEDGED), "garbage": ("PROBE", "PROVEN", Why.GARBAGE_BYTE),
        "soon": ("PROBE", "AMBIGUOUS", Why.SHORT_SILENCE), "unseen": ("PROBE", "AMBIGUOUS", Why.ACK_UNSEEN),
        "later": ("PROBE", "AMBIGUOUS", Why.SAME_BYTE_LATER), "higher": ("PROBE", "ANSWERED", Why.ANSWERED_ONE_HIGHER),
        "repeat": ("PROBE", "PATTERNED", Why.REPEATS), "closed": ("WINDOW_PROBE", "AMBIGUOUS", Why.ZERO_WINDOW_SHAPE),
        "byte": ("WINDOW_PROBE", "PROVEN", Why.NEW_BYTE_AT_ZERO_WINDOW), "data": ("DATA", "PROVEN", Why.NEW_DATA),
        "resent": ("RETRANSMISSION", "PROVEN", Why.SENT_BEFORE), "reply": ("REPLY", "PROVEN", Why.ANSWERS_PROBE),
        "late": ("REPLY", "PROVEN", Why.ANSWERED_LATE), "early": ("REPLY", "PROVEN", Why.ANSWERED_BEFORE),
        "ack": ("ACK", "PROVEN", Why.PLAIN_ACK), "syn": ("SYN", "PROVEN", Why.OPENS),
        "fin": ("FIN", "PROVEN", Why.CLOSES), "rst": ("RST", "PROVEN", Why.RESETS),
        "reset": ("RESET", "PROVEN", Why.RST_AFTER_PROBE), "outside": ("RESET", "PROVEN", Why.OUT_OF_WINDOW_RST),
        "abort": ("ABORT", "PROVEN", Why.GAVE_UP), "quote": ("UNREACHABLE", "PROVEN", Why.QUOTED),
        "copy": ("DUPLICATE_FRAME", "PROVEN", Why.SAME_FRAME),
    }  # fmt: skip
    flags = {"syn": OPEN_, "fin": CLOSE, "rst": BREAK, "reset": BREAK, "outside": BREAK, "abort": BREAK, "data": PUSH}
    return {
        name: {"kind": kinds[kind], "grade": grades[grade], "why": int(why), "flags": flags.get(name, PLAIN)}
        for name, (kind, grade, why) in shapes.items()
    }


SHAPES = _shapes()
# A story tends to be of one sort: its own segments, and what the peer says to them.
STORIES = (
    tuple(SHAPES),
    ("probe", "probe", "reply", "reply", "late", "abort", "data", "quote", "reset"),
    ("closed", "closed", "closed", "reply", "reply", "data", "probe", "reset"),
    ("repeat", "repeat", "repeat", "repeat", "ack", "data", "abort", "reset", "reply"),
    ("unseen", "soon", "probe", "reply", "closed", "repeat", "early"),
)


@st.composite
def event_rows(draw: DrawFn, connections: int, event: np.dtype, least: int = 0) -> np.ndarray:
    """Rows of EVENT of some connections, in order of time but for a millisecond now and then."""
    story, steps = draw(st.sampled_from(STORIES)), draw(st.sampled_from([STEPS_NS, (10**9,), (2 * 10**9, 4 * 10**9)]))
    fields = st.tuples(
        st.sampled_from(story), st.sampled_from(steps), st.integers(0, connections - 1), st.sampled_from([1, 1, 1, 0]),
        st.sampled_from([1000, 1000, 1000, 1001]), st.sampled_from([1001, 1000]), st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0, 0, 500]), st.sampled_from([0, 0, 0, 0, 1, 2, 4, 10]), st.sampled_from(HEARDS_NS),
        st.booleans(), st.integers(0, 5),
    )  # fmt: skip
    drawn = draw(st.lists(fields, min_size=least, max_size=60))
    rows, now_ns = np.zeros(len(drawn), event), 10**18
    for number, (row, values) in enumerate(zip(rows, drawn, strict=True), 1):
        name, step_ns, watched, own, seq, ack, payload, window, hints, heard_ns, closed, heard_n = values
        now_ns += step_ns
        answering = name in ("reply", "late", "early", "ack", "reset", "outside")
        for field, value in SHAPES[name].items():
            row[field] = value
        row["time_ns"], row["frame"], row["watched"], row["id"] = now_ns, number, watched, watched + 1
        row["from_a"] = own != answering
        row["seq"], row["ack"], row["payload_len"], row["window"] = seq, ack, payload, window
        row["answers"] = name in ("reply", "early", "ack") or (name in ("data", "fin") and ack == 1001)
        row["hints"] = hints
        row["heard_ns"] = NEVER if heard_ns is None else now_ns - heard_ns
        row["closed_ns"] = now_ns - 10**9 if closed else NEVER
        row["heard_n"] = 0 if heard_ns is None else heard_n
    return rows
