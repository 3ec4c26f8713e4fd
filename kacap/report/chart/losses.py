"""When the capture lost frames: cross-hatched behind what it kept, with how many were lost in each span."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from kacap.report.chart import page as paper
from kacap.report.chart.axis import TimeAxis
from kacap.report.chart.labels import Labels
from kacap.report.chart.palette import YELLOW, Theme
from kacap.report.chart.style import PatchStyle, WordStyle
from kacap.summary import CaptureSummary, Drop

NARROW = 0.007  # of the axis: a moment is drawn at least so wide


def styles(theme: Theme) -> list[PatchStyle]:
    """Return matplotlib's keywords for the two patches of a span: in SVG a fill that is transparent pales its hatch."""
    pale: PatchStyle = {"facecolor": YELLOW, "alpha": 0.25, "linewidth": 0}
    return [pale, {"facecolor": "none", "edgecolor": theme.lost, "hatch": "xxx", "linewidth": 0.8}]


def sample(theme: Theme) -> list[Rectangle]:
    """Return a span as a caption shows it beside its name, in a box of 11 points."""
    return [Rectangle((0, -0.6), 10.5, 7.6, **style) for style in styles(theme)]


class Losses:
    """The spans of drops on one time axis."""

    def __init__(self, capture: CaptureSummary, axis: TimeAxis) -> None:
        self.axis = axis
        found = capture.timed_drops
        self.drops = [d for d in found if axis.first_ns <= d.until_ns and self._since(d) <= axis.last_ns]
        self.frames = sum(drop.frames for drop in self.drops)

    def _since(self, drop: Drop) -> int:
        """Return when a span begins, at the latest where the axis does if it began before the capture."""
        return min(self.axis.first_ns, drop.until_ns) if drop.since_ns is None else drop.since_ns

    def _spans(self) -> list[tuple[float, float, int]]:
        """Return (left, right, frames) of the spans as they are drawn: those that touch are one."""
        found: list[tuple[float, float, int]] = []
        for drop in sorted(self.drops, key=self._since):
            left, right = self.axis.x([self._since(drop), drop.until_ns])
            spare = max(NARROW * self.axis.width - (right - left), 0.0) / 2
            left, right = max(left - spare, 0.0), min(right + spare, self.axis.width)
            if found and left <= found[-1][1]:
                before = found.pop()
                left, right, frames = before[0], max(before[1], right), before[2] + drop.frames
            else:
                frames = drop.frames
            found.append((float(left), float(right), frames))
        return found

    def draw(
        self, axes: Axes, theme: Theme, labels: Labels, words_at: float, low: float = 0.0, high: float = 1.0
    ) -> None:
        """Draw the spans between two shares of the height; at a third say how many frames each lost."""
        for left, right, frames in self._spans():
            for style in styles(theme):
                axes.axvspan(left, right, low, high, zorder=0.55, **style)
            look: WordStyle = {"size": 7, "color": theme.ink, "bbox": paper.halo(theme), "zorder": 6}
            look["coordinates"] = axes.get_xaxis_transform()
            middle = float(min(max((left + right) / 2, axes.get_xlim()[0]), axes.get_xlim()[1]))
            spots = tuple((dx, 0.0, "center", "center") for dx in (0, 14, -14))
            labels.add(f"{frames:,} lost", (middle, words_at), spots, 4, **look)
