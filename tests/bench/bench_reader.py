"""Show what captures cost that are made to cost: curves of time and memory over size, beside the bound.

    python tests/bench/bench_reader.py [NAME ...] [--sizes MB ...]

Each capture is written in growing sizes and read by the whole command; `annotate --anonymise` copies it. Bound: 1 s and
0.2 s for each megabyte, 200 MB and 8 MB for each megabyte (of a compressed file: of what it holds). "over" compares the
smaller of wall time and processor time, as others may use the machine. `tcpdump -r` of what it can read is the anchor
of the machine. Prints; judges nothing.
"""

from __future__ import annotations

import argparse
import gzip
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_read import Run, measure

# Ethernet, IPv4, UDP: nothing to analyse, so that what is measured is reading.
FRAME = bytes.fromhex(
    "020000000002 020000000001 0800"
    "4500 0028 0001 4000 40 11 0000 0a000001 0a000002"
    "0400 1538 0014 0000 00000000 00000000 00000000"
)
MB = 1_000_000
BLOCK_LIMIT = 16 << 20


def block(kind: int, body: bytes) -> bytes:
    """Return a little-endian block."""
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def option(code: int, value: bytes) -> bytes:
    """Return an option."""
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


SECTION = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(options: bytes = b"") -> bytes:
    """Return an interface description."""
    return block(1, struct.pack("<HHI", 1, 0, 0) + options)


def packet(second: int, options: bytes = b"") -> bytes:
    """Return an Enhanced Packet Block."""
    ticks = (1_700_000_000 + second) * 1_000_000
    head = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(FRAME), len(FRAME))
    return block(6, head + FRAME + bytes(-len(FRAME) % 4) + options)


