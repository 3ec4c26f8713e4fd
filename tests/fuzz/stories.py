"""Captures made by chance, but by the rules of the formats: stories of connections in packets, records and files.

Whatever is drawn comes from ``Chance``, so that a number makes the same capture again, and so do the bytes of a fuzzer
that looks where its bytes lead to. A capture is a list of pieces (headers, records, blocks), which shrinking drops one
by one.
"""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
S, MS, US = 10**9, 10**6, 10**3
GAPS_NS = (0, 1, US, 40 * US, MS, 200 * MS, S, S, 2 * S, 10 * S, 60 * S, 75 * S, 7200 * S, 86400 * S, 315_360_000 * S)
JUMPS_NS = (-S, -MS, 3600 * S, -3600 * S, 86400 * S, 50 * 31_536_000 * S, -50 * 31_536_000 * S)
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
LINKS = (1, 1, 1, 1, 101, 113, 276, 0, 108, 9, 12, 14, 50, 228, 229, 239, 105, 127, 147, 65000)
ODD_OPTIONS = [
    bytes.fromhex(text)
    for text in (
        "0800ffff",
        "08ff0000",
        "0000080a",
        "01010108",
        "0500",
        "050200000512345678abcdef",
        "0101050a0000000300000004",
        "080a000000010000000201050a0000000300000004000000",
        "020405b4",
        "fe04f989",
        "1d10",
        "010101050a00000000ffffffff00",
    )
]


class Chance(random.Random):
    """Chance with the few drawings that stories need."""

    def one_in(self, n: int) -> bool:
        """Return True once in ``n`` times."""
        return self.randrange(n) == 0

    def number(self, bits: int) -> int:
        """Return a number of so many bits, often one at an end of its range."""
        top = (1 << bits) - 1
        return self.choice((0, 1, top, top - 1, 1 << bits - 1, self.getrandbits(bits), self.getrandbits(bits)))


