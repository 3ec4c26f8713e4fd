"""A Linux socket with keepalive, simulated from the kernel's sources, and what a capture shows of its life.

Written from net/ipv4/tcp_timer.c (tcp_keepalive_timer) and kernel/time/timer.c (calc_wheel_index, calc_index) alone;
nothing of kacap's own timer model is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import numpy as np

from kacap.segments import ACK, PSH, RST, SEGMENT, SYN

SECOND_NS = 10**9
CLIENT, SERVER = (0x0A000001, 40000), (0x0A000002, 80)


@dataclass(frozen=True)
class Life:
    """What is set, and what happens to the connection; times in nanoseconds since it was opened."""

    hz: int
    idle: int
    interval: int
    count: int
    rtt_ns: int = 200_000
    on_ns: int = 0  # when keepalive is switched on
    heard_ns: tuple[int, ...] = ()  # when the peer sends data
    sent_ns: tuple[int, ...] = ()  # when the prober sends data
    lost_ns: tuple[tuple[int, int], ...] = ()  # from when to when nothing gets through
    until_ns: int = 0  # the capture's end
    probes: int = 10**6  # or so many probes
    shown_from_ns: int = -SECOND_NS  # the capture's beginning
    away_ns: int = 0  # from the prober's socket to the capture's place
    seed: int = 0


@dataclass
class Wheel:
    """One processor's timer wheel, its tick, and how soon its softirqs run."""

    hz: int
    random: Random
    phase_ns: int = 0
    boot: int = 0

    def __post_init__(self) -> None:
        self.phase_ns = self.random.randrange(SECOND_NS // self.hz)
        self.boot = self.random.randrange(2**28)

    def jiffies(self, time_ns: int) -> int:
        return (time_ns + self.phase_ns) * self.hz // SECOND_NS + self.boot

    def time_of(self, jiffy: int) -> int:
        return -((self.boot - jiffy) * SECOND_NS // self.hz) - self.phase_ns

    def arm(self, now_ns: int, delay: int) -> int:
        """Return when a timer that is armed now for so many jiffies runs."""
        now = self.jiffies(now_ns)
        expires = now + delay
        delta = max(delay - self.random.choice((0, 1)), 0)  # the wheel's clock may be one ahead of jiffies
        level = next(level for level in range(9) if level == 8 or delta < 63 << 3 * level)
        fires = (expires >> 3 * level) + 1 << 3 * level
        late_ns = self.random.choice((5_000, 20_000, 60_000, 300_000, SECOND_NS // self.hz))
        return max(self.time_of(fires), now_ns) + self.random.randrange(late_ns)


@dataclass
class Wire:
    """Segments as the capture shows them, each with its time."""

    life: Life
    rows: list[tuple] = field(default_factory=list)  # (time, from the prober, seq, ack, length, flags)
    prober_next: int = 1000
    peer_next: int = 5000

    def out(self, time_ns: int, *, seq: int | None = None, length: int = 0, flags: int = ACK) -> None:
        shown = self.prober_next if seq is None else seq
        self.rows.append((time_ns + self.life.away_ns, True, shown, self.peer_next, length, flags))

    def come(self, time_ns: int, *, length: int = 0, flags: int = ACK) -> None:
        self.rows.append((time_ns - self.life.away_ns, False, self.peer_next, self.prober_next, length, flags))
        self.peer_next += length

    def segments(self) -> np.ndarray:
        """SEGMENT rows of what was captured, in time order."""
        shown = sorted(row for row in self.rows if row[0] >= self.life.shown_from_ns)
        rows = np.zeros(len(shown), SEGMENT)
        for number, (row, (time_ns, out, seq, ack, length, flags)) in enumerate(zip(rows, shown, strict=True), 1):
            (row["src_lo"], row["src_port"]), (row["dst_lo"], row["dst_port"]) = (
                (CLIENT, SERVER) if out else (SERVER, CLIENT)
            )
            row["time_ns"], row["frame"], row["window"], row["ttl"] = 10**18 + time_ns, number, 500, 64
            row["ip_id"], row["seq"], row["ack"], row["flags"] = number % 65535 + 1, seq, ack, flags
            row["payload_len"] = length
        return rows


def live(life: Life) -> np.ndarray:
    """Return the SEGMENT rows that a capture of such a life shows."""
    random = Random(life.seed)
    wheel, wire = Wheel(life.hz, random), Wire(life)
    wire.out(-life.rtt_ns, seq=wire.prober_next - 1, flags=SYN)
    wire.peer_next -= 1
    wire.come(0, flags=SYN | ACK)
    wire.peer_next += 1
    wire.out(10_000)
    _run(life, wheel, wire)
    return wire.segments()


def _lost(life: Life, time_ns: int) -> bool:
    return any(start <= time_ns < end for start, end in life.lost_ns)


def _traffic(life: Life) -> Iterator[tuple[int, bool]]:
    """What is said, in time order: when the prober's host sees it, and whether the prober says it."""
    said = [(t, False) for t in life.heard_ns] + [(t, True) for t in life.sent_ns]
    yield from sorted((t, own) for t, own in said if t > 20_000 and not _lost(life, t))


def _run(life: Life, wheel: Wheel, wire: Wire) -> None:
    """tcp_keepalive_timer, firing after firing, with what is said in between."""
    idle, interval = life.idle * life.hz, life.interval * life.hz
    traffic = [*_traffic(life), (1 << 62, False)]
    heard, probes_out, sent, place = wheel.jiffies(0), 0, 0, 0
    replies: list[int] = []
    fires_ns = wheel.arm(max(life.on_ns, 0), idle)
    while fires_ns <= life.until_ns and sent < life.probes:
        # Everything that the socket hears before the timer fires.
        while True:
            reply_ns = min(replies, default=1 << 62)
            said_ns, own = traffic[place]
            if min(reply_ns, said_ns) >= fires_ns:
                break
            if reply_ns <= said_ns:
                replies.remove(reply_ns)
                wire.come(reply_ns)
                heard, probes_out = wheel.jiffies(reply_ns), 0
                continue
            place += 1
            if own:
                wire.out(said_ns, length=10, flags=ACK | PSH)
                wire.prober_next += 10
                replies.append(said_ns + life.rtt_ns)
            else:
                wire.come(said_ns, length=20, flags=ACK | PSH)
                wire.out(said_ns + 15_000)
                heard, probes_out = wheel.jiffies(said_ns), 0
        now = wheel.jiffies(fires_ns)
        if replies and any(reply > fires_ns for reply in replies) and wire.rows[-1][4]:
            fires_ns = wheel.arm(fires_ns, idle)  # packets_out
            continue
        if now - heard < idle:
            fires_ns = wheel.arm(fires_ns, idle - (now - heard))
            continue
        if probes_out >= life.count:
            wire.out(fires_ns, flags=RST | ACK)
            return
        wire.out(fires_ns, seq=wire.prober_next - 1)
        probes_out += 1
        sent += 1
        if not _lost(life, fires_ns):
            replies.append(fires_ns + life.rtt_ns)
        fires_ns = wheel.arm(fires_ns, interval)
    for reply_ns in sorted(replies):
        wire.come(reply_ns)
