"""One panel of the timeline: the events of one connection on two lanes, one for each direction."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.classify.kinds import Ending, Kind
from kacap.model import Connection, Endpoint, Probe, Prober
from kacap.report.ranking import gravest
from kacap.report.sentences import ended_ns, missed, verdict
from kacap.report.timeaxis import TimeAxis, long_silences
from kacap.units import between, counted, duration, moment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

INK, SOFT, LANE = "#202020", "#606060", "#c8c8c8"
BLUE, GREEN, VERMILLION, ORANGE, PURPLE, GREY = "#0072B2", "#009E73", "#D55E00", "#E69F00", "#AA4499", "#808080"
COLUMNS = 1_500  # more events of a shape than this are thinned to one per column; misses never are
TOP, BOTTOM, FLOOR = 1.0, 0.0, -0.75  # heights of the lanes and of the time axis
SLASH: Any = {"marker": [(-0.4, -1), (0.4, 1)], "markersize": 9, "linestyle": "none", "color": SOFT}
ROOM = 0.055  # of the panel's width: a gap narrower than this has no room for its length


@dataclass(frozen=True, slots=True)
class Shape:
    """How one sort of event is drawn; ``marker`` is turned over for what the lower lane sends."""

    marker: str
    colour: str
    size: float
    filled: bool = True
    edge: float = 1.0

    def style(self, marker: str | None = None, scale: float = 1.0) -> dict[str, Any]:
        """Return matplotlib's keywords for it."""
        return {
            "linestyle": "none",
            "marker": marker or self.marker,
            "color": self.colour,
            "markersize": self.size * scale,
            "markerfacecolor": self.colour if self.filled else "white",
            "markeredgewidth": self.edge,
        }

    def handle(self, label: str) -> Line2D:
        """Return its line of the legend."""
        from matplotlib.lines import Line2D

        tall = self.size > 12  # bars span the panel; the legend's do not
        return Line2D([], [], label=label, **self.style(scale=0.55 if tall else 0.9))


SHAPES = {
    "probe": Shape("v", BLUE, 7.5),
    "reply": Shape("o", GREEN, 6.5, filled=False, edge=1.4),
    "no reply": Shape("x", VERMILLION, 8, edge=2.0),
    "reset": Shape("|", VERMILLION, 30, edge=4.0),
    "unreachable": Shape("*", VERMILLION, 9, filled=False, edge=1.2),
    "retransmission": Shape("s", ORANGE, 6),
    "window probe": Shape("D", PURPLE, 6),
    "data": Shape("|", GREY, 9),
    "SYN": Shape("|", INK, 14, edge=1.6),
    "FIN": Shape("|", INK, 15, edge=3.0),
}

_MARKED = {
    Kind.DATA: "data",
    Kind.SYN: "SYN",
    Kind.FIN: "FIN",
    Kind.RST: "reset",
    Kind.RESET: "reset",
    Kind.ABORT: "reset",
    Kind.RETRANSMISSION: "retransmission",
    Kind.WINDOW_PROBE: "window probe",
    Kind.UNREACHABLE: "unreachable",
}


def draw(axes: Axes, analysis: Analysis, connection: Connection) -> set[str]:
    """Draw one connection on ``axes``; return the names of the shapes that were used."""
    top = gravest(connection)[0].side if connection.probers else connection.a
    panel = Panel(axes, analysis, connection, top)
    panel.lanes()
    panel.marks()
    for prober in connection.probers:
        panel.probes(prober)
        panel.gaps(prober)
    panel.ending()
    panel.breaks()
    panel.words()
    return panel.used