class FromBytes(Chance):
    """Chance that a fuzzer's bytes decide; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data, self._at = data, 0

    def getrandbits(self, k: int, /) -> int:
        """Return ``k`` bits of the data."""
        size = (k + 7) // 8
        taken = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(taken.ljust(size, b"\0"), "little") & ((1 << k) - 1)

    def random(self) -> float:
        """Return a number from 0 to 1."""
        return self.getrandbits(32) / (1 << 32)


@dataclass
class Capture:
    """A capture in pieces; ``suffix`` says what it is called, ``packed`` whether it is compressed."""

    pieces: list[bytes]
    suffix: str = ".pcap"
    packed: bool = False

    @property
    def data(self) -> bytes:
        """The file."""
        whole = b"".join(self.pieces)
        return gzip.compress(whole, 1, mtime=0) if self.packed else whole


@dataclass
class Packet:
    """What is sent: when, a packet of a network layer (its EtherType first), who sent it."""

    time_ns: int
    kind: int
    data: bytes
    forth: bool


@dataclass
class Connection:
    """Two ends, and where their numbers stand."""

    chance: Chance
    now_ns: int
    out: list[Packet]
    v6: bool = False
    a: bytes = b""
    b: bytes = b""
    ports: tuple[int, int] = (0, 0)
    next: list[int] = field(default_factory=list)
    stamped: bool = False
    window: int = 1000

    def __post_init__(self) -> None:
        c = self.chance
        self.v6, self.stamped = c.one_in(4), c.one_in(2)
        self.a, self.b = self._address(), self._address()
        self.ports = (c.choice((40000, 1, 65535, 40000 + c.randrange(9))), c.choice((5432, 12345, 0, 80)))
        self.next = [c.number(32), c.number(32)]

    def _address(self) -> bytes:
        near = bytes([10, self.chance.randrange(3), 0, 1 + self.chance.randrange(3)])
        if self.chance.one_in(20):
            near = self.chance.choice((b"\0" * 4, b"\xff" * 4, b"\x7f\0\0\1", b"\xe0\0\0\1"))
        return bytes.fromhex("20010db8") + b"\0" * 8 + near if self.v6 else near

    def options(self) -> bytes:
        """Return the options of a segment, padded."""
        c, found = self.chance, b""
        if self.stamped:
            found = b"\1\1\x08\x0a" + struct.pack(">II", (self.now_ns // MS) & 0xFFFFFFFF, c.number(32))
        if c.one_in(15):
            found += c.choice(ODD_OPTIONS)
        return (found + bytes(-len(found) % 4))[:40]

    def send(
        self, forth: bool, flags: int, *, seq: int = 0, ack: int = 0, data: bytes = b"", more: bytes = b""
    ) -> None:
        """Send a segment; ``seq`` and ``ack`` are relative to where the two ends stand."""
        c, mine, theirs = self.chance, self.next[not forth], self.next[forth]
        options = more or self.options()
        offset = 5 + len(options) // 4 if not c.one_in(120) else c.randrange(16)
        source, target = self.ports if forth else self.ports[::-1]
        header = struct.pack(
            ">HHIIBBHHH",
            source,
            target,
            (mine + seq) & 0xFFFFFFFF,
            (theirs + ack) & 0xFFFFFFFF,
            offset << 4,
            flags,
            self.window if not c.one_in(60) else c.number(16),
            0,
            0,
        )
        kind, packet = self.ip(forth, 6, header + options + data)
        self.out.append(Packet(self.now_ns, kind, packet, forth))

    def ip(self, forth: bool, protocol: int, payload: bytes) -> tuple[int, bytes]:
        """Return the EtherType and the packet."""
        c = self.chance
        source, target = (self.a, self.b) if forth else (self.b, self.a)
        length = len(payload) + (0 if self.v6 else 20)
        if c.one_in(150):
            length = c.choice((0, 20, 39, 65535, length + 7))
        if self.v6:
            return 0x86DD, struct.pack(">IHBB", 6 << 28, length & 0xFFFF, protocol, 64) + source + target + payload
        bits = 0x4000 if not c.one_in(150) else c.choice((0x2000, 7, 0x2001, 0))
        head = struct.pack(
            ">BBHHHBBH", 0x45, 0, length & 0xFFFF, c.getrandbits(16), bits, c.choice((64, 64, 255, 1)), protocol, 0
        )
        return 0x0800, head + source + target + payload

    def quote(self, forth: bool) -> None:
        """Send an ICMP error that quotes the newest packet."""
        c, newest = self.chance, self.out[-1].data if self.out else b"\x45"
        kind = c.choice((1, 2, 3, 4, 3)) if self.v6 else c.choice((3, 3, 11, 12, 5))
        words = bytes([kind, c.choice((0, 1, 2, 3, 4, 13, 200)), 0, 0]) + struct.pack(">I", c.number(32))
        kept = newest[: c.choice((28, 28, 40, 60, 1000, 3))]
        number, packet = self.ip(forth, 58 if self.v6 else 1, words + kept)
        self.out.append(Packet(self.now_ns, number, packet, forth))

    def wait(self, gap_ns: int) -> None:
        """Let time pass."""
        self.now_ns += gap_ns

    def open(self) -> None:
        """Shake hands."""
        self.send(True, SYN)
        self.next[0] += 1
        self.wait(self.chance.choice(GAPS_NS[:6]))
        self.send(False, SYN | ACK)
        self.next[1] += 1
        self.send(True, ACK)

    def talk(self) -> None:
        """Send data, answered or not, some of it again."""
        forth, size = self.chance.one_in(2), self.chance.choice((1, 1, 10, 100, 1460))
        self.send(forth, PSH | ACK, data=b"x" * size)
        if self.chance.one_in(4):
            self.wait(self.chance.choice(GAPS_NS[3:9]))
            self.send(forth, PSH | ACK, data=b"x" * size)
        self.next[not forth] += size
        self.wait(self.chance.choice(GAPS_NS[:8]))
        if not self.chance.one_in(4):
            self.send(not forth, ACK)

    def probe(self, times: int) -> None:
        """Probe as a timer does: idle, then interval; each probe answered, or none, or some."""
        c = self.chance
        forth, idle_ns, interval_ns = c.one_in(2), c.choice(GAPS_NS), c.choice(GAPS_NS)
        answered = c.choice((0, 0, 1, 1, 2))
        garbage = b"\0" if c.one_in(6) else b""
        back = c.choice((-1, -1, -1, -1, -1, -2, 0, 1))
        self.wait(idle_ns)
        for _ in range(times):
            self.send(forth, ACK, seq=back, data=garbage)
            if answered == 1 or (answered and c.one_in(2)):
                self.wait(c.choice((0, 40 * US, MS, interval_ns)))
                sack = struct.pack(
                    ">BBBBII", 1, 1, 5, 10, (self.next[not forth] - 1) & 0xFFFFFFFF, self.next[not forth] & 0xFFFFFFFF
                )
                self.send(not forth, ACK, more=sack if garbage or c.one_in(8) else b"")
                self.wait(idle_ns)
            else:
                self.wait(interval_ns + c.choice((0, 0, 10 * MS, -MS)))
        if answered == 0 and c.one_in(2):
            self.send(forth, RST | ACK)

    def close_window(self) -> None:
        """One end closes its window; the other probes it."""
        forth, before, gap_ns = self.chance.one_in(2), self.window, self.chance.choice(GAPS_NS[4:9])
        self.window = 0
        self.send(not forth, ACK)
        for _ in range(self.chance.randrange(1, 8)):
            self.wait(gap_ns)
            gap_ns = min(2 * gap_ns, 120 * S)
            self.send(forth, ACK, seq=-1)
            self.send(not forth, ACK)
        self.window = before

    def end(self) -> None:
        """End in one of several ways."""
        forth = self.chance.one_in(2)
        how = self.chance.randrange(4)
        if how == 0:
            self.send(forth, FIN | ACK)
            self.next[not forth] += 1
            self.send(not forth, FIN | ACK)
        elif how == 1:
            self.send(forth, RST, seq=self.chance.choice((0, 0, 1, 70000, -1)))
        elif how == 2:
            self.quote(forth)

    def act(self, longest: int) -> None:
        """Do one thing."""
        c = self.chance
        self.wait(c.choice(GAPS_NS[:10]))
        what = c.randrange(12)
        if what < 5:
            self.probe(c.randrange(1, longest))
        elif what < 8:
            self.talk()
        elif what == 8:
            self.close_window()
        elif what == 9:
            self.end()
        elif what == 10:
            self.quote(c.one_in(2))
        else:
            self.send(c.one_in(2), c.getrandbits(8), seq=c.choice((0, -1, 1, 2**31)), data=b"y" * c.choice((0, 1, 9)))


def packets(c: Chance) -> list[Packet]:
    """Return what some connections send, by time but for the clock's jumps."""
    out: list[Packet] = []
    began_ns = c.choice((1_700_000_000 * S, 0, 4_294_967_000 * S, 1_700_000_000 * S))
    many = c.choice((1, 1, 2, 3, 5)) if not c.one_in(40) else c.choice((50, 300))
    longest = c.choice((4, 8, 12)) if many > 5 or not c.one_in(25) else c.choice((100, 2000))
    for _ in range(many):
        one = Connection(c, began_ns + c.choice(GAPS_NS), out)
        if not c.one_in(3):
            one.open()
        for _ in range(c.randrange(1, 3 if many > 5 else 8)):
            one.act(longest)
    out.sort(key=lambda packet: packet.time_ns)
    if out and c.one_in(5):
        jump_ns = c.choice(JUMPS_NS)
        for packet in out[c.randrange(len(out)) :]:
            packet.time_ns += jump_ns
    return [packet for packet in out for _ in range(2 if c.one_in(50) else 1)]


