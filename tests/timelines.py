"""Timelines in a packetdrill-like notation, turned into frames. Knows nothing of kacap.

    # Prose: what the case shows.
    A 10.0.0.1:40000 isn 1000            an end; ``ttl 64``, ``id 1`` (first IP ID) and ``clock 0`` may follow
    B 10.0.0.2:80 isn 5000               IPv6 is written [fd00::1]:80
    R 10.9.9.9                           a router, which sends ICMP
    timestamps                           both ends carry the option, in milliseconds of the timeline
    pad 60                               Ethernet pads each frame to 60 bytes
    vlan 7                               each frame is tagged, outermost first
    ids                                  the truth rests on IP IDs: there is no IPv6 variant
    0       A > B S win 64240 <mss 1460, sackOK, nop, wscale 7>
    +0.01   B > A S.
    +0.01   A > B .
    +60     A > B . seq nxt-1            ; probe proven
    +0.01   B > A .                      ; reply proven
    +0      again 4                      ; duplicate-frame     (the very bytes of frame 4; ``ttl 63`` may follow)
    +1      A > B P. len 9 uncaptured    (happened, but the capture lacks it)
    +1      B > A . lost                 (captured, but does not arrive)
    +1      R > A icmp host-unreachable quotes 4 bytes 28

Times are seconds, ``+`` after the line before. Flags are tcpdump's (S F R P U . and ``none``). ``seq`` is by default
what the sender has next, ``ack`` what the other end has next; written as a number they count from the ISN, ``nxt-1``
from the default, ``=4294967295`` is absolute. ``len 5``, ``byte 0`` or ``data "abc"`` is payload, ``win 0`` holds on
for that end, ``ttl``, ``id``, ``vlan``, ``tsval`` and ``tsecr`` for that frame. A line's truth stands behind ``;``: a
kind and, where it is judged, a grade; without it the flags and the length speak (syn, fin, rst, data, ack).
"""

from __future__ import annotations

import ipaddress
import re
import shlex
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

BASE_NS = 1_704_067_200_000_000_000  # 2024-01-01 UTC
SPACE = 2**32
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128}
FIN, SYN, RST, ACK = 1, 2, 4, 16
# ICMP (type, code) and ICMPv6 (type, code): RFC 792, RFC 1812, RFC 4443.
ERRORS = {
    "net-unreachable": ((3, 0), (1, 0)),
    "host-unreachable": ((3, 1), (1, 3)),
    "port-unreachable": ((3, 3), (1, 4)),
    "admin-prohibited": ((3, 13), (1, 1)),
    "time-exceeded": ((11, 0), (3, 0)),
}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass
class End:
    """One end, or a router (port 0)."""

    name: str
    address: Address
    port: int
    isn: int
    ttl: int = 64
    clock: int = 0
    next_id: int = 1
    nxt: int = 0
    window: int = 501
    last_tsval: int = 0  # newest TSval that this end accepted: what it echoes


@dataclass(frozen=True)
class Event:
    """One frame, all numbers absolute. ``quotes`` and ``again`` are indices of other events."""

    time_ns: int
    sender: str
    receiver: str
    flags: int = 0
    seq: int = 0
    ack: int = 0
    payload: bytes = b""
    window: int = 0
    options: tuple[tuple[str, tuple[int, ...]], ...] = ()
    ttl: int = 64
    ip_id: int = 0
    tags: tuple[int, ...] = ()
    error: str = ""
    quotes: int | None = None
    quoted_bytes: int = 0
    again: int | None = None
    captured: bool = True
    kind: str = ""
    grade: str | None = None

    @property
    def end_seq(self) -> int:
        return self.seq + len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)


