"""Probers whose timers are known, of many makes, and how often a shown setting excludes the truth.

    python tests/timers.py [--runs N] [--seed N]

Each prober has a host of its own: a handshake or the middle of a connection, a few words, probes that are answered, in
half of the cases a run that is not, and giving up. Settings are whole seconds. A timer is a function from the moment
at which it is armed and the seconds that it is set to, to the moment at which it fires.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np
from analysing import analyse_segments

from kacap.model import Connection, Prober
from kacap.segments import ACK, HAS_TIMESTAMPS, RST, SEGMENT, SYN

SECOND = 1_000_000_000
BEGAN_NS = 1_700_000_000 * SECOND
Timer = Callable[[float, int], float]
IDLES = (5, 10, 15, 20, 30, 45, 60, 75, 120, 300, 600, 7200)


def _ticks(length: float, phase: float, more: int) -> Timer:
    """Fires when so many ticks are over; ``more``: the partial one at the start counts (-1), or does not (0)."""

    def fires(armed: float, seconds: int) -> float:
        first = math.floor((armed - phase) / length)
        return phase + length * (first + math.ceil(seconds / length) + 1 + more)

    return fires


def _looks(length: float, phase: float) -> Timer:
    """Looks at the clock every so often, and fires when the time is over."""
    return lambda armed, seconds: phase + length * math.ceil((armed + seconds - phase) / length)


def _late(share: float, dice: random.Random) -> Timer:
    """Fires late by up to a share of the setting."""
    return lambda armed, seconds: armed + seconds * (1 + dice.uniform(0, share))


def _around(share: float, dice: random.Random) -> Timer:
    """Fires up to a share of the setting early or late."""
    return lambda armed, seconds: armed + seconds * (1 + dice.uniform(-share, share))


def _wheel(hz: int) -> Timer:
    """Linux's timer wheel (kernel/time/timer.c)."""

    def fires(armed: float, seconds: int) -> float:
        now, delay = math.floor(armed * hz), seconds * hz
        step = 1
        while delay >= 63 * step:
            step *= 8
        return ((now + delay) // step + 1) * step / hz

    return fires


MAKES: dict[str, Callable[[random.Random], Timer]] = {
    "exact": lambda dice: _late(0, dice),
    "jitter 0.1 %": lambda dice: _around(0.001, dice),
    "late 0.1 %": lambda dice: _late(0.001, dice),
    "late 1 %": lambda dice: _late(0.01, dice),
    "jitter 1 %": lambda dice: _around(0.01, dice),
    "late 2 %": lambda dice: _late(0.02, dice),
    "jitter 2 %": lambda dice: _around(0.02, dice),
    "late 5 %": lambda dice: _late(0.05, dice),
    "jitter 5 %": lambda dice: _around(0.05, dice),
    "late 10 %": lambda dice: _late(0.1, dice),
    "jitter 10 %": lambda dice: _around(0.1, dice),
    "BSD 500 ms, early": lambda dice: _ticks(0.5, dice.random(), -1),
    "BSD 500 ms, late": lambda dice: _ticks(0.5, dice.random(), 0),
    "lwIP 500 ms": lambda dice: _looks(0.5, dice.random()),
    "lwIP 250 ms": lambda dice: _looks(0.25, dice.random()),
    "Windows 15.6 ms": lambda dice: _looks(0.015625, dice.random()),
    "grid 1 s": lambda dice: _looks(1, dice.random()),
    "grid 2 s": lambda dice: _looks(2, 2 * dice.random()),
    "grid 5 s": lambda dice: _looks(5, 5 * dice.random()),
    "ticks 1 s, early": lambda dice: _ticks(1, dice.random(), -1),
    "ticks 2 s, early": lambda dice: _ticks(2, 2 * dice.random(), -1),
    "ticks 5 s, early": lambda dice: _ticks(5, 5 * dice.random(), -1),
    "Linux HZ 100": lambda dice: _wheel(100),
    "Linux HZ 250": lambda dice: _wheel(250),
    "Linux HZ 1000": lambda dice: _wheel(1000),
}


def prober(make: str, dice: random.Random) -> tuple[np.ndarray, dict[str, int]]:
    """Return the segments of one prober and its settings."""
    idle = dice.choice(IDLES)
    interval, count = dice.choice([i for i in (1, 2, 5, 10, 15, 30, 75) if i <= idle]), dice.randint(2, 8)
    timer, way = MAKES[make](dice), dice.choice((0.00005, 0.002, 0.02))
    stamped = dice.random() < 0.7
    rows, numbers = [], {0: dice.getrandbits(32), 1: dice.getrandbits(32)}
    ids = {0: dice.getrandbits(15), 1: dice.getrandbits(15)}
    stamps, clock = {0: 0, 1: 0}, {0: dice.getrandbits(30), 1: dice.getrandbits(30)}

    def send(at: float, who: int, flags: int, length: int = 0, below: int = 0, keeps: bool = True) -> None:
        seg = np.zeros(1, SEGMENT)[0]
        seg["time_ns"], seg["frame"] = BEGAN_NS + round(at * SECOND), len(rows) + 1
        for end, name in ((who, "src"), (1 - who, "dst")):
            seg[f"{name}_lo"], seg[f"{name}_port"] = 0xFFFF0A000001 + end, (40000, 443)[end]
        seg["seq"] = (numbers[who] - below) % 2**32
        numbers[who] += length + (1 if flags & SYN else 0)
        seg["ack"] = numbers[1 - who] % 2**32 if flags & ACK else 0
        ids[who] += 1
        seg["ip_id"], seg["flags"], seg["payload_len"], seg["window"], seg["ttl"] = ids[who], flags, length, 500, 64
        if stamped:
            seg["has"] = HAS_TIMESTAMPS
            seg["tsval"], seg["tsecr"] = clock[who] + round(at * 1000), stamps[who]
            if keeps:
                stamps[1 - who] = int(seg["tsval"])
        rows.append(seg)

    now = dice.uniform(0, 50)
    send(now, 0, SYN)
    send(now + way, 1, SYN | ACK)
    send(now + way + 0.00002, 0, ACK)
    heard = now + way + 0.00002
    if dice.random() < 0.8:
        now = heard + dice.uniform(0.01, 0.8)
        send(now, 0, ACK, 20)
        send(now + way, 1, ACK, 100)
        heard = now + way
        send(heard + 0.00003, 0, ACK)
    mid = len(rows) if dice.random() < 0.3 else 0
    for _ in range(dice.choice((1, 2, 3, 5, 9))):
        now = timer(heard, idle)
        send(now, 0, ACK, below=1, keeps=False)
        send(now + way, 1, ACK)
        heard = now + way
    if dice.random() < 0.5:
        now = timer(heard, idle)
        for _ in range(count):
            send(now, 0, ACK, below=1, keeps=False)
            now = timer(now, interval)
        send(now, 0, RST | ACK)
    return np.array(rows[mid:], SEGMENT), {"idle": idle, "interval": interval, "count": count}


def judged(make: str, seed: int) -> tuple[Counter[str], list[str]]:
    """Return how the settings of one prober are told (right, wrong, assumed, unknown), and what is wrong."""
    rows, truth = prober(make, random.Random(f"{make} {seed}"))
    heard = analyse_segments(rows)
    tally: Counter[str] = Counter()
    wrong = []
    probers: list[Prober] = [p for c in heard.of(Connection) for p in c.probers if p.grade != "ambiguous"]
    for found in probers:
        for name, true in truth.items():
            setting = getattr(found, name)
            how = "unknown" if setting.candidates is None else "right" if true in setting.candidates else "assumed"
            if how == "assumed" and not setting.assumes:
                how = "wrong"
                wrong.append(f"{make} {seed}: {name} {true}, said {setting.candidates[:8]}, {setting}")
            tally[how] += 1
    if heard.analysis.clocks and not make.startswith("Linux"):
        tally["HZ claimed"] += 1
        wrong.append(f"{make} {seed}: HZ claimed: {heard.analysis.clocks}")
    tally["probers"] = 1
    return tally, wrong


def main() -> int:
    """Parse the command line, make and judge the probers, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=400, help="probers of each make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    columns = ("probers", "right", "wrong", "assumed", "unknown", "HZ claimed")
    print(f"{'':20}" + "".join(f"{name:>12}" for name in columns))
    total: Counter[str] = Counter()
    for make in MAKES:
        tally: Counter[str] = Counter()
        for seed in range(args.seed, args.seed + args.runs):
            one, wrong = judged(make, seed)
            tally += one
            if args.list:
                print(*wrong, sep="\n", end="\n" if wrong else "")
        total += tally
        print(f"{make:20}" + "".join(f"{tally[name]:>12,}" for name in columns), flush=True)
    print(f"{'all':20}" + "".join(f"{total[name]:>12,}" for name in columns))
    return 1 if total["wrong"] > total["probers"] / 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