class Panel:
    """The axes of one connection while it is drawn; the side ``top`` sends on the upper lane."""

    def __init__(self, axes: Axes, analysis: Analysis, connection: Connection, top: Endpoint) -> None:
        self.axes, self.connection, self.top = axes, connection, top
        self.origin_ns = analysis.capture.first_ns if analysis.capture.first_ns is not None else connection.first_ns
        self.rows = analysis.marks[analysis.marks["connection"] == connection.connection]
        self.sent = [p for prober in connection.probers for e in prober.episodes for p in e.probes]
        self.axis = self._axis()
        self.used: set[str] = set()

    def _axis(self) -> TimeAxis:
        """Return the time axis over everything that the panel shows."""
        anchors = [probe.time_ns for probe in self.sent]
        anchors += [int(row["time_ns"]) for row in self.rows if row["kind"] in (Kind.ABORT, Kind.RESET, Kind.RST)]
        ends = [self.connection.first_ns, self.connection.last_ns]
        times = [*anchors, *ends, *self.rows["time_ns"].tolist()]
        return TimeAxis(min(times), max(times), long_silences(times, anchors))

    @property
    def scale(self) -> float:
        """Markers shrink where many of them share the panel."""
        return float(min(1.0, max(0.35, (60 / max(len(self.sent), 1)) ** 0.5)))

    def lane(self, side: Endpoint) -> float:
        """Return the height of the lane on which ``side`` sends."""
        return TOP if side == self.top else BOTTOM

    def plot(self, name: str, times_ns: NDArray[np.int64] | list[int], height: float, **more: Any) -> None:
        """Draw events of one shape at one height, thinned to what can be told apart."""
        if not len(times_ns):
            return
        places = self.axis.place(times_ns)
        if name != "no reply" and len(places) > COLUMNS:
            _, first = np.unique((places / self.axis.width * COLUMNS).astype(np.int64), return_index=True)
            places = places[first]
        self.used.add(name)
        layer = 2 if name in ("probe", "reply") else 3 if name != "no reply" else 4  # the rare above the frequent
        self.axes.plot(places, np.full(len(places), height), **SHAPES[name].style(**more), clip_on=False, zorder=layer)

    def lanes(self) -> None:
        """Draw the two lanes, the sender's address on each."""
        other = self.connection.b if self.top == self.connection.a else self.connection.a
        for side, height, where, align in ((self.top, TOP, 1.33, "bottom"), (other, BOTTOM, -0.36, "top")):
            self.axes.axhline(height, color=LANE, linewidth=0.8, zorder=0)
            words = f"{side} sends"
            self.axes.text(0, where, words, va=align, size=7.5, color=SOFT, transform=self.axes.get_yaxis_transform())

    def marks(self) -> None:
        """Draw what is neither probe nor reply: data, retransmissions, resets, opening and closing."""
        a_height, b_height = self.lane(self.connection.a), self.lane(self.connection.b)
        for kind, name in _MARKED.items():
            for from_a, height in ((1, a_height), (0, b_height)):
                chosen = self.rows[(self.rows["kind"] == kind) & (self.rows["from_a"] == from_a)]
                # An ICMP error comes from a router on the way: between the lanes.
                self.plot(name, chosen["time_ns"], 0.4 if kind == Kind.UNREACHABLE else height)

    def probes(self, prober: Prober) -> None:
        """Draw a prober's probes, pointing their way, its replies tied to them, and what was missed."""
        here = self.lane(prober.side)
        there = BOTTOM if here == TOP else TOP
        sent = [probe for episode in prober.episodes for probe in episode.probes]
        answered = [probe for probe in sent if probe.reply_after_ns is not None]
        replies = [probe.time_ns + (probe.reply_after_ns or 0) for probe in answered]
        self._tie(answered, replies, here, there)
        self.plot("probe", [p.time_ns for p in sent], here, marker="v" if here == TOP else "^", scale=self.scale)
        self.plot("reply", replies, there, scale=self.scale)
        crowded = self.scale < 0.7  # then a cross on the lane would drown in replies
        beside = 0.6 * there + 0.4 * here if crowded else there
        self.plot("no reply", [p.time_ns for p in missed(prober)], beside)

    def gaps(self, prober: Prober) -> None:
        """Write the gaps of the last run where there is room: since the peer was heard, between probes, to the end."""
        if not prober.episodes:
            return
        last = prober.episodes if prober.ending == Ending.ANSWERED else prober.episodes[-1:]
        times = [probe.time_ns for episode in last for probe in episode.probes]
        if last[0].silent_since_ns is not None:
            times.insert(0, last[0].silent_since_ns)
        times.append(ended_ns(last[-1]))
        height = 0.62 if self.lane(prober.side) == TOP else 0.38
        for start, end in pairwise(times):
            left, right = self.axis.place([start, end])
            broken = any(start < pause_end and pause < end for pause, pause_end in self.axis.breaks)
            if right - left > self.axis.width * ROOM and not broken:
                middle = (left + right) / 2
                self.axes.text(middle, height, duration(end - start), ha="center", va="center", size=7, color=SOFT)

    def ending(self) -> None:
        """Say beside each reset who sent it and why."""
        for kind, words in ((Kind.ABORT, "gave up: RST"), (Kind.RESET, "reset"), (Kind.RST, "RST")):
            for row in self.rows[self.rows["kind"] == kind][:3]:
                upper = self.lane(self.connection.a if row["from_a"] else self.connection.b) == TOP
                place, height = float(self.axis.place(row["time_ns"])), 1.42 if upper else -0.62
                side, align = (-1, "right") if place > self.axis.width / 2 else (1, "left")
                place += side * self.axis.width * 0.01
                self.axes.text(place, height, words, ha=align, va="center", size=7.5, color=VERMILLION)

    def _tie(self, answered: list[Probe], replies: list[int], here: float, there: float) -> None:
        """Draw a hairline from each probe to its reply."""
        if not answered or len(answered) > COLUMNS:
            return
        start, end = self.axis.place([p.time_ns for p in answered]), self.axis.place(replies)
        gap = np.full(len(start), np.nan)
        x = np.column_stack([start, end, gap]).ravel()
        y = np.column_stack([np.full_like(gap, here), np.full_like(gap, there), gap]).ravel()
        self.axes.plot(x, y, color=GREEN, linewidth=0.5, alpha=0.8, zorder=1)

    def breaks(self) -> None:
        """Draw each compressed silence as a gap in the lanes that says its length."""
        for start, end in self.axis.breaks:
            left, right = self.axis.place([start, end])
            edges = np.array([left, right]) + np.array([0.18, -0.18]) * (right - left)
            for height in (TOP, BOTTOM, FLOOR):
                self.axes.plot(edges, [height] * 2, color="white", linewidth=3, zorder=3, clip_on=False)
                self.axes.plot(edges, [height] * 2, **SLASH, zorder=4, clip_on=False)
            words = f"{duration(end - start)}\nsilence"
            self.axes.text((left + right) / 2, 0.5, words, ha="center", va="center", size=7.5, color=SOFT, zorder=3)

    def words(self) -> None:
        """Write the verdict above the panel, and the time below it."""
        margin = self.axis.width * 0.015
        self.axes.set_xlim(-margin, self.axis.width + margin)
        self.axes.set_ylim(FLOOR, 1.75)
        self.axes.set_yticks([])
        for side in ("left", "right", "top"):
            self.axes.spines[side].set_visible(False)
        places, labels, unit = self.axis.ticks(self.origin_ns)
        self.axes.set_xticks(places, labels)
        self.axes.tick_params(length=3, width=0.6, labelsize=8, colors=INK)
        since = f"{unit} since the capture began, {moment(self.origin_ns)}"
        self.axes.set_xlabel(since, size=7.5, color=SOFT, labelpad=2)
        self._title()

    def _title(self) -> None:
        """Write the verdict on the gravest prober as title, then the numbers and the other side."""
        probers = gravest(self.connection)
        second = len(probers) > 1
        below = f"other side: {verdict(probers[1]).sentence}" if second else "".join(map(_numbers, probers))
        place: Any = {"transform": self.axes.transAxes, "va": "bottom", "parse_math": False}
        self.axes.text(0, 1.06, below, size=8, color=SOFT, **place)
        self.axes.text(0, 1.22, title(self.connection), size=9.5, weight="bold", color=INK, **place)


def title(connection: Connection) -> str:
    """Return the verdict on the gravest prober of a connection, in lines that fit the panel."""
    said = verdict(gravest(connection)[0]).sentence if connection.probers else "no keepalive probe seen"
    return textwrap.fill(said, 86)


def _numbers(prober: Prober) -> str:
    """Return the line of numbers under the title."""
    words = [f"to {prober.peer}: {counted(prober.probes, 'probe')}, {prober.replies:,} answered"]
    if prober.gaps_ns is not None:
        words.append(f"gaps {between(*prober.gaps_ns)}")
    if prober.reply_after_ns is not None:
        words.append(f"replies after {between(*prober.reply_after_ns)}")
    return ", ".join(words)
