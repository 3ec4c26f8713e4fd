"""The residuals of many settings over the setting: how late a timer may be is a staircase there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from kacap.clock import SECOND_NS
from kacap.report.chart import page as paper
from kacap.report.chart.axis import log_ticks
from kacap.report.chart.expected import hz_words
from kacap.report.chart.firings import IDLE, INTERVAL, thinned
from kacap.report.chart.groups import MARKERS, Group
from kacap.report.chart.labels import Labels
from kacap.report.chart.palette import ORANGE, VERMILLION, Theme
from kacap.report.chart.style import MarkStyle
from kacap.timing.wheel import latest_s

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType

PERCENT = (-100, 0, 5, 10, 15, 50, 100, 1_000, 10_000, 100_000)  # ticks


class OverSettings:
    """The residuals of many settings: percent of the setting, over the setting, with the staircase of the wheel."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        self.hz = tuple(sorted({hz for group in groups for hz in group.hz}))
        values = [group.term.value for group in groups]
        self.low, self.high = max(min(values) / 1.5, 0.5), max(values) * 1.5

    def said(self) -> str:
        """Return what the staircase is."""
        return f"steps: the timer wheel's granule, up to which a timer may be late, never early ({hz_words(self.hz)})"

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the panel."""
        axes.set_xscale("log")
        axes.set_xlim(self.low, self.high)
        labels = Labels(axes)
        self._staircase(axes, theme, labels)
        lowest = highest = 0.0
        for group in self.groups:
            share = group.late_ns / group.term.ns * 100
            lowest, highest = min(lowest, float(share.min())), max(highest, float(share.max()))
            self._group(axes, theme, group, share)
        wide = highest > 60 or lowest < -30
        if wide:
            axes.set_yscale("symlog", linthresh=15, linscale=2)
            axes.set_yticks([tick for tick in PERCENT if lowest <= tick <= highest])
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.set_yticks([], minor=True)
        floor = min(lowest * 1.15, -2.0)
        axes.set_ylim(floor, max(highest * 1.12, 14))
        self._misses(axes)
        self._scales(axes, theme)
        labels.place()

    def _staircase(self, axes: Axes, theme: Theme, labels: Labels) -> None:
        """Draw for each clock rate how late a timer may be, in percent, over all delays of the panel."""
        delays = np.geomspace(self.low, self.high, 900)
        styles: dict[int, LineStyleType] = {100: (0, (1, 1.5)), 250: "-", 300: (0, (5, 2)), 1000: (0, (5, 1.5, 1, 1.5))}
        most = np.zeros(len(delays))
        for hz in self.hz:
            share = np.array([latest_s(float(delay), hz) / delay * 100 for delay in delays])
            most = np.maximum(most, share)
            axes.plot(delays, share, color=theme.probe, linewidth=0.9, linestyle=styles.get(hz, "-"), zorder=1.2)
            peak = len(share) - 1 - int(np.argmax(share[::-1] > share.max() * 0.97))
            spots = ((3, 1, "left", "bottom"), (-3, 1, "right", "bottom"), (3, 10, "left", "bottom"))
            labels.add(f"HZ={hz}", (delays[peak], share[peak]), spots, 2, size=7, color=theme.probe)
        axes.fill_between(delays, 0, most, facecolor=theme.band, edgecolor="none", zorder=0.4)
        axes.axhline(0, color=theme.probe, linewidth=1, zorder=1)

    def _group(self, axes: Axes, theme: Theme, group: Group, share: NDArray[np.float64]) -> None:
        """Draw one setting's firings in a narrow column, spread a little so that they do not hide each other."""
        order = np.argsort(share, kind="stable")
        kept = order[thinned(share[order], 200)]
        spread = 1 + (np.arange(len(kept)) % 7 - 3) * 0.008 + (0.03 if group.timer == INTERVAL else -0.03)
        colour = theme.probe if group.timer == IDLE else ORANGE
        inside = colour if group.term.stated else theme.paper
        axes.plot(
            group.term.value * spread,
            share[kept],
            linestyle="none",
            marker=MARKERS[group.timer],
            markersize=3.2,
            markeredgewidth=0.6,
            color=colour,
            markerfacecolor=inside,
            zorder=3,
        )

    def _misses(self, axes: Axes) -> None:
        """Draw a cross over each probe that was not answered."""
        for group in self.groups:
            late = group.late_ns[group.missed] / group.term.ns * 100
            kept = np.sort(late)[thinned(np.sort(late), 50)]
            style: MarkStyle = {"linestyle": "none", "marker": "x", "markersize": 4, "markeredgewidth": 1}
            axes.plot(np.full(len(kept), group.term.value), kept, color=VERMILLION, zorder=4, **style)

    def _scales(self, axes: Axes, theme: Theme) -> None:
        """Write both axes."""
        wide_in = axes.get_window_extent().width / axes.figure.dpi
        xs, labels = log_ticks(round(self.low * SECOND_NS), round(self.high * SECOND_NS), wide_in)
        axes.set_xticks([x / SECOND_NS for x in xs], labels)
        axes.set_xticks([], minor=True)
        lost = sum(int(group.missed.sum()) for group in self.groups)
        guess = "" if all(group.term.stated for group in self.groups) else "; hollow: the setting is a guess"
        words = "setting: dots idle, triangles interval" + guess + (f"; crosses: {lost:,} not answered" if lost else "")
        axes.set_xlabel(paper.filled(words, wide_in), size=7.5, color=theme.soft, labelpad=2)
        paper.scale_left(axes, theme, "later than due, % of the setting")
