"""The residuals of one setting over time, in seconds."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes

from kacap.analysis import Analysis
from kacap.clock import SECOND_NS
from kacap.report.chart import page as paper
from kacap.report.chart.axis import TimeAxis, span_ticks
from kacap.report.chart.expected import hz_words
from kacap.report.chart.firings import IDLE, thinned
from kacap.report.chart.groups import MARKERS, Group
from kacap.report.chart.labels import Labels
from kacap.report.chart.losses import Losses
from kacap.report.chart.palette import ORANGE, VERMILLION, Theme
from kacap.report.chart.style import WordStyle
from kacap.timing.wheel import latest_s
from kacap.units import duration

COLUMNS = 700
HEIGHT = 1.5  # inches
LETTERS = 13.5  # of 8 points, bold, on an inch


class OverTime:
    """One setting's residuals over time; seconds."""

    def __init__(self, analysis: Analysis, group: Group, axis: TimeAxis, labelled: bool) -> None:
        self.capture, self.group, self.axis, self.labelled = analysis.capture, group, axis, labelled

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the panel."""
        group = self.group
        low = min(int(group.late_ns.min()), 0)
        high = max(int(group.late_ns.max()), group.most_ns if group.term.stated else 0, 1_000_000)
        spare = (high - low) * 0.14
        floor = low - spare
        margin = self.axis.width * 0.015
        axes.set_xlim(-margin, self.axis.width + margin)
        axes.set_ylim(floor, high + spare)
        for left, right in self._outside(margin):
            paper.hatch(axes, theme, left, right)
        labels = Labels(axes)
        Losses(self.capture, self.axis).draw(axes, theme, labels, 0.95)
        self._tolerance(axes, theme, labels)
        self._points(axes, theme)
        self._scales(axes, theme, round(low), round(high + spare))
        labels.place()
        words = "\n".join(self._lines(axes.get_window_extent().width / axes.figure.dpi))
        axes.set_title(words, loc="left", size=8, color=theme.ink, pad=4, weight="bold", parse_math=False)

    def _outside(self, margin: float) -> list[tuple[float, float]]:
        """Return the spans that lie outside the capture."""
        first, last = self.capture.first_ns, self.capture.last_ns
        if first is None or last is None:
            return []
        left, right = float(self.axis.x(first)), float(self.axis.x(last))
        return [(-margin, left), (right, self.axis.width + margin)]

    def fit(self, inches: float) -> tuple[float, float]:
        """Return the panel's height and the room above it that a width of so many inches needs."""
        return HEIGHT, 0.17 + 0.14 * len(self._lines(inches))

    def _lines(self, inches: float) -> list[str]:
        """Return the caption, wrapped to so many inches."""
        return textwrap.wrap(self._caption(), round(inches * LETTERS))

    def _caption(self) -> str:
        """Return the panel's own caption: which timer, where it comes from, what it may be late."""
        group, mark = self.group, "dots" if self.group.timer == IDLE else "triangles"
        source = f" ({group.term.source})" if group.term.stated and group.term.source else ""
        guess = "" if group.term.stated else ", a guess: hollow, and no band"
        lost = int(group.missed.sum())
        crosses = f", {lost:,} not answered (crosses)" if lost else ""
        return f"{mark}: {group.name}{source}{guess}, n={len(group.late_ns):,}{crosses}"

    def _tolerance(self, axes: Axes, theme: Theme, labels: Labels) -> None:
        """Draw what the setting is, and for a stated one the most that a timer may be late at each clock rate."""
        group = self.group
        axes.axhline(
            0,
            color=theme.probe if group.term.stated else theme.soft,
            linewidth=1,
            linestyle="-" if group.term.stated else (0, (1, 1.5)),
            zorder=1,
        )
        if not group.term.stated or not group.term.modelled:
            return
        axes.axhspan(0, group.most_ns, facecolor=theme.band, edgecolor="none", zorder=0.4)
        steps: dict[int, list[int]] = {}
        for hz in group.hz:
            steps.setdefault(round(latest_s(group.term.value, hz) * SECOND_NS), []).append(hz)
        for late, rates in sorted(steps.items(), reverse=True):
            axes.axhline(late, color=theme.probe, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
            words = f"up to {duration(late)} ({late / group.term.ns * 100:.1f} %) at {hz_words(rates)}"
            look: WordStyle = {"size": 7, "color": theme.probe, "bbox": paper.halo(theme), "zorder": 3.5}
            look["coordinates"] = axes.get_yaxis_transform()
            labels.add(words, (1, late), ((0, 1, "right", "bottom"),), 2, **look)

    def _points(self, axes: Axes, theme: Theme) -> None:
        """Draw one mark for each firing, and a cross over each that was not answered."""
        group = self.group
        xs = self.axis.x(group.time_ns)
        kept = thinned(xs, COLUMNS, group.late_ns)
        colour = theme.probe if group.timer == IDLE else ORANGE
        size = 5.5 if len(kept) < 200 else 3
        axes.plot(
            xs[kept],
            group.late_ns[kept],
            linestyle="none",
            marker=MARKERS[group.timer],
            markersize=size,
            color=colour,
            markerfacecolor=colour if group.term.stated else theme.paper,
            zorder=3,
        )
        lost, late_ns = xs[group.missed], group.late_ns[group.missed]
        if len(lost):
            crosses = thinned(lost, COLUMNS, late_ns)
            axes.plot(
                lost[crosses],
                late_ns[crosses],
                linestyle="none",
                marker="x",
                markersize=5,
                markeredgewidth=1.3,
                color=VERMILLION,
                zorder=4,
            )

    def _scales(self, axes: Axes, theme: Theme, low: int, high: int) -> None:
        """Write both axes; time only under the last panel."""
        axes.set_yticks(*span_ticks(low, high))
        paper.scale_left(axes, theme, "later than due")
        origin_ns = self.capture.first_ns if self.capture.first_ns is not None else self.axis.first_ns
        paper.scale_time(axes, theme, self.axis, origin_ns, labelled=self.labelled)
