"""Write the captures that the middle of kacap is measured on, fast and with its own bytes.

    python tests/bench/captures.py OUT NAME [--frames N] [--seed N]

NAME is one of
    balancer   headers only, 10,000 connections, probes and replies (2.0 million frames unless --frames says otherwise)
    many       the same of 200,000 connections (2.6 million)
    long       the same of 500 connections (2.0 million)
    data       120,000 connections with payload, each probed twice while it is silent between (300 MB)

--frames keeps the number of frames per connection and changes the number of connections. The same arguments give the
same bytes. Servers probe: their timers are those of Linux (kernel/time/timer.c since 4.8) at 250 or 1000 Hz, with the
delays of softirqs and networks; one probe in a thousand is lost. Checksums are left at zero.
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CHUNK = 1 << 16
LOST = 0.001  # probes without a reply

# Servers by number: jiffies a second, then idle and interval in seconds.
_SETTINGS = [(250, 15, 15), (1000, 60, 10), (250, 30, 10), (1000, 45, 15), (250, 60, 60), (250, 75, 75), (1000, 20, 5)]
SERVERS = np.array(_SETTINGS, np.int64)
# (connections, frames of each) as the table of the benchmark has them
SHAPES = {"balancer": (10_000, 200), "many": (200_000, 13), "long": (500, 4000), "data": (120_000, 18)}

SEGMENT = np.dtype(
    [("time_ns", "<i8"), ("who", "<u4"), ("seq", "<u4"), ("ack", "<u4"), ("tsval", "<u4"), ("tsecr", "<u4"),
     ("id", "<u2"), ("payload", "<u2"), ("server", "?"), ("flags", "u1")]
)  # fmt: skip

# One record of a nanosecond pcap: its header, Ethernet, IPv4, TCP with timestamps. What is not named stays as it is.
RECORD = np.dtype(
    [("seconds", "<u4"), ("ns", "<u4"), ("captured", "<u4"), ("wire", "<u4"),
     ("macs", ">u4", 3), ("ethertype", ">u2"),
     ("version", ">u2"), ("length", ">u2"), ("id", ">u2"), ("fragment", ">u2"), ("ttl", "u1"), ("protocol", "u1"),
     ("checksum", ">u2"), ("src", ">u4"), ("dst", ">u4"),
     ("src_port", ">u2"), ("dst_port", ">u2"), ("seq", ">u4"), ("ack", ">u4"), ("data_offset", "u1"), ("flags", "u1"),
     ("window", ">u2"), ("tcp_checksum", ">u2"), ("urgent", ">u2"), ("option", ">u4"), ("tsval", ">u4"),
     ("tsecr", ">u4")]
)  # fmt: skip
FRAME_BYTES, RECORD_HEADER, IP_BYTES = 66, 16, 52
assert RECORD.itemsize == RECORD_HEADER + FRAME_BYTES


class Connections:
    """Many connections at once, seen beside their servers: what each side has sent, and what it has heard."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self.count, self._rng = count, rng
        self.first = rng.integers(0, 1 << 32, (2, count))  # initial sequence numbers: of clients, of servers
        self.next = self.first.copy()
        self.seen = np.zeros((2, count), np.int64)  # TS.Recent of each side (RFC 7323)
        self._ids = rng.integers(0, 1 << 16, (2, count))
        self._clocks = rng.integers(0, 1 << 32, (2, count))
        self.rtt_ns = (rng.lognormal(np.log(8e6), 1.2, count)).astype(np.int64) + 150_000
        self.server = np.arange(count) % len(SERVERS)
        self._hz, self._phase_ns = SERVERS[self.server, 0], rng.integers(0, SECOND_NS, len(SERVERS))[self.server]
        self._sent: list[NDArray[np.void]] = []

    def send(
        self,
        server: bool,
        time_ns: Numbers,
        which: Numbers,
        flags: int = ACK,
        payload: Numbers | int = 0,
        back: int = 0,
    ) -> None:
        """Let one side of the connections ``which`` send a segment; ``back`` is 1 for a probe of an old number."""
        me, other = int(server), 1 - int(server)
        rows = np.zeros(len(which), SEGMENT)
        rows["time_ns"], rows["who"], rows["server"] = time_ns, which, server
        rows["flags"], rows["payload"] = flags, payload
        rows["seq"] = self.next[me, which] - back & 0xFFFFFFFF
        rows["ack"] = self.next[other, which] & 0xFFFFFFFF if flags & ACK else 0
        rows["tsval"] = self._clocks[me, which] + time_ns // 1_000_000 & 0xFFFFFFFF
        rows["tsecr"] = self.seen[me, which]
        self._ids[me, which] += 1
        rows["id"] = self._ids[me, which] & 0xFFFF
        self.next[me, which] += payload + int(bool(flags & (SYN | FIN)))
        if not back:  # what is out of order leaves TS.Recent alone
            self.seen[other, which] = rows["tsval"]
        self._sent.append(rows)

    def later(self, time_ns: Numbers, which: Numbers) -> Numbers:
        """Return when an answer of the other side is seen: a round trip with jitter later."""
        return time_ns + self.rtt_ns[which] + self._rng.exponential(40_000, len(which)).astype(np.int64)

    def timer(self, armed_ns: Numbers, seconds: Numbers, which: Numbers) -> Numbers:
        """Return when servers' timers that are armed for so many seconds fire (calc_wheel_index, softirq delays)."""
        hz, phase_ns = self._hz[which], self._phase_ns[which]
        delay = seconds * hz
        level = np.searchsorted(63 << 3 * np.arange(8), delay, side="right")
        expires = (armed_ns - START_NS + phase_ns) * hz // SECOND_NS + delay
        fires = (expires >> 3 * level) + 1 << 3 * level
        late_ns = 6_000 + self._rng.exponential(18_000, len(which)).astype(np.int64)
        return START_NS + fires // hz * SECOND_NS + fires % hz * (SECOND_NS // hz) - phase_ns + late_ns

    def open(self, time_ns: Numbers) -> Numbers:
        """Shake hands on all connections; return when each last segment was seen."""
        everyone = np.arange(self.count)
        self.send(False, time_ns, everyone, SYN)
        time_ns = time_ns + 30_000
        self.send(True, time_ns, everyone, SYN | ACK)
        time_ns = self.later(time_ns, everyone)
        self.send(False, time_ns, everyone)
        return time_ns

    def probe(self, heard_ns: Numbers, which: Numbers, times: int) -> Numbers:
        """Let the servers of ``which`` probe so often, most answered; return when each was last active."""
        due_ns = self.timer(heard_ns, SERVERS[self.server[which], 1], which)
        for _ in range(times):
            self.send(True, due_ns, which, back=1)
            answered = self._rng.random(len(which)) >= LOST
            heard_ns = self.later(due_ns, which)
            self.send(False, heard_ns[answered], which[answered])
            settings = SERVERS[self.server[which]]
            wait_s = np.where(answered, np.maximum(settings[:, 1], settings[:, 2]), settings[:, 2])
            armed_ns = np.where(answered, heard_ns, due_ns)
            due_ns = self.timer(armed_ns, wait_s, which)
        return np.asarray(armed_ns)

    def exchange(self, time_ns: Numbers, which: Numbers) -> Numbers:
        """Let each client ask and its server answer, both with data; return when that was done."""
        self.send(False, time_ns, which, PSH | ACK, self._rng.integers(40, 200, len(which)))
        time_ns = time_ns + 20_000
        self.send(True, time_ns, which)
        time_ns = time_ns + self._rng.exponential(2_000_000, len(which)).astype(np.int64)
        self.send(True, time_ns, which, PSH | ACK, self._rng.integers(100, 750, len(which)))
        time_ns = self.later(time_ns, which)
        self.send(False, time_ns, which)
        return time_ns

    def close(self, time_ns: Numbers) -> None:
        """Close all connections with FINs."""
        everyone = np.arange(self.count)
        self.send(False, time_ns, everyone, FIN | ACK)
        self.send(True, time_ns + 30_000, everyone, FIN | ACK)
        self.send(False, self.later(time_ns + 30_000, everyone), everyone)

    def segments(self) -> NDArray[np.void]:
        """Return all that was sent, in time order (SEGMENT)."""
        rows = np.concatenate(self._sent)
        return rows[np.argsort(rows["time_ns"], kind="stable")]