def framed(c: Chance, link: int, packet: Packet) -> bytes:
    """Return a frame of a link type around a packet: VLANs, labels and tunnels now and then."""
    kind, data = tunnelled(c, packet.kind, packet.data) if c.one_in(25) else (packet.kind, packet.data)
    if link in (12, 14, 101, 228, 229):
        return data
    if link in (0, 108):
        return struct.pack("<I" if link == 0 else ">I", 2 if kind == 0x0800 else c.choice((10, 24, 30))) + data
    for _ in range(c.randrange(1, 4) if c.one_in(20) else 0):
        kind, data = c.choice((0x8100, 0x88A8)), struct.pack(">HH", c.getrandbits(16), kind) + data
    if c.one_in(60):
        kind, data = 0x8847, struct.pack(">I", c.getrandbits(32) | 0x100) + data
    point = struct.pack(">H", {0x0800: 0x21, 0x86DD: 0x57}.get(kind, 0xC021)) + data
    if c.one_in(60):
        kind, data = 0x8864, struct.pack(">BBHH", 0x11, 0, 7, len(point)) + point
    snap = bytes.fromhex("aaaa03000000") + struct.pack(">H", kind) + data
    wifi = bytes([8, 1 if packet.forth else 2]) + bytes(22) + snap
    ends = (b"\2\0\0\0\0\1", b"\2\0\0\0\0\2")
    return {
        9: b"\xff\x03" + point,
        50: b"\xff\x03" + point,
        113: bytes(14) + struct.pack(">H", kind) + data,
        276: struct.pack(">H", kind) + bytes(18) + data,
        239: b"\2\0\0\1" + struct.pack("<HH", len(data) + 4, 9) + data,
        105: wifi,
        127: struct.pack("<BBHI", 0, 0, 8, 0) + wifi,
    }.get(link, ends[packet.forth] + ends[not packet.forth] + struct.pack(">H", kind) + data)


