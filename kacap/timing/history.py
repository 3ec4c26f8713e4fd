"""What is kept of a prober's firings to invert the timer later: bounded, however long it probes."""

from __future__ import annotations

from dataclasses import dataclass, field

from kacap.timing.socket_timer import Step

KEPT = 256  # firings; more narrow nothing that these have not


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
    payload: bool = False  # its probes carry a byte
    stopped: bool = False  # an abort closed it

    def add(self, step: Step, *, probe: bool) -> None:
        """Take the next probe, or the abort after the last one."""
        if not self.steps or step.answered:
            if step.since_ns is not None and probe:
                self.idle_gap_ns = widen(self.idle_gap_ns, step.time_ns - step.since_ns)
                self.idle_n += 1
        else:
            self.interval_gap_ns = widen(self.interval_gap_ns, step.time_ns - self.steps_end_ns)
            self.interval_n += 1
        self.steps_end_ns = step.time_ns
        if len(self.steps) < KEPT:
            self.steps.append(step)

    steps_end_ns: int = 0


def widen(span: tuple[int, int] | None, value: int) -> tuple[int, int]:
    """Return (min, max) of a span and one more value."""
    if span is None:
        return value, value
    low, high = span
    return (value, high) if value < low else (low, value) if value > high else span
