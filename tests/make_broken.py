"""Write captures/broken/: small hostile captures named for their fault, every byte by hand.

    python tests/make_broken.py [DIRECTORY]

``CASES`` also says what reading each must give: the frames before the damage, the byte where the damaged record
begins, and words of the message; an offset of None stands for a file of which nothing can be read.
"""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path
from typing import NamedTuple

BROKEN = Path(__file__).parent.parent / "captures" / "broken"

# 10.0.0.1:1024 -> 10.0.0.2:5432, ACK, no payload: Ethernet, IPv4, TCP.
FRAME = bytes.fromhex(
    "020000000002 020000000001 0800"
    "4500 0028 0001 4000 40 06 0000 0a000001 0a000002"
    "0400 1538 00000001 00000001 5010 ffff 0000 0000"
)
FIRST_S = 1_700_000_000


def pcap_header(link_type: int = 1, magic: int = 0xA1B2C3D4, version: tuple[int, int] = (2, 4)) -> bytes:
    """A little-endian file header."""
    return struct.pack("<IHHiIII", magic, *version, 0, 0, 65535, link_type)


def record(second: int, captured: int = len(FRAME), wire: int = len(FRAME), data: bytes = FRAME) -> bytes:
    """A record at ``second`` after the first, which may claim other lengths than it has."""
    return struct.pack("<IIII", FIRST_S + second, 0, captured, wire) + data


def option(code: int, value: bytes, length: int | None = None) -> bytes:
    """A pcapng option, which may claim another length than it has."""
    claimed = len(value) if length is None else length
    return struct.pack("<HH", code, claimed) + value + bytes(-len(value) % 4)


def block(kind: int, body: bytes, total: int | None = None, trailer: int | None = None) -> bytes:
    """A little-endian pcapng block, which may claim other lengths than it has."""
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    claimed = length if total is None else total
    return struct.pack("<II", kind, claimed) + body + struct.pack("<I", claimed if trailer is None else trailer)


def section(magic: int = 0x1A2B3C4D) -> bytes:
    """A section header."""
    return block(0x0A0D0D0A, struct.pack("<IHHq", magic, 1, 0, -1))


def interface(options: bytes = b"", link_type: int = 1) -> bytes:
    """An interface description."""
    return block(1, struct.pack("<HHI", link_type, 0, 65535) + options)


