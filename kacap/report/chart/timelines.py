"""The timeline of a connection: a row for each direction, when each probe was due, and what became of it.

A long life is a strip, and what decided it is enlarged below: from the last answer to the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from kacap.analysis import Analysis
from kacap.model import Connection
from kacap.report.chart import page as paper
from kacap.report.chart.lanes import Lanes
from kacap.report.chart.marked import marked
from kacap.report.chart.strip import Strip, focus_of
from kacap.report.chart.words import conclusion_of, lines_of

TIMELINES = 6  # panels; of more connections the gravest is drawn


def page(analysis: Analysis, connections: Sequence[Connection]) -> paper.Page:
    """Return the timelines of some connections, of many the gravest alone."""
    shown = connections if len(connections) <= TIMELINES else connections[:1]
    panels = [panel for one in shown for panel in _panels(analysis, one)]
    left_out = len(connections) - len(shown)
    notes = [f"the gravest of {len(connections):,}: --view fleet shows all, --connection N one"] if left_out else []
    if not len(analysis.marks) and len(connections):
        notes.append("probes and replies only: data, retransmissions and resets were not kept (marks=True keeps them)")
    return paper.Page(panels, notes)


def _panels(analysis: Analysis, connection: Connection) -> list[paper.Panel]:
    """Return the panels of one connection: its timeline, or a strip of its life and what decided it."""
    rows = analysis.marks[analysis.marks["connection"] == connection.connection]
    told = marked(analysis, connection, rows)
    lines = [*(f"{one.number}: {one.sentence}" for one in told), *lines_of(analysis, connection)]
    window = focus_of(connection, rows)
    lanes = Lanes(analysis, connection, rows, told, window)
    main = paper.Panel(lanes.draw, 1.72, above=0.3, below=paper.below(lanes.axis, lanes.origin_ns), fit=lanes.fit)
    panels = [main]
    if window is not None:
        strip = Strip(analysis, connection, rows, window)
        panels.insert(0, paper.Panel(strip.draw, 0.3, below=paper.below(strip.axis, strip.origin_ns), fit=strip.fit))
    panels[0].title, panels[0].lines = conclusion_of(analysis, [connection]), lines
    return panels
