"""When a prober's probes were due, drawn behind them: one-sided bands for what is configured, dots for guesses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from kacap.classify.kinds import Ending
from kacap.facts.runs import gave_up_ns
from kacap.model import Episode, Prober
from kacap.report.chart.axis import TimeAxis
from kacap.report.chart.expected import Term, Terms
from kacap.report.chart.firings import INTERVAL, TIMERS, UNKNOWN_NS, FiringRows, thinned
from kacap.report.chart.labels import Labels
from kacap.report.chart.palette import VERMILLION, Theme
from kacap.timing.wheel import EARLY_NS
from kacap.units import duration

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType

BANDS = 700
UNANSWERED = (Ending.OPEN, Ending.UNREACHABLE, Ending.GAVE_UP, Ending.USER_TIMEOUT)
HALF = 0.24  # of a band's height, around its row
RUNS = 3  # the last runs with a miss get their deadline


@dataclass(slots=True)
class Due:
    """One prober with its settings and firings."""

    prober: Prober
    terms: Terms
    firings: FiringRows

    def times(self, last_ns: int) -> list[int]:
        """Return the times up to ``last_ns`` that the axis must show beside what happened."""
        found = [int(time) for time in self.firings["due_ns"] if time != UNKNOWN_NS]
        found += [start for start, _, _ in self._next()]
        found += [time for time, _, _ in self.deadlines()]
        return [time for time in found if time <= last_ns]

    def beyond(self, last_ns: int) -> list[tuple[int, str]]:
        """Return (time, words) of what is expected after ``last_ns``: the next probe, and when the run is given up."""
        found = [(start, f"next probe due ({TIMERS[INTERVAL]} {term})") for start, _, term in self._next()]
        found += [(time, words) for time, _, words in self.deadlines()]
        return sorted((time, words) for time, words in found if time > last_ns)

    def _next(self) -> list[tuple[int, int, Term]]:
        """Return the window of the firing that would come next, where the last probe still waits."""
        interval = self.terms.interval
        if interval is None or self.prober.ending not in (Ending.OPEN, Ending.UNREACHABLE):
            return []
        last = self.firings[-1]
        if last["abort"] or last["reply_ns"] != UNKNOWN_NS:
            return []
        start = int(last["time_ns"]) + interval.ns
        return [(start, start + self.terms.late_ns(interval), interval)]

    def deadlines(self) -> list[tuple[int, bool, str]]:
        """Return (time, stated, words) for each line at which a run is given up: by the count, by the user timeout."""
        found: list[tuple[int, bool, str]] = []
        for episode in self._missing()[-RUNS:]:
            by_count = self.terms.deadline_ns(episode)
            if by_count is not None and (by_count[1] or not self._contradicted(by_count[0], episode)):
                guess = "" if by_count[1] else "?"
                found.append((*by_count, f"{self._sum(episode)}{guess}"))
            if self.terms.user_timeout_ns and episode.silent_since_ns is not None:
                words = f"user timeout {duration(self.terms.user_timeout_ns)}"
                found.append((episode.silent_since_ns + self.terms.user_timeout_ns, True, words))
        return found

    def _contradicted(self, deadline_ns: int, episode: Episode) -> bool:
        """Return whether a run was given up at another time than a deadline of guesses says."""
        given_up = gave_up_ns(episode)
        if given_up is None:
            return False
        terms, count = self.terms, self.terms.count
        late_ns = terms.late_ns(terms.idle) if terms.idle else 0
        late_ns += terms.late_ns(terms.interval) * count.value if terms.interval and count else 0
        return not -EARLY_NS <= given_up - deadline_ns <= late_ns + EARLY_NS

    def _missing(self) -> list[Episode]:
        """Return the runs that began with a miss and ended, if at all, by giving up: a deadline ends with its run."""
        return [e for e in self.prober.runs if e.probes[0].reply_frame is None and e.ending in UNANSWERED]

    def _sum(self, episode: Episode) -> str:
        """Return how a deadline comes about: ``2 s + 3 x 1 s = 5 s``."""
        idle, interval, count = self.terms.idle, self.terms.interval, self.terms.count
        if interval is None or count is None:
            return ""
        runs = f"{count.value} x {interval.value} s"
        if idle is None or episode.silent_since_ns is None:
            return f"deadline {runs} after the first probe"
        return f"deadline {idle.value} s + {runs} = {idle.value + interval.value * count.value} s"

    def draw(self, axes: Axes, axis: TimeAxis, theme: Theme, labels: Labels, height: float) -> None:
        """Draw bands, guesses and deadlines; ``height`` is the prober's row."""
        for timer, name in enumerate(TIMERS):
            term: Term | None = getattr(self.terms, name)
            if term is None:
                continue
            known = self.firings[(self.firings["timer"] == timer) & (self.firings["due_ns"] != UNKNOWN_NS)]
            starts = np.concatenate([known["due_ns"], [s for s, _, _ in self._next() if timer == INTERVAL]])
            starts = np.sort(starts[(starts >= axis.first_ns) & (starts <= axis.last_ns)].astype(np.int64))
            if len(starts):
                self._windows(axes, axis, theme, starts, term, height)
                self._label(axis, theme, labels, int(starts[0]), name, term, height)
        self._lines(axes, axis, theme, labels)
        self._arrows(axes, axis, theme, labels)

    def _windows(
        self, axes: Axes, axis: TimeAxis, theme: Theme, starts: NDArray[np.int64], term: Term, height: float
    ) -> None:
        """Draw the windows of one timer: bands where it is configured, a dotted mark at its start where guessed."""
        left = axis.x(starts)
        kept = thinned(left, BANDS)
        left = left[kept]
        colour = theme.soft if not term.stated else theme.probe
        low, high = height - HALF, height + HALF
        if term.stated and self.terms.late_ns(term):
            right = np.minimum(axis.x(starts[kept] + self.terms.late_ns(term)), axis.width * 1.015)
            spans = list(zip(left.tolist(), (right - left).tolist(), strict=True))
            axes.broken_barh(spans, (low, high - low), facecolor=theme.band, edgecolor="none", zorder=0.6)
        style = "-" if term.stated else (0, (1, 1.5))
        if len(starts) <= BANDS // 3:
            axes.vlines(left, low, high, linewidth=0.7, linestyle=style, color=colour, zorder=0.7)

    def _label(
        self, axis: TimeAxis, theme: Theme, labels: Labels, start_ns: int, name: str, term: Term, height: float
    ) -> None:
        """Name a timer at its first window; of a guess, where there is room, all that it may be."""
        up = height > 0.5
        dy, va = (2, "bottom") if up else (-2, "top")
        at = float(axis.x(start_ns)), height + (HALF if up else -HALF)
        spots = tuple((dx, dy, ha, va) for dx, ha in ((0, "center"), (-6, "left"), (6, "right"), (0, "right")))
        words = [f"{name} {term} ({term.span})"] if term.span else []
        colour = theme.probe if term.stated else theme.soft
        labels.add([*words, f"{name} {term}"], at, spots, 6, size=7, color=colour)

    def _lines(self, axes: Axes, axis: TimeAxis, theme: Theme, labels: Labels) -> None:
        """Draw the deadlines as labelled lines through both rows; one of several alike has the words."""
        named = set[str]()
        for time_ns, stated, words in self.deadlines():
            if not axis.first_ns <= time_ns <= axis.last_ns:
                continue
            x = float(axis.x(time_ns))
            colour = VERMILLION if stated else theme.soft
            style: LineStyleType = ("--" if words.startswith("deadline") else "-.") if stated else (0, (1, 1.5))
            axes.plot([x, x], [-0.3, 1.3], color=colour, linestyle=style, linewidth=1.0, zorder=0.9)
            if words not in named:
                named.add(words)
                sides = ((-4, "right"), (4, "left")) if x > axis.width / 2 else ((4, "left"), (-4, "right"))
                spots = tuple((dx, dy, ha, "center") for dy in (-5, -13, 3, -21, 11) for dx, ha in sides)
                labels.add(words, (x, 0.36), spots, 8, size=7, color=colour, zorder=3.5)

    def _arrows(self, axes: Axes, axis: TimeAxis, theme: Theme, labels: Labels) -> None:
        """Point beyond the edge at the first two things that are expected there, and say when."""
        for nth, (time_ns, words) in enumerate(self.beyond(axis.last_ns)[:2]):
            x, y = axis.width * 1.012, (-0.26, 0.2)[nth]  # beside the lower row, where no probe lies
            axes.plot([x], [y], marker=">", markersize=5, color=theme.probe, clip_on=False, zorder=5)
            later = f"{words}: {duration(time_ns - axis.last_ns)} beyond the edge"
            spots = tuple((-5, dy, "right", "center") for dy in (0, 9, -9, 18, -18))
            labels.add((later, later.replace(" beyond the edge", " on")), (x, y), spots, 7, size=7, color=theme.probe)
