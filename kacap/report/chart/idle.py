"""Silences and what became of them: a dot for each connection on a log axis, survived or dead, by destination.

The bracket of an idle timeout (longest survived, shortest that killed) is shaded; known limits have their names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from kacap.addresses import address_text
from kacap.analysis import GONE, KILLED, SURVIVED, Analysis, SilenceRows
from kacap.facts.fleet import Fleet
from kacap.model import Connection, Endpoint, IdleDeaths
from kacap.report.chart import page as paper
from kacap.report.chart.axis import log_ticks
from kacap.report.chart.labels import Labels
from kacap.report.chart.legend import LETTER, Entry, legend, wrapped
from kacap.report.chart.limits import within
from kacap.report.chart.palette import LIGHT, ORANGE, VERMILLION, Theme
from kacap.report.chart.style import MarkStyle, PatchStyle, WordStyle
from kacap.units import counted, duration

MOST = 12  # destinations with a row of their own: those with deaths first
COLUMNS = 300  # dots of a row and an outcome
ROW = 0.3  # inches
NAMES = 0.5  # inches above the panel for the names of limits
MOST_NAMES = 0.45  # of a page, for the names left of the panel
OTHERS = "others"


def page(analysis: Analysis, connections: Sequence[Connection]) -> paper.Page:
    """Return every silence of a capture that ended in use, whether anybody probes (``connections``) or not."""
    rows = _rows(analysis)
    if not rows and not any(one.probers for one in connections):
        return paper.nothing(analysis)
    if not rows:
        words = "no connection was used again after a silence"
        verdict = Fleet(connections, analysis.capture.last_ns or 0).verdict().sentence
        return paper.Page([paper.only_words(verdict, [words])])
    picture = Silences(rows, analysis.idle_deaths)
    said = [*paper.idle_deaths(analysis), _conclusion(analysis.silences)]
    if len(connections):
        verdict = Fleet(connections, analysis.capture.last_ns or 0).verdict().sentence
        said.insert(0 if not len(analysis.silences[analysis.silences["outcome"] == KILLED]) else len(said), verdict)
    title, _, more = said[0].partition("; ")
    lines = [*([more] if more else []), *said[1:]]
    panel = paper.Panel(picture.draw, picture.height, title, lines, fit=picture.fit, sides=picture.sides)
    return paper.Page([panel])


def _rows(analysis: Analysis) -> list[tuple[str, SilenceRows]]:
    """Return (destination, its silences), those with most deaths first; what has no row of its own is the last."""
    by: dict[tuple[int, int, int], list[int]] = {}
    found = analysis.silences
    for place, (hi, lo, port) in enumerate(found[["hi", "lo", "port"]].tolist()):
        by.setdefault((hi, lo, port), []).append(place)
    groups = [(Endpoint(address_text(hi, lo), port), found[places]) for (hi, lo, port), places in by.items()]
    groups.sort(key=lambda one: (-int((one[1]["outcome"] != SURVIVED).sum()), -len(one[1]), one[0]))
    kept = MOST if len(groups) <= MOST else MOST - 1
    named = [(str(to), rows) for to, rows in groups[:kept]]
    if rest := groups[kept:]:
        named.append((f"{len(rest):,} {OTHERS}", np.concatenate([rows for _, rows in rest])))
    return named


def _conclusion(silences: SilenceRows) -> str:
    """Return what silences without a bracket show, in one sentence."""
    lived, dead = silences[silences["outcome"] == SURVIVED], silences[silences["outcome"] != SURVIVED]
    longest = f"longest {duration(int(lived['silence_ns'].max()))}" if len(lived) else ""
    if not len(dead):
        whose = "its silence" if len(lived) == 1 else "their silences"
        return f"{counted(len(lived), 'connection')} survived {whose}, {longest}: none died idle"
    shortest = f"the shortest after {duration(int(dead['silence_ns'].min()))}"
    survived = f"; {len(lived):,} survived, {longest}" if len(lived) else ""
    return f"{counted(len(dead), 'connection')} died at first use after a silence, {shortest}{survived}"


class Silences:
    """The panel: a row for each destination."""

    def __init__(self, rows: list[tuple[str, SilenceRows]], brackets: list[IdleDeaths]) -> None:
        self.rows = rows
        self.brackets = {str(one.destination): one for one in brackets}
        values = np.concatenate([found["silence_ns"] for _, found in rows])
        self.low = max(1, int(values.min()) * 10 // 13)
        self.high = max(2 * self.low, int(values.max()) * 13 // 10)  # nanoseconds have no smaller part
        self.height = len(rows) * ROW + 0.1
        self.names = [name for name, _ in rows]

    def sides(self, inches: float) -> tuple[float, float]:
        """Return the room left for names, the ends of long addresses alone on a narrow page, and that on the right."""
        self.names = [name for name, _ in self.rows]
        if _margin(self.names) > MOST_NAMES * inches:
            self.names = [paper.short(name) for name in self.names]
        return _margin(self.names), paper.SIDE

    def fit(self, inches: float) -> tuple[float, float]:
        """Return the panel's height and the room above it that a width of so many inches needs."""
        return self.height, NAMES + 0.14 + 0.16 * len(wrapped(self._entries(LIGHT), inches))

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the panel."""
        axes.set_xscale("log")
        axes.set_xlim(self.low, self.high)
        axes.set_ylim(len(self.rows) - 0.35, -0.65)
        axes.set_yticks(range(len(self.rows)), self.names, parse_math=False, size=7.5)
        axes.tick_params(axis="y", length=0)
        labels = Labels(axes)
        for row, (name, found) in enumerate(self.rows):
            axes.axhline(row, color=theme.rule, linewidth=0.6, zorder=0.5)
            self._bracket(axes, theme, labels, row, self.brackets.get(name))
            self._dots(axes, theme, labels, row, found)
        self._limits(axes, theme, labels)
        inches = axes.get_window_extent().width / axes.figure.dpi
        axes.set_xticks(*log_ticks(self.low, self.high, inches))
        axes.set_xticks([], minor=True)
        axes.set_xlabel(
            paper.filled("silence before the next use, logarithmic", inches), size=7.5, color=theme.soft, labelpad=2
        )
        labels.keep_clear_of(legend(axes, theme, self._entries(theme), 1 + NAMES / self.height))
        labels.place()

    def _bracket(self, axes: Axes, theme: Theme, labels: Labels, row: int, found: IdleDeaths | None) -> None:
        """Shade the range in which a destination's timeout lies, and say it."""
        if found is None or found.survived_ns >= found.killed_ns:
            return
        low = max(found.survived_ns, self.low)
        shade: PatchStyle = {"facecolor": VERMILLION, "alpha": 0.22, "zorder": 0.8}
        axes.add_patch(Rectangle((low, row - 0.36), found.killed_ns - low, 0.72, **shade))
        axes.vlines([low, found.killed_ns], row - 0.36, row + 0.36, color=VERMILLION, linewidth=0.8, zorder=0.9)
        begin = duration(found.survived_ns) if found.survived_ns else "up"
        words = f"timeout: {begin} to {duration(found.killed_ns)}"
        style: WordStyle = {"size": 7.5, "color": VERMILLION, "bbox": paper.halo(theme), "zorder": 6}
        spots = [(dx, 0.0, "left", "center") for dx in (9, 20, 35, 55)]
        labels.add(words, (found.killed_ns, row), [*spots, (0, 9, "center", "bottom")], 9, **style)

    def _dots(self, axes: Axes, theme: Theme, labels: Labels, row: int, found: SilenceRows) -> None:
        """Draw a destination's silences; those that would lie over each other stand side by side."""
        for outcome, style in _styles(theme).items():
            values = np.sort(found["silence_ns"][found["outcome"] == outcome]).astype(np.float64)
            if not len(values):
                continue
            labels.keep_clear_of_marks(values, row, style["markersize"], style["markersize"])
            column = np.log(values / self.low) / np.log(self.high / self.low) * COLUMNS
            _, first, number = np.unique(column.astype(np.int64), return_index=True, return_counts=True)
            for at, several in zip(first.tolist(), number.tolist(), strict=True):
                drawn = np.linspace(-0.22, 0.22, min(several, 7)) if several > 1 else np.zeros(1)
                axes.plot(values[at : at + len(drawn)], row + drawn, **style, zorder=4)

    def _limits(self, axes: Axes, theme: Theme, labels: Labels) -> None:
        """Draw the known limits as lines, each named above it."""
        for ns, words in within(self.low, self.high):
            axes.axvline(ns, color=theme.soft, linewidth=0.7, linestyle=(0, (5, 3)), zorder=0.6)
            sides = ((0, "center"), (-2, "left"), (2, "right"))
            spots = [(dx, 2 + 9 * line, ha, "bottom") for line in range(4) for dx, ha in sides]
            labels.add(words, (ns, 1.0), spots, 1, size=6.5, color=theme.soft, coordinates=axes.get_xaxis_transform())

    def _entries(self, theme: Theme) -> list[Entry]:
        """Return what the shapes are, and how many of each there are."""
        words = {SURVIVED: "survived", KILLED: "dead while its destination was up", GONE: "dead, the end may be gone"}
        outcomes = np.concatenate([found["outcome"] for _, found in self.rows])
        entries: list[Entry] = []
        for outcome, style in _styles(theme).items():
            if number := int((outcomes == outcome).sum()):
                entries.append(([Line2D([5.5], [3.2], **style)], f"{number:,} {words[outcome]}"))
        if self.brackets:
            entries.append(([Rectangle((0, 0), 11, 6.4, facecolor=VERMILLION, alpha=0.22)], "the timeout lies here"))
        return entries


def _margin(names: list[str]) -> float:
    """Return the room that names left of the panel need, inches."""
    return max(map(len, names)) * LETTER + 0.25


def _styles(theme: Theme) -> dict[int, MarkStyle]:
    """Return matplotlib's keywords for each outcome: the shape says which."""
    hollow: MarkStyle = {"linestyle": "none", "markersize": 4.5, "markerfacecolor": theme.paper}
    return {
        SURVIVED: {**hollow, "marker": "o", "color": theme.probe},
        KILLED: {"linestyle": "none", "marker": "x", "markersize": 5.5, "markeredgewidth": 1.7, "color": VERMILLION},
        GONE: {**hollow, "marker": "s", "color": ORANGE},
    }