def many(piece: bytes, size: int, frame: Callable[[bytes], bytes]) -> bytes:
    """Return blocks of as many pieces as are allowed, together about ``size`` bytes."""
    whole = frame(piece * (min(size, BLOCK_LIMIT - 4096) // len(piece)))
    return whole * max(size // len(whole), 1)


def header_options(size: int) -> bytes:
    """An interface description of short options, again and again (sections of their own)."""
    return many(option(9, b"\6"), size, lambda options: SECTION + interface(options)) + packet(0)


def packet_options(size: int) -> bytes:
    """Packets with comments of no bytes."""
    return SECTION + interface() + many(option(1, b""), size, lambda options: packet(0, options))


def section_options(size: int) -> bytes:
    """A section header of short options, again and again."""

    def section(options: bytes) -> bytes:
        return block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)

    return many(option(4, b"kacap"), size, section) + interface() + packet(0)


def statistics(size: int) -> bytes:
    """Statistics blocks without a word."""
    piece = block(5, struct.pack("<III", 0, 0, 0))
    return SECTION + interface() + packet(0) + piece * (size // len(piece))


def growing_drops(size: int) -> bytes:
    """Statistics blocks that each count one more lost frame, on two interfaces in turn."""
    pieces = [SECTION, interface(), interface(), packet(0)]
    count = size // 40
    for n in range(count):
        lost = option(7, struct.pack("<Q", n))
        ticks = (1_700_000_000 + n) * 1_000_000
        pieces.append(block(5, struct.pack("<III", n % 2, ticks >> 32, ticks & 0xFFFFFFFF) + lost))
    return b"".join(pieces)


def interfaces(size: int) -> bytes:
    """Interface descriptions, as many as a section may have."""
    section = SECTION + interface() * 65_000
    return section * max(size // len(section), 1) + packet(0)


def sections(size: int) -> bytes:
    """Sections of one interface each, with another link type than the one before."""
    one, other = SECTION + interface(), SECTION + block(1, struct.pack("<HHI", 101, 0, 0))
    return (one + other) * (size // len(one + other)) + packet(0)


def unknown(size: int) -> bytes:
    """Empty blocks of an unknown kind."""
    piece = block(0x0BAD, b"")
    return SECTION + interface() + piece * (size // len(piece)) + packet(0)


def tiny(size: int) -> bytes:
    """A pcap of frames without a byte."""
    record = struct.pack("<IIII", 1_700_000_000, 0, 0, 0)
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + record * (size // len(record))


def zipped(size: int) -> bytes:
    """The options of interface descriptions, compressed with gzip."""
    return gzip.compress(header_options(size), 6)


def members(size: int) -> bytes:
    """A pcap in gzip members of a frame each."""
    member = gzip.compress(struct.pack("<IIII", 1_700_000_000, 0, len(FRAME), len(FRAME)) + FRAME)
    header = gzip.compress(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    return header + member * (size // len(member))


def damaged(size: int) -> bytes:
    """A gzip file whose last bytes are damaged."""
    record = struct.pack("<IIII", 1_700_000_000, 0, len(FRAME), len(FRAME)) + FRAME
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + record * (size // len(record))
    return gzip.compress(data)[:-8] + bytes(8)


def strangers(size: int, flags: int, payload: int = 0, fragment: int = 0) -> bytes:
    """Return a pcap of one segment of each of very many senders."""
    packet = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + payload, 1, fragment, 64, 6, 0, bytes(4), bytes([10, 0, 0, 1]))
    packet += struct.pack(">HHIIBBHHH", 1, 80, 0, 0, 0x50, flags, 1000, 0, 0) + bytes(payload)
    frame = np.frombuffer(FRAME[:14] + packet, np.uint8)
    head = struct.pack("<IIII", 1_700_000_000, 0, len(frame), len(frame))
    records = np.tile(np.concatenate([np.frombuffer(head, np.uint8), frame]), (size // (len(head) + len(frame)), 1))
    number = np.arange(len(records), dtype=np.uint32)
    records[:, 4:8] = (number * 5 % 1_000_000).astype("<u4").view(np.uint8).reshape(-1, 4)
    at = len(head) + 14
    records[:, at + 12 : at + 16] = (number * np.uint32(2654435761)).astype(">u4").view(np.uint8).reshape(-1, 4)
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + records.tobytes()


def syns(size: int) -> bytes:
    """A SYN of each of very many senders."""
    return strangers(size, 2)


def resets(size: int) -> bytes:
    """An RST of each of very many senders."""
    return strangers(size, 4)


def acks(size: int) -> bytes:
    """An ACK of each of very many senders: each may yet prove to be a probe."""
    return strangers(size, ACK)


def lone_bytes(size: int) -> bytes:
    """A byte of each of very many senders, as old stacks probe."""
    return strangers(size, ACK, payload=1)


def acknowledged(size: int) -> bytes:
    """A byte of each of very many clients, acknowledged at once."""
    return conversations(size, [(0, True, PSH | ACK, 100, 501, b"x"), (0, False, ACK, 501, 101, b"")])


def first_fragments(size: int) -> bytes:
    """The first fragment of data of each of very many senders."""
    return strangers(size, 0x18, payload=8, fragment=0x2000)


Step = tuple[int, bool, int, int, int, bytes]  # second, whether the client sends it, flags, seq, ack, payload
SYN, RST, PSH, ACK = 2, 4, 8, 16


def conversations(size: int, steps: list[Step]) -> bytes:
    """Return a pcap of very many clients of one server, each with the same few segments."""
    count = size // sum(70 + len(payload) for *_, payload in steps)
    clients = (np.arange(count, dtype=np.uint32) + (10 << 24)).astype(">u4").view(np.uint8).reshape(-1, 4)
    parts = []
    for second, from_client, flags, seq, ack, payload in steps:
        ends, ports = (bytes(4), bytes([11, 0, 0, 1])), (4000, 5432)
        if not from_client:
            ends, ports = ends[::-1], ports[::-1]
        packet = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 1, 0, 64, 6, 0, *ends)
        packet += struct.pack(">HHIIBBHHH", *ports, seq, ack, 0x50, flags, 1000, 0, 0) + payload
        frame = FRAME[:14] + packet
        head = struct.pack("<IIII", 1_700_000_000 + second, 0, len(frame), len(frame))
        records = np.tile(np.frombuffer(head + frame, np.uint8), (count, 1))
        records[:, 4:8] = (np.arange(count) % 1_000_000).astype("<u4").view(np.uint8).reshape(-1, 4)
        at = len(head) + (26 if from_client else 30)
        records[:, at : at + 4] = clients
        parts.append(records.tobytes())
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(parts)


def given_up(size: int) -> bytes:
    """Connections of which each gives up after two probes that nobody answers."""
    begun = [(0, True, PSH | ACK, 100, 501, b"x"), (1, False, ACK, 501, 101, b"")]
    probes = [(11, True, ACK, 100, 501, b""), (13, True, ACK, 100, 501, b"")]
    return conversations(size, [*begun, *probes, (15, True, RST | ACK, 101, 501, b"")])


def idle_deaths(size: int) -> bytes:
    """Connections of which each is unknown to its server at the first use after 396 s."""
    opened = [(0, True, SYN, 100, 0, b""), (1, False, SYN | ACK, 500, 101, b""), (2, True, ACK, 101, 501, b"")]
    used = [(3, True, PSH | ACK, 101, 501, bytes(10)), (4, False, ACK, 501, 111, b"")]
    return conversations(
        size, [*opened, *used, (400, True, PSH | ACK, 111, 501, bytes(10)), (401, False, RST, 501, 0, b"")]
    )


CAPTURES = {
    make.__name__.replace("_", "-"): make
    for make in (
        header_options, packet_options, section_options, statistics, growing_drops, interfaces, sections, unknown,
        tiny, zipped, members, damaged, syns, resets, acks, lone_bytes, acknowledged, first_fragments,
        given_up, idle_deaths,
    )
}  # fmt: skip
COMMANDS = {"read": ("read",), "annotate --anonymise": ("annotate", "--anonymise")}


def run(words: tuple[str, ...], capture: Path) -> Run:
    """Return what a command takes, whatever its exit code: captures may end with damage."""
    target = ["-o", str(capture) + ".copy.pcapng"] if words[0] == "annotate" else []
    done = ["sh", "-c", '"$@"; test $? -le 1', "sh", sys.executable, "-m", "kacap", *words, *target, str(capture)]
    return measure(done)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CAPTURES)}")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 4, 16], help="in MB")
    parser.add_argument("--command", choices=COMMANDS, default="read")
    args = parser.parse_args()
    if unknown_names := set(args.names) - set(CAPTURES):
        parser.error(f"no capture is called {', '.join(sorted(unknown_names))}")
    print(f"{args.command:24}{'MB':>8}{'seconds':>9}{'cpu':>7}{'bound':>8}{'peak MB':>9}{'bound':>8}{'tcpdump':>9}")
    with tempfile.TemporaryDirectory() as directory:
        warm = Path(directory) / "warm"
        warm.write_bytes(SECTION + interface() + packet(0))
        run(COMMANDS[args.command], warm)  # compiles the kernels, where nobody has
        for name in args.names or CAPTURES:
            for size in args.sizes:
                path = Path(directory) / f"{name}-{size:g}"
                path.write_bytes(CAPTURES[name](int(size * MB)))
                megabytes = max(size, path.stat().st_size / MB)
                taken = run(COMMANDS[args.command], path)
                anchor = measure(["sh", "-c", 'tcpdump -r "$1" -w /dev/null; true', "sh", str(path)])
                limits = 1 + 0.2 * megabytes, 200 + 8 * megabytes
                over = " over" if min(taken.seconds, taken.cpu) > limits[0] or taken.megabytes > limits[1] else ""
                print(
                    f"{name:24}{megabytes:8.1f}{taken.seconds:9.2f}{taken.cpu:7.2f}{limits[0]:8.1f}{taken.megabytes:9.0f}"
                    f"{limits[1]:8.0f}{anchor.seconds:9.2f}{over}",
                    flush=True,
                )
                path.unlink()


if __name__ == "__main__":
    main()
