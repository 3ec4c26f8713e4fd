"""Two clocks of a watch: the one that packets are stamped with may be set, the other one only goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from kacap.clock import SECOND_NS
from kacap.units import duration

STEP_NS = SECOND_NS  # more is no slewing: somebody has set the clock


def _steady_ns() -> int:
    """Return a time that nobody can set and that goes on while the machine sleeps, nanoseconds since whenever."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)


class Pace:
    """How long a watch has gone on, and whether the clock was set meanwhile; ``wall`` and ``steady`` are for tests."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = _steady_ns) -> None:
        self._wall, self._steady = wall, steady
        self._apart_ns = wall() - steady()

    def watched_ns(self) -> int:
        """Return a time that nobody can set, nanoseconds since whenever."""
        return self._steady()

    def stepped(self) -> str:
        """Return what to say if the clock was set since the last call, else nothing."""
        apart_ns = self._wall() - self._steady()
        step_ns, self._apart_ns = apart_ns - self._apart_ns, apart_ns
        if abs(step_ns) < STEP_NS:
            return ""
        way = "forward" if step_ns > 0 else "back"
        return f"the clock was set {way} by {duration(abs(step_ns))}: gaps across that moment are wrong by as much"
