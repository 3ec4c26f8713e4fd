"""Write the captures that the middle of kacap is measured on, fast and with its own bytes.

    python tests/bench/captures.py OUT NAME [--frames N] [--seed N]

NAME is one of
    balancer   headers only, 10,000 connections, probes and replies (2.0 million frames unless --frames says otherwise)
    many       the same of 200,000 connections (2.6 million)
    long       the same of 500 connections (2.0 million)
    data       120,000 connections with payload, each probed twice while it is silent between (300 MB)
    fleet      2,000 connections over 72 hours: most live on, a host of 60 goes down, others die, are reset or close

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
SHAPES = {
    "balancer": (10_000, 200),
    "many": (200_000, 13),
    "long": (500, 4000),
    "data": (120_000, 18),
    "fleet": (2000, 700),
}

# Of a fleet: settings of its servers as above with the count, how long, and how many of a thousand meet which end.
_FLEET = [(250, 7200, 75, 9), (1000, 600, 60, 5), (250, 300, 30, 5), (250, 900, 15, 6)]
FLEET = np.array([*_FLEET, *_FLEET[:3]], np.int64)  # as many servers as have addresses
HOURS = 72
LIVES, DIES, IS_RESET, CLOSES = range(4)
HOST_DOWN, FATES = 30, ((DIES, 12), (IS_RESET, 8), (CLOSES, 40))

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

    def __init__(self, count: int, rng: np.random.Generator, settings: Numbers = SERVERS) -> None:
        self.count, self._rng, self.settings = count, rng, settings
        self.first = rng.integers(0, 1 << 32, (2, count))  # initial sequence numbers: of clients, of servers
        self.next = self.first.copy()
        self.seen = np.zeros((2, count), np.int64)  # TS.Recent of each side (RFC 7323)
        self._ids = rng.integers(0, 1 << 16, (2, count))
        self._clocks = rng.integers(0, 1 << 32, (2, count))
        self.rtt_ns = (rng.lognormal(np.log(8e6), 1.2, count)).astype(np.int64) + 150_000
        self.server = np.arange(count) % len(settings)
        self._hz, self._phase_ns = settings[self.server, 0], rng.integers(0, SECOND_NS, len(settings))[self.server]
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

    def probe(self, heard_ns: Numbers, times: int, until_ns: Numbers | None = None) -> tuple[Numbers, Numbers]:
        """Let all servers probe so often, most answered; return when each was last active, and would probe next.

        A server does not probe any more from its ``until_ns`` on.
        """
        armed_ns, everyone = heard_ns.copy(), np.arange(self.count)
        due_ns = self.timer(heard_ns, self.settings[self.server, 1], everyone)
        for _ in range(times):
            which = everyone if until_ns is None else np.flatnonzero(due_ns < until_ns)
            if not len(which):
                break
            sent_ns = due_ns[which]
            self.send(True, sent_ns, which, back=1)
            answered = self._rng.random(len(which)) >= LOST
            heard_ns = self.later(sent_ns, which)
            self.send(False, heard_ns[answered], which[answered])
            settings = self.settings[self.server[which]]
            wait_s = np.where(answered, np.maximum(settings[:, 1], settings[:, 2]), settings[:, 2])
            armed_ns[which] = np.where(answered, heard_ns, sent_ns)
            due_ns[which] = self.timer(armed_ns[which], wait_s, which)
        return armed_ns, due_ns

    def die(self, due_ns: Numbers, which: Numbers) -> None:
        """Let the servers of ``which`` probe peers that are gone until their count gives up, and reset."""
        of = self.settings[self.server[which]]
        for nth in range(int(of[:, 3].max(initial=0)) + 1):
            probes, gives_up = nth < of[:, 3], nth == of[:, 3]
            self.send(True, due_ns[probes], which[probes], back=1)
            self.send(True, due_ns[gives_up], which[gives_up], RST | ACK)
            due_ns = self.timer(due_ns, of[:, 2], which)

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


def fleet(count: int, rng: np.random.Generator) -> NDArray[np.void]:
    """Return the segments of connections that are probed over days, and what became of some of them (SEGMENT)."""
    world, span_ns = Connections(count, rng, FLEET), HOURS * 3600 * SECOND_NS
    fates, ends_ns = np.full(count, LIVES), np.full(count, START_NS + span_ns)
    if count == 1:
        fates[:], ends_ns[:] = DIES, START_NS + round(0.83 * span_ns)
    order = rng.permutation(count)
    down = count * HOST_DOWN // 1000
    fates[order[:down]] = DIES
    ends_ns[order[:down]] = START_NS + round(0.57 * span_ns)
    for fate, share in FATES:
        some, order = np.split(order[down:], [count * share // 1000])
        fates[some], down = fate, 0
        ends_ns[some] = START_NS + (rng.uniform(0.05, 0.99, len(some)) * span_ns).astype(np.int64)
    opened_ns = world.open(START_NS + rng.integers(0, 600 * SECOND_NS, count))
    _, due_ns = world.probe(opened_ns, HOURS * 60, ends_ns)
    world.die(due_ns[fates == DIES], np.flatnonzero(fates == DIES))
    gone = np.flatnonzero(fates == IS_RESET)
    world.send(True, due_ns[gone], gone, back=1)
    world.send(False, world.later(due_ns[gone], gone), gone, RST)
    closing = np.flatnonzero(fates == CLOSES)
    world.send(False, ends_ns[closing], closing, FIN | ACK)
    world.send(True, ends_ns[closing] + 30_000, closing, FIN | ACK)
    world.send(False, world.later(ends_ns[closing] + 30_000, closing), closing)
    return world.segments()


def make(name: str, frames: int | None = None, seed: int = 1) -> NDArray[np.void]:
    """Return the segments of a capture by its name, about ``frames`` of them (SEGMENT)."""
    connections, each = SHAPES[name]
    if frames is not None:
        connections = max(frames // each, 1)
    rng = np.random.default_rng(seed)
    if name == "fleet":
        return fleet(connections, rng)
    world = Connections(connections, rng)
    opened_ns = world.open(START_NS + rng.integers(0, 60 * SECOND_NS, connections))
    if name == "data":
        now_ns = world.exchange(opened_ns, np.arange(connections))
        now_ns, _ = world.probe(now_ns, 2)
        world.close(world.exchange(now_ns + 1_000_000, np.arange(connections)))
    else:
        world.probe(opened_ns, (each - 3) // 2)
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
