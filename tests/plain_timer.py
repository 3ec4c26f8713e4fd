"""Keepalive timers that are not Linux's wheel, simulated plainly, and a plain search for what one timer explains.

Nothing of kacap's own search is used; the timers' numbers are those of ``timing.systems``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from random import Random

import numpy as np

from kacap.timing.history import ABORT, FIRING, STEP
from kacap.timing.wheel import granule

SECOND_NS = 10**9

Fires = Callable[[float, float, Random], float]  # of when it is due, the grid's phase (0 to 1): when it fires


def ticks(step: float, *, early: bool = False) -> Fires:
    """A timer that looks every ``step`` seconds."""
    rounded = floor if early else ceil
    return lambda due, phase, random: (rounded(due / step - phase) + phase) * step + random.random() * 2e-4


OTHERS: dict[str, Fires] = {
    "exact": lambda due, phase, random: due,
    "late by up to 16 ms": lambda due, phase, random: due + random.random() * 0.016,
    "late by up to 100 ms": lambda due, phase, random: due + random.random() * 0.1,
    "gaussian": lambda due, phase, random: due + random.gauss(0, 0.001),
    "10 ms": ticks(0.01),
    "15.6 ms": ticks(0.015625),
    "500 ms": ticks(0.5),
    "500 ms, early": ticks(0.5, early=True),
    "1 s": ticks(1.0),
}


@dataclass(frozen=True)
class Prober:
    """What is set, and what becomes of each probe: answered after ``rtt``, or not; then the prober gives up."""

    timer: str
    idle: int
    interval: int
    answered: int
    unanswered: int
    gives_up: bool
    rtt: float = 0.0005
    from_probe: bool = False  # idle runs from the probe, not from its reply
    seed: int = 0


def firings(prober: Prober) -> np.ndarray:
    """FIRING rows of a prober's life, from the opening of its connection."""
    random = Random(prober.seed)
    fires, phase = OTHERS[prober.timer], random.random()
    found, heard, heard_n = [], random.random(), 1
    now = fires(heard + prober.idle, phase, random)
    for number in range(prober.answered + prober.unanswered + prober.gives_up):
        found.append((now, heard, heard_n))
        if number < prober.answered:
            heard, heard_n = now + prober.rtt * (1 + 0.1 * random.random()), 1
            start = now if prober.from_probe else heard
            now = fires(start + prober.idle, phase, random)
        else:
            heard_n, now = 0, fires(now + prober.interval, phase, random)
    rows = np.zeros(len(found), FIRING)
    for row, (time, since, n) in zip(rows, found, strict=True):
        row["time_ns"], row["since_ns"], row["heard_n"] = ns(time), ns(since), n
        row["heard_ns"][0] = ns(since)
    if prober.gives_up:
        rows["flags"][-1] = ABORT
    return rows


def ns(seconds: float) -> int:
    """Nanoseconds since 1970 of a moment."""
    return 10**18 + round(seconds * SECOND_NS)


def steps_of(gaps: list[float], *, answered: bool) -> np.ndarray:
    """STEP rows of firings so many seconds apart, each answered at once or not at all."""
    steps = np.zeros(len(gaps) + 1, STEP)
    steps["time_ns"] = [ns(sum(gaps[:i])) for i in range(len(gaps) + 1)]
    steps["before_ns"][1:] = steps["time_ns"][:-1]
    steps["before_ns"][0] = steps["since_ns"][0] = -(2**62)
    if answered:
        steps["since_ns"][1:] = steps["time_ns"][:-1]
    steps["heard"], steps["n"] = int(answered), 1
    return steps


def unexplained(timer: np.void, steps: np.ndarray, setting: int, *, interval: bool) -> int:
    """How many gaps a setting in seconds leaves unexplained; a known firing of ``steps`` tells where the grid lies."""
    grid = float(timer["grid"])
    missed, known_ns, known = 0, int(steps["time_ns"][0]), grid
    for row in steps[1:]:
        time_ns = int(row["time_ns"])
        step = _step(timer, float(row["time_ns"] - row["before_ns"]), setting * SECOND_NS, interval=interval)
        on = step and (not step <= known or _on(timer, time_ns - known_ns, step))
        if not on:
            missed, known_ns, known = missed + 1, time_ns, grid
        elif timer["hz"] and step >= known:
            known_ns, known = time_ns, step
    return missed


def _step(timer: np.void, gap: float, setting: float, *, interval: bool) -> float:
    """The finest step of the grid on which a firing may be so late; 0: none is coarse enough, or it is early."""
    lateness = gap - setting
    if lateness < -timer["early"]:
        return 0.0
    if not timer["hz"]:
        return max(float(timer["grid"]), 1e-9) if lateness <= timer["late"] + timer["share"] * setting else 0.0
    jiffy = SECOND_NS / timer["hz"]
    top = granule(round(setting / jiffy))
    steps = [8**level for level in range(9) if 8**level <= top and (not interval or 8**level == top)]
    return next((step * jiffy for step in steps if lateness <= step * jiffy + timer["late"]), 0.0)


def _on(timer: np.void, away: float, step: float) -> bool:
    """Whether a firing lies on a grid."""
    early, late = (timer["early"], timer["late"]) if timer["hz"] else (2e7, 2e7)
    off, drift = away % step, 50e-6 * abs(away)
    return bool(off <= late + drift or step - off <= early + drift)