def tunnelled(c: Chance, kind: int, data: bytes) -> tuple[int, bytes]:
    """Return EtherType and packet of a tunnel around a packet."""
    how = c.randrange(5)
    frame = bytes(12) + struct.pack(">H", kind) + data
    if how == 0:
        protocol, inside = (4 if kind == 0x0800 else 41), data
    elif how == 1:
        flags = c.choice((0, 0x2000, 0x1000, 0xB000, 0x4000))
        protocol, inside = 47, struct.pack(">HH", flags, kind) + bytes(4 * (flags >> 12).bit_count()) + data
    elif how == 2:
        protocol, inside = 17, udp(4789, struct.pack(">BBHI", 8, 0, 0, c.getrandbits(32)) + frame)
    elif how == 3:
        size = c.randrange(3)
        protocol, inside = 17, udp(6081, struct.pack(">BBHI", size, 0, kind, 0) + bytes(4 * size) + data)
    else:
        protocol, inside = 17, udp(2152, struct.pack(">BBHI", 0x30, 255, len(data), 1) + data)
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(inside), 1, 0, 64, protocol, 0, b"\xac\x10\0\1", b"\xac\x10\0\2"
    )
    return 0x0800, head + inside


def udp(port: int, payload: bytes) -> bytes:
    """Return a datagram."""
    return struct.pack(">HHHH", 50000, port, (8 + len(payload)) & 0xFFFF, 0) + payload


@dataclass
class Record:
    """A frame as a file holds it."""

    time_ns: int
    data: bytes
    wire: int
    link: int


def records(c: Chance) -> list[Record]:
    """Return frames with their times: of stories, or of a shipped capture."""
    if c.one_in(3):
        return told_otherwise(c, list(c.choice(shipped())))
    found, links = [], [c.choice(LINKS) for _ in range(2 if c.one_in(6) else 1)]
    for packet in packets(c):
        link = c.choice(links)
        data = framed(c, link, packet)
        found.append(Record(packet.time_ns, data, len(data), link))
    return found


