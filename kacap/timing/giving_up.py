"""When a prober gave up, and which TCP_USER_TIMEOUT would have made it do so then."""

from __future__ import annotations

from kacap.classify.kinds import Ending
from kacap.model import Episode, Prober
from kacap.timing.wheel import EARLY_NS

HOLE = 1.5  # a gap this much longer than another of the same timer holds firings that were not captured
GIVEN_UP = (Ending.GAVE_UP, Ending.USER_TIMEOUT, Ending.UNREACHABLE)


def given_up(prober: Prober) -> Episode | None:
    """Return the run that ended in the prober's abort: its gaps count one more than its probes but one."""
    for episode in reversed(prober.runs):
        if episode.ending in GIVEN_UP and len(episode.gaps_ns) == len(episode.probes):
            return episode
    return None


def user_timeout(prober: Prober) -> tuple[int, int] | None:
    """Return the bracket (above, up to), in nanoseconds, of a user timeout that explains when it gave up, or None.

    tcp_keepalive_timer (net/ipv4/tcp_timer.c) gives up at the first firing, once a probe is out, at which the user
    timeout has passed since something was heard: at the abort it had, at the firing before it had not. The first
    firing sends its probe in any case, so a single probe gives no lower bound.
    """
    episode = given_up(prober)
    if episode is None or episode.first_gap_ns is None:
        return None
    at_abort_ns = episode.first_gap_ns + sum(episode.gaps_ns)
    return (at_abort_ns - episode.gaps_ns[-1] if len(episode.probes) > 1 else 0), at_abort_ns


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