@dataclass
class Timeline:
    """A parsed timeline: prose, ends, events in file order."""

    prose: str
    ends: dict[str, End]
    events: list[Event]
    pad: int = 0
    version: int = 4
    rests_on_ids: bool = False

    def frames(self) -> list[tuple[int, bytes]]:
        """Return (time in nanoseconds since 1970, frame) in file order."""
        whole = [self._frame(event) for event in self.events]
        return [(e.time_ns, frame) for e, frame in zip(self.events, whole, strict=True) if e.captured]

    def truth(self) -> list[tuple[int, str, str | None]]:
        """Return (frame number from 1, kind, grade or None where it is not judged)."""
        return [(n, e.kind, e.grade) for n, e in enumerate((e for e in self.events if e.captured), 1)]

    def write_pcap(self, path: Path, nanoseconds: bool = True) -> None:
        """Write the frames as a little-endian pcap of Ethernet frames."""
        write_pcap(path, self.frames(), 1, nanoseconds)

    # Variants: the truth stays.

    def swapped(self) -> Timeline:
        """The two ends of each connection (the first and second noted, and so on) exchange addresses and ports."""
        names = [name for name, end in self.ends.items() if end.port]
        other = {a: b for pair in zip(names[::2], names[1::2], strict=True) for a, b in (pair, pair[::-1])}
        ends = {
            name: replace(end, address=self.ends[o].address, port=self.ends[o].port) if (o := other.get(name)) else end
            for name, end in self.ends.items()
        }
        return replace(self, ends=ends)

    def shifted(self, end: str, offset: int) -> Timeline:
        """``end`` numbers its bytes ``offset`` further on; all others acknowledge accordingly."""
        return replace(self, events=[_shift(event, end, offset) for event in self.events])

    def wraps(self) -> Iterator[Timeline]:
        """Each way in which some number of an end falls on 0, 1 or 2^32 - 1."""
        for end in self.ends:
            numbers = {n for e in self.events if e.sender == end and not e.error for n in (e.seq, e.end_seq)}
            for offset in sorted({(target - n) % SPACE for n in numbers for target in (-1, 0, 1)}):
                yield self.shifted(end, offset)

    def ipv6(self) -> Timeline:
        """The same over IPv6: 10.0.0.1 becomes fd00::a00:1. Itself where it is IPv6, or would lose what it rests on."""
        if self.version == 6 or self.rests_on_ids:
            return self
        prefix = int(ipaddress.IPv6Address("fd00::"))
        ends = {n: replace(e, address=ipaddress.IPv6Address(prefix + int(e.address))) for n, e in self.ends.items()}
        return replace(self, ends=ends, version=6)

    def with_vlan(self, *tags: int) -> Timeline:
        """Each frame gets ``tags`` outside of those it has."""
        return replace(self, events=[replace(event, tags=tags + event.tags) for event in self.events])

    # Frames

    def _frame(self, event: Event) -> bytes:
        packet = self._packet(event)
        ethertype = 0x0800 if self.version == 4 else 0x86DD
        tags = b"".join(struct.pack(">HH", 0x8100, tag) for tag in self._original(event).tags)
        macs = b"".join(b"\x02\0\0\0\0" + name[:1].encode() for name in (event.receiver, event.sender))
        return (macs + tags + struct.pack(">H", ethertype) + packet).ljust(self.pad, b"\0")

    def _original(self, event: Event) -> Event:
        return event if event.again is None else self.events[event.again]

    def _packet(self, event: Event) -> bytes:
        origin = self._original(event)
        source, target = self.ends[origin.sender].address, self.ends[origin.receiver].address
        if origin.error:
            number, body = self._error(origin, source, target)
        else:
            number, body = 6, self._segment(origin, source, target)
        if self.version == 6:
            head = struct.pack(">IHBB", 6 << 28, len(body), number, event.ttl)
            return head + source.packed + target.packed + body
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), origin.ip_id, 0x4000, event.ttl, number, 0)
        head += source.packed + target.packed
        return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body

    def _segment(self, event: Event, source: Address, target: Address) -> bytes:
        options = b"".join(_option(*option) for option in event.options)
        options += b"\0" * (-len(options) % 4)
        ports = self.ends[event.sender].port, self.ends[event.receiver].port
        numbers = event.seq % SPACE, event.ack % SPACE
        offset = (5 + len(options) // 4) << 4
        head = struct.pack(">HHIIBBHHH", *ports, *numbers, offset, event.flags, event.window, 0, 0)
        body = head + options + event.payload
        total = checksum(source.packed + target.packed + struct.pack(">II", len(body), 6) + body)
        return body[:16] + struct.pack(">H", total) + body[18:]

    def _error(self, event: Event, source: Address, target: Address) -> tuple[int, bytes]:
        assert event.quotes is not None
        quoted = self._packet(self.events[event.quotes])
        header = 20 if self.version == 4 else 40
        quoted = quoted[: header + event.quoted_bytes] if event.quoted_bytes else quoted
        kind, code = ERRORS[event.error][self.version == 6]
        body = struct.pack(">BBHI", kind, code, 0, 0) + quoted
        pseudo = source.packed + target.packed + struct.pack(">II", len(body), 58) if self.version == 6 else b""
        return (1 if self.version == 4 else 58), body[:2] + struct.pack(">H", checksum(pseudo + body)) + body[4:]


def write_pcap(
    path: Path, frames: list[tuple[int, bytes]], link_type: int, nanoseconds: bool = True, order: str = "<"
) -> None:
    """Write (time_ns, frame) pairs as a pcap, little-endian unless ``order`` is ``>``."""
    unit, magic = (1, 0xA1B23C4D) if nanoseconds else (1000, 0xA1B2C3D4)
    data = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, link_type)
    for time_ns, frame in frames:
        seconds, rest = divmod(time_ns, 1_000_000_000)
        data += struct.pack(f"{order}IIII", seconds, rest // unit, len(frame), len(frame)) + frame
    path.write_bytes(data)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _option(name: str, numbers: tuple[int, ...]) -> bytes:
    if name == "nop":
        return b"\x01"
    if name == "eol":
        return b"\0"
    kind, form = {
        "mss": (2, ">H"),
        "wscale": (3, ">B"),
        "sackOK": (4, ">"),
        "sack": (5, f">{len(numbers)}I"),
        "ts": (8, ">II"),
    }[name]
    body = struct.pack(form, *(n % SPACE for n in numbers))
    return bytes([kind, 2 + len(body)]) + body


def _shift(event: Event, end: str, offset: int) -> Event:
    if event.sender == end:
        return replace(event, seq=event.seq + offset)
    if event.receiver != end or not event.flags & ACK:
        return event
    options = tuple((n, tuple(v + offset for v in values) if n == "sack" else values) for n, values in event.options)
    return replace(event, ack=event.ack + offset, options=options)


# Parsing


def parse(text: str) -> Timeline:
    """Return the timeline that ``text`` notes. Raises ValueError with the line."""
    timeline = Timeline("", {}, [])
    state = _Parser(timeline)
    for number, line in enumerate(text.splitlines(), 1):
        try:
            state.line(line)
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f"line {number}: {line.strip()!r}: {error!r}") from error
    return timeline


