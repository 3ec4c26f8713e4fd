"""The Linux timer wheel: when a timer that was armed for a delay really fires.

kernel/time/timer.c since 4.8 (``calc_wheel_index``, ``calc_index``): a delay of d jiffies falls into a level whose
granule is 8^level jiffies, and fires at the first multiple of the granule after its expiry. So a timer is never
early, and late by more than nothing and at most one granule. Times here are in jiffies, as floats; only differences
between them are known, never where the multiples lie, unless an earlier firing has shown it.
"""

from __future__ import annotations

HZ_VALUES = (100, 250, 300, 1000)
EARLY_NS = 25_000_000  # two ticks of the slowest clock, and a capture's own error
SLACK_NS = 60_000_000  # a retry for a locked socket (50 ms), and how late a handler runs
LEVELS = 9


def granule(jiffies: int) -> int:
    """Return the granule, in jiffies, of a timer armed for so many (LVL_START of timer.c)."""
    level = 0
    while level < LEVELS - 1 and jiffies >= 63 << (3 * level):
        level += 1
    return int(8**level)


def latest_s(seconds: float, hz: int) -> float:
    """Return by how many seconds a timer armed for so many seconds may be late at most."""
    return granule(int(seconds * hz)) / hz


def steady_s(seconds: int, hz: int) -> float:
    """Return the period, in seconds, of a timer that is always re-armed for so many seconds when it fires."""
    step = granule(seconds * hz)
    return step * (seconds * hz // step + 1) / hz
