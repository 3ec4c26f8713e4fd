"""The silence as a sawtooth: it climbs while nothing is received and falls to zero when something is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.classify.kinds import Ending, Kind
from kacap.clock import SECOND_NS
from kacap.facts.runs import gave_up_ns
from kacap.facts.standing import STATES, by_gravity, gravest
from kacap.model import Connection, Episode, Prober
from kacap.report.chart import page as paper
from kacap.report.chart.axis import TimeAxis, long_silences, span_ticks
from kacap.report.chart.expected import Terms, terms_of
from kacap.report.chart.firings import UNKNOWN_NS, FiringRows, firings_of, thinned
from kacap.report.chart.labels import Labels
from kacap.report.chart.legend import Entry, legend, wrapped
from kacap.report.chart.limits import near, steps
from kacap.report.chart.losses import Losses
from kacap.report.chart.palette import LIGHT, PURPLE, SHAPES, VERMILLION, Theme, sample
from kacap.report.chart.style import WordStyle
from kacap.report.chart.words import conclusion_of, population
from kacap.report.sentences import ENDINGS
from kacap.units import duration

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType

MANY, SAMPLE = 20, 200  # connections: above so many percentiles are drawn, of so many that fare well
WAITS = STATES.index("still waiting")
CROWDED = 150  # silences of one prober, above which they are a pale wall: what was fatal stands out
TEETH = 1_000  # drawn of one prober; the highest of each column are
NAMED = 6  # deaths that get a label
NOT_HEARD = (Kind.PROBE, Kind.UNREACHABLE, Kind.DUPLICATE_FRAME)  # do not restart the prober's clock
DEAD = (Ending.GAVE_UP, Ending.USER_TIMEOUT, Ending.RESET)


def page(analysis: Analysis, connections: list[Connection]) -> paper.Page:
    """Return the silences that the probers of some connections saw, on one panel."""
    drawn, note = _chosen(connections)
    saws = [Saw(analysis, one, prober) for one in drawn for prober in gravest(one)]
    if not saws:
        words = f"longest silence {duration(max(c.longest_silence_ns for c in connections))}"
        lines = population(analysis, connections)
        return paper.Page([paper.only_words(f"no keepalive probe seen; {words}", lines)])
    picture = Silence(analysis, saws, percentiles=len(connections) > MANY)
    title = conclusion_of(analysis, connections)
    longest = f"longest silence {'at least ' if picture.at_least else ''}{duration(picture.most_ns)}"
    lines = [f"{longest}; {picture.crossed()}", *population(analysis, connections)]
    below = paper.below(picture.axis, picture.origin_ns)
    return paper.Page([paper.Panel(picture.draw, 2.6, title, lines, below=below, left=0.8, fit=picture.fit)], note)


def _chosen(connections: Sequence[Connection]) -> tuple[list[Connection], list[str]]:
    """Return the connections to draw, and a note on those that are not: of many all that failed and a sample."""
    if len(connections) <= MANY:
        return list(connections), []
    standing = by_gravity(connections)
    failed = int((standing.states <= WAITS).sum())
    first, rest = min(failed, SAMPLE), len(standing) - failed
    sample = np.unique(np.linspace(failed, len(standing) - 1, min(SAMPLE, rest)).astype(np.int64)).tolist()
    chosen = [standing[place] for place in [*range(first), *sample]]
    left_out = len(standing) - len(chosen)
    note = f"drawn from {len(chosen):,} of {len(standing):,} connections: the gravest, and a sample of the others"
    return chosen, [note] if left_out else []


class Saw:
    """The silence that one prober saw: teeth from one thing heard to the next, in columns."""

    def __init__(self, analysis: Analysis, connection: Connection, prober: Prober) -> None:
        self.prober = prober
        self.terms: Terms = terms_of(analysis, prober)
        self.firings = firings_of(prober, self.terms)
        self.dead = Ending(prober.ending) in DEAD or gave_up_ns(prober.episodes[-1]) is not None
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
        if not ended:
            until = max(until, connection.observed_until_ns)
        return heard[~self._inside(heard)], until

    def _inside(self, heard: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the segments came in a silence before a probe: they were not accepted, so do not end it.

        Nor do the replies to a run that its prober gave up: they did not reach it.
        """
        episodes = self.prober.episodes
        spans = [(e.silent_since_ns, _deaf_until_ns(e)) for e in episodes if e.silent_since_ns is not None]
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
        x, heights = self.slopes(axis, kept)
        end, high = x[:, -1], heights[:, -1]
        gap = np.full(len(kept), np.nan)  # only where a tooth was left out
        joined = np.append(kept[1:] == kept[:-1] + 1, False)
        down = np.where(self.falls[kept], 0.0, high)
        x = np.column_stack([x, end, np.where(joined, end, gap)]).ravel()
        return x, np.column_stack([heights, down, np.where(joined, 0.0, gap)]).ravel()

    def slopes(self, axis: TimeAxis, kept: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x and height (nanoseconds) of some teeth up to their tips, a row for each; bent at breaks."""
        starts, ends = self.starts_ns[kept, None], self.ends_ns[kept, None]
        edges = np.array([edge for span in axis.breaks for edge in span], np.int64)
        times = np.hstack([starts, np.clip(edges[None, :], starts, ends), ends])
        return axis.x(times), (times - starts).astype(np.float64)

    def silence_at(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return for how long nothing had been heard at some times, nanoseconds; NaN before anything was."""
        at = np.searchsorted(self.starts_ns, times_ns, "left") - 1
        since = times_ns - self.starts_ns[np.maximum(at, 0)] if len(self.starts_ns) else times_ns
        return np.where(at >= 0, since, np.nan).astype(np.float64)


def _deaf_until_ns(run: Episode) -> int:
    """Return until when a run's prober heard nothing: its first probe (or a reply that a capture shows before it).

    Of a run that was given up it is the end.
    """
    if (gave_up := gave_up_ns(run)) is not None:
        return gave_up
    return run.probes[0].time_ns + min(run.probes[0].reply_after_ns or 0, 0)


class Silence:
    """The panel: every prober's sawtooth over the same time; of many percentiles, and the silences that were fatal."""

    def __init__(self, analysis: Analysis, saws: list[Saw], *, percentiles: bool = False) -> None:
        self.saws, self.capture, self.percentiles = saws, analysis.capture, percentiles
        self.many = len(saws) > NAMED
        starts = [int(s.starts_ns[0]) for s in saws if len(s.starts_ns)] + [int(s.firings["time_ns"][0]) for s in saws]
        ends = [int(s.ends_ns[-1]) for s in saws if len(s.ends_ns)] + [int(s.firings["time_ns"][-1]) for s in saws]
        first = self.capture.first_ns
        begin = min([*starts, *([first] if first is not None else [])])
        heard = np.concatenate([*(s.starts_ns for s in saws), *(s.ends_ns for s in saws), [begin, max(ends)]])
        probed = np.concatenate([s.firings["time_ns"] for s in saws])
        self.axis = TimeAxis(begin, max(ends), long_silences(np.concatenate([heard, probed]), probed))
        self.origin_ns = self.axis.first_ns if first is None else first
        self.most_ns = max((int(s.heights_ns.max()) for s in saws if len(s.heights_ns)), default=0)
        highest = [saw for saw in saws if len(saw.heights_ns) and int(saw.heights_ns.max()) == self.most_ns]
        self.at_least = all(saw.at_least and int(saw.heights_ns.argmax()) == 0 for saw in highest)
        self.lines = self._configured()
        top = max([self.most_ns, *(ns for ns, _, _ in self.lines if ns < 2 * self.most_ns)])
        self.top_ns = round(1.18 * (top or 1))

    def _configured(self) -> list[tuple[int, bool, str]]:
        """Return (silence, stated, words) of the horizontal lines: idle, the user timeout, when the count gives up."""
        found = set()
        any_missed = any(saw.firings["missed"].any() for saw in self.saws)
        for terms in {saw.terms for saw in self.saws}:
            if terms.user_timeout_ns:
                found.add((terms.user_timeout_ns, True, f"user timeout {duration(terms.user_timeout_ns)}"))
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

    def fit(self, inches: float) -> tuple[float, float]:
        """Return the panel's height and the room above it that a width of so many inches needs."""
        return 2.6, 0.18 + 0.16 * len(wrapped(self._entries(LIGHT), inches))

    def draw(self, axes: Axes, theme: Theme) -> None:
        """Draw the panel."""
        margin = self.axis.width * 0.015
        axes.set_xlim(-margin, self.axis.width + margin)
        axes.set_ylim(0, self.top_ns)
        labels = Labels(axes)
        self._outside(axes, theme, margin)
        Losses(self.capture, self.axis).draw(axes, theme, labels, 0.96)
        self._levels(axes, theme, labels)
        if self.percentiles:
            self._shares(axes, theme)
        for saw in reversed(self.saws):
            self._saw(axes, theme, saw, labels)
        self._deaths(axes, theme, labels)
        self._breaks(axes, theme, labels)
        self._time(axes, theme)
        legend(axes, theme, self._entries(theme), 1.02)
        labels.place()

    def _outside(self, axes: Axes, theme: Theme, margin: float) -> None:
        """Hatch what lies outside the capture."""
        first, last = self.capture.first_ns, self.capture.last_ns
        if first is None or last is None:
            return
        paper.hatch(axes, theme, -margin, float(self.axis.x(first)))
        if last <= self.axis.last_ns:
            paper.hatch(axes, theme, float(self.axis.x(last)), self.axis.width + margin)

    def _levels(self, axes: Axes, theme: Theme, labels: Labels) -> None:
        """Draw the configured silences and the known limits as labelled lines."""
        dotted: LineStyleType = (0, (1, 1.5))
        levels: list[tuple[int, LineStyleType, str, str]] = [
            (ns, "-" if sure else dotted, words, theme.probe if sure else theme.soft) for ns, sure, words in self.lines
        ]
        levels += [(ns, (0, (5, 3)), words, theme.soft) for ns, words in near(self.most_ns)]
        for nth, (ns, style, words, colour) in enumerate(levels):
            if 0 < ns < self.top_ns:
                axes.axhline(ns, color=colour, linewidth=0.9, linestyle=style, zorder=1)
                spots = tuple((dx, dy, "left", va) for dy, va in ((1, "bottom"), (-1, "top")) for dx in (0, 90, 180))
                look: WordStyle = {"size": 7, "color": colour, "bbox": paper.halo(theme), "zorder": 7}
                look["coordinates"] = axes.get_yaxis_transform()
                labels.add(words, (0.004, ns), spots, 20 - nth, **look)

    def _side(self, saw: Saw) -> int:
        """Return 1 for the second side of a connection that probes, else 0."""
        firsts = {one.prober.connection: one.prober.side for one in reversed(self.saws)}
        return int(firsts[saw.prober.connection] != saw.prober.side)

    def _saw(self, axes: Axes, theme: Theme, saw: Saw, labels: Labels) -> None:
        """Draw one prober's sawtooth, only its fatal piece in another colour, its probes and what was missed."""
        if not len(saw.starts_ns):
            return
        second = self._side(saw)
        colour, style = (PURPLE, (0, (4, 1.5))) if second else (theme.probe, "-")
        if not self.percentiles:
            x, y = saw.line(self.axis)
            alpha = 0.3 if len(saw.starts_ns) > CROWDED else 0.6 if self.many else 1.0
            width = 0.6 if self.many else 1.3
            axes.plot(x, y, color=colour, linestyle=style, linewidth=width, alpha=alpha, zorder=2)
        if saw.dead:
            x, heights = saw.slopes(self.axis, np.array([-1]))
            axes.plot(x[0], heights[0], color=VERMILLION, linewidth=0.9 if self.many else 2, zorder=3)
            if not self.many:
                labels.keep_clear_of_line(x[0], heights[0])
        if saw.at_least and not self.percentiles:
            (x,), (heights,) = saw.slopes(self.axis, np.array([0]))
            tip = 0 if saw.falls[0] else heights[-1]
            axes.plot([*x, x[-1]], [*heights, tip], color=colour, linewidth=0.9, linestyle=":", zorder=2)
        self._sent(axes, theme, saw, labels)

    def _sent(self, axes: Axes, theme: Theme, saw: Saw, labels: Labels) -> None:
        """Draw the probes on the slope, and what was missed."""
        sent = saw.firings[~saw.firings["abort"]]
        lost, met = sent["time_ns"][sent["missed"]], sent["time_ns"][~sent["missed"]]
        if self._shows(sent):
            style = SHAPES["probe"].style("probe", theme, scale=0.75)
            axes.plot(self.axis.x(met), saw.silence_at(met), **style, zorder=4)
        if len(lost) and (saw.dead or not self.percentiles):
            style = SHAPES["no reply"].style("no reply", theme, scale=0.45 if self.many else 0.9)
            style["markeredgewidth"] = 0.9 if self.many else 2.0
            xs, heights = self.axis.x(lost), saw.silence_at(lost)
            shown = thinned(xs, TEETH, heights)
            axes.plot(xs[shown], heights[shown], **style, zorder=5)
            if not self.many:
                labels.keep_clear_of_marks(xs[shown], heights[shown], 9, 9)

    def _shows(self, sent: FiringRows) -> bool:
        """Return whether the probes that met no miss are drawn each: those of few connections, of each a few."""
        return not self.many and len(sent) <= 60 and not sent["missed"].all()

    def _shares(self, axes: Axes, theme: Theme) -> None:
        """Draw the middle of the silences of those that live at each time, and nine tenths of them."""
        times = np.linspace(self.axis.first_ns, self.axis.last_ns, 240).astype(np.int64)
        rows = []
        for saw in self.saws:
            if not saw.dead and len(saw.starts_ns):
                silence = saw.silence_at(times)
                silence[times > saw.ends_ns[-1]] = np.nan
                rows.append(silence)
        known = np.array(rows).reshape(-1, len(times))
        kept = ~np.isnan(known).all(axis=0) if len(known) else np.zeros(len(times), np.bool_)
        if not kept.any():
            return
        low, middle, high = np.nanpercentile(known[:, kept], [10, 50, 90], axis=0)
        xs = self.axis.x(times[kept])
        axes.fill_between(xs, low, high, color=theme.band, linewidth=0, zorder=1.5)
        axes.plot(xs, middle, color=theme.probe, linewidth=1.2, zorder=2)

    def _entries(self, theme: Theme) -> list[Entry]:
        """Return what the lines are."""
        entries: list[Entry] = []
        if self.percentiles and not all(saw.dead for saw in self.saws):
            entries.append(([Rectangle((0, 0.5), 11, 5.4, color=theme.band)], "8 of 10 that live"))
            entries.append(([Line2D([0, 11], [3.2, 3.2], color=theme.probe, linewidth=1.3)], "their middle"))
        if not self.percentiles:
            sides = sorted({(self._side(saw), "" if self.many else str(saw.prober.side)) for saw in self.saws})
            for second, name in sides:
                style: LineStyleType = (0, (4, 1.5)) if second else "-"
                colour = PURPLE if second else theme.probe
                words = f"seen by {name}" if name else "the second side to probe" if second else "seen by a prober"
                entries.append(([Line2D([0, 11], [3.2, 3.2], color=colour, linestyle=style, linewidth=1.3)], words))
        sent = [saw.firings[~saw.firings["abort"]] for saw in self.saws]
        shown = {
            "probe": any(self._shows(found) for found in sent),
            "no reply": any(found["missed"].any() for found in sent),
        }
        entries += [([sample(name, theme)], SHAPES[name].single or name) for name, drawn in shown.items() if drawn]
        if any(saw.dead for saw in self.saws):
            entries.append(([Line2D([0, 11], [1, 5.4], color=VERMILLION, linewidth=2)], "the silence it died in"))
        return entries

    def _deaths(self, axes: Axes, theme: Theme, labels: Labels) -> None:
        """Mark where each connection died; say how beside the longest silences, once for those that died alike."""
        dead = sorted((s for s in self.saws if s.dead and len(s.heights_ns)), key=lambda s: -int(s.heights_ns[-1]))
        alike: dict[str, list[tuple[float, float]]] = {}
        for saw in dead:
            at = float(self.axis.x(saw.ends_ns[-1])), float(saw.heights_ns[-1])
            size = 3 if self.many else 5
            axes.plot([at[0]], [at[1]], marker="s", markersize=size, color=VERMILLION, zorder=6)
            words = f"{ENDINGS[Ending(saw.prober.ending)].total} after {duration(int(at[1]))}"
            alike.setdefault(words, []).append(at)
        for nth, (words, places) in enumerate(list(alike.items())[: NAMED if not self.percentiles else 3]):
            number = f"{len(places):,} " if len(places) > 1 else ""
            down = -8 if places[0][1] > self.top_ns / 5 else 14  # below the axis are the times
            spots = ((-6, 2, "right", "bottom"), (6, 2, "left", "bottom"), (-6, down, "right", "top"))
            look: WordStyle = {"size": 7.5, "color": VERMILLION, "zorder": 6, "bbox": paper.halo(theme)}
            labels.add(number + words, places[0], spots, 9 - nth, **look)

    def _breaks(self, axes: Axes, theme: Theme, labels: Labels) -> None:
        """Mark where the axis is broken, and say for how long nothing happened."""
        for start, end in self.axis.breaks:
            left, right = self.axis.x([start, end])
            axes.axvspan(left, right, facecolor=theme.rule, alpha=0.25, linewidth=0, zorder=0.3)
            look: WordStyle = {"size": 7, "color": theme.soft, "coordinates": axes.get_xaxis_transform()}
            words, spots = f"{duration(end - start)}\nnot to scale", ((0, 0, "center", "top"),)
            labels.add(words, ((left + right) / 2, 0.9), spots, 8, **look)

    def _time(self, axes: Axes, theme: Theme) -> None:
        """Write both axes."""
        paper.scale_time(axes, theme, self.axis, self.origin_ns)
        axes.set_yticks(*span_ticks(0, self.top_ns))
        paper.scale_left(axes, theme, "since anything was received")
