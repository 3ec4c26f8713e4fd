"""``kacap live --top``: one row for each prober, redrawn; what goes wrong is on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kacap.classify.kinds import Ending
from kacap.report.live_rows import ProbingConnection
from kacap.units import clean, duration

REDRAW_NS = 250_000_000
AROUND = 5  # lines of the screen that are no rows


class Screen:
    """The terminal while the live screen is on it; a context manager."""

    def __init__(self, *, color: bool = True) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console(no_color=not color, highlight=False)
        self._live = Live(console=self.console, screen=True, auto_refresh=False, redirect_stdout=False)
        self._drawn_ns = 0

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

    def draw(self, rows: Sequence[ProbingConnection], now_ns: int, foot: str) -> None:
        """Redraw; ``foot`` is the last line."""
        self._drawn_ns = now_ns
        self._live.update(table(rows, now_ns, foot, self.console.size.height - AROUND), refresh=True)


def table(rows: Sequence[ProbingConnection], now_ns: int, foot: str, room: int) -> Any:
    """Return what the screen shows: at most ``room`` rows, the gravest first."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = sorted(rows, key=_grave)[: max(room, 1)]
    drawn = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for name in ("Prober > peer", "Silent for", "Next probe in", "Answered in", "Missed", "Settings"):
        drawn.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1 if name == "Settings" else None)
    for row in shown:
        style = "bold red" if row.ending or row.run > 1 else "yellow" if row.missed else ""
        drawn.add_row(*(Text(clean(cell)) for cell in cells(row, now_ns)), style=style)
    hidden = len(rows) - len(shown)
    more = f"{hidden:,} more; " if hidden else ""
    waiting = Text("no keepalive probe yet", style="dim") if not rows else Text("")
    return Group(drawn, waiting, Text(clean(f"{more}{foot}"), style="dim"))


def cells(row: ProbingConnection, now_ns: int) -> list[str]:
    """Return the six cells of one row."""
    heard_ns = row.heard_ns
    silent = duration(max(now_ns - heard_ns, 0)) if heard_ns is not None else "not seen yet"
    answer = "none yet" if row.answer_after_ns is None else duration(max(row.answer_after_ns, 0))
    return [f"{row.prober} > {row.peer}", silent, _due(row, heard_ns, now_ns), answer, str(row.missed), settings(row)]


def settings(row: ProbingConnection) -> str:
    """Return idle/interval/count and where they come from: configured, else as far as they were seen."""
    expected = row.expected
    if expected is not None and (expected.idle or expected.interval or expected.count):
        values = "/".join("?" if v is None else str(v) for v in (expected.idle, expected.interval, expected.count))
        return f"{values} ({expected.source.partition(' (')[0]})"
    gaps = (("idle", row.idle_gap_ns), ("interval", row.interval_gap_ns))
    seen = [f"{name} {duration(gap)}" for name, gap in gaps if gap]
    return f"{', '.join(seen)} (seen)" if seen else "not seen yet"


def _due(row: ProbingConnection, heard_ns: int | None, now_ns: int) -> str:
    """Return the cell that says when the next probe comes."""
    if row.ending:
        return "gave up" if row.ending in (Ending.GAVE_UP, Ending.USER_TIMEOUT) else row.ending
    gap, since = (row.interval_ns, row.probe_ns) if row.run else (row.idle_ns, heard_ns)
    if gap is None or since is None:
        return "not known yet"
    left = since + gap - now_ns
    waits = f" ({row.run} waiting)" if row.run else ""
    return (duration(left) if left > 0 else f"due for {duration(-left)}") + waits


def _grave(row: ProbingConnection) -> tuple[bool, int, int, int]:
    """Return the key that puts what is wrong first, then what probed last."""
    return row.ending is None, -row.run, -row.missed, -row.probe_ns
