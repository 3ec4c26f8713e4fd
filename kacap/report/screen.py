"""``kacap live --top``: a summary, a row for each prober in a stable order, and the dead with their causes.

Keys: s sorts, / filters, the arrows (j, k) and Page Up and Down move, Enter opens a connection's events, q quits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from kacap.model import Endpoint
from kacap.report.live_rows import LiveEvent, ProbingConnection
from kacap.report.live_text import without_last_clauses
from kacap.report.screen_rows import (
    STATES,
    STYLES,
    died_of,
    history,
    names,
    next_of,
    settings,
    state_of,
    time_of_day,
)
from kacap.units import clean, counted, duration

REDRAW_NS = 250_000_000
EVENTS = 500  # kept of each connection, and of the dead
DEAD_SHARE = 3  # the dead have this part of the rows at most, while others live
SORTS = ("first seen", "state", "name", "missed")
KEYS = "s sort  / filter  Enter events  q quit"

Key = tuple[int, Endpoint]


class Screen:
    """The terminal while the live screen is on it; a context manager."""

    def __init__(self, *, color: bool = True) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console(no_color=not color, highlight=False)
        self._live = Live(console=self.console, screen=True, auto_refresh=False, redirect_stdout=False)
        self._drawn_ns = 0
        self.view = View(ascii_only="utf" not in self.console.encoding.lower())

    def __enter__(self) -> Screen:
        """Take the screen."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self._live.stop()

    def is_due(self, now_ns: int) -> bool:
        """Return whether it is time to redraw."""
        return not 0 <= now_ns - self._drawn_ns < REDRAW_NS

    def draw(self, rows: Sequence[ProbingConnection], now_ns: int, dropped: int) -> None:
        """Redraw; so many packets were dropped."""
        from rich.console import Group
        from rich.text import Text

        self._drawn_ns = now_ns
        width, height = self.console.size
        lines = self.view.lines(rows, now_ns, dropped, width, height)
        drawn = [Text(clean(words), style, no_wrap=True, overflow="crop") for words, style in lines]
        self._live.update(Group(*drawn), refresh=True)


def rehearse() -> None:
    """Draw a screen for nobody: all that drawing imports is there, also when its files may not be read any more."""
    import io

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=80, height=24)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        styles = [*STYLES.values(), "dim", "underline", "bold reverse"]
        live.update(Text.assemble(*((f"✓✗ {style}\n", style) for style in styles)), refresh=True)


