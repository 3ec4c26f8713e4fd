"""Findings about the clocks themselves: suspended, masked, never started, two at once, too fast."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from kacap.evidence import SUSPENDED_AFTER, Case
from kacap.findings.case import Context, Told
from kacap.model import Prober
from kacap.timing.wheel import HZ_VALUES, latest_s
from kacap.units import between, counted, duration

SECOND_NS = 1_000_000_000
RETRIES_S = 924.6  # tcp_retries2 = 15 with an RTO of 0.2 s: Documentation/networking/ip-sysctl
BEATS = 4
REGULAR = 1.25
SMALL_BYTES = 512
FAST_PER_HOUR = 240  # more than one probe in 15 seconds, the shortest idle of a common runtime
BYTES_ON_WIRE = 66  # Ethernet, IPv4 and TCP with timestamps, per probe and per reply


def suspended(case: Case, context: Context) -> Iterator[Told]:
    """Bytes are unacknowledged and resent: Linux sends no keepalive then, retransmission decides when it ends."""
    if case.resent_n < SUSPENDED_AFTER:
        return
    a, b = case.connection.a, case.connection.b
    sender, peer = (a, b) if case.resent_from_a else (b, a)
    since_ns, until_ns = case.resent_ns
    times = [time_ns for time_ns in case.evidence.resent_times_ns if since_ns < time_ns <= until_ns]
    gaps = " ".join(duration(b - a) for a, b in pairwise([since_ns, *times]) if len(times) == case.resent_n)
    verb, ends = ("is", "still") if case.resent_open else ("was", "then acknowledged,")
    sentence = (
        f"keepalive of {sender} {verb} suspended: bytes sent to {peer} unacknowledged for at least "
        f"{duration(until_ns - since_ns)}, {ends} {counted(case.resent_n, 'retransmission')}"
        + (f" (gaps {gaps})" if gaps else "")
        + f"; with Linux defaults such bytes end the connection about {duration(int(RETRIES_S * SECOND_NS))} after "
        "they were first sent (tcp_retries2=15), whatever keepalive is set to"
    )
    yield sentence, case.evidence.resent[-len(times):] if times else []


def heartbeat(case: Case, context: Context) -> Iterator[Told]:
    """Small data at a regular cadence keeps a connection from ever being idle: keepalive never gets a turn."""
    if case.beat_ns is None or case.beats < BEATS or case.connection.probers:
        return
    if not context.few and context.expected(case.connection) is None:
        return
    low, high = case.beat_ns
    small = case.beat_bytes <= SMALL_BYTES and case.answer_bytes <= SMALL_BYTES
    if not small or low < SECOND_NS or high > REGULAR * low:
        return
    answer = f" and {case.answer_bytes} B back" if case.answer_bytes else ", one way"
    sentence = (
        f"{case.connection.a} > {case.connection.b} is kept alive by the application, not by TCP: {case.beat_bytes} B"
        f"{answer} every {between(low, high)} ({case.beats} times); a keepalive with a longer idle never gets a turn"
    )
    yield sentence, []


def never_probed(case: Case, context: Context) -> Iterator[Told]:
    """Silent for longer than the expected idle and its lateness, and still no probe."""
    expected = context.expected(case.connection)
    if expected is None or expected.idle is None or case.connection.probers:
        return
    latest = expected.idle + max(latest_s(expected.idle, hz) for hz in HZ_VALUES)
    if case.connection.longest_silence_ns > latest * SECOND_NS:
        sentence = (
            f"{case.connection.a} > {case.connection.b} was silent for {duration(case.connection.longest_silence_ns)} "
            f"and never probed, though idle is expected to be {expected.idle} s: keepalive is off on this socket"
        )
        yield sentence, []


def other_side_only(case: Case, context: Context) -> Iterator[Told]:
    """Somebody probes, but not the side that is expected to."""
    expected = context.expected(case.connection)
    if expected is None or expected.side is None:
        return
    ends = expected.ends(case.connection)
    if not ends or any(prober.side in ends for prober in case.connection.probers):
        return
    for prober in case.connection.probers:
        sentence = f"only {prober.side} probes; {expected.side} was expected to, and never did"
        yield sentence, [probe.frame for episode in prober.episodes[:3] for probe in episode.probes[:1]]


def _gaps(prober: Prober) -> list[int]:
    """Return the gaps between a prober's answered probes, nanoseconds."""
    answered = [p for e in prober.episodes for p in e.probes if p.reply_frame is not None]
    return [b.time_ns - a.time_ns for a, b in pairwise(answered)]


def two_timers(case: Case, context: Context) -> Iterator[Told]:
    """The gaps of one side fall into two groups that no single timer makes."""
    for prober in case.connection.probers:
        gaps = sorted(_gaps(prober))
        if len(gaps) < 6 or prober.idle.candidates:
            continue
        jump, place = max((b - a, i + 1) for i, (a, b) in enumerate(pairwise(gaps)))
        low, high = gaps[:place], gaps[place:]
        tight = all(group[-1] - group[0] < 0.1 * group[0] for group in (low, high))
        if tight and min(len(low), len(high)) >= 2 and jump > 0.2 * gaps[0]:
            sentence = (
                f"two timers probe from {prober.side}: gaps of {between(low[0], low[-1])} ({len(low)} times) and of "
                f"{between(high[0], high[-1])} ({len(high)} times)"
            )
            yield sentence, [p.frame for e in prober.episodes[:8] for p in e.probes[:1]]


def too_many(probers: list[Prober]) -> Iterator[Told]:
    """Senders whose every connection is probed more often than any common runtime does: rate and bytes a day."""
    by_sender: dict[str, list[Prober]] = {}
    for prober in probers:
        by_sender.setdefault(prober.side.address, []).append(prober)
    for sender, group in sorted(by_sender.items()):
        busy = [p for p in group if p.probes >= 10 and _per_hour(p) > FAST_PER_HOUR]
        if not busy:
            continue
        rate = sum(_per_hour(p) for p in busy)
        day = int(rate * 24 * 2 * BYTES_ON_WIRE)
        sentence = (
            f"{sender} probes {counted(len(busy), 'connection')} {rate:,.0f} times an hour in all: with the replies "
            f"about {day / 1e6:,.1f} MB a day; the fastest every {duration(min(_pace(p) for p in busy))}"
        )
        yield sentence, [p.episodes[0].probes[0].frame for p in busy[:8] if p.episodes]


def _pace(prober: Prober) -> int:
    """Return the mean time between a prober's probes, nanoseconds."""
    return (prober.last_probe_ns - prober.first_probe_ns) // max(prober.probes - 1, 1)


def _per_hour(prober: Prober) -> float:
    """Return how many probes an hour a prober sends."""
    return 3600 * SECOND_NS / max(_pace(prober), 1)
