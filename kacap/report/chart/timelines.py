"""The timeline: a panel for each connection, a row for each direction, and when each probe was due."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, DrawingArea, HPacker, TextArea
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.classify.kinds import Ending, Kind
from kacap.facts.runs import over_ns
from kacap.facts.standing import gravest
from kacap.model import Connection, Endpoint, Prober
from kacap.report.chart import losses
from kacap.report.chart import page as paper
from kacap.report.chart.axis import TimeAxis, long_silences
from kacap.report.chart.due import Due
from kacap.report.chart.expected import terms_of
from kacap.report.chart.firings import UNKNOWN_NS, firings_of, thinned
from kacap.report.chart.losses import Losses
from kacap.report.chart.palette import BY_KIND, GREEN, SHAPES, VERMILLION, Theme, sample
from kacap.report.chart.words import headline, lines_of
from kacap.units import counted, duration

LIMIT = 6  # panels
COLUMNS = 700  # more events of a shape than this are thinned, one or two per column; misses never are
TOP, BOTTOM, FLOOR, CEILING = 1.0, 0.0, -1.05, 1.62  # heights of the rows, the time axis and the captions
HATCHED = (-0.3 - FLOOR) / (CEILING - FLOOR), (1.3 - FLOOR) / (CEILING - FLOOR)  # shares of the height
LOST = (-0.43 - FLOOR) / (CEILING - FLOOR)  # where the number of lost frames stands
ROOM = 0.055  # of the panel's width: a gap narrower than this has no room for its length
SLASH: Any = {"marker": [(-0.4, -1), (0.4, 1)], "markersize": 9, "linestyle": "none"}
ENDS = (Kind.ABORT, Kind.RESET, Kind.RST)


def page(analysis: Analysis, connections: list[Connection]) -> paper.Page:
    """Return the timelines of the gravest connections, the first of ``connections``."""
    panels = [
        paper.Panel(Lanes(analysis, one).draw, 1.45, headline([one]), lines_of(analysis, one), 0.3, 0.42)
        for one in connections[:LIMIT]
    ]
    left_out = len(connections) - len(panels)
    notes = [f"{left_out:,} more probing connections not drawn; --connection N draws one"] if left_out else []
    if not len(analysis.marks) and connections:
        notes.append("probes and replies only: data, retransmissions and resets were not kept (marks=True keeps them)")
    return paper.Page(panels, notes)


class Lanes:
    """One connection's panel; its gravest prober sends on the upper row."""

    axes: Axes
    theme: Theme

    def __init__(self, analysis: Analysis, connection: Connection) -> None:
        self.connection = connection
        self.capture = analysis.capture
        self.top = gravest(connection)[0].side if connection.probers else connection.a
        self.rows = analysis.marks[analysis.marks["connection"] == connection.connection]
        self.due = [
            Due(prober, terms := terms_of(analysis, prober), firings_of(prober, terms))
            for prober in gravest(connection)
        ]
        self.axis = self._axis()
        self.losses = Losses(self.capture, self.axis)
        self.used: dict[tuple[float, str], int] = {}

    def _axis(self) -> TimeAxis:
        """Return the time axis over everything that the panel shows, to the capture's end where it stayed open."""
        firings = [due.firings["time_ns"] for due in self.due]
        anchors = np.concatenate([*firings, self.rows["time_ns"][np.isin(self.rows["kind"], ENDS)]])
        start, end = self.connection.first_ns, self.connection.last_ns
        if not self.connection.began_in_capture and self.capture.first_ns is not None:
            start = min(start, self.capture.first_ns)
        if not self._over() and self.capture.last_ns is not None:
            end = max(end, self.capture.last_ns)
        drawn = np.concatenate([anchors, self.rows["time_ns"], [start, end]]).astype(np.int64)
        low, high = int(drawn.min()), int(drawn.max())
        due = [time for one in self.due for time in one.times(high, high - low)]
        times = np.concatenate([drawn, np.array(due, np.int64)])
        return TimeAxis(low, int(times.max()), long_silences(times, anchors))

    def _over(self) -> bool:
        """Return whether the connection had ended before the capture did."""
        closed = np.isin(self.rows["kind"], (*ENDS, Kind.FIN)).any()
        done = (Ending.GAVE_UP, Ending.USER_TIMEOUT, Ending.RESET, Ending.CLOSED)
        return bool(closed) or any(due.prober.ending in done for due in self.due)

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the panel on ``axes``."""
        self.axes, self.theme = axes, theme
        self._rows()
        self._outside()
        self.losses.draw(axes, theme, LOST, *HATCHED)
        for due in self.due:
            due.draw(axes, self.axis, theme, self.row_height(due.prober.side))
        self._marks()
        for due in self.due:
            self._probes(due)
            self._gaps(due.prober)
        self._ending()
        self._breaks()
        self._time()
        self._captions()

    @property
    def scale(self) -> float:
        """Markers shrink where many of them share the panel."""
        sent = sum(len(due.firings) for due in self.due)
        return float(min(1.0, max(0.35, (60 / max(sent, 1)) ** 0.5)))

    def row_height(self, side: Endpoint) -> float:
        """Return the height of the row on which ``side`` sends."""
        return TOP if side == self.top else BOTTOM

    def _plot(self, name: str, times_ns: NDArray[np.int64], height: float, offset: float = 0.0, **more: Any) -> None:
        """Draw events of one shape on one row (or ``offset`` it), thinned to what can be told apart."""
        if not len(times_ns):
            return
        self.used[height, name] = self.used.get((height, name), 0) + len(times_ns)
        xs = np.sort(self.axis.x(times_ns))
        if name != "no reply":
            xs = xs[thinned(xs, COLUMNS)]
        layer = 2.5 if name in ("probe", "reply") else 3 if name != "no reply" else 4  # the rare above the frequent
        style = SHAPES[name].style(name, self.theme, **more)
        self.axes.plot(xs, np.full(len(xs), height + offset), **style, clip_on=False, zorder=layer)

    def _rows(self) -> None:
        """Draw the two rows."""
        for height in (TOP, BOTTOM):
            self.axes.axhline(height, color=self.theme.rule, linewidth=0.8, zorder=0)

    def _outside(self) -> None:
        """Hatch what lies outside the capture: nothing is known of it."""
        margin = self.axis.width * 0.015
        self.axes.set_xlim(-margin, self.axis.width + margin)
        self.axes.set_ylim(FLOOR, CEILING)
        first, last = self.capture.first_ns, self.capture.last_ns
        spans = []
        if first is not None and not self.connection.began_in_capture:
            spans.append((-margin, float(self.axis.x(first))))
        if last is not None and not self._over():
            spans.append((float(self.axis.x(last)), self.axis.width + margin))
        for left, right in spans:
            paper.hatch(self.axes, self.theme, left, right, *HATCHED)
            if right - left > 0.12 * self.axis.width:
                self.axes.text(
                    (left + right) / 2, 0.5, "not captured", ha="center", va="center", size=7.5, color=self.theme.soft,
                    bbox=paper.halo(self.theme),
                )  # fmt: skip

    def _marks(self) -> None:
        """Draw what is neither probe nor reply: data, retransmissions, resets, opening and closing."""
        a_height, b_height = self.row_height(self.connection.a), self.row_height(self.connection.b)
        for kind, name in BY_KIND.items():
            for from_a, height in ((1, a_height), (0, b_height)):
                chosen = self.rows[(self.rows["kind"] == kind) & (self.rows["from_a"] == from_a)]
                # An ICMP error comes from a router on the way: between the rows.
                inward = 0.4 if height == BOTTOM else -0.4
                self._plot(name, chosen["time_ns"], height, inward if kind == Kind.UNREACHABLE else 0.0)

    def _probes(self, due: Due) -> None:
        """Draw a prober's probes, pointing their way, its replies tied to them, and what was missed."""
        here = self.row_height(due.prober.side)
        there = BOTTOM if here == TOP else TOP
        sent = due.firings[~due.firings["abort"]]
        answered = sent[sent["reply_ns"] != UNKNOWN_NS]
        self._tie(answered, here, there)
        self._plot("probe", sent["time_ns"], here, marker="v" if here == TOP else "^", scale=self.scale)
        self._plot("reply", answered["reply_ns"], there, scale=self.scale)
        # On a crowded row a cross would drown in replies: then it stands a little inside.
        self._plot("no reply", sent["time_ns"][sent["missed"]], there, (here - there) * 0.4 * (self.scale < 0.7))

    def _gaps(self, prober: Prober) -> None:
        """Write the gaps of the last run where there is room: since the peer was heard, between probes, to the end."""
        last = prober.episodes[-40:] if prober.ending == Ending.ANSWERED else prober.episodes[-1:]
        if not last:
            return
        times = [probe.time_ns for episode in last for probe in episode.probes]
        if last[0].silent_since_ns is not None:
            times.insert(0, last[0].silent_since_ns)
        times.append(over_ns(last[-1]))
        height = 0.62 if self.row_height(prober.side) == TOP else 0.38
        for start, end in pairwise(times):
            left, right = self.axis.x([start, end])
            broken = any(start < pause_end and pause < end for pause, pause_end in self.axis.breaks)
            if right - left > self.axis.width * ROOM and not broken:
                middle, words = (left + right) / 2, duration(end - start)
                style: Any = {"ha": "center", "va": "center", "size": 7, "color": self.theme.soft}
                self.axes.text(middle, height, words, bbox=paper.halo(self.theme), zorder=1.5, **style)

    def _ending(self) -> None:
        """Say beside each reset who sent it and why."""
        for kind, words in ((Kind.ABORT, "gave up: RST"), (Kind.RESET, "reset"), (Kind.RST, "RST")):
            for row in self.rows[self.rows["kind"] == kind][:3]:
                upper = self.row_height(self.connection.a if row["from_a"] else self.connection.b) == TOP
                x, height = float(self.axis.x(row["time_ns"])), 1.45 if upper else -0.45
                side, align = (-1, "right") if x > self.axis.width / 2 else (1, "left")
                x += side * self.axis.width * 0.004
                self.axes.text(x, height, words, ha=align, va="center", size=7.5, color=VERMILLION)

    def _tie(self, answered: NDArray[np.void], here: float, there: float) -> None:
        """Draw a hairline from each probe to its reply."""
        if not len(answered) or len(answered) > COLUMNS:
            return
        start, end = self.axis.x(answered["time_ns"]), self.axis.x(answered["reply_ns"])
        gap = np.full(len(start), np.nan)
        x = np.column_stack([start, end, gap]).ravel()
        y = np.column_stack([np.full_like(gap, here), np.full_like(gap, there), gap]).ravel()
        self.axes.plot(x, y, color=GREEN, linewidth=0.5, alpha=0.8, zorder=1)

    def _breaks(self) -> None:
        """Draw each compressed silence as a gap in the rows that says its length."""
        for start, end in self.axis.breaks:
            left, right = self.axis.x([start, end])
            edges = np.array([left, right]) + np.array([0.18, -0.18]) * (right - left)
            for height in (TOP, BOTTOM, FLOOR):
                self.axes.plot(edges, [height] * 2, color=self.theme.paper, linewidth=3, zorder=3, clip_on=False)
                self.axes.plot(edges, [height] * 2, **SLASH, color=self.theme.soft, zorder=4, clip_on=False)
            words = f"{duration(end - start)}\nsilence"
            self.axes.text(
                (left + right) / 2, 0.5, words, ha="center", va="center", size=7.5, color=self.theme.soft, zorder=3
            )

    def _time(self) -> None:
        """Write the time below the panel."""
        origin_ns = self.capture.first_ns if self.capture.first_ns is not None else self.connection.first_ns
        self.axes.set_yticks([])
        paper.scale_time(self.axes, self.theme, self.axis, origin_ns)

    def _captions(self) -> None:
        """Write on each row who sends, and beside each shape on it its name and how many there are."""
        other = self.connection.b if self.top == self.connection.a else self.connection.a
        for side, height, where in ((self.top, TOP, 1.0), (other, BOTTOM, 0.08)):
            boxes: list[Any] = [self._words(f"{side} sends", weight="bold")]
            boxes += [self._counted(name, height) for name in SHAPES if self.used.get((height, name))]
            if height == BOTTOM and self.losses.frames:
                words = f"{counted(self.losses.frames, 'frame')} lost by the capture"
                boxes.append(self._named(losses.sample(self.theme), words))
            packed = HPacker(children=boxes, pad=0, sep=9, align="center")
            options: Any = {"xycoords": "axes fraction", "box_alignment": (0, 0), "annotation_clip": False}
            self.axes.add_artist(AnnotationBbox(packed, (0, where), frameon=False, pad=0, **options))

    def _words(self, words: str, **style: Any) -> TextArea:
        """Return a piece of a caption."""
        return TextArea(words, textprops={"size": 7.5, "color": self.theme.soft, "parse_math": False, **style})

    def _counted(self, name: str, height: float) -> HPacker:
        """Return a shape with its name and how many of it are on a row."""
        count = self.used[height, name]
        words = f"{count:,} {SHAPES[name].plural if count > 1 else SHAPES[name].single or name}"
        if name == "no reply" and self.capture.dropped:
            words += " (or not captured)"
        return self._named([sample(name, self.theme, "^" if name == "probe" and height == BOTTOM else None)], words)

    def _named(self, drawn: Sequence[Artist], words: str) -> HPacker:
        """Return something drawn in a box of 11 points, with words beside it."""
        drawing = DrawingArea(11, 6.4)
        for artist in drawn:
            drawing.add_artist(artist)
        return HPacker(children=[drawing, self._words(words)], pad=0, sep=2, align="center")
