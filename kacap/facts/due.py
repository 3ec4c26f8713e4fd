"""When keepalive acts next: how long an unanswered prober still waits before it gives its peer up."""

from __future__ import annotations

from kacap.clock import SECOND_NS
from kacap.timing.expectations import Expectation


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