def told_otherwise(c: Chance, rows: list[Record]) -> list[Record]:
    """Return the frames of a capture: some gone, twice, exchanged, at another time, with other bytes."""
    rows = [Record(row.time_ns, row.data, row.wire, row.link) for row in rows]
    scale = c.choice((1, 1, 1, 60, 1000, 7200)) if c.one_in(3) else 1
    for row in rows:
        row.time_ns = rows[0].time_ns + (row.time_ns - rows[0].time_ns) * scale
    for _ in range(c.randrange(8)):
        if not rows:
            break
        at, other = c.randrange(len(rows)), c.randrange(len(rows))
        what = c.randrange(7)
        if what == 0:
            del rows[at : at + c.randrange(1, 4)]
        elif what == 1:
            rows.insert(at, rows[other])
        elif what == 2:
            rows[at], rows[other] = rows[other], rows[at]
        elif what == 3:
            jump_ns = c.choice((*JUMPS_NS, *GAPS_NS))
            for row in rows[at:]:
                row.time_ns += jump_ns
        elif rows[at].data:
            spoiled = bytearray(rows[at].data)
            spoiled[c.randrange(len(spoiled))] = c.number(8)
            rows[at] = Record(rows[at].time_ns, bytes(spoiled), rows[at].wire, rows[at].link)
    return rows


@cache
def shipped() -> tuple[tuple[Record, ...], ...]:
    """Return the frames of the small captures that kacap ships."""
    from kacap.capture import open_captures

    found = []
    for path in sorted([*CAPTURES.glob("lab/*/*.pcap*"), *CAPTURES.glob("crafted/*/*.pcap*")]):
        if path.stat().st_size < 20_000:
            rows = [
                Record(
                    int(row["time_ns"]),
                    batch.buffer[row["offset"] :][: row["captured_len"]].tobytes(),
                    int(row["wire_len"]),
                    int(row["link_type"]),
                )
                for batch in open_captures([str(path)])
                for row in batch.frames
            ]
            found.append(tuple(rows))
    return tuple(found)


def capture(c: Chance) -> Capture:
    """Return a capture: frames in a file of some format, some of it cut or damaged."""
    rows = records(c)
    snaplen = c.choice((54, 66, 68, 96, 128)) if c.one_in(6) else 262144
    for row in rows:
        row.data = row.data[:snaplen]
        if c.one_in(300):
            row.wire = c.number(32)
    made = pcapng(c, rows) if c.one_in(2) else pcap(c, rows)
    if c.one_in(5):
        damage(c, made.pieces)
    made.packed = c.one_in(25)
    return made


