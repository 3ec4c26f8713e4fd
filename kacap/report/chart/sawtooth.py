"""The silence as a sawtooth: it climbs while nothing is received and falls to zero when something is."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.classify.kinds import Ending, Kind
from kacap.clock import SECOND_NS
from kacap.facts.standing import gravest
from kacap.model import Connection, Prober
from kacap.report.chart import page as paper
from kacap.report.chart.axis import TimeAxis, span_ticks
from kacap.report.chart.expected import Terms, terms_of
from kacap.report.chart.firings import UNKNOWN_NS, firings_of, thinned
from kacap.report.chart.limits import near, steps
from kacap.report.chart.labels import Labels
from kacap.report.chart.losses import Losses
from kacap.report.chart.palette import SHAPES, VERMILLION, Theme
from kacap.report.chart.words import headline, population
from kacap.report.sentences import ENDINGS
from kacap.units import duration

TEETH = 1_000  # drawn of one prober; the highest of each column are
NAMED = 6  # deaths that get a label
NOT_HEARD = (Kind.PROBE, Kind.UNREACHABLE, Kind.DUPLICATE_FRAME)  # do not restart the prober's clock
DEAD = (Ending.GAVE_UP, Ending.USER_TIMEOUT, Ending.RESET)


def page(analysis: Analysis, connections: list[Connection]) -> paper.Page:
    """Return the silences that the probers of some connections saw, on one panel."""
    saws = [Saw(analysis, one, prober) for one in connections for prober in gravest(one)]
    if not saws:
        words = f"longest silence {duration(max(c.longest_silence_ns for c in connections))}"
        lines = population(analysis, connections)
        return paper.Page([paper.only_words(f"no keepalive probe seen; {words}", lines)])
    picture = Silence(analysis, saws)
    title, longest = headline(connections), duration(picture.most_ns)
    if longest not in title:
        title += f"; longest silence {'at least ' if picture.at_least else ''}{longest}"
    lines = [*population(analysis, connections), picture.crossed()]
    return paper.Page([paper.Panel(picture.draw, 2.6, title, lines, left=0.8)])


class Saw:
    """The silence that one prober saw: teeth from one thing heard to the next, in columns."""

    def __init__(self, analysis: Analysis, connection: Connection, prober: Prober) -> None:
        self.prober = prober
        self.terms: Terms = terms_of(analysis, prober)
        self.firings = firings_of(prober, self.terms)
        self.dead = Ending(prober.ending) in DEAD
        heard, until = self._heard(analysis, connection)
        begin = analysis.capture.first_ns
        # Before the first thing heard the silence is at least as long as was watched.
        self.at_least = False
        if not connection.began_in_capture and begin is not None and not (heard <= begin).any():
            self.at_least, heard = True, np.insert(heard, 0, begin)
        self.starts_ns, self.ends_ns = heard[:-1], heard[1:]
        self.falls = np.ones(len(self.starts_ns), np.bool_)
        if len(heard) and until > heard[-1]:
            self.starts_ns, self.ends_ns = heard, np.append(heard[1:], until)
            self.falls = np.append(self.falls, prober.ending == Ending.RESET)  # at the end of the view nothing came

    def _heard(self, analysis: Analysis, connection: Connection) -> tuple[NDArray[np.int64], int]:
        """Return when the prober heard something, sorted, and until when was watched, nanoseconds."""
        rows = analysis.marks[analysis.marks["connection"] == connection.connection]
        from_a = int(self.prober.peer == connection.a)
        over = np.isin(rows["kind"], (Kind.ABORT, Kind.RESET, Kind.RST))
        theirs = rows[(rows["from_a"] == from_a) & ~np.isin(rows["kind"], NOT_HEARD) & ~over]
        since = [e.silent_since_ns for e in self.prober.episodes if e.silent_since_ns is not None]
        replies = self.firings["reply_ns"][self.firings["reply_ns"] != UNKNOWN_NS]
        opened = [connection.first_ns] if connection.began_in_capture else []
        heard = np.unique(np.concatenate([theirs["time_ns"], since, replies, opened]).astype(np.int64))
        until = max([connection.last_ns, int(self.firings["time_ns"][-1])])
        ended = over.any() or self.dead or self.prober.ending == Ending.CLOSED or (rows["kind"] == Kind.FIN).any()
        if not ended and analysis.capture.last_ns is not None:
            until = max(until, analysis.capture.last_ns)
        return heard[~self._inside(heard)], until

    def _inside(self, heard: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the segments came in a silence before a probe: they were not accepted, so do not end it."""
        episodes = self.prober.episodes
        spans = [(e.silent_since_ns, e.probes[0].time_ns) for e in episodes if e.silent_since_ns is not None]
        if not spans:
            return np.zeros(len(heard), np.bool_)
        starts, ends = np.array(spans, np.int64).T
        at = np.searchsorted(starts, heard, "left") - 1
        inside: NDArray[np.bool_] = (at >= 0) & (heard > starts[np.maximum(at, 0)]) & (heard < ends[np.maximum(at, 0)])
        return inside

    @property
    def heights_ns(self) -> NDArray[np.int64]:
        """The length of each silence, nanoseconds."""
        return self.ends_ns - self.starts_ns

    def line(self, axis: TimeAxis) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the sawtooth as x and y (nanoseconds), of many teeth the highest and lowest of each column.

        A first tooth that is only a lower bound is left out.
        """
        kept = thinned(axis.x(self.ends_ns), TEETH, self.heights_ns)
        kept = kept[kept >= self.at_least]
        start, end = axis.x(self.starts_ns[kept]), axis.x(self.ends_ns[kept])
        high, zero = self.heights_ns[kept].astype(np.float64), np.zeros(len(kept))
        gap = np.full(len(kept), np.nan)  # only where a tooth was left out
        joined = np.append(kept[1:] == kept[:-1] + 1, False)
        down = np.where(self.falls[kept], zero, high)
        x = np.column_stack([start, end, end, np.where(joined, end, gap)]).ravel()
        return x, np.column_stack([zero, high, down, np.where(joined, 0.0, gap)]).ravel()

    def silence_at(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return for how long nothing had been heard at some times, nanoseconds; NaN before anything was."""
        at = np.searchsorted(self.starts_ns, times_ns, "left") - 1
        since = times_ns - self.starts_ns[np.maximum(at, 0)] if len(self.starts_ns) else times_ns
        return np.where(at >= 0, since, np.nan).astype(np.float64)


