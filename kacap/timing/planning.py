"""Which idle, interval and count hold: every probe before a box forgets, a dead peer found in time, at the worst.

Linux fires a timer late, by up to a granule of its wheel (``wheel``), and the granule depends on the kernel's HZ. A
bound here counts the latest firing of every arming (tcp_keepalive_timer()), a retry because the socket was locked
(50 ms), and one round trip: so much later than the prober's own clock may anybody on the path see a silence end. Not
counted: a host that sleeps, and probes that its own queue refuses (retried every 500 ms).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from kacap.clock import SECOND_NS
from kacap.errors import UsageError
from kacap.timing.wheel import HZ_VALUES, SLACK_NS, latest_s

DAY = 86_400  # seconds
FEWEST, MOST = 3, 6  # probes: losing one or two must not end a connection (RFC 9293 3.8.4, MUST-29)
USUAL_INTERVAL = 10
ROUND = (
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 45, 50, 60, 75, 90, 100, 120, 150, 180, 200, 240, 270, 300, 360,
    400, 450, 500, 600, 720, 900, 1000, 1200, 1500, 1800, 2400, 2700, 3000, 3600, 4500, 5400, 6000, 7200, 9000, 10800,
    14400, 21600, 25200, 28800, 32400,
)  # fmt: skip  # seconds that people choose; a socket takes 32767 at most

Shape = Callable[[int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: probes before ``limit`` seconds of silence, a dead peer found ``within`` seconds; None: not asked.

    ``hz``: the kernels it must hold for; ``rtt_ns``: the longest round trip to the far end.
    """

    limit: int | None = None
    within: int | None = None
    hz: tuple[int, ...] = HZ_VALUES
    rtt_ns: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings, and what holds with them at the worst, counted from the peer's last word.

    ``idle`` and ``interval`` in seconds. ``first_ns``: when the first probe has come; ``second_ns``: the second, should
    the first be lost; ``found_ns``: when a dead peer is given up.
    """

    idle: int
    interval: int
    count: int
    first_ns: int
    second_ns: int
    found_ns: int

    @property
    def user_timeout_ns(self) -> int:
        """The TCP_USER_TIMEOUT, in whole seconds, that bounds unacknowledged data by as much and delays none of this.

        It replaces count: the first firing after so long a silence gives up. Where a timer may be later than all of
        count x interval, idle + count x interval would give up after a single probe; so it is as long as can be.
        """
        on_time_ns = (self.idle + self.count * self.interval) * SECOND_NS
        before_last_ns = self.found_ns - (self.second_ns - self.first_ns)
        return max(on_time_ns, before_last_ns // SECOND_NS * SECOND_NS)

    @property
    def per_day(self) -> int:
        """A timer is never early: an answered probe is followed by the next after the longer of idle and interval."""
        return DAY // max(self.idle, self.interval)


def latest_ns(seconds: int, hz: tuple[int, ...] = HZ_VALUES) -> int:
    """Return how long after its arming for so many seconds a timer has fired at the worst, in nanoseconds."""
    return seconds * SECOND_NS + ceil(max(latest_s(seconds, each) for each in hz) * SECOND_NS) + SLACK_NS


def worst(idle: int, interval: int, count: int, request: Request) -> Plan:
    """Return what holds with these settings on the kernels and the path of ``request``; nothing is chosen or refused.

    The first firing after a silence may come from an arming for the interval or for a remainder of idle, which is
    late by no more than one for all of idle.
    """
    first_ns = max(latest_ns(idle, request.hz), latest_ns(interval, request.hz)) + request.rtt_ns
    step_ns = latest_ns(interval, request.hz)
    return Plan(idle, interval, count, first_ns, first_ns + step_ns, first_ns + count * step_ns)


def plan(request: Request, shape: Shape | None = None) -> Plan:
    """Return the settings with the fewest probes that do what is asked; round numbers.

    ``shape`` gives interval and count by idle for a product that leaves no choice. The second probe is early enough
    for the limit as well, where settings exist for which it is. Raises UsageError for what no settings do.
    """
    interval = _interval(request)
    fitting: list[Plan] = []
    for idle in reversed(ROUND):
        step, count = shape(idle) if shape else (interval, FEWEST)
        if step * SECOND_NS <= request.rtt_ns or (shape is None and step > idle):
            continue
        found = worst(idle, step, count, request)
        if _holds(found, request):
            fitting.append(found)
    if not fitting:
        raise UsageError(_refusal(request, interval))
    chosen = next((each for each in fitting if request.limit is None or _before(each.second_ns, request)), fitting[0])
    return chosen if shape else _more_probes(chosen, request)


def idle_that_beats(seconds: int, hz: tuple[int, ...] = HZ_VALUES) -> int | None:
    """Return the longest round idle whose probes come before a limit of so many seconds; None: no idle does."""
    try:
        return plan(Request(limit=seconds, hz=hz)).idle
    except UsageError:
        return None


def _interval(request: Request) -> int:
    """Return an interval: a run of probes takes a third of the time there is, each longer than a round trip."""
    ninth = USUAL_INTERVAL if request.within is None else request.within // 9
    longest = min(ninth, ninth if request.limit is None else request.limit // 6)
    longer = [each for each in ROUND if each * SECOND_NS > request.rtt_ns]
    if not longer:
        raise UsageError(f"a round trip of {request.rtt_ns // SECOND_NS:,} s is longer than any interval")
    return max((each for each in longer if each <= longest), default=longer[0])


def _before(time_ns: int, request: Request) -> bool:
    return request.limit is not None and time_ns < request.limit * SECOND_NS


def _holds(found: Plan, request: Request) -> bool:
    in_time = request.limit is None or _before(found.first_ns, request)
    return in_time and (request.within is None or found.found_ns <= request.within * SECOND_NS)


def _more_probes(chosen: Plan, request: Request) -> Plan:
    """Return the same idle and interval with as many probes as the time allows: fewer live peers are given up."""
    tried = (worst(chosen.idle, chosen.interval, count, request) for count in range(MOST, FEWEST, -1))
    return next((each for each in tried if _holds(each, request)), chosen)


def _refusal(request: Request, interval: int) -> str:
    """Return why nothing does what is asked, with the least that could be asked."""
    least = worst(interval, interval, FEWEST, request)
    if request.limit is not None and not _before(least.first_ns, request):
        first = f"{least.first_ns / SECOND_NS:.2f} s"
        return f"no idle beats a limit of {request.limit} s: with {interval} s the first probe may take {first}"
    found = f"{-(-least.found_ns // (SECOND_NS // 10)) / 10:g} s"
    return (
        f"no settings find a dead peer within {request.within} s by {FEWEST} probes: the least that always holds is "
        f"{found} (idle {interval}, interval {interval}, count {FEWEST})"
    )
