"""Keepalive timers of every kind: how early and how late a firing may seem, and the grid that firings lie on.

A setting of s seconds shows as a gap from s - early to s + late. ``LINUX`` and ``OTHERS`` are the timers that any
prober may run, ``SYSTEMS`` those that a user can name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kacap.clock import SECOND_NS
from kacap.timing.wheel import HZ_VALUES, SLACK_NS

MS_NS = 1_000_000

# One timer as kernels see it; times in nanoseconds. hz 0: no timer wheel.
TIMER = np.dtype([(name, "<f8") for name in ("hz", "early", "late", "share", "grid")], align=True)


@dataclass(frozen=True, slots=True)
class System:
    """One timer: how early and late a firing may seem, and the source of that.

    ``share`` of the setting is added to ``late_ns``; ``grid_ns``: all firings are multiples of it apart (0: they are
    not); ``hz``: late by up to a granule of Linux's timer wheel at so many jiffies a second, too (``wheel``).
    """

    name: str
    title: str
    early_ns: int
    late_ns: int
    source: str
    share: float = 0.0
    grid_ns: int = 0
    hz: int = 0

    @property
    def row(self) -> tuple[float, ...]:
        """Return it as a TIMER row."""
        return float(self.hz), float(self.early_ns), float(self.late_ns), self.share, float(self.grid_ns)


def _linux(hz: int) -> System:
    """Return Linux's timer since 4.8 at one clock rate: two jiffies and 5 ms of jitter."""
    jitter_ns = 2 * SECOND_NS // hz + 5 * MS_NS
    return System(
        "linux",
        f"Linux, {hz} jiffies a second",
        jitter_ns,
        jitter_ns + SLACK_NS,
        "kernel/time/timer.c calc_wheel_index; net/ipv4/tcp_timer.c tcp_keepalive_timer",
        hz=hz,
    )


LINUX = tuple(_linux(hz) for hz in HZ_VALUES)
OTHERS = (
    System(
        "exact", "a timer of its own for each connection, or a tick of up to half a second", 15 * MS_NS, 520 * MS_NS,
        "callouts (BSD since FreeBSD 9), hrtimers, Windows' 15.6 ms clock, ticks of any length; a busy processor",
    ),
    System(
        "linux-4.7", "Linux before 4.8", 15 * MS_NS, 40 * MS_NS,
        "kernel/timer.c apply_slack: late by up to a 256th of the delay", share=1 / 256,
    ),
    System(
        "slow-timer", "a slow timer of 500 ms", 520 * MS_NS, 520 * MS_NS,
        "4.4BSD tcp_slowtimo and xnu count ticks (early), lwIP tcp_slowtmr waits for the next (late)",
        grid_ns=500 * MS_NS,
    ),
    System(
        "seconds", "a timer that looks once a second", 20 * MS_NS, 1_020 * MS_NS,
        "devices that count whole seconds", grid_ns=1_000 * MS_NS,
    ),
)  # fmt: skip
WITH_BYTE = System(
    "windows",
    "Windows",
    300 * MS_NS,
    300 * MS_NS,
    "32 captured Windows connections, 10 to 60 s: 0.25 s early to 0.06 s late; illumos tcp_timers.c: milliseconds",
)
SYSTEMS = {
    system.name: system
    for system in (
        WITH_BYTE,
        System(
            "macos", "macOS and iOS", 600 * MS_NS, 600 * MS_NS,
            "xnu tcp_timer.c: a 500 ms quantum (IS_TIMER_HZ_500MS)",
        ),
        System(
            "freebsd", "FreeBSD", 25 * MS_NS, 600 * MS_NS,
            "tcp_timer.c: a callout of its own for each connection, older releases a 500 ms tick",
        ),
        System(
            "illumos", "illumos and Solaris", 25 * MS_NS, 300 * MS_NS,
            "tcp_timers.c: milliseconds; without TCP_KEEPINTVL unanswered probes follow the RTO",
        ),
        System(
            "lwip", "lwIP", 25 * MS_NS, 1_100 * MS_NS,
            "tcp.c tcp_slowtmr: strictly after idle, on 500 ms ticks",
        ),
    )
}  # fmt: skip
NAMES = ("auto", "linux", *SYSTEMS, "any")
TIMERS = (*LINUX, *OTHERS, *SYSTEMS.values())
ROWS: NDArray[np.void] = np.array([timer.row for timer in TIMERS], TIMER)


LINUX_BITS = sum(1 << m for m in range(len(LINUX)))


def possible(system: str) -> tuple[int, int]:
    """Return which of ``TIMERS`` a prober may run, as bits: without and with a byte in its probes.

    ``system`` is one of ``NAMES``. Linux's probes carry no byte; what a user names is taken for granted.
    """
    if system == "auto":
        return LINUX_BITS | _bits(OTHERS), _bits((*OTHERS, WITH_BYTE))
    named = 0 if system == "any" else LINUX_BITS if system == "linux" else _bits((SYSTEMS[system],))
    return named, named


def _bits(timers: tuple[System, ...]) -> int:
    """Return the bits of some timers."""
    return sum(1 << TIMERS.index(timer) for timer in timers)
