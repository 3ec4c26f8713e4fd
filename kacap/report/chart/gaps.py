"""The distribution of gaps over many connections: no bins, so that exact cadences stand out as steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.facts.standing import Standing, by_gravity
from kacap.model import Connection, IdleDeaths
from kacap.report.chart import page as paper
from kacap.report.chart.axis import log_ticks
from kacap.report.chart.expected import Term, terms_of
from kacap.report.chart.firings import thinned
from kacap.report.chart.labels import Labels
from kacap.report.chart.limits import within
from kacap.report.chart.palette import ORANGE, VERMILLION, Theme
from kacap.report.chart.style import MarkStyle, WordStyle
from kacap.report.chart.words import headline, population, probers_of
from kacap.units import between, duration

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType

COLUMNS = 1_000
BARS = 3  # brackets drawn, of the destinations with most deaths
FEW = 10  # gaps, below which all of them are said
ROWS = 4  # of labels above the panel


def page(analysis: Analysis, connections: list[Connection]) -> paper.Page:
    """Return the distribution of gaps of some connections."""
    lines = population(analysis, connections)
    picture = Gaps(analysis, connections)
    if not picture.curves:
        words = "no gap was seen" if probers_of(connections) else "no keepalive probe seen"
        return paper.Page([paper.only_words(f"{words}: no distribution", lines)])
    title, lines = headline(connections), [picture.said(), *lines, *paper.idle_deaths(analysis)]
    above = 0.15 + 0.16 * min(ROWS, picture.lines())
    height = 2.6 if any(len(gaps) >= FEW for _, gaps in picture.curves) else 1.2
    return paper.Page([paper.Panel(picture.draw, height, title, lines, above, 0.45, left=0.8)])


class Gaps:
    """The panel: a curve for each timer, lines for settings and limits, bars for brackets."""

    def __init__(self, analysis: Analysis, connections: list[Connection]) -> None:
        first, later = by_gravity(connections).gaps_ns if not isinstance(connections, Standing) else connections.gaps_ns
        named = (("silence before a probe (idle)", first), ("gap after a miss (interval)", later))
        self.curves = [(name, gaps[gaps > 0]) for name, gaps in named if (gaps > 0).any()]
        deaths = sorted(analysis.idle_deaths, key=lambda one: (-one.deaths, one.destination))
        self.brackets = [one for one in deaths[:BARS] if one.survived_ns < one.killed_ns]
        self.terms = self._settings(analysis, connections)
        if self.curves:
            ends = [ns for one in self.brackets for ns in (one.survived_ns, one.killed_ns) if ns]
            low = min([*ends, *(int(gaps[0]) for _, gaps in self.curves)])
            high = max([*ends, *(int(gaps[-1]) for _, gaps in self.curves)])
            self.low = max(1, low * 10 // 16)
            self.high = max(2 * self.low, high * 16 // 10)  # nanoseconds have no smaller part

    def _settings(self, analysis: Analysis, connections: list[Connection]) -> list[tuple[str, Term]]:
        """Return the different settings as lines: the stated ones, or a few guesses."""
        found: dict[tuple[str, Term], int] = {}
        for prober in probers_of(connections):
            terms = terms_of(analysis, prober)
            for name, term in (("idle", terms.idle), ("interval", terms.interval)):
                if term is not None:
                    key = name, Term(term.value, term.stated)
                    found[key] = found.get(key, 0) + 1
        stated = sorted((key for key in found if key[1].stated), key=lambda key: -found[key])
        guessed = sorted(
            (key for key in found if not key[1].stated), key=lambda key: (-found[key], key[1].value, key[0])
        )
        return stated[:8] + (guessed if len(guessed) <= 6 else [])

    def lines(self) -> int:
        """Return how many vertical lines there are to label."""
        return len([t for _, t in self.terms if self.low < t.ns < self.high]) + len(within(self.low, self.high))

    def said(self) -> str:
        """Return the distribution in words: the middle of the gaps and the longest."""
        gaps = self.curves[0][1]
        middle, most = int(gaps[len(gaps) // 2]), int(gaps[-1])
        name = "silences before a probe" if self.curves[0][0].startswith("silence") else "gaps after a miss"
        if len(gaps) < FEW:
            words = name if len(gaps) > 1 else name.replace("silences", "silence").replace("gaps", "gap")
            return f"{len(gaps)} {words}: {between(int(gaps[0]), most)}"
        return f"half of {len(gaps):,} {name} are up to {duration(middle)}, the longest {duration(most)}"

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the panel."""
        axes.set_xscale("log")
        axes.set_xlim(self.low, self.high)
        axes.set_ylim(0, 1.02)
        for share in (0.25, 0.5, 0.75, 1.0) if any(len(gaps) >= FEW for _, gaps in self.curves) else ():
            axes.axhline(share, color=theme.rule, linewidth=0.5, zorder=0)
        labels = Labels(axes, axes.get_window_extent().x0)  # the words beside the axis stand left of it
        self._lines(axes, theme, labels)
        for nth, (name, gaps) in enumerate(self.curves):
            self._curve(axes, theme, labels, nth, name, gaps)
        for nth, bracket in enumerate(self.brackets):
            self._bracket(axes, theme, labels, 0.05 + 0.12 * nth, bracket)
        axes.set_xticks(*log_ticks(self.low, self.high, axes.get_window_extent().width / axes.figure.dpi))
        axes.set_xticks([], minor=True)
        axes.set_yticks([])
        if any(len(gaps) >= FEW for _, gaps in self.curves):
            axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
            axes.set_ylabel("share of gaps up to this long", size=7.5, color=theme.soft)
        axes.set_xlabel("gap, logarithmic", size=7.5, color=theme.soft, labelpad=2)
        labels.place()

    def _curve(self, axes: Axes, theme: Theme, labels: Labels, nth: int, name: str, gaps: NDArray[np.int64]) -> None:
        """Draw one curve, its name and n beside it; of a few gaps a strip of dots."""
        colour = (theme.probe, ORANGE)[nth if len(self.curves) > 1 else int("miss" in name)]
        height = 0.6 if nth == 0 else 0.4
        if len(gaps) < FEW:
            axes.axhline(height, color=theme.rule, linewidth=0.6, zorder=0.5)
            mark = "o" if nth == 0 else "^"
            axes.plot(gaps, np.full(len(gaps), height), linestyle="none", marker=mark, markersize=6, color=colour,
                      markerfacecolor=theme.paper, markeredgewidth=1.4, zorder=3)  # fmt: skip
            labels.keep_clear_of_marks(gaps, height, 8, 8)
            at = float(gaps[-1])
        else:
            share = np.arange(1, len(gaps) + 1) / len(gaps)
            kept = thinned(share, COLUMNS)
            x = np.concatenate([[gaps[0]], gaps[kept], [self.high]])
            y = np.concatenate([[0.0], share[kept], [1.0]])
            style: LineStyleType = "-" if nth == 0 else (0, (6, 1.5))
            axes.step(x, y, where="post", color=colour, linewidth=1.7, linestyle=style, zorder=3)
            at = float(gaps[min(int(np.searchsorted(share, height)), len(gaps) - 1)])
        left = np.log(at / self.low) > 0.55 * np.log(self.high / self.low)
        sides = ((-7, "right"), (7, "left")) if left else ((7, "left"), (-7, "right"))
        spots = tuple((dx, dy, ha, "center") for dy in (0, 11, -11) for dx, ha in sides)
        look: WordStyle = {"size": 7.5, "color": theme.ink, "zorder": 5, "bbox": paper.halo(theme)}
        labels.add(f"{name}, n={len(gaps):,}", (at, height), spots, 9, **look)

    def _lines(self, axes: Axes, theme: Theme, labels: Labels) -> None:
        """Draw configured values and known limits as vertical lines, named above the panel."""
        dotted: LineStyleType = (0, (1, 1.5))
        lines: list[tuple[int, str, str, LineStyleType]] = [
            (t.ns, f"{name} {t}", theme.probe if t.stated else theme.soft, "-" if t.stated else dotted)
            for name, t in self.terms
        ]
        lines += [(ns, words, theme.soft, (0, (5, 3))) for ns, words in within(self.low, self.high)]
        for nth, (ns, words, colour, style) in enumerate(lines):
            if not self.low < ns < self.high:
                continue
            axes.axvline(ns, color=colour, linewidth=0.8, linestyle=style, zorder=1)
            sides = ((0, "center"), (-3, "left"), (3, "right"))
            spots = [(dx, 2 + 10 * row, ha, "bottom") for row in range(ROWS) for dx, ha in sides]
            where: WordStyle = {"coordinates": axes.get_xaxis_transform(), "size": 7, "color": colour}
            labels.add(words, (ns, 1.0), spots, 8 if nth < len(self.terms) else 2, **where)

    def _bracket(self, axes: Axes, theme: Theme, labels: Labels, height: float, bracket: IdleDeaths) -> None:
        """Draw the range of a timeout: alive at its left end, dead at its right."""
        low, high = max(bracket.survived_ns, self.low), bracket.killed_ns
        axes.plot([low, high], [height] * 2, color=VERMILLION, linewidth=3, solid_capstyle="butt", zorder=4)
        if bracket.survived_ns:
            hollow: MarkStyle = {"marker": "o", "markersize": 6, "markerfacecolor": theme.paper}
            axes.plot([low], [height], color=VERMILLION, zorder=5, **hollow)
        axes.plot([high], [height], marker="x", markersize=7, markeredgewidth=2, color=VERMILLION, zorder=5)
        begin = duration(bracket.survived_ns) if bracket.survived_ns else "up"
        span = f"{begin} to {duration(high)}"
        words = f"timeout to {bracket.destination}: {span}, {bracket.deaths:,} died"
        left = np.log(low / self.low) < 0.5 * np.log(self.high / self.low)
        spots = tuple((0, 6 + 10 * row, "left" if left else "right", "bottom") for row in range(3))
        look: WordStyle = {"size": 7.5, "color": VERMILLION, "zorder": 5, "bbox": paper.halo(theme)}
        labels.add((words, span), (low if left else high, height), spots, 10, **look)