def pcap(c: Chance, rows: Sequence[Record]) -> Capture:
    """Return a classic capture."""
    order, nano = c.choice("<<<>"), c.one_in(2)
    magic, scale = (0xA1B23C4D, 1) if nano else (0xA1B2C3D4, US)
    link = rows[0].link if rows else 1
    if c.one_in(20):
        link |= c.choice((0x04000000, 0x14000000, 0x08000000, 0x10000))
    version = (2, 4) if not c.one_in(30) else c.choice(((2, 2), (2, 3), (543, 0), (2, 9)))
    pieces = [struct.pack(f"{order}IHHiIII", magic, *version, 0, 0, 262144, link)]
    for row in rows:
        second, rest = divmod(row.time_ns, S)
        data = row.data
        pieces.append(
            struct.pack(f"{order}IIII", second & 0xFFFFFFFF, rest // scale, len(data), row.wire & 0xFFFFFFFF) + data
        )
    return Capture(pieces)


def block(order: str, kind: int, body: bytes) -> bytes:
    """Return a pcapng block."""
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def options(c: Chance, order: str, known: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """Return the options of a block."""
    found = list(known) + [
        (c.choice((1, 2, 4, 9, 14, 2988, 32770)), c.randbytes(c.choice((0, 1, 4, 8, 40))))
        for _ in range(c.randrange(3) if c.one_in(8) else 0)
    ]
    if c.one_in(40):
        found.append((1, "\x1b[31m\u202e=1|<script>".encode()))
    if not found:
        return b""
    words = [struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4) for code, value in found]
    return b"".join(words) + (bytes(4) if not c.one_in(9) else b"")


def pcapng(c: Chance, rows: Sequence[Record]) -> Capture:
    """Return a pcapng capture, of one section or several."""
    order, pieces, links, ticks = c.choice("<<<>"), [], {}, {}
    for number, row in enumerate(rows or [Record(0, b"", 0, 1)]):
        if number == 0 or c.one_in(200):
            magic = struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)
            pieces.append(block(order, 0x0A0D0D0A, magic + options(c, order)))
            links.clear()
        if row.link not in links:
            links[row.link] = len(links)
            resolution = c.choice((6, 9, 9, 9, 3, 0x80 | 20, 0, 12)) if c.one_in(5) else 9
            ticks[row.link] = 10**resolution if resolution < 0x80 else 1 << (resolution & 0x7F)
            known = [(9, bytes([resolution]))] + (
                [(14, struct.pack(f"{order}q", c.choice((0, 3600, -1, 2**62))))] if c.one_in(30) else []
            )
            pieces.append(
                block(order, 1, struct.pack(f"{order}HHI", row.link & 0xFFFF, 0, 0) + options(c, order, known))
            )
        if rows:
            pieces.append(packet_block(c, order, links[row.link], row, ticks[row.link]))
        if c.one_in(60):
            body = struct.pack(f"{order}III", 0, c.number(32), c.number(32))
            counts = [(code, struct.pack(f"{order}Q", c.choice((0, 1, 5, 2**40)))) for code in (2, 3, 4, 5, 7)]
            pieces.append(block(order, c.choice((5, 5, 4, 10, 99, 0xBAD)), body + options(c, order, counts)))
    return Capture(pieces, ".pcapng")


def packet_block(c: Chance, order: str, number: int, row: Record, per_second: int) -> bytes:
    """Return a frame as a block: mostly an enhanced one."""
    units = (row.time_ns * per_second // S) & (1 << 64) - 1
    body, padded = row.data, row.data + bytes(-len(row.data) % 4)
    wire = row.wire & 0xFFFFFFFF
    if c.one_in(100):
        return block(order, 3, struct.pack(f"{order}I", wire) + padded)
    if c.one_in(100):
        head = struct.pack(f"{order}HHIIII", number, 0, units >> 32, units & 0xFFFFFFFF, len(body), wire)
        return block(order, 2, head + padded + options(c, order))
    head = struct.pack(f"{order}IIIII", number, units >> 32, units & 0xFFFFFFFF, len(body), wire)
    return block(order, 6, head + padded + options(c, order))


def damage(c: Chance, pieces: list[bytes]) -> None:
    """Spoil a file: bytes, lengths, pieces that are cut, gone, twice or elsewhere."""
    for _ in range(c.randrange(1, 5)):
        if not pieces:
            return
        at = c.randrange(len(pieces))
        spoiled, what = bytearray(pieces[at]), c.randrange(6)
        if what == 0 and spoiled:
            spoiled[c.randrange(len(spoiled))] = c.number(8)
        elif what == 1 and len(spoiled) >= 16:
            struct.pack_into("<I", spoiled, c.choice((0, 4, 8, 12)), c.number(32))
        elif what == 2:
            del spoiled[c.randrange(len(spoiled) + 1) :]
        elif what == 3:
            spoiled += c.randbytes(c.randrange(9))
        elif what == 4:
            pieces.insert(c.randrange(len(pieces) + 1), pieces[at])
            continue
        pieces[at] = bytes(spoiled)


def lines_of(pieces: Sequence[bytes]) -> Iterator[str]:
    """Yield a line for each piece, for people."""
    for number, piece in enumerate(pieces):
        yield f"{number:4} {len(piece):5} {piece[:64].hex()}"
