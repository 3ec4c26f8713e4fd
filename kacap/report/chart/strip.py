"""The whole life of a connection as a thin strip, and the part of it that is enlarged below."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from kacap.analysis import Analysis, MarkRows
from kacap.classify.kinds import Ending, Kind
from kacap.facts.runs import gave_up_ns, missed_probes, over_ns, unanswered
from kacap.facts.standing import gravest
from kacap.model import Connection, Episode
from kacap.report.chart import page as paper
from kacap.report.chart.axis import TimeAxis
from kacap.report.chart.labels import Labels
from kacap.report.chart.legend import Entry, legend, wrapped
from kacap.report.chart.losses import Losses
from kacap.report.chart.palette import LIGHT, ORANGE, VERMILLION, Theme
from kacap.report.chart.style import PatchStyle
from kacap.units import counted, duration

LONG = 6  # a life so many times longer than what decided it is a strip
CROWDED = 60  # probes; of more that were all answered the last are enlarged
LAST, AROUND = 10, 4
CLOSE = 200  # probes; more are a band
ENDS = (Kind.ABORT, Kind.RESET, Kind.RST)

Window = tuple[int, int]


def focus_of(connection: Connection, rows: MarkRows) -> Window | None:
    """Return what decided a life, from the last answer to the end, nanoseconds; None where a timeline shows it all.

    Where nothing was fatal it is the longest run of misses, or the last probes of very many.
    """
    if not connection.probers:
        return None
    prober = gravest(connection)[0]
    silent = [episode for episode in prober.runs if unanswered(episode)]
    fatal = prober.ending not in (Ending.ANSWERED, Ending.RESUMED, Ending.CLOSED)
    if silent and (fatal or prober.missed):
        run = silent[-1] if fatal else max(silent, key=unanswered)
        start, end = _span(run)
        if fatal:
            end = max([end, *rows["time_ns"][np.isin(rows["kind"], ENDS)].tolist()])
        else:
            times = np.array(prober.times_ns)
            first, last = np.searchsorted(times, [run.probes[0].time_ns, run.probes[-1].time_ns])
            start = min(start, int(times[max(first - AROUND, 0)]))
            end = max(end, int(times[min(last + AROUND, len(times) - 1)]))
    elif prober.probes > CROWDED:
        sent = prober.times_ns
        start, end = int(sent[-LAST]), max(int(sent[-1]), connection.last_ns)
    else:
        return None
    spare = (end - start) // 12
    before, after = start - connection.first_ns, connection.observed_until_ns - end
    if before + after < (LONG - 1) * (end - start) and (prober.probes <= CROWDED or before + after < end - start):
        return None
    return start - spare, end + spare


def _span(run: Episode) -> Window:
    """Return from when to when a run was: since the peer was last heard, until it was over and a gap beyond."""
    first = run.probes[0].time_ns if run.silent_since_ns is None else run.silent_since_ns
    gap = max(run.gaps_ns, default=(run.probes[0].time_ns - first) // 8)
    return first, over_ns(run) + (gap if run.ending not in (Ending.GAVE_UP, Ending.USER_TIMEOUT) else gap // 8)


class Strip:
    """The panel: the life in grey, probes as ticks, what was not answered in orange, the window framed."""

    def __init__(self, analysis: Analysis, connection: Connection, rows: MarkRows, window: Window) -> None:
        self.analysis, self.connection, self.rows, self.window = analysis, connection, rows, window
        first, last = connection.first_ns, max(connection.observed_until_ns, connection.last_ns)
        begin = analysis.capture.first_ns
        self.origin_ns = first if begin is None else begin
        self.axis = TimeAxis(min(first, self.origin_ns), last)

    def fit(self, inches: float) -> tuple[float, float]:
        """Return the panel's height and the room above it that a width of so many inches needs."""
        sent = sum(prober.probes for prober in self.connection.probers)
        lost = sum(prober.missed for prober in self.connection.probers)
        return 0.3, 0.2 + 0.16 * len(wrapped(self._entries(LIGHT, sent, lost), inches))

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the strip."""
        axes.set_xlim(-0.012 * self.axis.width, 1.012 * self.axis.width)
        axes.set_ylim(-0.5, 0.5)
        axes.set_yticks([])
        labels = Labels(axes)
        Losses(self.analysis.capture, self.axis).draw(axes, theme, labels, 0.9)
        left, right = self.axis.x([self.connection.first_ns, self.connection.observed_until_ns])
        axes.plot([left, right], [0, 0], color=theme.rule, linewidth=3, solid_capstyle="butt", zorder=1)
        numbers = self._probes(axes, theme)
        low, high = np.clip(self.axis.x(self.window), 0, self.axis.width)
        frame: PatchStyle = {"facecolor": "none", "edgecolor": theme.ink, "linewidth": 1.1, "zorder": 6}
        axes.add_patch(Rectangle((low, -0.5), max(high - low, self.axis.width * 0.004), 1.0, clip_on=False, **frame))
        ends = self.rows["time_ns"][np.isin(self.rows["kind"], ENDS)]
        if len(ends):
            axes.plot(self.axis.x(ends), np.zeros(len(ends)), marker="|", markersize=13, markeredgewidth=3,
                      linestyle="none", color=VERMILLION, zorder=5)  # fmt: skip
        legend(axes, theme, self._entries(theme, *numbers), 1.2)
        labels.place()
        paper.scale_time(axes, theme, self.axis, self.origin_ns)

    def _probes(self, axes: Axes, theme: Theme) -> tuple[int, int]:
        """Draw the probes and what was not answered; return how many there are of each."""
        lost = sorted(probe.time_ns for prober in self.connection.probers for probe in missed_probes(prober))
        sent = np.sort(np.array([t for prober in self.connection.probers for t in prober.times_ns], np.int64))
        xs = self.axis.x(sent)
        if len(sent) <= CLOSE:
            axes.vlines(xs, -0.28, 0.28, color=theme.probe, linewidth=0.7, zorder=2)
        else:
            axes.plot(xs[[0, -1]], [0, 0], color=theme.band, linewidth=9, solid_capstyle="butt", zorder=1.5)
        for prober in self.connection.probers:
            for run in prober.runs:
                if unanswered(run):
                    silent = [probe.time_ns for probe in run.probes if probe.reply_frame is None]
                    x0, x1 = self.axis.x([silent[0], gave_up_ns(run) or silent[-1]])
                    x1 = max(x1, x0 + self.axis.width / 200)
                    axes.plot([x0, x1], [0, 0], color=ORANGE, linewidth=6, solid_capstyle="butt", zorder=3)
        return len(sent), len(lost)

    def _entries(self, theme: Theme, sent: int, lost: int) -> list[Entry]:
        """Return what the strip shows, in words."""
        life = duration(self.connection.observed_ns)
        entries: list[Entry] = [([], f"its whole life, {life}")]
        tick = Line2D([5.5, 5.5], [0, 6.4], color=theme.probe, linewidth=1)
        close = Rectangle((0, 0.5), 11, 5.4, color=theme.band)
        words = counted(sent, "probe")
        entries.append(([tick], words) if sent <= CLOSE else ([close], f"{words}, too close to draw"))
        if lost:
            entries.append(([Rectangle((0, 1), 11, 4.4, color=ORANGE)], f"{lost:,} not answered"))
        box = Rectangle((0.5, 0.3), 10, 5.8, facecolor="none", edgecolor=theme.ink, linewidth=1)
        return [*entries, ([box], "enlarged below")]
