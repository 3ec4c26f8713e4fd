"""When keepalive acts next: how long an unanswered prober still waits before it gives its peer up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kacap.classify.kinds import Ending
from kacap.clock import MILLISECOND_NS, SECOND_NS
from kacap.facts.runs import unanswered
from kacap.model import Prober, Setting
from kacap.timing.expectations import Expectation
from kacap.timing.giving_up import GIVEN_UP


def gives_up_ns(expected: Expectation | None, run: int, probe_ns: int, heard_ns: int | None) -> int | None:
    """Return when a prober gives up a peer that stays silent, nanoseconds since 1970, its timer's lateness left out.

    ``run``: so many of its probes are unanswered, the newest of which was sent at ``probe_ns``; ``heard_ns``: when it
    last heard its peer. None where the settings that this takes are not known. tcp_keepalive_timer
    (net/ipv4/tcp_timer.c): without a user timeout one interval after the last of ``count`` probes; with one, the first
    firing after a probe at which the silence is as long.
    """
    if expected is None or not expected.interval or not run:
        return None
    interval_ns = expected.interval * SECOND_NS
    if expected.user_timeout_ns:
        if heard_ns is None:
            return None
        return probe_ns + max(1, -((probe_ns - heard_ns - expected.user_timeout_ns) // interval_ns)) * interval_ns
    if expected.count is None:
        return None
    return probe_ns + max(expected.count - run + 1, 1) * interval_ns


def first_due(idle: int, interval: int | None, heard_ns: int, probe_ns: int | None) -> tuple[int, int]:
    """Return for which setting the first probe of a run waits, in seconds, and since when, nanoseconds.

    It comes ``idle`` after the peer was last heard, but not before the timer fires that the probe before it (at
    ``probe_ns``, None: there was none) set to ``interval`` (tcp_keepalive_timer, net/ipv4/tcp_timer.c).
    """
    if interval is not None and probe_ns is not None and probe_ns + (interval - idle) * SECOND_NS > heard_ns:
        return interval, probe_ns
    return idle, heard_ns


class WorstRun(NamedTuple):
    """The worst run of unanswered probes: whose, how many, of ``most`` (None: not known), and when it is given up.

    ``gives_up_ns`` is None where that is not known, or the run is over; ``died``: it was given up.
    """

    prober: Prober
    probes: int
    most: int | None
    gives_up_ns: int | None
    died: bool


def worst_run(probers: Iterable[Prober]) -> WorstRun | None:
    """Return the worst run: one that was given up, else one under way, else the longest; None: nothing was missed."""
    found = [run for prober in probers if (run := _worst_of(prober)) is not None]
    return max(found, key=lambda run: (run.died, run.gives_up_ns is not None, run.probes), default=None)


def _worst_of(prober: Prober) -> WorstRun | None:
    settings = _settings(prober)
    last = prober.last
    if last is not None and (prober.ending in GIVEN_UP or prober.ending == Ending.OPEN) and unanswered(last):
        run, died = unanswered(last), prober.ending in GIVEN_UP
        at_ns = None if died else gives_up_ns(settings, run, last.probes[-1].time_ns, last.silent_since_ns)
        return WorstRun(prober, run, settings.count, at_ns, died)
    return WorstRun(prober, prober.longest_run, settings.count, None, False) if prober.missed else None


def _settings(prober: Prober) -> Expectation:
    """Return what a prober is set to: as expected, else as its probes show where they leave no choice."""
    idle, interval, count, timeout = map(_value, (prober.idle, prober.interval, prober.count, prober.user_timeout))
    return Expectation(idle, interval, count, None if timeout is None else timeout * MILLISECOND_NS)


def _value(setting: Setting) -> int | None:
    if setting.expected is not None:
        return setting.expected
    return setting.candidates[0] if setting.candidates is not None and len(setting.candidates) == 1 else None