def make(name: str, frames: int | None = None, seed: int = 1) -> NDArray[np.void]:
    """Return the segments of a capture by its name, about ``frames`` of them (SEGMENT)."""
    connections, each = SHAPES[name]
    if frames is not None:
        connections = max(frames // each, 1)
    rng = np.random.default_rng(seed)
    world = Connections(connections, rng)
    opened_ns = world.open(START_NS + rng.integers(0, 60 * SECOND_NS, connections))
    if name == "data":
        now_ns = world.exchange(opened_ns, np.arange(connections))
        now_ns = world.probe(now_ns, np.arange(connections), 2)
        world.close(world.exchange(now_ns + 1_000_000, np.arange(connections)))
    else:
        world.probe(opened_ns, np.arange(connections), (each - 3) // 2)
    return world.segments()


def records(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Return the pcap record of each segment, headers alone (RECORD)."""
    out = np.zeros(len(rows), RECORD)
    server, who = rows["server"], rows["who"].astype(np.int64)
    here, there = 0x0A640000 + who % len(SERVERS), 0x0A000000 + who // 50_000 * 256 + 7
    ports, listening = 10_000 + who % 50_000, 5432
    ns = rows["time_ns"]
    out["seconds"], out["ns"] = ns // SECOND_NS, ns % SECOND_NS
    out["captured"] = out["wire"] = FRAME_BYTES + rows["payload"]
    out["macs"] = (0x02000000, 0x00010200, 0x00000002)
    out["ethertype"], out["version"], out["length"] = 0x0800, 0x4500, IP_BYTES + rows["payload"]
    out["id"], out["fragment"], out["protocol"] = rows["id"], 0x4000, 6
    out["ttl"] = np.where(server, 64, 57)
    out["src"], out["dst"] = np.where(server, here, there), np.where(server, there, here)
    out["src_port"], out["dst_port"] = np.where(server, listening, ports), np.where(server, ports, listening)
    out["data_offset"], out["window"], out["option"] = 0x80, np.where(server, 509, 502), 0x0101080A
    for name in ("seq", "ack", "flags", "tsval", "tsecr"):
        out[name] = rows[name]
    return out


def write(path: Path, segments: NDArray[np.void]) -> None:
    """Write segments (SEGMENT) as a nanosecond pcap of Ethernet, payload as zeros."""
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1))
        for first in range(0, len(segments), CHUNK):
            rows = segments[first : first + CHUNK]
            heads = records(rows)
            if not rows["payload"].any():
                heads.tofile(out)
                continue
            sizes = RECORD.itemsize + rows["payload"].astype(np.int64)
            data = np.zeros(sizes.sum(), np.uint8)
            starts = np.cumsum(sizes) - sizes
            data[starts[:, None] + np.arange(RECORD.itemsize)] = heads.view(np.uint8).reshape(len(heads), -1)
            data.tofile(out)


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("name", choices=SHAPES)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    write(args.out, make(args.name, args.frames, args.seed))


if __name__ == "__main__":
    main()
