"""Timers of systems other than Linux: how early and how late a firing may seem, and what tells the system.

Where no simulation exists, a rule is a band: a setting of s seconds shows as a gap from s - early to s + late. The
bands are wide enough for what has been seen, and say where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass

from kacap.timing.history import History

SECOND_NS = 1_000_000_000
GROWS = 1.5  # gaps of an unanswered run that grow like this follow the RTO, not an interval


@dataclass(frozen=True, slots=True)
class System:
    """One system's timer: by how many nanoseconds a firing may seem early or late, and the source of that."""

    name: str
    title: str
    early_ns: int
    late_ns: int
    payload: bool  # its probes carry a byte
    source: str


SYSTEMS = {
    system.name: system
    for system in (
        System(
            "windows", "Windows", 300_000_000, 250_000_000, True,
            "32 captured Windows connections, 10 to 60 s: 0.25 s early to 0.06 s late",
        ),
        System(
            "macos", "macOS and iOS", 600_000_000, 600_000_000, False,
            "xnu tcp_timer.c: a 500 ms quantum (IS_TIMER_HZ_500MS)",
        ),
        System(
            "freebsd", "FreeBSD", 25_000_000, 600_000_000, False,
            "tcp_timer.c: a callout of its own for each connection, older releases a 500 ms tick",
        ),
        System(
            "illumos", "illumos and Solaris", 25_000_000, 300_000_000, True,
            "tcp_timers.c: milliseconds; without TCP_KEEPINTVL unanswered probes follow the RTO",
        ),
        System(
            "lwip", "lwIP", 25_000_000, 1_100_000_000, False,
            "tcp.c tcp_slowtmr: strictly after idle, on 500 ms ticks",
        ),
    )
}
NAMES = ("auto", "linux", *SYSTEMS, "any")


def seconds_within(span_ns: tuple[int, int], system: System) -> list[int]:
    """Return the whole seconds that could have produced every gap of a span (least, most)."""
    low = -(-(span_ns[1] - system.late_ns) // SECOND_NS)
    high = (span_ns[0] + system.early_ns) // SECOND_NS
    return list(range(max(low, 1), high + 1))


def follows_rto(history: History) -> bool:
    """Return whether the gaps of unanswered runs grow, as those of a retransmission timer do."""
    gaps = [
        step.time_ns - step.before_ns
        for step in history.steps
        if step.before_ns is not None and not step.answered
    ]
    return len(gaps) >= 2 and gaps[-1] >= GROWS * gaps[0]


def inferred(history: History, payload_bytes: int) -> System | None:
    """Return the system that a prober which fits no Linux timer runs by the look of its probes, None: unknown."""
    if not payload_bytes:
        return None
    return SYSTEMS["illumos"] if follows_rto(history) else SYSTEMS["windows"]
