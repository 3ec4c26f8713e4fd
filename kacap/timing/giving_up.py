"""When a prober gave up, and which TCP_USER_TIMEOUT would have made it do so then."""

from __future__ import annotations

import numpy as np

from kacap.classify.kinds import Ending
from kacap.model import Episode, Prober
from kacap.timing.estimate import PATH_NS, farthest_ns
from kacap.timing.wheel import EARLY_NS
from kacap.units import between, duration

HOLE = 1.5  # a gap this much longer than another of the same timer holds firings that were not captured
GIVEN_UP = (Ending.GAVE_UP, Ending.USER_TIMEOUT, Ending.UNREACHABLE)


def given_up(prober: Prober) -> Episode | None:
    """Return the run that ended in the prober's abort: its gaps count one more than its probes but one."""
    for episode in reversed(prober.runs):
        if episode.ending in GIVEN_UP and len(episode.gaps_ns) == len(episode.probes):
            return episode
    return None


def may_be_the_application(prober: Prober) -> bool:
    """Return whether a prober's application may have reset the connection when it seems to have given up.

    After a single unanswered probe nothing shows when the next was due, unless the interval is known.
    """
    episode = given_up(prober)
    alone = episode is not None and len(episode.probes) == 1
    return alone and prober.longest_run < 2 and prober.interval.verdict != "ok"


def user_timeout(prober: Prober) -> tuple[int, int] | None:
    """Return the bracket (above, up to), in nanoseconds, of a user timeout that explains when it gave up, or None.

    tcp_keepalive_timer (net/ipv4/tcp_timer.c) gives up at the first firing, once a probe is out, at which the user
    timeout has passed since something was heard: at the abort it had, at the firing before it had not. The first
    firing sends its probe in any case, so a single probe gives no lower bound. What it heard last passed the capture
    before, and what it sent after: it was silent for less than the capture shows, by the way there and back.
    """
    episode = given_up(prober)
    if episode is None or episode.first_gap_ns is None:
        return None
    at_abort_ns = episode.first_gap_ns + sum(episode.gaps_ns)
    if len(episode.probes) == 1:
        return 0, at_abort_ns
    path_ns = int(farthest_ns(np.array(prober.path_ns)))
    return max(at_abort_ns - episode.gaps_ns[-1] - path_ns, 0), at_abort_ns


def user_timeout_words(prober: Prober) -> str:
    """Return the bracket in words, with what it takes for granted; empty: there is none."""
    bracket = user_timeout(prober)
    if bracket is None:
        return ""
    near = "" if prober.path_ns else f" (if the prober is within {duration(round(PATH_NS))} of the capture)"
    return f"{between(*bracket)}{near}" if bracket[0] else f"at most {duration(bracket[1])}"


def timed_out(prober: Prober, timeout_ns: int) -> bool:
    """Return whether a user timeout of ``timeout_ns`` explains when the prober gave up."""
    bracket = user_timeout(prober)
    return bracket is not None and bracket[0] - EARLY_NS < timeout_ns <= bracket[1] + EARLY_NS


def has_holes(prober: Prober) -> bool:
    """Return whether gaps of the interval differ by whole firings: the prober's own host dropped what it sent."""
    observed = prober.interval.observed_ns
    return observed is not None and observed[1] > HOLE * observed[0]


def longest_run(prober: Prober) -> int:
    """Return the most probes in a row that nothing answered and that did not lead to an abort."""
    runs = [
        sum(probe.reply_frame is None for probe in episode.probes)
        for episode in prober.runs
        if episode.ending in (Ending.OPEN, Ending.RESUMED, Ending.ANSWERED, Ending.UNREACHABLE)
        and len(episode.gaps_ns) < len(episode.probes)
    ]
    return max(runs, default=0)