class Silence:
    """The panel: every prober's sawtooth over the same time."""

    def __init__(self, analysis: Analysis, saws: list[Saw]) -> None:
        self.saws = saws
        self.capture = analysis.capture
        self.many = len(saws) > NAMED
        starts = [int(s.starts_ns[0]) for s in saws if len(s.starts_ns)] + [int(s.firings["time_ns"][0]) for s in saws]
        ends = [int(s.ends_ns[-1]) for s in saws if len(s.ends_ns)] + [int(s.firings["time_ns"][-1]) for s in saws]
        first = self.capture.first_ns
        self.axis = TimeAxis(min([*starts, *([first] if first is not None else [])]), max(ends))
        self.most_ns = max((int(s.heights_ns.max()) for s in saws if len(s.heights_ns)), default=0)
        highest = [saw for saw in saws if len(saw.heights_ns) and int(saw.heights_ns.max()) == self.most_ns]
        self.at_least = all(saw.at_least and int(saw.heights_ns.argmax()) == 0 for saw in highest)
        self.lines = self._configured()
        top = max([self.most_ns, *(ns for ns, _, _ in self.lines if ns < 2 * self.most_ns)])
        self.top_ns = round(1.18 * (top or 1))

    def _configured(self) -> list[tuple[int, bool, str]]:
        """Return (silence, stated, words) of the horizontal lines: idle, and when the count gives up."""
        found = set()
        any_missed = any(saw.firings["missed"].any() for saw in self.saws)
        for terms in {saw.terms for saw in self.saws}:
            if terms.idle is None:
                continue
            found.add((terms.idle.ns, terms.idle.stated, f"idle {terms.idle}"))
            if terms.interval and terms.count and any_missed:
                total = terms.idle.value + terms.interval.value * terms.count.value
                sure = terms.idle.stated and terms.interval.stated and terms.count.stated
                found.add((total * SECOND_NS, sure, f"given up at {total} s{'' if sure else '?'}"))
        stated = sorted(line for line in found if line[1])
        guessed = sorted(line for line in found if not line[1])
        return stated[:8] + (guessed if len(guessed) <= 4 else [])

    def crossed(self) -> str:
        """Return which known limits the longest silence crossed, and the next one that it did not."""
        below, above = steps(self.most_ns)
        words = [f"known limits crossed: {', '.join(below[-2:])}"] if below else ["no known limit of a box was crossed"]
        if above:
            words.append(f"not reached: {', '.join(above[:2])}")
        return "; ".join(words)

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the panel."""
        margin = self.axis.width * 0.015
        axes.set_xlim(-margin, self.axis.width + margin)
        axes.set_ylim(0, self.top_ns)
        self._outside(axes, theme, margin)
        labels = Labels(axes)
        Losses(self.capture, self.axis).draw(axes, theme, labels, 0.96)
        self._levels(axes, theme)
        for saw in reversed(self.saws):
            self._saw(axes, theme, saw)
        self._deaths(axes)
        self._time(axes, theme)

    def _outside(self, axes: Axes, theme: Theme, margin: float) -> None:
        """Hatch what lies outside the capture."""
        first, last = self.capture.first_ns, self.capture.last_ns
        if first is None or last is None:
            return
        paper.hatch(axes, theme, -margin, float(self.axis.x(first)))
        if last <= self.axis.last_ns:
            paper.hatch(axes, theme, float(self.axis.x(last)), self.axis.width + margin)

    def _levels(self, axes: Axes, theme: Theme) -> None:
        """Draw the configured silences and the known limits as labelled lines."""
        taken: list[float] = []
        dotted: Any = (0, (1, 1.5))
        levels: list[tuple[int, Any, str, str]] = [
            (ns, "-" if sure else dotted, words, theme.probe if sure else theme.soft) for ns, sure, words in self.lines
        ]
        levels += [(ns, (0, (5, 3)), words, theme.soft) for ns, words in near(self.most_ns)]
        for ns, style, words, colour in levels:
            if not 0 < ns < self.top_ns:
                continue
            axes.axhline(ns, color=colour, linewidth=0.9, linestyle=style, zorder=1)
            if all(abs(ns - other) > self.top_ns * 0.06 for other in taken):
                taken.append(ns)
                axes.text(
                    0.004, ns, words, size=7, color=colour, va="bottom", transform=axes.get_yaxis_transform(), zorder=7,
                    bbox=paper.halo(theme),
                )  # fmt: skip

    def _saw(self, axes: Axes, theme: Theme, saw: Saw) -> None:
        """Draw one prober's sawtooth, its probes on the slope, and what was missed."""
        if not len(saw.starts_ns):
            return
        x, y = saw.line(self.axis)
        bold = saw.dead or not self.many
        colour = VERMILLION if saw.dead else theme.probe
        wide = 0.6 if not bold else 0.9 if self.many else 1.3
        axes.plot(x, y, color=colour, linewidth=wide, alpha=1 if bold else 0.45, zorder=3 if bold else 2)
        if saw.at_least:
            xs = self.axis.x([saw.starts_ns[0], saw.ends_ns[0], saw.ends_ns[0]])
            heights = [0, saw.heights_ns[0], 0 if saw.falls[0] else saw.heights_ns[0]]
            axes.plot(xs, heights, color=colour, linewidth=wide, linestyle="--", zorder=2)
        sent = saw.firings[~saw.firings["abort"]]
        lost, met = sent["time_ns"][sent["missed"]], sent["time_ns"][~sent["missed"]]
        if not self.many and len(sent) <= 60:
            style = SHAPES["probe"].style("probe", theme, scale=0.75)
            axes.plot(self.axis.x(met), saw.silence_at(met), **style, zorder=4)
        if len(lost):
            style = SHAPES["no reply"].style("no reply", theme, scale=0.45 if self.many else 0.9)
            style["markeredgewidth"] = 0.9 if self.many else 2.0
            axes.plot(self.axis.x(lost), saw.silence_at(lost), **style, zorder=5)

    def _deaths(self, axes: Axes) -> None:
        """Mark where each connection died; say how beside the longest silences, as far as there is room."""
        dead = sorted((s for s in self.saws if s.dead and len(s.heights_ns)), key=lambda s: -int(s.heights_ns[-1]))
        named: list[tuple[float, float]] = []
        for saw in dead:
            x, height = float(self.axis.x(saw.ends_ns[-1])), float(saw.heights_ns[-1])
            axes.plot([x], [height], marker="s", markersize=3 if self.many else 5, color=VERMILLION, zorder=6)
            apart = 0.4 * self.axis.width, 0.08 * self.top_ns
            near = any(abs(other - x) < apart[0] and abs(y - height) < apart[1] for other, y in named)
            if len(named) < NAMED and not near:
                named.append((x, height))
                self._death(axes, saw, x, height)

    def _death(self, axes: Axes, saw: Saw, x: float, height: float) -> None:
        """Say how a connection died."""
        words = f"{ENDINGS[Ending(saw.prober.ending)].total} after {duration(int(height))}"
        right = x > self.axis.width / 4
        axes.annotate(
            words, (x, height), (-6 if right else 6, 2), textcoords="offset points", size=7.5, color=VERMILLION,
            ha="right" if right else "left", va="bottom", zorder=6,
        )  # fmt: skip

    def _time(self, axes: Axes, theme: Theme) -> None:
        """Write both axes."""
        origin_ns = self.capture.first_ns if self.capture.first_ns is not None else self.axis.first_ns
        paper.scale_time(axes, theme, self.axis, origin_ns)
        axes.set_yticks(*span_ticks(0, self.top_ns))
        paper.scale_left(axes, theme, "since anything was received")
