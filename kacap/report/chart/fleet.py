"""The fleet: every connection that probes is one row on one clock, by fate and time of death; deaths on top.

Above sixty rows those that fare well become one band, and every one that failed keeps its row, two thousand at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from kacap.analysis import Analysis
from kacap.facts.fleet import CLOSED, FATES, GAVE_UP, RESET, UNREACHABLE, Fleet
from kacap.facts.legs import client_of
from kacap.facts.standing import gravest
from kacap.flows import NEVER
from kacap.model import Connection
from kacap.report.chart import page as paper
from kacap.report.chart.axis import TimeAxis
from kacap.report.chart.expected import terms_of
from kacap.report.chart.labels import Labels
from kacap.report.chart.legend import Entry, legend, wrapped
from kacap.report.chart.losses import Losses
from kacap.report.chart.palette import LIGHT, ORANGE, VERMILLION, Theme
from kacap.report.chart.style import MarkStyle
from kacap.report.chart.words import population
from kacap.units import clean

MOST_ROWS = 60  # with more, what fares well is one band
MOST_FAILED = 2000  # rows in any case: no screen and no browser shows a picture of tens of thousands
TALL, MANY = 0.1, 250  # inches of a row, ten pixels of a screen; of more rows each has half, and every second its words
WORDS, LEAST = 6.9, 4.6  # points of the words beside a row, and on a page that is too narrow for long ones
LETTER = 0.0086  # inches of a letter for each point
NAMES = 0.42  # of a page, for words left of the rows
BAND = 0.42  # inches of the band of those that fare well
COLUMNS, DENSE = 700, 0.4  # probes that fill more columns of a row's life than this share are a line
BINS = 60
GLYPH = 5.5  # points right of the rows that the glyph of an end may take
ASIDE = 0.2  # inches between the page's edge, the words beside a row, and the row
BESIDE = 0.85  # inches of the words beside the band
NARROW = 0.55  # of a page, above which words beside the rows leave too little for them
GLYPHS: dict[int, tuple[str, float, str]] = {  # fate: marker, size in points, words
    GAVE_UP: ("x", 4.0, "gave up"),
    RESET: ("s", 3.4, "RST"),
    UNREACHABLE: ("*", 5.0, "ICMP: unreachable"),
    CLOSED: ("|", 4.5, "FIN"),
}


def page(analysis: Analysis, connections: Sequence[Connection]) -> paper.Page:
    """Return the fleet of a capture; ``connections`` that probe."""
    fleet = Fleet(connections, analysis.capture.last_ns or 0)
    if not len(fleet):
        return paper.nothing(analysis)
    picture = Rows(analysis, fleet)
    together = [said] if (said := fleet.together()) else []
    lines = [*together, *population(analysis, fleet.standing), *paper.idle_deaths(analysis)]
    top = paper.Panel(picture.deaths, 0.5, fleet.verdict().sentence, lines, 0.12, 0.06, sides=picture.sides)
    below = paper.below(picture.axis, picture.origin_ns)
    rows = paper.Panel(picture.draw, picture.height, "", (), 0.42, below, fit=picture.fit, sides=picture.sides)
    if fleet.dead and len(fleet) > 1:
        return paper.Page([top, rows])
    rows.title, rows.lines = top.title, lines
    return paper.Page([rows])


class Rows:
    """The two panels: deaths in each bin of time, and the rows."""

    def __init__(self, analysis: Analysis, fleet: Fleet) -> None:
        self.analysis, self.fleet = analysis, fleet
        self.shown = len(fleet) if len(fleet) <= MOST_ROWS else min(fleet.failed, MOST_FAILED)
        self.banded = len(fleet) - self.shown
        capture = analysis.capture
        times = self._probes[1]  # where a capture is in no order of time, probes may lie outside the life of all
        begins = int(np.concatenate([fleet.first_ns, times]).min())
        ends = int(np.concatenate([fleet.until_ns, times]).max())
        first = begins if capture.first_ns is None else min(begins, capture.first_ns)
        self.axis = TimeAxis(first, max(ends, capture.last_ns or ends))
        self.origin_ns = self.axis.first_ns if capture.first_ns is None else capture.first_ns
        every = 1 if self.shown <= MANY else 2
        self.pitch = TALL / every
        self.named = range(0, self.shown, every)
        named = fleet.at(self.named)
        self.shared, names = _names(named)
        self.names = dict(zip(self.named, names, strict=True))
        self.settings = {row: self._settings(one) for row, one in zip(self.named, named, strict=True)}
        self.wide = True
        self._fit_words(paper.PIXELS / paper.DOTS)

    def _fit_words(self, inches: float) -> None:
        """Make the words beside the rows as large as a row is high, or smaller where a page so wide has no room."""
        longest = max((len(clean(name)) for name in self.names.values()), default=1)
        self.size = min(max((NAMES * inches - ASIDE) / (longest * LETTER), LEAST), WORDS)

    @property
    def height(self) -> float:
        """How high the rows and the band are, inches."""
        return max(self.shown * self.pitch + (BAND + 0.08 if self.banded else 0), 0.1)

    def _settings(self, connection: Connection) -> str:
        """Return a row's settings and misses: ``60/10/6, 3 missed``; a guess with a question mark."""
        prober = gravest(connection)[0]
        terms = terms_of(self.analysis, prober)
        parts = [terms.idle, terms.interval, terms.count]
        guess = "?" if any(part is not None and not part.stated for part in parts) else ""
        numbers = "/".join("-" if part is None else str(part.value) for part in parts) if any(parts) else ""
        return ", ".join(filter(None, [f"{numbers}{guess}", f"{prober.missed:,} missed" if prober.missed else ""]))

    def sides(self, inches: float) -> tuple[float, float]:
        """Return the room left for names and right for settings; a narrow page has no room for settings."""
        self._fit_words(inches)
        left, right = (_margin(words.values(), self.size) for words in (self.names, self.settings))
        left = max(left, BESIDE if self.banded else paper.SIDE + 0.2)
        self.wide = left + right <= NARROW * inches
        return left, right if self.wide else BESIDE if self.banded else paper.SIDE

    def _y(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the height of rows, in inches below the top."""
        heights: NDArray[np.float64] = (rows.astype(np.float64) + 0.5) * self.pitch
        return heights

    def fit(self, inches: float) -> tuple[float, float]:
        """Return the panel's height and the room above it that a width of so many inches needs."""
        return self.height, 0.2 + 0.16 * len(wrapped(self._entries(LIGHT), inches))

    def _limits(self, axes: Axes) -> None:
        """Give an axes the common clock."""
        axes.set_xlim(-0.006 * self.axis.width, 1.006 * self.axis.width)

    def deaths(self, axes: Axes, theme: Theme) -> None:
        """Draw how many died in each bin of time: did they die together?"""
        self._limits(axes)
        times = self.fleet.died_ns[self.fleet.died_ns != NEVER]
        numbers, edges = np.histogram(self.axis.x(times), BINS, (0, self.axis.width))
        wide = np.diff(edges)
        axes.bar(edges[:-1], numbers, wide, align="edge", color=VERMILLION, edgecolor=theme.paper, linewidth=0.5)
        most = int(numbers.max(initial=1))
        axes.set_ylim(0, most * 1.1)
        axes.set_yticks([0, most] if most > 1 else [0, 1])
        axes.tick_params(axis="y", labelsize=7, length=2)
        axes.set_xticks([])
        axes.set_ylabel("deaths", size=7, color=theme.soft)

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the rows, and the band below them."""
        self._limits(axes)
        axes.set_ylim(self.height, 0)
        axes.set_yticks([])
        labels = Labels(axes)
        Losses(self.analysis.capture, self.axis).draw(axes, theme, labels, 0.5)
        labels.place()
        rows, times, missed = self._probes
        own = rows < self.shown
        self._lives(axes, theme)
        self._ticks(axes, theme)
        self._runs(axes, rows[own], times[own], missed[own])
        self._missed(axes, theme, rows[own & missed], times[own & missed])
        self._ends(axes, theme)
        self._names(axes, theme)
        if self.banded:
            self._band(axes, theme, times[~own], missed[~own])
        legend(axes, theme, self._entries(theme), 1 + 0.06 / self.height)
        paper.scale_time(axes, theme, self.axis, self.origin_ns)

    @cached_property
    def _probes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return row, time and miss of every probe, by row and then by time."""
        rows, times, missed = self.fleet.probes()
        order = np.lexsort((times, rows))
        return rows[order], times[order], missed[order]

    def _lives(self, axes: Axes, theme: Theme) -> None:
        """Draw each life as a grey line; what began before the capture has it from its left edge."""
        began = np.array([one.began_in_capture for one in self.fleet.at(range(self.shown))], np.bool_)
        x0 = np.where(began, self.axis.x(self.fleet.first_ns[: self.shown]), self.axis.x(self.axis.first_ns))
        x1 = self.axis.x(self.fleet.until_ns[: self.shown])
        heights = self._y(np.arange(self.shown))
        _lines(axes, x0, x1, heights, color=theme.rule, linewidth=self.pitch * 72 * 0.28, zorder=1)

    @cached_property
    def _cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return row and column of each place with a probe that was answered, and which rows have too many."""
        rows, times, missed = self._probes
        kept = (rows < self.shown) & ~missed
        column = (self.axis.x(times[kept]) / self.axis.width * COLUMNS).astype(np.int64)
        cells = np.unique(rows[kept] * (COLUMNS + 2) + column)
        at, column = cells // (COLUMNS + 2), cells % (COLUMNS + 2)
        life = (self.fleet.until_ns - self.fleet.first_ns) / (self.axis.last_ns - self.axis.first_ns) * COLUMNS
        return at, column, np.bincount(at, minlength=self.shown) > DENSE * np.maximum(life[: self.shown], 40)

    def _ticks(self, axes: Axes, theme: Theme) -> None:
        """Draw probes as blue ticks, and as a line where they are too close."""
        at, column, dense = self._cells
        sparse = ~dense[at]
        x, y = (column[sparse] + 0.5) / COLUMNS * self.axis.width, self._y(at[sparse])
        half = self.pitch * 0.36
        ticks = np.stack([np.column_stack([x, y - half]), np.column_stack([x, y + half])], 1)
        axes.add_collection(LineCollection(list(ticks), colors=theme.probe, linewidths=0.7, zorder=2))
        for row in np.flatnonzero(dense).tolist():
            own = column[at == row] / COLUMNS * self.axis.width
            width = self.pitch * 72 * 0.5
            _lines(axes, own.min(keepdims=True), own.max(keepdims=True), self._y(np.array([row])), color=theme.band,
                   linewidth=width, zorder=1.5)  # fmt: skip

    def _runs(self, axes: Axes, rows: NDArray[np.int64], times: NDArray[np.int64], missed: NDArray[np.bool_]) -> None:
        """Draw runs of unanswered probes as orange bars, each to its last probe, a fatal one to death or the end."""
        if not missed.any():
            return
        new = np.append(True, rows[1:] != rows[:-1])
        starts = np.flatnonzero(missed & (new | ~np.append(False, missed[:-1])))
        lasts = np.flatnonzero(missed & np.append(new[1:] | ~missed[1:], True))
        fatal = np.append(new[1:], True)[lasts] & (rows[lasts] < self.fleet.failed)
        until = np.where(fatal, self.fleet.until_ns[rows[lasts]], times[lasts])
        x0, x1 = self.axis.x(times[starts]), self.axis.x(until)
        x1 = np.maximum(x1, x0 + self.axis.width / 150)
        _lines(axes, x0, x1, self._y(rows[starts]), color=ORANGE, linewidth=self.pitch * 72 * 0.6, zorder=3)

    def _missed(self, axes: Axes, theme: Theme, rows: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Draw each probe of a run as a thin tick on its bar, a few thousand at most."""
        if not 0 < len(rows) <= 8 * COLUMNS:
            return
        x, y, half = self.axis.x(times), self._y(rows), self.pitch * 0.36
        ticks = np.stack([np.column_stack([x, y - half]), np.column_stack([x, y + half])], 1)
        axes.add_collection(LineCollection(list(ticks), colors=theme.ink, linewidths=0.5, zorder=3.5))

    @cached_property
    def _ended(self) -> dict[int, NDArray[np.int64]]:
        """The rows that ended in each way, of those that are shown."""
        fates = self.fleet.fates[: self.shown]
        return {fate: rows for fate in GLYPHS if len(rows := np.flatnonzero(fates == fate))}

    def _ends(self, axes: Axes, theme: Theme) -> None:
        """Draw a glyph at each end."""
        for fate, rows in self._ended.items():
            style = _glyph(fate, theme)
            style["markersize"] = GLYPHS[fate][1] * self.pitch / TALL * 1.7
            axes.plot(self.axis.x(self.fleet.until_ns[rows]), self._y(rows), **style, zorder=5, clip_on=False)

    def _names(self, axes: Axes, theme: Theme) -> None:
        """Write the endpoint left of a row, its settings and misses right."""
        heights = self._y(np.array(self.named)) / self.height
        for row, height in zip(self.named, heights.tolist(), strict=True):
            write = partial(axes.text, size=self.size, va="center", transform=axes.transAxes, parse_math=False)
            write(-0.008, 1 - height, self.names[row], ha="right", color=theme.ink)
            if self.wide:
                axes.annotate(
                    self.settings[row], (1, 1 - height), (GLYPH, 0), axes.transAxes, "offset points", ha="left",
                    va="center", size=self.size, color=theme.soft, parse_math=False, annotation_clip=False,
                )  # fmt: skip

    def _band(self, axes: Axes, theme: Theme, times: NDArray[np.int64], missed: NDArray[np.bool_]) -> None:
        """Draw those without a row as a band: how many there are at each time, and where probes were missed."""
        first, last = np.sort(self.fleet.first_ns[self.shown :]), np.sort(self.fleet.until_ns[self.shown :])
        at = np.linspace(self.axis.first_ns, self.axis.last_ns, COLUMNS).astype(np.int64)
        alive = np.searchsorted(first, at, "right") - np.searchsorted(last, at, "left")
        floor, top = self.height, self.height - BAND
        share = alive / max(int(alive.max()), 1)
        axes.fill_between(self.axis.x(at), floor, floor - share * BAND * 0.72, color=theme.rule, linewidth=0, zorder=1)
        if missed.any():
            column = np.unique((self.axis.x(times[missed]) / self.axis.width * COLUMNS).astype(np.int64))
            xs = column / COLUMNS * self.axis.width
            axes.vlines(xs, top + 0.02, top + 0.09, color=ORANGE, linewidth=0.9, zorder=3)
        write = partial(axes.text, size=6.5, va="center", transform=axes.transAxes, parse_math=False)
        middle = 1 - (floor - BAND * 0.36) / self.height
        failed = self.fleet.failed - self.shown
        others = f"{self.banded:,} others" + (f",\n{failed:,} failed" if failed else "")
        write(-0.008, middle, others, ha="right", color=theme.ink)
        lost = f"{int(missed.sum()):,} missed" if missed.any() else "all answered"
        write(1.008, middle, lost, ha="left", color=theme.soft)

    def _entries(self, theme: Theme) -> list[Entry]:
        """Return what the shapes are."""
        rows, _, missed = self._probes
        entries: list[Entry] = [([], f"{'' if nth else 'rows: '}{clean(end)}") for nth, end in enumerate(self.shared)]
        entries += [([Line2D([0, 11], [3.2, 3.2], color=theme.rule, linewidth=2.2)], "alive")]
        entries.append(([Line2D([5.5, 5.5], [0, 6.4], color=theme.probe, linewidth=1)], "probe"))
        if self._cells[2].any():
            entries.append(([Rectangle((0, 0.5), 11, 5.4, color=theme.band)], "probes too close to draw"))
        if (missed & (rows < self.shown)).any():
            entries.append(([Rectangle((0, 1), 11, 4.4, color=ORANGE)], "not answered"))
        failed = np.bincount(self.fleet.fates[: max(self.shown, self.fleet.failed)], minlength=len(FATES))
        for fate in (fate for fate in GLYPHS if failed[fate]):
            entries.append(([Line2D([5.5], [3.2], **_glyph(fate, theme))], f"{failed[fate]:,} {GLYPHS[fate][2]}"))
        if self.banded:
            entries.append(([Rectangle((0, 0), 11, 6.4, color=theme.rule)], "how many others are up"))
        return entries


def _glyph(fate: int, theme: Theme) -> MarkStyle:
    """Return matplotlib's keywords for the end of a life."""
    marker, size, _ = GLYPHS[fate]
    colour = theme.ink if fate == CLOSED else VERMILLION
    return {"linestyle": "none", "marker": marker, "markersize": size, "markeredgewidth": 1.2, "color": colour}


def _lines(axes: Axes, x0: ArrayLike, x1: ArrayLike, y: ArrayLike, color: str, linewidth: float, zorder: float) -> None:
    """Draw horizontal lines."""
    spans = np.stack([np.column_stack([x0, y]), np.column_stack([x1, y])], 1)
    lines = LineCollection(list(spans), colors=color, linewidths=linewidth, capstyle="butt", zorder=zorder)
    axes.add_collection(lines)


def _names(connections: list[Connection]) -> tuple[list[str], list[str]]:
    """Return what all connections share, and what tells them apart: hosts that differ, and always the ports."""
    there = [connection.destination for connection in connections]
    here = [client_of(connection) for connection in connections]
    from_one, to_one = len({end.address for end in here}) == 1, len(set(there)) == 1
    shared = [f"from {here[0].address}"] if from_one else []
    shared += [f"to {there[0]}"] if to_one else []
    names = [f":{end.port}" if from_one else paper.short(str(end)) for end in here]
    if not to_one:
        names = [f"{name} > {paper.short(str(end))}" for name, end in zip(names, there, strict=True)]
    return shared, names


def _margin(words: Iterable[str], size: float) -> float:
    """Return the room that words of so many points beside the rows need, inches."""
    return max((len(clean(text)) for text in words), default=0) * LETTER * size + ASIDE