class View:
    """What is looked at: the order, the filter, the row chosen, whose events are open. ``press`` takes a key."""

    def __init__(self, *, ascii_only: bool = False) -> None:
        self.ascii_only = ascii_only
        self.sort, self.top, self.chosen = 0, 0, 0
        self.filter, self.typing = "", False
        self.open: Key | None = None
        self.quit = False
        self._events: dict[frozenset[Endpoint], deque[LiveEvent]] = {}  # by the two ends
        self._shown: list[ProbingConnection] = []

    def take(self, events: Iterable[LiveEvent]) -> None:
        """Keep what happened, by connection, also what is not sure yet: a run that may not be one of probes."""
        for event in events:
            ends = frozenset((event.source, event.destination))
            self._events.setdefault(ends, deque(maxlen=EVENTS)).append(event)

    def press(self, key: str) -> None:
        """Take one key: a letter, or ``up``, ``down``, ``page up``, ``page down``, ``enter``, ``escape``..."""
        if self.typing:
            self._type(key)
        elif key == "q":
            self.quit = True
        elif key in ("escape", "delete") or (key == "enter" and self.open is not None):
            self.open, self.filter = (None, self.filter) if self.open is not None else (None, "")
            self.top = 0
        elif key == "s":
            self.sort = (self.sort + 1) % len(SORTS)
        elif key == "/":
            self.typing, self.filter = True, ""
        elif key == "enter" and self._shown:
            self.open, self.top = _key(self._shown[min(self.chosen, len(self._shown) - 1)]), 0
        else:
            self._move({"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10, " ": 10}.get(key, 0))

    def _type(self, key: str) -> None:
        """Take one key of the filter."""
        if key in ("enter", "escape"):
            self.typing = False
            self.filter = self.filter if key == "enter" else ""
        elif key == "delete":
            self.filter = self.filter[:-1]
        elif len(key) == 1:
            self.filter += key
        self.chosen = self.top = 0

    def _move(self, steps: int) -> None:
        """Choose another row, or scroll the events."""
        if self.open is not None:
            self.top = max(self.top + steps, 0)
        else:
            self.chosen = min(max(self.chosen + steps, 0), max(len(self._shown) - 1, 0))

    def lines(
        self, rows: Sequence[ProbingConnection], now_ns: int, dropped: int, width: int, height: int
    ) -> list[tuple[str, str]]:
        """Return the screen as (words, style), at most ``height`` lines, none wider than ``width``."""
        head = [(_summary(rows, now_ns, dropped), "bold")]
        body = self._details(rows, now_ns, width, height - 2) if self.open is not None else []
        body = (body or self._table(rows, now_ns, width, height))[: height - 2]
        foot = f"filter: {self.filter}_" if self.typing else f"by {SORTS[self.sort]}  {KEYS}"
        foot += f"  filter: {self.filter}" if self.filter and not self.typing else ""
        padding: list[tuple[str, str]] = [("", "")] * (height - 2 - len(body))
        return [(words[:width], style) for words, style in [*head, *body, *padding, (foot, "dim")]]

    def _table(self, rows: Sequence[ProbingConnection], now_ns: int, width: int, height: int) -> list[tuple[str, str]]:
        """Return the rows of those that live, and below them the dead."""
        kept = [row for row in rows if self.filter.lower() in f"{row.prober} > {row.peer} {state_of(row)}".lower()]
        dead = sorted((row for row in kept if row.ending is not None), key=lambda row: -(row.died_ns or 0))
        alive = self._sorted([row for row in kept if row.ending is None])
        self._shown = [*alive, *dead]
        room = height - 4  # the summary, two heads, the keys
        for_dead = min(len(dead), max(room // DEAD_SHARE, room - len(alive)))
        for_alive = room - for_dead
        self.chosen = min(self.chosen, max(len(self._shown) - 1, 0))
        if self.chosen < len(alive):
            self.top = min(max(self.top, self.chosen - for_alive + 1), self.chosen)
        first_dead = min(max(self.chosen - len(alive) - for_dead + 1, 0), max(len(dead) - for_dead, 0))
        called, left_out = names(kept, max(width - 44, 24))
        name_of = dict(zip(map(id, kept), called, strict=True))
        wide = max((len(name) for name in called), default=12)
        hidden = len(alive) - len(alive[self.top : self.top + for_alive])
        more = f"  ({hidden:,} more)" if hidden > 0 else ""
        lines = [(f"{'prober > peer':<{wide}}  {'state':<8} {'history':<18} next{more}  {left_out}", "underline")]
        if not rows:
            lines.append(("no keepalive probe yet", "dim"))
        for row in alive[self.top : self.top + for_alive]:
            lines.append(self._line(row, name_of[id(row)].ljust(wide), now_ns, width))
        if dead:
            lines.append((f"dead ({len(dead):,})", "underline"))
        for row in dead[first_dead : first_dead + for_dead]:
            when = time_of_day(row.died_ns) if row.died_ns is not None else "before"
            words = f"{name_of[id(row)]:<{wide}}  dead     {when} "
            lines.append((words + without_last_clauses(died_of(row), width - len(words)), self._style(row)))
        return lines

    def _line(self, row: ProbingConnection, name: str, now_ns: int, width: int) -> tuple[str, str]:
        """Return the line of one that lives."""
        marks = history(row, ascii_only=self.ascii_only)
        cells = [f"{name}  {state_of(row):<8} {marks:<18}", f"{next_of(row, now_ns):<16}", settings(row)]
        return whole(cells, " ", width).rstrip(), self._style(row)

    def _style(self, row: ProbingConnection) -> str:
        """Return the style of a row, that of the chosen one turned round."""
        chosen = bool(self._shown) and self._shown[self.chosen] is row
        return f"{STYLES[state_of(row)]} reverse".strip() if chosen else STYLES[state_of(row)]

    def _sorted(self, rows: list[ProbingConnection]) -> list[ProbingConnection]:
        """Return rows in the order that is chosen; rows that are equal in it stay as they came."""
        keys: dict[str, Callable[[ProbingConnection], int | tuple[Endpoint, Endpoint]]] = {
            "state": lambda row: STATES.index(state_of(row)),
            "name": lambda row: (row.peer, row.prober),
            "missed": lambda row: -row.missed,
        }
        name = SORTS[self.sort]
        return sorted(rows, key=keys[name]) if name in keys else rows

    def _details(
        self, rows: Sequence[ProbingConnection], now_ns: int, width: int, height: int
    ) -> list[tuple[str, str]]:
        """Return the events of the connection that is open, the newest first."""
        row = next((one for one in rows if _key(one) == self.open), None)
        if row is None:
            self.open = None
            return []
        heard = f"silent for {duration(max(now_ns - row.heard_ns, 0))}" if row.heard_ns is not None else ""
        marks = history(row, ascii_only=self.ascii_only)
        about = [f"{row.prober} > {row.peer}", state_of(row), marks, heard, settings(row)]
        lines = [(whole(about, "  ", width), STYLES[state_of(row)] or "bold")]
        kept = self._events.get(frozenset((row.prober, row.peer)), ())
        events = [one for one in kept if one.words and (one.prober is None or _key(one.prober) == self.open)]
        for event in [*reversed(events)][self.top : self.top + height - 1]:
            way = ">" if event.source == row.prober else "<"
            words = event.words.replace(f" from {event.source}:", ":").replace(f" from {event.source}", "")
            stamp = f"{time_of_day(event.time_ns)} {way} "
            lines.append((stamp + without_last_clauses(words, width - len(stamp)), ""))
        return lines


def whole(cells: Iterable[str], between: str, width: int) -> str:
    """Return cells on one line of so many columns; one that does not fit wholly is left out."""
    line, *rest = filter(None, cells)
    for cell in rest:
        if len(line) + len(between) + len(cell.rstrip()) <= width:
            line += between + cell
    return line


def _key(row: ProbingConnection) -> Key:
    """Return what tells a prober from every other."""
    return row.connection, row.prober


def _summary(rows: Sequence[ProbingConnection], now_ns: int, dropped: int) -> str:
    """Return ``60 connections: 55 up, 3 missing, 2 dead; 12:04:55 UTC, 0 dropped``."""
    states = [state_of(row) for row in rows]
    numbers = ", ".join(f"{states.count(name):,} {name}" for name in ("up", "missing", "dead") if name in states)
    said = f"{counted(len(states), 'connection')}{': ' if numbers else ''}{numbers}"
    return f"{said}; {time_of_day(now_ns)} UTC, {dropped:,} dropped"