@dataclass
class _Parser:
    timeline: Timeline
    now_ns: int = BASE_NS
    timestamps: bool = False
    tags: tuple[int, ...] = ()

    def line(self, line: str) -> None:
        if line.startswith("#"):
            self.timeline.prose += line[1:].strip() + "\n"
            return
        notes, _, truth = line.partition(";")
        options = re.search(r"<(.*)>", notes)
        words = shlex.split(notes.replace(options.group(0), "") if options else notes)
        if not words:
            return
        if re.fullmatch(r"[+]?[\d.]+", words[0]):
            self.tick(words[0])
            self.event(words[1:], options.group(1) if options else None, truth.split())
        else:
            self.setting(words)

    def tick(self, word: str) -> None:
        value = int(Decimal(word) * 1_000_000_000)
        self.now_ns = self.now_ns + value if word.startswith("+") else BASE_NS + value

    def setting(self, words: list[str]) -> None:
        if words[0] == "timestamps":
            self.timestamps = True
        elif words[0] == "ids":
            self.timeline.rests_on_ids = True
        elif words[0] == "pad":
            self.timeline.pad = int(words[1])
        elif words[0] == "vlan":
            self.tags = tuple(int(word) for word in words[1:])
        else:
            place = re.fullmatch(r"\[(.+)\](?::(\d+))?|([\d.]+)(?::(\d+))?", words[1])
            if not place:
                raise ValueError("neither a setting nor an end with its address")
            address = ipaddress.ip_address(place[1] or place[3])
            self.timeline.version = address.version
            given = {words[i]: int(words[i + 1]) for i in range(2, len(words), 2)}
            end = End(words[0], address, int(place[2] or place[4] or 0), given.get("isn", 0))
            end.nxt, end.ttl, end.clock = end.isn, given.get("ttl", 64), given.get("clock", 0)
            end.next_id = given.get("id", 1000 * len(self.timeline.ends) + 1)
            self.timeline.ends[words[0]] = end

    def event(self, words: list[str], options: str | None, truth: list[str]) -> None:
        if words[0] == "again":
            which = self._captured(int(words[1]))
            origin = self.timeline.events[which]
            ttl = int(words[3]) if len(words) > 2 else origin.ttl
            event = Event(self.now_ns, origin.sender, origin.receiver, again=which, ttl=ttl)
        elif words[3] == "icmp":
            event = self._error(words)
        else:
            event = self._segment(words, options)
        kind = truth[0] if truth else _plain_kind(event)
        self.timeline.events.append(replace(event, kind=kind, grade=truth[1] if len(truth) > 1 else None))

    def _captured(self, number: int) -> int:
        return [i for i, event in enumerate(self.timeline.events) if event.captured][number - 1]

    def _error(self, words: list[str]) -> Event:
        router = self.timeline.ends[words[0]]
        given = dict(zip(words[5::2], words[6::2], strict=True))
        router.next_id += 1
        return Event(
            self.now_ns, words[0], words[2], ttl=router.ttl, ip_id=router.next_id - 1, tags=self.tags, error=words[4],
            quotes=self._captured(int(given["quotes"])), quoted_bytes=int(given.get("bytes", 0)),
        )  # fmt: skip

    def _segment(self, words: list[str], options: str | None) -> Event:
        sender, receiver = self.timeline.ends[words[0]], self.timeline.ends[words[2]]
        captured, arrives = "uncaptured" not in words, "lost" not in words
        words = [word for word in words if word not in ("uncaptured", "lost")]
        given = dict(zip(words[4::2], words[5::2], strict=True))
        flags = 0 if words[3] == "none" else sum(FLAGS[letter] for letter in words[3])
        sender.window = int(given.get("win", sender.window))
        payload = given["data"].encode() if "data" in given else b"x" * int(given.get("len", 0))
        payload = bytes([int(given["byte"])]) if "byte" in given else payload
        tags = tuple(int(tag) for tag in given["vlan"].split(".")) if "vlan" in given else self.tags
        event = Event(
            self.now_ns, sender.name, receiver.name, flags,
            _number(given.get("seq", "nxt"), sender),
            _number(given.get("ack", "nxt"), receiver) if flags & ACK else 0,
            payload, 0 if flags == RST else sender.window,
            self._options(options, sender, receiver, flags, given),
            int(given.get("ttl", sender.ttl)), int(given.get("id", sender.next_id)), tags, captured=captured,
        )  # fmt: skip
        self._after(event, sender, receiver if arrives else None)
        return event

    def _options(
        self, text: str | None, sender: End, receiver: End, flags: int, given: dict[str, str]
    ) -> tuple[tuple[str, tuple[int, ...]], ...]:
        listed = []
        for words in (item.split() for item in (text or "").split(",") if item.strip()):
            if words[0] == "sack":
                listed.append(("sack", tuple(_number(word, receiver) for word in words[1:])))
            else:
                listed.append((words[0], tuple(int(word) for word in words[1:])))
        if self.timestamps and flags != RST and "ts" not in dict(listed):
            now = sender.clock + (self.now_ns - BASE_NS) // 1_000_000
            stamps = int(given.get("tsval", now)), int(given.get("tsecr", sender.last_tsval))
            listed[:0] = [("nop", ()), ("nop", ()), ("ts", stamps)]
        return tuple(listed)

    def _after(self, event: Event, sender: End, receiver: End | None) -> None:
        """Both ends take note: what the sender has next, and the TSval to echo (not that of a 0-byte probe).

        None: it does not arrive.
        """
        sender.next_id += 1
        in_window = event.seq >= sender.nxt or event.payload or event.flags & SYN
        if event.flags & RST:
            return
        sender.nxt = max(sender.nxt, event.end_seq)
        if in_window and receiver is not None and "ts" in dict(event.options):
            receiver.last_tsval = dict(event.options)["ts"][0]


def _number(word: str, end: End) -> int:
    if word.startswith("="):
        return int(word[1:])
    if word.startswith("nxt"):
        return end.nxt + int(word[3:] or 0)
    return end.isn + int(word)


def _plain_kind(event: Event) -> str:
    for bit, kind in ((RST, "rst"), (SYN, "syn"), (FIN, "fin")):
        if event.flags & bit:
            return kind
    return "data" if event.payload else "ack"
