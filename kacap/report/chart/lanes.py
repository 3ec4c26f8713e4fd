"""One connection drawn: a row for each direction, what each sent on it, when it was due, and what became of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from numpy.typing import NDArray

from kacap.analysis import Analysis, MarkRows
from kacap.classify.kinds import Ending, Kind
from kacap.facts.runs import gave_up_ns, over_ns
from kacap.facts.standing import gravest
from kacap.model import Connection, Endpoint, Episode, Prober
from kacap.report.chart import losses
from kacap.report.chart import page as paper
from kacap.report.chart.axis import TimeAxis, long_silences
from kacap.report.chart.due import Due
from kacap.report.chart.expected import terms_of
from kacap.report.chart.firings import UNKNOWN_NS, firings_of, thinned
from kacap.report.chart.labels import Labels, Spot
from kacap.report.chart.legend import Entry, legend, wrapped
from kacap.report.chart.losses import Losses
from kacap.report.chart.marked import Marked
from kacap.report.chart.palette import BY_KIND, GREEN, LIGHT, SHAPES, VERMILLION, Theme, sample
from kacap.report.chart.strip import ENDS, Window
from kacap.report.chart.style import MarkStyle, PatchStyle, WordStyle
from kacap.units import counted, duration

COLUMNS = 700  # more events of a shape than this are thinned, one or two per column; misses never are
TOP, BOTTOM, CEILING = 1.0, 0.0, 1.62  # heights of the rows and of the panel's upper edge
TOLD = 0.3  # more of it, for the names of findings
LINE = 0.27  # of a caption, in the same measure
INCH = 0.555  # of the panel for each unit of height
OUTWARD, NEAR = 0.34, 14  # a mark that would hide a probe stands so much beyond the row; pixels between the two
RING = 1.75  # of a reply's size, where both sides probe
BRACKETED = 40  # runs at most, the newest: of more the brackets would be a pattern
NEAR_START = 40  # a capture that begins within this part of the axis before it is its start
SLASH = [(-0.4, -1), (0.4, 1)]
OVER = (Ending.GAVE_UP, Ending.USER_TIMEOUT, Ending.RESET, Ending.CLOSED)
ENDING_WORDS = ((Kind.ABORT, "gave up: RST"), (Kind.RESET, "reset"), (Kind.RST, "RST"))


class Lanes:
    """One connection's panel; its gravest prober sends on the upper row. ``window``: only what was in that time."""

    axes: Axes
    theme: Theme
    labels: Labels

    def __init__(
        self,
        analysis: Analysis,
        connection: Connection,
        rows: MarkRows,
        told: Sequence[Marked] = (),
        window: Window | None = None,
    ) -> None:
        self.connection, self.capture, self.told, self.window = connection, analysis.capture, told, window
        probers = gravest(connection)
        self.top = probers[0].side if probers else connection.a
        self.rows = self._within(rows)
        self.due = []
        for prober in probers:
            terms = terms_of(analysis, prober)
            firings = self._within(firings_of(prober, terms))
            if len(firings):
                self.due.append(Due(prober, terms, firings))
        self.axis = self._axis()
        self.losses = Losses(self.capture, self.axis)
        self.restarts_ns = self._restarts()
        self.floor, self.ceiling = -0.62 - LINE, CEILING + TOLD * any(one.time_ns is not None for one in told)

    def _within(self, rows: MarkRows) -> MarkRows:
        """Return the rows of the window."""
        if self.window is None:
            return rows
        return rows[(rows["time_ns"] >= self.window[0]) & (rows["time_ns"] <= self.window[1])]

    def _axis(self) -> TimeAxis:
        """Return the time axis over everything that the panel shows, to the capture's end where it stayed open."""
        firings = [due.firings["time_ns"] for due in self.due]
        anchors = np.concatenate([*firings, self.rows["time_ns"][np.isin(self.rows["kind"], ENDS)]])
        start, end, begin = self.connection.first_ns, self.connection.last_ns, self.capture.first_ns
        if begin is not None and (not self.connection.began_in_capture or start - begin < (end - begin) // NEAR_START):
            start = min(start, begin)
        if not self._over():
            end = max(end, self.connection.observed_until_ns)
        if self.window is not None:
            start, end = max(start, self.window[0]), min(end, self.window[1])
        drawn = np.concatenate([anchors, self.rows["time_ns"], [start, end]]).astype(np.int64)
        low, high = int(drawn.min()), int(drawn.max())
        due = [time for one in self.due for time in one.times(high + (high - low) // 12) if time >= low]
        times = np.concatenate([drawn, np.array(due, np.int64)])
        return TimeAxis(low, int(times.max()), long_silences(times, anchors))

    def _over(self) -> bool:
        """Return whether the connection had ended before the capture did."""
        closed = np.isin(self.rows["kind"], (*ENDS, Kind.FIN)).any()
        return bool(closed) or any(due.prober.ending in OVER for due in self.due)

    def _restarts(self) -> dict[float, NDArray[np.int64]]:
        """Return when a plain ACK restarted a prober's clock, by the row on which it was sent."""
        found = {}
        for due in self.due:
            since = due.firings["since_ns"]
            known = [self.rows["time_ns"], *(one.firings["reply_ns"] for one in self.due)]
            own = since[(since != UNKNOWN_NS) & ~np.isin(since, np.concatenate(known))]
            there = BOTTOM if self.row_height(due.prober.side) == TOP else TOP
            found[there] = np.unique(own[own >= self.axis.first_ns])
        return found

    def row_height(self, side: Endpoint) -> float:
        """Return the height of the row on which ``side`` sends."""
        return TOP if side == self.top else BOTTOM

    def fit(self, inches: float) -> tuple[float, float]:
        """Return the panel's height and the room above it that a width of so many inches needs."""
        upper, lower = (len(wrapped(self._entries(height, None), inches)) for height in (TOP, BOTTOM))
        self.floor = -0.62 - LINE * lower
        return (self.ceiling - self.floor) * INCH, 0.14 + 0.16 * upper

    def _share(self, height: float) -> float:
        """Return a height as a share of the panel's."""
        return (height - self.floor) / (self.ceiling - self.floor)

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the panel on ``axes``."""
        self.axes, self.theme, self.labels = axes, theme, Labels(axes)
        self.margin = self.axis.width * 0.015
        axes.set_xlim(-self.margin, self.axis.width + self.margin)
        axes.set_ylim(self.floor, self.ceiling)
        for height in (TOP, BOTTOM):
            axes.axhline(height, color=theme.rule, linewidth=0.8, zorder=0)
        captions = (
            legend(axes, theme, self._entries(TOP, theme), 1.0),
            legend(axes, theme, self._entries(BOTTOM, theme), self._share(-0.5), below=True),
        )
        for caption in captions:
            self.labels.keep_clear_of(caption)
        self._outside()
        self.losses.draw(axes, theme, self.labels, self._share(-0.38), *map(self._share, (-0.3, 1.3)))
        for due in self.due:
            due.draw(axes, self.axis, theme, self.labels, self.row_height(due.prober.side))
        self._marks()
        for due in self.due:
            self._probes(due)
            self._gaps(due)
        self._ending()
        self._findings()
        self._breaks()
        axes.set_yticks([])
        since = "the capture began" if self.origin_ns == self.capture.first_ns else "the connection was first seen"
        paper.scale_time(axes, theme, self.axis, self.origin_ns, since=since)
        self.labels.place()

    @property
    def origin_ns(self) -> int:
        """Whence time is counted: where the axis begins, in a window where the capture began."""
        first, begin = self.axis.first_ns, self.capture.first_ns
        return begin if self.window is not None and begin is not None else first

    @property
    def scale(self) -> float:
        """Markers shrink where many of them share the panel."""
        sent = sum(len(due.firings) for due in self.due)
        return float(min(1.0, max(0.35, (60 / max(sent, 1)) ** 0.5)))

    def _drawn(self) -> list[tuple[str, NDArray[np.int64], float, float]]:
        """Return (shape, times, row, offset from it) of everything that is drawn as a shape."""
        found: list[tuple[str, NDArray[np.int64], float, float]] = []
        a_height, b_height = self.row_height(self.connection.a), self.row_height(self.connection.b)
        for kind, name in BY_KIND.items():
            for from_a, height in ((1, a_height), (0, b_height)):
                chosen = self.rows["time_ns"][(self.rows["kind"] == kind) & (self.rows["from_a"] == from_a)]
                # An ICMP error comes from a router on the way: between the rows.
                inward = 0.4 if height == BOTTOM else -0.4
                found.append((name, chosen, height, inward if kind == Kind.UNREACHABLE else 0.0))
        found += [("ACK", times, height, 0.0) for height, times in self.restarts_ns.items()]
        for due in self.due:
            here = self.row_height(due.prober.side)
            there = BOTTOM if here == TOP else TOP
            sent = due.firings[~due.firings["abort"]]
            found.append(("probe", sent["time_ns"], here, 0.0))
            found.append(("reply", sent["reply_ns"][sent["reply_ns"] != UNKNOWN_NS], there, 0.0))
            # On a crowded row a cross would drown in replies: then it stands a little inside.
            inside = (here - there) * 0.4 * (self.scale < 0.7)
            found.append(("no reply", sent["time_ns"][sent["missed"]], there, inside))
            found += [(name, sent["time_ns"][sent[name]], there, 0.0) for name in ("waiting", "uncaptured")]
        return [one for one in found if len(one[1])]

    def _marks(self) -> None:
        """Draw every shape, thinned to what can be told apart."""
        pixels = self.axes.get_window_extent().width / (self.axis.width + 2 * self.margin)
        probes = {height: np.sort(self.axis.x(times)) for name, times, height, _ in self._drawn() if name == "probe"}
        for name, times_ns, height, offset in self._drawn():
            xs = np.sort(self.axis.x(times_ns))
            hiding = _near(xs, probes.get(height), NEAR / pixels)
            if hiding and name in ("window probe", "retransmission"):
                offset = OUTWARD if height == TOP else -OUTWARD
            if name != "no reply":
                xs = xs[thinned(xs, COLUMNS)]
            own = name in ("probe", "reply")
            layer = 2.5 if own else 3 if name != "no reply" else 4  # the rare above the frequent
            marker = None if name != "probe" else "v" if height == TOP else "^"
            ring = RING if hiding and name == "reply" else 1.0  # the probes of its own sender stand inside
            style = SHAPES[name].style(name, self.theme, marker, self.scale * ring if own else 1.0)
            layer -= 0.1 * (ring > 1)
            self.axes.plot(xs, np.full(len(xs), height + offset), **style, clip_on=False, zorder=layer)
            high = style["markersize"]
            wide = style["markeredgewidth"] if style["marker"] == "|" else high
            self.labels.keep_clear_of_marks(xs, height + offset, wide, high)

    def _outside(self) -> None:
        """Hatch what lies outside the capture: nothing is known of it."""
        first, last = self.capture.first_ns, self.capture.last_ns
        spans = []
        if first is not None and not self.connection.began_in_capture and self.axis.first_ns <= first:
            spans.append((-self.margin, float(self.axis.x(first))))
        if last is not None and not self._over() and self.axis.last_ns >= last:
            spans.append((float(self.axis.x(last)), self.axis.width + self.margin))
        for left, right in spans:
            paper.hatch(self.axes, self.theme, left, right, *map(self._share, (-0.3, 1.3)))
            if right - left > 0.12 * self.axis.width:
                style: WordStyle = {"size": 7.5, "color": self.theme.soft, "bbox": paper.halo(self.theme)}
                self.labels.add("not captured", ((left + right) / 2, 0.5), ((0, 0, "center", "center"),), 3, **style)

    def _probes(self, due: Due) -> None:
        """Draw a hairline from each of a prober's probes to its reply."""
        here = self.row_height(due.prober.side)
        answered = due.firings[~due.firings["abort"] & (due.firings["reply_ns"] != UNKNOWN_NS)]
        if not len(answered) or len(answered) > COLUMNS:
            return
        start, end = self.axis.x(answered["time_ns"]), self.axis.x(answered["reply_ns"])
        gap = np.full(len(start), np.nan)
        x = np.column_stack([start, end, gap]).ravel()
        y = np.column_stack([np.full_like(gap, here), np.full_like(gap, TOP + BOTTOM - here), gap]).ravel()
        self.axes.plot(x, y, color=GREEN, linewidth=0.5, alpha=0.8, zorder=1)

    def _bracketed(self, prober: Prober) -> Iterable[list[Episode]]:
        """Return the newest runs on the axis by the silence of the prober that they are in.

        A reply that is in the capture but did not reach the prober ends no silence of it.
        """
        episodes = prober.episodes
        begin = bisect_left(episodes, self.axis.first_ns, key=lambda run: run.probes[-1].time_ns)
        end = bisect_right(episodes, self.axis.last_ns, key=lambda run: run.probes[0].time_ns)
        silences: dict[int, list[Episode]] = {}
        for run in episodes[max(begin, end - BRACKETED) : end]:
            since = run.silent_since_ns
            silences.setdefault(run.probes[0].time_ns if since is None else since, []).append(run)
        return silences.values()

    def _gaps(self, due: Due) -> None:
        """Bracket the gaps: the silence before a run, then from probe to probe, each with its number, to the end."""
        height = 0.66 if self.row_height(due.prober.side) == TOP else 0.34
        pixels = self.axes.get_window_extent().width / (self.axis.width + 2 * self.margin)
        for runs in self._bracketed(due.prober):
            run, times = runs[-1], [probe.time_ns for run in runs for probe in run.probes]
            several, count = len(times) > 1, due.terms.count
            total = count.value if count is not None and count.stated else len(times)
            names = [f"probe {n} of {max(total, len(times))}" if several else "" for n in range(1, len(times) + 1)]
            if run.silent_since_ns is not None:
                times.insert(0, run.silent_since_ns)
            else:
                names.pop(0)
            if gave_up_ns(run) is not None:
                times.append(over_ns(run))
                names.append("gave up")
            for (start, end), name in zip(pairwise(times), names, strict=True):
                self._bracket(start, end, name, height, pixels)

    def _bracket(self, start_ns: int, end_ns: int, name: str, height: float, pixels: float) -> None:
        """Draw the bracket of one gap, and in it its length and what it leads to."""
        if start_ns < self.axis.first_ns:
            return
        left, right = map(float, self.axis.x([start_ns, end_ns]))
        if (right - left) * pixels < 12:
            return
        ends = (left + 1.5 / pixels, height), (right - 1.5 / pixels, height)
        bar = "|-|,widthA=2,widthB=2"
        colour = self.theme.soft
        arrow = FancyArrowPatch(*ends, arrowstyle=bar, shrinkA=0, shrinkB=0, linewidth=0.7, color=colour, zorder=1.2)
        self.axes.add_patch(arrow)
        if any(start_ns < stop and begin < end_ns for begin, stop in self.axis.breaks):
            return
        length = duration(end_ns - start_ns)
        words = (f"{length}, {name}", f"{length}\n{name}", length) if name else (length,)
        text: WordStyle = {"size": 7, "color": self.theme.soft, "bbox": paper.halo(self.theme), "zorder": 1.5}
        spots: tuple[Spot, ...] = tuple((dx, 0, "center", "center") for dx in (0, -22, 22))
        self.labels.add(words, ((left + right) / 2, height), spots, 5, (right - left) * pixels - 8, **text)

    def _ending(self) -> None:
        """Say beside each reset who sent it and why."""
        gave_up = any(gave_up_ns(prober.episodes[-1]) is not None for prober in self.connection.probers)
        for kind, words in ENDING_WORDS:
            if kind == Kind.ABORT and not gave_up:
                words = "RST"  # of the application: the title says so
            for row in self.rows[self.rows["kind"] == kind][:3]:
                upper = self.row_height(self.connection.a if row["from_a"] else self.connection.b) == TOP
                at = float(self.axis.x(row["time_ns"])), 1.34 if upper else -0.34
                sides = ((-4, "right"), (4, "left")) if at[0] > self.axis.width / 2 else ((4, "left"), (-4, "right"))
                spots = tuple((dx, dy, ha, "center") for dy in (0, 8 if upper else -8) for dx, ha in sides)
                self.labels.add(words, at, spots, 10, size=7.5, color=VERMILLION)

    def _findings(self) -> None:
        """Mark each finding at its frame, by its number and its name."""
        for one in self.told:
            if one.time_ns is None or not self.axis.first_ns <= one.time_ns <= self.axis.last_ns:
                continue
            x = float(self.axis.x(one.time_ns))
            (line,) = self.axes.plot([x, x], [1.28, 1.58], color=self.theme.ink, linewidth=0.8, zorder=2)
            self.labels.keep_clear_of(line)
            box: PatchStyle = {"facecolor": self.theme.paper, "edgecolor": self.theme.ink, "linewidth": 0.7, "pad": 1.4}
            spots = tuple((dx, 2, ha, "bottom") for dx, ha in ((0, "center"), (8, "right"), (-8, "left")))
            words = f"{one.number}: {one.name}", f"{one.number}"
            self.labels.add(words, (x, 1.58), spots, 9, size=7, color=self.theme.ink, bbox=box, zorder=6)

    def _breaks(self) -> None:
        """Draw each compressed silence as a gap in the rows that says its length."""
        for start, end in self.axis.breaks:
            left, right = self.axis.x([start, end])
            edges = np.array([left, right]) + np.array([0.18, -0.18]) * (right - left)
            for height in (TOP, BOTTOM, self.floor):
                self.axes.plot(edges, [height] * 2, color=self.theme.paper, linewidth=3, zorder=3, clip_on=False)
                look: MarkStyle = {"linestyle": "none", "markersize": 9, "color": self.theme.soft}
                self.axes.plot(edges, [height] * 2, marker=SLASH, **look, zorder=4, clip_on=False)
            words = f"{duration(end - start)}\nsilence"
            style: WordStyle = {"size": 7.5, "color": self.theme.soft, "zorder": 3, "bbox": paper.halo(self.theme)}
            spots = tuple((0.0, dy, "center", "center") for dy in (0, -8, 8))
            self.labels.add(words, ((left + right) / 2, 0.5), spots, 8, **style)

    def _entries(self, height: float, theme: Theme | None) -> list[Entry]:
        """Return what stands on a row: who sends, and each shape with its name and how many there are of it."""
        other = self.connection.b if self.top == self.connection.a else self.connection.a
        entries: list[Entry] = [([], f"{self.top if height == TOP else other} sends")]
        counts: dict[str, int] = {}
        for name, times, row, _ in self._drawn():
            if row == height:
                counts[name] = counts.get(name, 0) + len(times)
        for name in SHAPES:
            if name in counts:
                words = f"{counts[name]:,} {SHAPES[name].plural if counts[name] > 1 else SHAPES[name].single or name}"
                words += " (or not captured)" if name == "no reply" and self.capture.dropped else ""
                marker = "^" if name == "probe" and height == BOTTOM else None
                entries.append(([sample(name, theme or LIGHT, marker)], words))
        if height == BOTTOM and self.losses.frames:
            lost = f"{counted(self.losses.frames, 'frame')} lost by the capture"
            entries.append((losses.sample(theme or LIGHT), lost))
        return entries


def _near(xs: NDArray[np.float64], others: NDArray[np.float64] | None, apart: float) -> bool:
    """Return whether some place lies no farther than ``apart`` from some of others, which are sorted."""
    if others is None or not len(others):
        return False
    at = np.searchsorted(others, xs)
    before, after = others[np.maximum(at - 1, 0)], others[np.minimum(at, len(others) - 1)]
    return bool((np.minimum(np.abs(xs - before), np.abs(xs - after)) < apart).any())
