"""A Linux socket's keepalive timer, simulated over a prober's history: could these settings have produced it?

net/ipv4/tcp_timer.c ``tcp_keepalive_timer``: the timer is not touched by traffic. When it fires and the socket has
heard something less than idle ago, it is armed for the remainder; otherwise a probe is sent and it is armed for the
interval. What is heard in between only shows at the next firing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kacap.timing.wheel import Grid, Span, fires, granule

SILENT_FIRINGS = 64  # more between two probes than any history that is kept can hold
SLACK_NS = 60_000_000  # a retry for a locked socket (50 ms), the path between the capture and the prober


@dataclass(frozen=True, slots=True)
class Step:
    """One firing that the capture shows: a probe, or the abort after the last.

    ``heards_ns`` are the moments at which the prober heard something since the step before (None: too many to
    know); ``since_ns`` is the last of them, or of what it had heard before (None: before the capture's view).
    """

    time_ns: int
    heards_ns: tuple[int, ...] | None
    since_ns: int | None
    before_ns: int | None  # the firing before; None: this is the first

    @property
    def answered(self) -> bool:
        """Whether the prober heard anything between the step before and this one."""
        return self.heards_ns is None or bool(self.heards_ns)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is tried: idle and interval in seconds, jiffies per second."""

    idle: int
    interval: int
    hz: int


class Timer:
    """Steps through a history for one guess of the settings, and counts what the guess cannot explain."""

    def __init__(self, settings: Settings, origin_ns: int) -> None:
        self.settings = settings
        self.origin_ns = origin_ns
        self.idle = float(settings.idle * settings.hz)
        self.jitter = 2.0 + 0.005 * settings.hz
        self.slack = self.jitter + SLACK_NS * settings.hz / 1e9
        self.grid = Grid(0.0, 0)
        self.violations = 0

    def ticks(self, time_ns: int) -> float:
        """Return a time in jiffies since the origin."""
        return (time_ns - self.origin_ns) * self.settings.hz / 1e9

    def first(self, step: Step, strict: bool) -> None:
        """Take the first probe: it is never early; how late it is tells only if keepalive was on all the time."""
        at = self.ticks(step.time_ns)
        coarse = granule(int(self.idle))
        if step.since_ns is not None:
            late = at - self.ticks(step.since_ns) - self.idle
            if late < -self.jitter or (strict and late > coarse + self.slack):
                self.violations += 1
        self.grid = Grid(at, 1)

    def follow(self, step: Step, before_ns: int) -> None:
        """Take a firing that follows another; what contradicts the settings counts as a violation."""
        at = self.ticks(step.time_ns)
        window, coarse = self._expected(step, self.ticks(before_ns))
        if not window[0] - self.slack_below(window) <= at <= window[1] + self.slack:
            self.violations += 1
            self.grid = Grid(at, 1)
        else:
            self.grid = self.grid.later(at, coarse)

    def slack_below(self, window: Span) -> float:
        """Return by how much a firing may seem early: only clocks and captures make it so."""
        return self.jitter + 50e-6 * (window[0] - self.grid.at)

    def _expected(self, step: Step, start: float) -> tuple[Span, int]:
        """Return the span in which a firing is due after one at ``start``, and the granule that it then lies on."""
        delay = self.settings.interval * self.settings.hz
        if not step.answered:
            return fires((start + delay, start + delay), granule(delay), self.grid, self.jitter), granule(delay)
        if step.heards_ns is None:
            due = (self.ticks(step.since_ns) if step.since_ns is not None else start) + self.idle
            return (due, max(due + granule(int(self.idle)), start + delay + granule(delay))), 1
        return self._walk(start, [self.ticks(t) for t in step.heards_ns], self.ticks(step.time_ns))

    def _walk(self, start: float, heards: Sequence[float], at: float) -> tuple[Span, int]:
        """Follow the silent firings from a probe at ``start`` to the one that must send the next, seen ``at``."""
        delay = self.settings.interval * self.settings.hz
        step = granule(delay)
        span = fires((start + delay, start + delay), step, self.grid, self.jitter)
        for _ in range(SILENT_FIRINGS):
            sure = max((h for h in heards if h <= span[0]), default=heards[0])
            likely = max((h for h in heards if h <= span[1] + self.jitter), default=heards[0])
            if span[0] - likely >= self.idle - self.jitter:
                return span, step
            if span[1] - sure >= self.idle - self.jitter:
                if at <= span[1] + self.slack:
                    return span, 1
                # The probe came later: something was heard before this firing, wherever in its span that was.
                sure = min((h for h in heards if sure < h <= span[1] + self.jitter), default=sure)
                span = (max(span[0], sure), span[1])
            remains = (sure + self.idle - span[1], likely + self.idle - span[0])
            step = granule(max(int(remains[1]), 1))
            finest = granule(max(int(remains[0]), 1))
            due = fires((sure + self.idle, likely + self.idle), step, self.grid, self.jitter)
            if finest != step:
                due = (min(due[0], sure + self.idle), due[1])
            span, step = due, finest
        return span, 1


def contradictions(steps: Sequence[Step], settings: Settings, *, strict: bool, most: int) -> int:
    """Return how many firings of a history the settings cannot explain; counting ends above ``most``.

    ``strict``: keepalive is taken to have been on since the connection opened, so that the first probe's lateness
    counts too.
    """
    timer = Timer(settings, steps[0].time_ns)
    timer.first(steps[0], strict)
    for step in steps[1:]:
        if timer.violations > most:
            break
        timer.follow(step, step.before_ns if step.before_ns is not None else steps[0].time_ns)
    return timer.violations
