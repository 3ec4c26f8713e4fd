"""Findings about the clocks themselves: suspended, masked, never started, on the wrong side, two at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from kacap.classify.kinds import Ending
from kacap.evidence import Case, Resent
from kacap.findings.case import Context, Told
from kacap.model import Prober
from kacap.timing.verdicts import DIFFERS, band_ns
from kacap.units import between, counted, duration, moment

SECOND_NS = 1_000_000_000
RETRIES_NS = 924_600_000_000  # tcp_retries2 = 15 with an RTO of 0.2 s: Documentation/networking/ip-sysctl
WORTH_NS = 5_000_000_000  # bytes out for less delay no keepalive that anybody waits for
SMALL_BYTES = 512
SHOWN = 8  # gaps
FEWEST = 6  # gaps before two groups of them are no accident


def suspended(case: Case, context: Context) -> Iterator[Told]:
    """Bytes are unacknowledged and resent: Linux sends no keepalive then, retransmission decides when it ends."""
    resent = case.resent
    if resent is None:
        return
    sender, peer, out_ns = case.end(resent.from_a), case.end(not resent.from_a), resent.until_ns - resent.since_ns
    if out_ns < _worth_ns(case, resent.from_a, context):
        return
    times = [time_ns for time_ns in case.evidence.resent_times_ns if resent.since_ns < time_ns <= resent.until_ns]
    last = ", ".join(duration(b - a) for a, b in list(pairwise(times))[-SHOWN:])
    gaps = f" (the last ones {last} apart)" if last else ""
    verb, ends = ("is", "to the end of the capture") if resent.still else ("was", "then acknowledged")
    probes = any(prober.side == sender for prober in case.connection.probers)
    whose = f"keepalive of {sender}" if probes else f"any keepalive of {sender}"
    sentence = (
        f"{whose} {verb} suspended: bytes sent to {peer} stayed unacknowledged for {duration(out_ns)}, "
        f"{ends}, {counted(resent.number, 'retransmission')}{gaps}; {_given_up(case, resent, context)}"
    )
    yield sentence, case.evidence.resent[-len(times):] if times else []


def _worth_ns(case: Case, from_a: bool, context: Context) -> int:
    """Return for how long bytes must be out to delay a keepalive: an idle that is known, or a time worth telling of."""
    known = [p.idle.observed[0] for p in case.connection.probers if p.side == case.end(from_a) and p.idle.observed]
    expected = context.expected(case.connection)
    if expected is not None and expected.idle is not None:
        known.append(expected.idle * SECOND_NS)
    return min(known, default=WORTH_NS)


def _given_up(case: Case, resent: Resent, context: Context) -> str:
    """Say when such bytes end the connection."""
    expected = context.expected(case.connection)
    by_user = expected is not None and expected.user_timeout_ns
    ends_ns = by_user or RETRIES_NS
    at = f", at {moment(resent.since_ns + ends_ns)}" if resent.still else ""
    more = "" if by_user else " or more"
    why = f"TCP_USER_TIMEOUT of {duration(ends_ns)}" if by_user else "tcp_retries2=15 on Linux"
    gives_up = "gives up" if resent.still else "would have given up"
    return f"{case.end(resent.from_a)} {gives_up} {duration(ends_ns)}{more} after they were first sent ({why}){at}"


def heartbeat(case: Case, context: Context) -> Iterator[Told]:
    """Small data at a regular cadence keeps a connection from ever being idle: keepalive never gets a turn."""
    beat, connection = case.beat, case.connection
    expected = context.expected(connection)
    if beat is None or connection.probers or not (context.few or expected is not None):
        return
    idle = expected.idle if expected is not None else None
    lasts = 2 * beat.number * beat.least_ns >= connection.last_ns - connection.first_ns
    if max(beat.bytes, beat.answer_bytes) > SMALL_BYTES or beat.least_ns < SECOND_NS or not lasts:
        return
    if idle is not None and idle * SECOND_NS <= connection.longest_silence_ns:
        return
    answer = f" and {beat.answer_bytes} B back" if beat.answer_bytes else ", one way"
    turn = f"an idle of {idle} s" if idle is not None else "a longer idle"
    sentence = (
        f"{connection.a} > {connection.b} is kept alive by data of the application, not by TCP: {beat.bytes} B{answer} "
        f"every {between(beat.least_ns, beat.most_ns)} ({beat.number + 1} times in a row, longest silence "
        f"{duration(connection.longest_silence_ns)}); a keepalive with {turn} never gets a turn"
    )
    yield sentence, []


def never_probed(case: Case, context: Context) -> Iterator[Told]:
    """Silent for longer than the expected idle and its lateness, and still no probe."""
    unprobed = case.connection.unprobed
    if unprobed is not None and unprobed.verdict == DIFFERS and not case.connection.probers:
        sentence = (
            f"{case.connection.a} > {case.connection.b}: idle is expected to be {unprobed.expected} s, and nobody "
            f"probed: {unprobed.why}; keepalive is likely off on this socket"
        )
        yield sentence, []


def other_side_only(case: Case, context: Context) -> Iterator[Told]:
    """Somebody probes, but not the side that is expected to."""
    expected, connection = context.expected(case.connection), case.connection
    if expected is None or expected.side is None:
        return
    ends = expected.ends(connection)
    watched_ns = connection.last_ns - connection.first_ns
    due_ns = band_ns(expected.idle)[1] if expected.idle is not None else 0
    if not ends or watched_ns <= due_ns or any(prober.side in ends for prober in connection.probers):
        return
    for prober in connection.probers:
        sentence = (
            f"only {prober.side} probes ({counted(prober.probes, 'probe')} in {duration(watched_ns)}); {expected.side} "
            "was expected to, and never did"
        )
        yield sentence, [probe.frame for episode in prober.episodes[:3] for probe in episode.probes[:1]]


def two_timers(case: Case, context: Context) -> Iterator[Told]:
    """The silences before one side's probes fall into two groups that no single timer makes."""
    for prober in case.connection.probers:
        gaps = sorted(_idle_gaps(prober)) if not prober.idle.candidates else []
        if len(gaps) < FEWEST:
            continue
        jump, place = max((b - a, i + 1) for i, (a, b) in enumerate(pairwise(gaps)))
        low, high = gaps[:place], gaps[place:]
        tight = all(group[-1] - group[0] < 0.1 * group[0] for group in (low, high))
        if tight and min(len(low), len(high)) >= 2 and jump > 0.2 * gaps[0]:
            sentence = (
                f"two timers likely probe from {prober.side}: after {between(low[0], low[-1])} of silence "
                f"({len(low)} times) and after {between(high[0], high[-1])} ({len(high)} times)"
            )
            yield sentence, [p.frame for e in prober.episodes[:8] for p in e.probes[:1]]


def _idle_gaps(prober: Prober) -> list[int]:
    """Return the silences before a prober's answered probes, nanoseconds."""
    return [e.first_gap_ns for e in prober.episodes if e.first_gap_ns is not None and e.ending == Ending.ANSWERED]
