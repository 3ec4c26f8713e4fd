"""``kacap live --until verdict``: says what it waits for while it waits, and what the answer was with its exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kacap.capture.endpoints import EndpointsFilter
from kacap.clock import MINUTE_NS, SECOND_NS
from kacap.commands.live_sockets import Sockets
from kacap.commands.telling import tell
from kacap.errors import EXIT_DONE, EXIT_FAILED, EXIT_NO_EVIDENCE, FilterError
from kacap.model import Endpoint
from kacap.report.live_rows import ProbingConnection
from kacap.units import clean, duration, rounded

UP = "+++"  # the newest probes of who is up: answered
LOOK_NS = SECOND_NS  # how often it is asked what is due
AGAIN_NS = MINUTE_NS  # how often a line is said anew where lines cannot be overwritten
SAME_NS = SECOND_NS  # a due time that moves by less is the same


class Waiting:
    """Waits for one of the connections to die, or to answer three probes in a row."""

    def __init__(self, expression: str | None, sockets: Sockets | None) -> None:
        """Take the filter, and who can be asked for sockets, which have their timers before any packet comes."""
        self._sockets = sockets
        self._died = self._up = False
        self._looked_ns: int | None = None
        self._told: tuple[object, int, int] | None = None  # about what, due when, told when
        try:
            self._filter = EndpointsFilter(expression) if expression else None
        except FilterError:  # it asks for what only a frame can tell: then packets will
            self._filter, self._sockets = None, None

    def take(self, rows: Sequence[ProbingConnection]) -> bool:
        """Return whether there is a verdict."""
        self._died = self._died or any(row.ending is not None for row in rows)
        self._up = self._up or any(row.outcomes.endswith(UP) for row in rows)
        return self._died or self._up

    @property
    def exit_code(self) -> int:
        """0: up, 1: it died, 3: nothing could be told."""
        return EXIT_FAILED if self._died else EXIT_DONE if self._up else EXIT_NO_EVIDENCE

    def is_due(self, now_ns: int) -> bool:
        """Return whether it is time to look again."""
        return self._looked_ns is None or not 0 <= now_ns - self._looked_ns < LOOK_NS

    def look(self, rows: Sequence[ProbingConnection], now_ns: int) -> None:
        """Say what is waited for, where that has changed."""
        self._looked_ns = now_ns
        found = self._from_sockets(now_ns) or _from_rows(rows)
        if found is None:
            self._say("waiting: no probe yet, and no socket here that matches has keepalive on", None, 0, now_ns)
            return
        due_ns, prober, peer, words = found
        left_ns = due_ns - now_ns
        when = f"due in {_in_words(left_ns)}" if left_ns > 0 else f"due for {_in_words(-left_ns)}"
        self._say(f"waiting: {prober} > {peer}: next probe {when}{words}", (prober, peer), due_ns, now_ns)

    def _from_sockets(self, now_ns: int) -> tuple[int, Endpoint, Endpoint, str] | None:
        """Return when which socket's next probe is due, the soonest: (when, from, to, its settings in words)."""
        for one in self._sockets.due() if self._sockets is not None else ():
            ends = Endpoint(*one.local), Endpoint(*one.remote)
            if self._filter is not None and not self._filter(*ends):
                continue
            found = one.settings
            settings = (found.idle, found.interval, found.count)
            values = "/".join("?" if value is None else str(value) for value in settings)
            missed = f", {one.unanswered} unanswered" if one.unanswered else ""
            if found.count is not None and one.unanswered >= found.count:
                missed += ": it will give up instead"
            return now_ns + one.next_probe_ns, *ends, f" (set to {values}, {found.source}{missed})"
        return None

    def _say(self, line: str, about: object, due_ns: int, now_ns: int) -> None:
        """Say a line: over the one before on a terminal, else where it says something new."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{clean(line)}")
            sys.stderr.flush()
            return
        if self._told is not None:
            before, then_due_ns, then_ns = self._told
            if before == about and abs(due_ns - then_due_ns) < SAME_NS and now_ns - then_ns < AGAIN_NS:
                return
        self._told = about, due_ns, now_ns
        tell(line)

    def close(self) -> None:
        """Leave the line on a terminal."""
        if self._looked_ns is not None and sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


def _in_words(span_ns: int) -> str:
    """Return a duration that runs: whole seconds from ten of them on."""
    seconds = rounded(span_ns, SECOND_NS) // SECOND_NS
    return f"{seconds} s" if 10 <= seconds < 1000 else duration(span_ns)


def _from_rows(rows: Sequence[ProbingConnection]) -> tuple[int, Endpoint, Endpoint, str] | None:
    """Return the same of connections that were seen to probe."""
    found = [(due_ns, row.prober, row.peer, _settings(row)) for row in rows if (due_ns := row.due_ns()) is not None]
    return min(found, default=None)


def _settings(row: ProbingConnection) -> str:
    """Return in words where the due time comes from, and how many probes wait for an answer."""
    source = f"set by {row.expected.source}" if row.expected is not None else "as seen before"
    return f" ({source}{f', {row.run} unanswered' if row.run else ''})"