def packet(second: int, number: int = 0, captured: int = len(FRAME), options: bytes = b"", micros: int = 0) -> bytes:
    """An Enhanced Packet Block."""
    ticks = micros or (FIRST_S + second) * 1_000_000
    head = struct.pack("<IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, captured, len(FRAME))
    return block(6, head + FRAME + bytes(-len(FRAME) % 4) + options)


class Case(NamedTuple):
    """A broken capture and what reading it gives; ``times`` are seconds after the first frame."""

    data: bytes
    times: list[int]
    offset: int | None
    what: str


TWO = pcap_header() + record(0) + record(1)
NG = section() + interface()
NG_TWO = NG + packet(0) + packet(1)
GZIP = gzip.compress(TWO + record(2) + bytes(range(256)) * 64, mtime=0)

NOTHING = {
    "empty.pcap": (b"", "is empty"),
    "text.pcap": (b"12:00:01.5 IP 10.0.0.1.1024 > 10.0.0.2.5432: Flags [.], ack 1\n", "is text"),
    "unknown-format.pcap": (bytes(range(64)), "of an unknown format"),
    "cut-header.pcap": (pcap_header()[:17], "header is cut (17 of 24 bytes)"),
    "version-9.pcap": (struct.pack("<IHHiIII", 0xA1B2C3D4, 9, 1, 0, 0, 65535, 1), "version 9.1"),
    "cut-header.pcapng": (section()[:20], "header is cut"),
    "byte-order-magic.pcapng": (section(magic=0x11223344), "byte-order magic is wrong"),
    "section-length-2-32-4.pcapng": (section()[:4] + b"\xfc\xff\xff\xff" + section()[8:], "4,294,967,292 bytes"),
    "empty.pcap.gz": (gzip.compress(b"", mtime=0), "is empty"),
    "not-deflate.pcap.gz": (b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\xff" * 40, "the gzip data is damaged"),
}

DAMAGED = {
    "cut-record-header.pcap": Case(TWO + record(2)[:9], [0, 1], len(TWO), "ends within a record: 9 of 16 bytes"),
    "record-longer-than-file.pcap": Case(TWO + record(2, 1000, 1000), [0, 1], len(TWO), "70 of 1,016 bytes"),
    "length-2-32-1.pcap": Case(TWO + record(2, 0xFFFFFFFF), [0, 1], len(TWO), "claims 4,294,967,295 captured bytes"),
    "length-over-limit.pcap": Case(TWO + record(2, 262_145), [0, 1], len(TWO), "claims 262,145 captured bytes"),
    "text-after-frames.pcap": Case(TWO + b"and then text\n" * 9, [0, 1], len(TWO), "captured bytes"),
    "pcapng-block-length-0.pcapng": Case(NG_TWO + block(6, FRAME, total=0), [0, 1], len(NG_TWO), "claims 0 bytes"),
    "pcapng-block-length-8.pcapng": Case(NG_TWO + block(6, FRAME, total=8), [0, 1], len(NG_TWO), "claims 8 bytes"),
    "pcapng-block-length-odd.pcapng": Case(NG_TWO + block(6, FRAME, total=67), [0, 1], len(NG_TWO), "no multiple"),
    "pcapng-block-length-2-32-1.pcapng": Case(
        NG_TWO + block(6, FRAME, total=0xFFFFFFFF), [0, 1], len(NG_TWO), "4,294,967,295 bytes"
    ),
    "pcapng-block-length-2-32-4.pcapng": Case(
        NG_TWO + block(99, FRAME, total=0xFFFFFFFC), [0, 1], len(NG_TWO), "more than any block"
    ),
    "pcapng-block-longer-than-file.pcapng": Case(
        NG_TWO + block(6, FRAME, total=4096), [0, 1], len(NG_TWO), "68 of 4,096 bytes"
    ),
    "pcapng-lengths-differ.pcapng": Case(
        NG_TWO + block(6, FRAME, trailer=72), [0, 1], len(NG_TWO), "two lengths of a block differ"
    ),
    "pcapng-packet-too-short.pcapng": Case(NG_TWO + block(6, bytes(12)), [0, 1], len(NG_TWO), "claims 24 bytes"),
    "pcapng-packet-overrun.pcapng": Case(
        NG_TWO + packet(2, captured=57), [0, 1], len(NG_TWO), "more captured bytes than its block"
    ),
    "pcapng-packet-overrun-2-32-1.pcapng": Case(
        NG_TWO + packet(2, captured=0xFFFFFFFF), [0, 1], len(NG_TWO), "more captured bytes than its block"
    ),
    "pcapng-packet-option-overrun.pcapng": Case(
        NG_TWO + packet(2, options=option(1, b"hello", 500)), [0, 1], len(NG_TWO), "option claims more bytes"
    ),
    "pcapng-option-overrun.pcapng": Case(
        NG_TWO + interface(option(9, b"\x09", 400)), [0, 1], len(NG_TWO), "option claims more bytes"
    ),
    "pcapng-statistics-option-overrun.pcapng": Case(
        NG_TWO + block(5, bytes(12) + option(7, bytes(8), 60_000)), [0, 1], len(NG_TWO), "option claims more bytes"
    ),
    "pcapng-interface-too-short.pcapng": Case(NG_TWO + block(1, bytes(4)), [0, 1], len(NG_TWO), "claims 16 bytes"),
    "pcapng-no-interface.pcapng": Case(section() + packet(0), [], len(section()), "not described"),
    "pcapng-interface-out-of-range.pcapng": Case(NG_TWO + packet(2, number=1), [0, 1], len(NG_TWO), "not described"),
    "pcapng-interface-2-32-1.pcapng": Case(NG_TWO + packet(2, number=0xFFFFFFFF), [0, 1], len(NG_TWO), "not described"),
    "pcapng-second-section-cut.pcapng": Case(
        NG_TWO + section()[:16], [0, 1], len(NG_TWO), "ends within a record: 16 of 28 bytes"
    ),
    "pcapng-second-section-magic.pcapng": Case(
        NG_TWO + section(magic=7), [0, 1], len(NG_TWO), "byte-order magic is wrong"
    ),
    "truncated.pcap.gz": Case(GZIP[:-20], [0, 1, 2], len(TWO + record(2)), ""),
    "checksum.pcap.gz": Case(gzip.compress(TWO, mtime=0)[:-8] + bytes(8), [0, 1], len(TWO), "the gzip data is damaged"),
    "garbage-after-member.pcap.gz": Case(
        gzip.compress(TWO, mtime=0) + b"garbage", [0, 1], len(TWO), "the gzip data is damaged"
    ),
}

# Odd, yet whole: no damage.
WHOLE = {
    "no-frames.pcap": Case(pcap_header(), [], None, ""),
    "no-frames.pcapng": Case(section(), [], None, ""),
    "backwards-time.pcap": Case(pcap_header() + record(5) + record(3) + record(4), [5, 3, 4], None, ""),
    "unknown-link-type.pcap": Case(pcap_header(link_type=54_321) + record(0), [0], None, ""),
    "empty-frame.pcap": Case(TWO + record(2, 0, 60, b""), [0, 1, 2], None, ""),
    "longer-than-wire.pcap": Case(TWO + record(2, wire=10), [0, 1, 2], None, ""),
    "version-2.2.pcap": Case(pcap_header(version=(2, 2)) + record(0) + record(1, 60), [0, 1], None, ""),
    "version-2.3.pcap": Case(pcap_header(version=(2, 3)) + record(0, wire=60) + record(1, 60), [0, 1], None, ""),
    "version-543.0.pcap": Case(pcap_header(version=(543, 0)) + record(0, 1500), [0], None, ""),
}

# A frame of a time that no clock has: it is read, and has the time of the frame before it.
BEYOND = {
    "pcapng-time-beyond.pcapng": Case(
        NG_TWO + packet(2, micros=0xFFFFFFFFFFFFFFFF) + packet(3), [0, 1, 1, 3], len(NG_TWO), "the time of frame 3 is"
    ),
}

FILES = {name: data for name, (data, _) in NOTHING.items()} | {
    name: case.data for name, case in (DAMAGED | WHOLE | BEYOND).items()
}


def main() -> None:
    """Write every file."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else BROKEN
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        (directory / name).write_bytes(data)


if __name__ == "__main__":
    main()
