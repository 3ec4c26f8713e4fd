"""Charts that hold the configuration: when each probe was due, when it came, and what became of it.

Six views: the *fleet* (a row for each connection on one clock), the *timeline* of a connection, the *silence* as a
sawtooth, *idle* (silences survived and silences that killed), the *residuals* (observed minus configured), and the
*ecdf* of gaps over many connections. Shape says what an event is, colour repeats it (Okabe-Ito). The same
analysis gives the same bytes. matplotlib is imported by the functions that draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO

from kacap.analysis import Analysis
from kacap.facts.standing import by_gravity
from kacap.report.chart.save import FORMATS, check_target, format_of, save, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kacap.model import Connection
    from kacap.report.chart.page import Page

__all__ = ["FORMATS", "VIEWS", "Plot", "check_target", "draw", "format_of", "render", "save", "timeline"]

VIEWS = {
    "fleet": "kacap.report.chart.fleet",  # where each view is drawn, gravest connections first
    "timeline": "kacap.report.chart.timelines",
    "silence": "kacap.report.chart.sawtooth",
    "idle": "kacap.report.chart.idle",
    "residuals": "kacap.report.chart.lateness",
    "ecdf": "kacap.report.chart.gaps",
}
WITHOUT_PROBES = ("idle",)  # shows something though nobody probes
TIMELINES = 6  # connections, above which the fleet shows more
WIDTH = 1200  # pixels


def default_view(analysis: Analysis, connection: int | None = None) -> str:
    """Return the view that suits a capture: the fleet above six connections, silences where nobody probes."""
    if connection is not None:
        return "timeline"
    probing = len(by_gravity(analysis.connections))
    return "fleet" if probing > TIMELINES else "timeline" if probing else "idle"


def draw(
    analysis: Analysis,
    views: Sequence[str] = (),
    connection: int | None = None,
    *,
    dark: bool = False,
    width: int = WIDTH,
) -> Figure:
    """Return the views, one below the other, of one connection or of all that probe; none: the one that suits.

    ``width`` is in pixels of a PNG: there is more room on a wide one, words keep their size. Data, retransmissions,
    resets and the like come from ``analysis.marks``; without marks only probes and replies are drawn. Raises
    UsageError for a connection that the analysis does not hold.
    """
    from kacap.report.chart.page import NOBODY, Look, Page, drop_note
    from kacap.report.chart.words import chosen

    shown = chosen(analysis, connection)
    wanted = [view for view in views or [default_view(analysis, connection)] if shown or view in WITHOUT_PROBES]
    parts: list[Page] = [_page_of(view)(analysis, shown) for view in wanted or WITHOUT_PROBES]
    if not wanted and not parts[0].panels[0].title.startswith(NOBODY):
        parts[0].notes.append(f"{NOBODY}: view idle instead of {', '.join(views)}")
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    page = Page([panel for part in parts for panel in part.panels], [*notes, *drop_note(analysis)])
    return page.figure(analysis, Look(width, dark))


def _page_of(view: str) -> Callable[[Analysis, Sequence[Connection]], Page]:
    """Return what makes the page of a view."""
    page: Callable[[Analysis, Sequence[Connection]], Page] = import_module(VIEWS[view]).page
    return page


def timeline(analysis: Analysis, connection: int | None = None, *, dark: bool = False, width: int = WIDTH) -> Figure:
    """Return the timeline of one connection, or of the gravest of those that probe; see ``draw``."""
    return draw(analysis, ["timeline"], connection, dark=dark, width=width)


def render(analysis: Analysis, out: BinaryIO, *, format: str = "png") -> None:
    """Write the view that suits a capture to ``out`` as ``png``, ``svg`` or ``pdf``."""
    write(draw(analysis), out, format)


@dataclass(frozen=True, slots=True)
class Plot:
    """The charts of one analysis: ``analysis.plot.timeline()``. Each method returns a matplotlib Figure.

    ``connection`` is the number of one connection (None: all that probe), ``dark`` and ``width`` are as in ``draw``.
    """

    analysis: Analysis

    def timeline(self, connection: int | None = None, *, dark: bool = False, width: int = WIDTH) -> Figure:
        """Return what each side sent, when each probe was due, and what became of it."""
        return draw(self.analysis, ["timeline"], connection, dark=dark, width=width)

    def fleet(self, connection: int | None = None, *, dark: bool = False, width: int = WIDTH) -> Figure:
        """Return every connection that probes as one row on one clock, by fate and time of death."""
        return draw(self.analysis, ["fleet"], connection, dark=dark, width=width)

    def idle(self, connection: int | None = None, *, dark: bool = False, width: int = WIDTH) -> Figure:
        """Return each silence and whether it was survived, with the bracket of an idle timeout and known limits."""
        return draw(self.analysis, ["idle"], connection, dark=dark, width=width)

    def silence(self, connection: int | None = None, *, dark: bool = False, width: int = WIDTH) -> Figure:
        """Return for how long nothing had been received, against idle and the known limits of boxes."""
        return draw(self.analysis, ["silence"], connection, dark=dark, width=width)

    def residuals(self, connection: int | None = None, *, dark: bool = False, width: int = WIDTH) -> Figure:
        """Return observed minus configured for each probe, against what the timer's granule allows."""
        return draw(self.analysis, ["residuals"], connection, dark=dark, width=width)

    def ecdf(self, connection: int | None = None, *, dark: bool = False, width: int = WIDTH) -> Figure:
        """Return the distribution of gaps over many connections, and the bracket of idle deaths."""
        return draw(self.analysis, ["ecdf"], connection, dark=dark, width=width)
