"""Write a large, realistic capture fast: many interleaved connections, some of them probing.

    python tests/bench/generate.py OUT [--packets N] [--connections N] [--size BYTES] [--snaplen N] [--format pcapng]

The same arguments give the same bytes. Each connection shakes hands, then one side sends data and the other
acknowledges it; on every tenth the client then falls silent and is probed each second, and answers. Lengths and
sequence numbers are right; checksums are left at zero.
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]

HEADERS = 14 + 20 + 32  # Ethernet, IPv4, TCP with timestamps
CHUNK = 1 << 16
START_NS = 1_700_000_000_000_000_000
PROBING_SHARE = 10  # every tenth connection probes ...
PROBING_FROM = 0.5  # ... in the second half of its life
FIN, SYN, PSH, ACK = 1, 2, 8, 16


def put(frames: Bytes, at: int, values: Numbers, size: int) -> None:
    """Write ``values`` big-endian into ``size`` bytes at offset ``at`` of each row."""
    for i in range(size):
        frames[:, at + i] = (values >> 8 * (size - 1 - i)) & 0xFF


def plan(first: int, count: int, connections: int, rounds: int, size: int) -> dict[str, Numbers]:
    """Return the columns of frames ``first`` on: who sends what.

    All connections send their SYN; from then on a server's frame and its client's answer follow each other, and such
    pairs go round all connections.
    """
    index = np.arange(first, first + count, dtype=np.int64)
    pair = (index - connections) // 2
    opening = index < connections
    who = np.where(opening, index, pair % connections)
    turn = np.where(opening, 0, 1 + 2 * (pair // connections) + (index - connections) % 2)
    payload = max(size - HEADERS, 1)
    probing = (who % PROBING_SHARE == 0) & (turn >= max(4, int(rounds * PROBING_FROM)))
    data_until = np.where(who % PROBING_SHARE == 0, max(4, int(rounds * PROBING_FROM)), rounds)
    sent = np.maximum(0, (np.minimum(turn, data_until) - 3 + 1) // 2) * payload  # bytes the server has sent before
    from_server = ((turn == 1) | ((turn >= 3) & (turn % 2 == 1))).astype(np.int64)
    data = (from_server == 1) & (turn >= 3) & ~probing
    server_next, client_next = 1 + (turn >= 2) * sent, np.where(turn > 0, 1, 0)
    seq = np.where(from_server == 1, np.where(turn == 1, 0, server_next - probing), client_next)
    acknowledged = np.where(from_server == 1, 1, np.where(turn == 0, 0, server_next))
    return {
        "who": who,
        "from_server": from_server,
        "payload": np.where(data, payload, 0),
        "flags": np.select([turn == 0, turn == 1, data], [SYN, SYN | ACK, PSH | ACK], ACK),
        "seq": seq + np.where(from_server == 1, 77_000_000, 11_000_000) + who * 1000,
        "ack": np.where(turn == 0, 0, acknowledged + np.where(from_server == 1, 11_000_000, 77_000_000) + who * 1000),
        "time_ns": START_NS + index * (1_000_000_000 // (2 * connections)),
        "id": turn,
    }


def render(columns: dict[str, Numbers], size: int) -> Bytes:
    """Return one row of ``size`` bytes for each frame, headers filled in; a frame's own length may be less."""
    count, server = len(columns["who"]), columns["from_server"] == 1
    frames = np.full((count, size), 0x6B, np.uint8)
    frames[:, :HEADERS] = 0
    put(frames, 5, columns["from_server"], 1)
    put(frames, 11, 1 - columns["from_server"], 1)
    put(frames, 12, np.full(count, 0x0800), 2)
    put(frames, 14, np.full(count, 0x45), 1)
    put(frames, 16, columns["payload"] + HEADERS - 14, 2)
    put(frames, 18, columns["id"], 2)
    put(frames, 22, np.full(count, 64 << 8 | 6), 2)
    client_ip, server_ip = 0x0A000000 + 2 + columns["who"], np.full(count, 0xC0A80001)
    client_port, server_port = 1024 + columns["who"] % 60_000, np.full(count, 5432)
    put(frames, 26, np.where(server, server_ip, client_ip), 4)
    put(frames, 30, np.where(server, client_ip, server_ip), 4)
    put(frames, 34, np.where(server, server_port, client_port), 2)
    put(frames, 36, np.where(server, client_port, server_port), 2)
    put(frames, 38, columns["seq"], 4)
    put(frames, 42, columns["ack"], 4)
    put(frames, 46, np.full(count, 0x80), 1)
    put(frames, 47, columns["flags"], 1)
    put(frames, 48, np.full(count, 501), 2)
    put(frames, 54, np.full(count, 0x0101080A), 4)
    put(frames, 58, columns["time_ns"] // 1_000_000 & 0xFFFFFFFF, 4)
    return frames


def records(columns: dict[str, Numbers], frames: Bytes, snaplen: int, block: bool) -> bytes:
    """Return the records of one chunk: pcap's, or Enhanced Packet Blocks."""
    wire = columns["payload"] + HEADERS
    captured = np.minimum(wire, snaplen)
    before, after = (28, 4) if block else (16, 0)
    padded = (captured + 3) & ~3 if block else captured
    table = np.zeros((len(wire), before + frames.shape[1] + 3 + after), np.uint8)
    head = table[:, :before].copy()
    words = np.zeros((len(wire), before // 4), "<u4")
    ns = columns["time_ns"]
    if block:
        micros = ns // 1000
        fields = [6, padded + 32, 0, micros >> 32, micros & 0xFFFFFFFF, captured, wire]
    else:
        fields = [ns // 1_000_000_000, ns % 1_000_000_000, captured, wire]
    for i, field in enumerate(fields):
        words[:, i] = field
    head = words.view(np.uint8)
    table[:, :before] = head
    width = min(frames.shape[1], snaplen)
    inside = np.arange(width) < captured[:, None]
    table[:, before : before + width] = np.where(inside, frames[:, :width], 0)
    if block:
        trailer = (padded + 32).astype("<u4")[:, None].view(np.uint8)
        for i in range(4):
            table[np.arange(len(wire)), before + padded + i] = trailer[:, i]
    keep = np.arange(table.shape[1]) < (before + padded + after)[:, None]
    return table[keep].tobytes()


def write_header(out: BinaryIO, block: bool, snaplen: int) -> None:
    """Write the file header: nanosecond pcap, or a pcapng section with one Ethernet interface."""
    if block:
        out.write(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28))
        out.write(struct.pack("<IIHHII", 1, 20, 1, 0, snaplen, 20))
    else:
        out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, 1))


def generate(path: Path, packets: int, connections: int, size: int, snaplen: int, block: bool) -> None:
    """Write the capture, chunk by chunk."""
    with path.open("wb") as out:
        write_header(out, block, snaplen)
        for first in range(0, packets, CHUNK):
            count = min(CHUNK, packets - first)
            columns = plan(first, count, connections, max(1, packets // connections), size)
            out.write(records(columns, render(columns, size), snaplen, block))


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("out", type=Path)
    parser.add_argument("--packets", type=int, default=2_000_000)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--size", type=int, default=1000, help="bytes of a full frame; every other one is a bare ACK")
    parser.add_argument("--snaplen", type=int, default=262_144)
    parser.add_argument("--format", choices=["pcap", "pcapng"], default="pcap")
    args = parser.parse_args()
    generate(args.out, args.packets, args.connections, max(args.size, HEADERS), args.snaplen, args.format == "pcapng")


if __name__ == "__main__":
    main()
