"""The plain lines of ``kacap live``: one for each thing that happens, with the times of tcpdump's -t, but in UTC.

The summary and the records are in UTC as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TextIO

from kacap.clock import SECOND_NS
from kacap.report.live_rows import LiveEvent, ProbingConnection, What
from kacap.report.text import COLOURS, PLAIN
from kacap.units import clean, counted, duration

REDRAW_NS = 250_000_000
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
    """Writes live events to ``out``, each at once.

    On a terminal of ``width`` columns no line wraps, and healthy probes have one line in all, which is written anew.
    """

    def __init__(
        self, out: TextIO, clock: Clock, *, color: bool = False, brief: bool = False, width: int | None = None
    ) -> None:
        self._out, self._clock, self._color, self._brief, self._width = out, clock, color, brief, width
        self._status, self._answered, self._last = "", 0, ""
        self._waited_ns = 0

    def write(self, events: Iterable[LiveEvent]) -> None:
        """Write one line for each that was not told before; ``brief`` leaves out what is as it should be."""
        for one in events:
            if not one.words or (self._brief and one.mood not in QUIET):
                continue
            if self._width is not None and _is_healthy(one):
                self._note(one)
                continue
            stamp = self._clock.stamp(one.time_ns)
            line = clean(f"{stamp}{one.source} > {one.destination}: {one.words}")
            if self._width is not None:
                line = fitted(clean(stamp), one, self._width)
            colour = COLOURS.get(one.mood) if self._color else None
            self._erase()
            self._out.write(f"{colour}{line}{PLAIN}\n" if colour else f"{line}\n")
            self._out.flush()

    def is_due(self, now_ns: int) -> bool:
        """Return whether it is time to write a terminal's last line anew."""
        return self._width is not None and not self._brief and not 0 <= now_ns - self._waited_ns < REDRAW_NS

    def wait(self, rows: Sequence[ProbingConnection], now_ns: int) -> None:
        """Write on a terminal's last line how the healthy probes do, and when the next is due."""
        self._waited_ns = now_ns
        due = [due_ns for row in rows if (due_ns := row.due_ns()) is not None and due_ns > now_ns]
        parts = [f"{counted(self._answered, 'probe')} answered{self._last}"] if self._answered else []
        alive = sum(row.ending is None for row in rows)
        parts += [f"next probe due in {duration(min(due) - now_ns)}"] if due else []
        parts += [] if parts else [f"waiting: {counted(alive, 'connection')} with probes" if alive else "no probe yet"]
        status = clean("; ".join(parts))[: (self._width or 80) - 1]
        if status != self._status:
            self._erase()
            self._status = status
            self._out.write(status)
            self._out.flush()

    def end(self) -> None:
        """Take the last line away."""
        self._erase()

    def _note(self, event: LiveEvent) -> None:
        """Count a healthy answer."""
        if event.what == What.ANSWERED and event.prober is not None:
            self._answered += 1
            after = f" after {duration(event.after_ns)}" if event.after_ns is not None else ""
            self._last = f", the last by {event.source}{after}"

    def _erase(self) -> None:
        """Take the line that is written anew off the terminal."""
        if self._status:
            self._out.write(f"\r{' ' * len(self._status)}\r")
            self._status = ""


def _is_healthy(event: LiveEvent) -> bool:
    """Return whether an event is a probe, or its answer, as it should be."""
    if event.what == What.PROBE:
        return event.run < 2 and event.mood not in QUIET
    return event.what == What.ANSWERED and event.mood == "good"


def fitted(stamp: str, event: LiveEvent, width: int) -> str:
    """Return the line of an event in so many columns: what is said twice goes first, then the last clauses."""
    ends, words = f"{event.source} > {event.destination}: ", event.words
    line = clean(f"{stamp}{ends}{words}")
    if len(line) <= width:
        return line
    words = words.replace(f" from {event.source}", "").replace(f" of {event.destination}", "")
    line = clean(f"{stamp}{ends}{without_last_clauses(words, width - len(stamp) - len(ends))}")
    return line if len(line) <= width else f"{line[: width - 2]}.."


def without_last_clauses(words: str, room: int) -> str:
    """Return words in so many columns, without their last clauses, then without their last words.

    Parentheses stay closed.
    """
    while len(words) > room:
        shorter = max((words.rpartition(mark)[0] for mark in ("; ", ", ", " (", " in ")), key=len)
        shorter = shorter or words[: room + 1].rpartition(" ")[0]
        if not shorter:
            break
        words = f"{shorter})" if shorter.count("(") > shorter.count(")") else shorter
    return words


def _micros(time_ns: int) -> str:
    """Return the microseconds of a time, six digits."""
    return f"{time_ns % SECOND_NS // 1000:06d}"


def _span(since_ns: int) -> str:
    """Return a difference as hours, minutes, seconds and microseconds."""
    sign, whole_ns = ("-" if since_ns < 0 else ""), abs(since_ns)
    minutes, seconds = divmod(whole_ns // SECOND_NS, 60)
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.{_micros(whole_ns)} "
