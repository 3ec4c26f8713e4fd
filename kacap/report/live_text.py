"""The plain lines of ``kacap live``: one for each thing that happens, with the times of tcpdump's -t, but in UTC.

The summary and the records are in UTC as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

from kacap.clock import SECOND_NS
from kacap.report.live_rows import LiveEvent
from kacap.report.text import COLOURS, PLAIN
from kacap.units import clean

QUIET = ("bad", "doubt")  # the moods that -q shows


class Clock:
    """Writes times as tcpdump's -t to -ttttt do, dates and times of day in UTC; ``level`` counts the letters."""

    def __init__(self, level: int) -> None:
        self.level = level
        self._first_ns: int | None = None
        self._last_ns = 0

    @property
    def zone(self) -> str:
        """What to say of the times before the first line: the zone of a time of day, else nothing."""
        return "times in UTC" if self.level in (0, 4) else ""

    def stamp(self, time_ns: int) -> str:
        """Return a time (nanoseconds since 1970) and a space, or nothing with -t."""
        if self._first_ns is None:
            self._first_ns = self._last_ns = time_ns
        since_ns = time_ns - (self._first_ns if self.level == 5 else self._last_ns)
        self._last_ns = time_ns
        if self.level == 1:
            return ""
        if self.level == 2:
            return f"{time_ns // SECOND_NS}.{_micros(time_ns)} "
        if self.level in (3, 5):
            return _span(since_ns)
        date = "%Y-%m-%d " if self.level == 4 else ""
        return f"{datetime.fromtimestamp(time_ns // SECOND_NS, UTC):{date}%H:%M:%S}.{_micros(time_ns)} "


class Lines:
    """Writes live events to ``out``, each at once."""

    def __init__(self, out: TextIO, clock: Clock, *, color: bool = False, brief: bool = False) -> None:
        self._out, self._clock, self._color, self._brief = out, clock, color, brief

    def write(self, events: Iterable[LiveEvent]) -> None:
        """Write one line for each; ``brief`` leaves out what is as it should be."""
        for one in events:
            if not one.words or (self._brief and one.mood not in QUIET):
                continue
            line = clean(f"{self._clock.stamp(one.time_ns)}{one.source} > {one.destination}: {one.words}")
            colour = COLOURS.get(one.mood) if self._color else None
            self._out.write(f"{colour}{line}{PLAIN}\n" if colour else f"{line}\n")
            self._out.flush()


def _micros(time_ns: int) -> str:
    """Return the microseconds of a time, six digits."""
    return f"{time_ns % SECOND_NS // 1000:06d}"


def _span(since_ns: int) -> str:
    """Return a difference as hours, minutes, seconds and microseconds."""
    sign, whole_ns = ("-" if since_ns < 0 else ""), abs(since_ns)
    minutes, seconds = divmod(whole_ns // SECOND_NS, 60)
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.{_micros(whole_ns)} "
