"""What is kept of a prober's firings to invert the timer later: bounded, however long it probes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import sub

from kacap.timing.socket_timer import Step

KEPT = 256  # firings; more narrow nothing that these have not
ALIKE = 4  # of one shape in a row
SAME_NS = 20_000_000
CROSSING_NS = 200_000_000  # what the capture shows so shortly before a probe had not reached the prober yet


def _alike(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Return whether two shapes are the same but for jitter."""
    return len(a) == len(b) and max(map(abs, map(sub, a, b))) < SAME_NS


@dataclass(slots=True)
class History:
    """The first firings of one prober, and the range of its gaps over all of them.

    ``idle_gap_ns`` is (min, max) from the last segment heard to the probe, ``interval_gap_ns`` between firings of a
    run that nothing answered; ``exhausted`` the lengths of the runs that ended in an abort.
    """

    steps: list[Step] = field(default_factory=list)
    idle_gap_ns: tuple[int, int] | None = None
    interval_gap_ns: tuple[int, int] | None = None
    idle_n: int = 0
    interval_n: int = 0
    exhausted: list[int] = field(default_factory=list)
    longest_run: int = 0
    began: bool = False  # the capture shows the connection's SYN
    unheard: bool = False  # it acted as if the replies in the capture had never reached it
    steps_end_ns: int = 0  # the newest firing
    shape: tuple[int, ...] | None = None  # of the firings that are alike, and how many there are in a row
    alike: int = 0

    @property
    def opened(self) -> bool:
        """Whether the capture shows how long after the connection opened, or was last heard, the first probe came."""
        return self.began and bool(self.steps) and self.steps[0].since_ns is not None

    def add(self, time_ns: int, heards_ns: tuple[int, ...] | None, since_ns: int | None, *, probe: bool) -> None:
        """Take the next probe, or the abort after the last one, with what was heard before it (see ``Step``)."""
        if since_ns is not None and time_ns - since_ns < CROSSING_NS:
            since_ns, heards_ns = self._heard_by(time_ns, heards_ns)
        before_ns = self.steps_end_ns if self.steps else None
        if before_ns is None or heards_ns is None or heards_ns:
            if since_ns is not None and probe:
                self.idle_gap_ns = widen(self.idle_gap_ns, time_ns - since_ns)
                self.idle_n += 1
        else:
            self.interval_gap_ns = widen(self.interval_gap_ns, time_ns - before_ns)
            self.interval_n += 1
        self.steps_end_ns = time_ns
        if len(self.steps) < KEPT and not self._repeats(time_ns, heards_ns, before_ns):
            self.steps.append(Step(time_ns, heards_ns, since_ns, before_ns))

    def _heard_by(
        self, time_ns: int, heards_ns: tuple[int, ...] | None
    ) -> tuple[int | None, tuple[int, ...] | None]:
        """Return what the prober had heard by then: without what crossed its probe on the way."""
        if heards_ns is None:
            return None, None
        kept = tuple(heard for heard in heards_ns if time_ns - heard >= CROSSING_NS)
        return (kept[-1] if kept else None), kept

    def without_idle(self) -> History:
        """Return the same history with nothing known of idle."""
        steps = [replace(step, since_ns=None) if step.before_ns is None else step for step in self.steps]
        return replace(self, steps=steps, idle_gap_ns=None, idle_n=0)

    def _repeats(self, time_ns: int, heards_ns: tuple[int, ...] | None, before_ns: int | None) -> bool:
        """Return whether the firings before this one looked just like it: it would narrow nothing.

        A shape is the times of a firing and of what was heard before it, counted from the firing before.
        """
        shape = None
        if heards_ns is not None and before_ns is not None:
            shape = (time_ns - before_ns, *[heard - before_ns for heard in heards_ns])
        if shape is None or self.shape is None or not _alike(shape, self.shape):
            self.shape, self.alike = shape, 1
            return False
        self.alike += 1
        return self.alike > ALIKE


def widen(span: tuple[int, int] | None, value: int) -> tuple[int, int]:
    """Return (min, max) of a span and one more value."""
    if span is None:
        return value, value
    low, high = span
    return (value, high) if value < low else (low, value) if value > high else span
