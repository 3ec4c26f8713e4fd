"""Findings about the clocks themselves: suspended, masked, never started, on the wrong side, two at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

from kacap.classify.kinds import Ending
from kacap.clock import SECOND_NS
from kacap.findings import observed as bits
from kacap.findings.connection_facts import Claim, ConnectionFacts, Outstanding, frame_of
from kacap.findings.context import Context
from kacap.findings.idle import death_of, is_lively
from kacap.findings.observed import BeatRow
from kacap.findings.screening import SMALL_BYTES
from kacap.model import Prober
from kacap.timing.judging import DIFFERS, band_ns
from kacap.units import between, counted, duration, moment

RETRIES_NS = 924_600_000_000  # tcp_retries2 = 15 with an RTO of 0.2 s: Documentation/networking/ip-sysctl
WORTH_NS = 5 * SECOND_NS  # what is shorter delays no keepalive, and masks none, that anybody sets
SHOWN = 8  # gaps
FEWEST = 6  # gaps before two groups of them are no accident
MIXED = 4  # runs of gaps of one group: fewer, and the timer was changed once
LATE = 0.05  # of a gap: as far as timers are late
BACK_OFF = 2.5  # the next retransmission comes after twice the last gap, and the capture's end may be late


def suspended(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Bytes are unacknowledged and sent again: Linux sends no keepalive then, retransmission decides when it ends.

    Where nobody answers either side, that is one finding; where a box forgot the connection, that is the finding.
    """
    death = death_of(facts)
    if death is not None and not death.by_reset and is_lively(death, context):
        return  # the silence before it is the cause: another row
    found = [one for one in map(facts.outstanding, (True, False)) if one and _is_worth(facts, one, context)]
    found.sort(key=lambda one: one.first_ns - one.end_ns)
    for waits in found[:1]:
        sender, peer = facts.end(waits.from_a), facts.end(not waits.from_a)
        again = f"sent again {counted(waits.n, 'time')}{_last_gaps(waits)}"
        # The peer, which waits for nothing, probes on.
        whose = f" from {sender}" if any(prober.side == peer for prober in facts.connection.probers) else ""
        if waits.vain:
            sentence = (
                f"{sender} sent {waits.bytes:,} B to {peer} again and again for {duration(_out_ns(waits))} "
                f"({counted(waits.n, 'time')}), although the capture shows the ACKs of {peer}: they did not reach it; "
                f"Linux sends no keepalive probe{whose} meanwhile"
            )
        else:
            sentence = (
                f"unacknowledged data on {sender}: {waits.bytes:,} B to {peer} were unacknowledged for "
                f"{duration(_out_ns(waits))}, {again}{_how(facts, waits)}; Linux sends no keepalive probe{whose} "
                f"meanwhile{_both(facts, found)}{_prediction(facts, waits, context)}"
            )
        first = [waits.first_frame] if waits.first_frame else []
        yield Claim(sentence, [*first, *waits.frames])


def _out_ns(waits: Outstanding) -> int:
    """Return for how long bytes waited: where nothing that counts ended it, until they were last sent."""
    return (waits.last_ns if waits.vain or waits.how == bits.OPEN else waits.end_ns) - waits.first_ns


def _is_worth(facts: ConnectionFacts, waits: Outstanding, context: Context) -> bool:
    """Return whether bytes waited longer than an idle that is known, or for a time worth telling."""
    side = facts.end(waits.from_a)
    known = [p.idle.observed_ns[0] for p in facts.connection.probers if p.side == side and p.idle.observed_ns]
    expected = context.expected(facts.connection)
    if expected is not None and expected.idle is not None:
        known.append(expected.idle * SECOND_NS)
    return _out_ns(waits) >= min(known, default=WORTH_NS)


def _last_gaps(waits: Outstanding) -> str:
    """Return the last gaps between retransmissions, in words."""
    gaps = [duration(b - a) for a, b in pairwise(waits.times_ns)][-SHOWN:]
    return f" (last gaps {', '.join(gaps)})" if gaps else ""


def _how(facts: ConnectionFacts, waits: Outstanding) -> str:
    """Return what ended the wait, in words."""
    sender, peer = facts.end(waits.from_a), facts.end(not waits.from_a)
    return {
        bits.OPEN: ", to the end of what was captured of it",
        bits.ACKED: ", then acknowledged",
        bits.WENT_ON: ", then new data shows that they were acknowledged",
        bits.RESET_BY_SENDER: f", until {sender} itself sent an RST",
        bits.RESET_BY_PEER: f", until an RST of {peer}",
    }[waits.how]


def _both(facts: ConnectionFacts, found: list[Outstanding]) -> str:
    """Say that the other side waits too."""
    if len(found) < 2:
        return ""
    other = found[1]
    return f"; {other.bytes:,} B of {facts.end(other.from_a)} waited as well, for {duration(_out_ns(other))}"


def _prediction(facts: ConnectionFacts, waits: Outstanding, context: Context) -> str:
    """Say when such bytes will end the connection: only of what waits at the end of the capture and goes on."""
    if waits.how != bits.OPEN:
        return ""
    last = waits.times_ns[-1] - waits.times_ns[-2] if len(waits.times_ns) > 1 else 0
    expected = context.expected(facts.connection)
    by_user = expected.user_timeout_ns if expected is not None else None
    ends_ns = by_user or RETRIES_NS
    if context.last_ns - waits.last_ns > BACK_OFF * last or context.last_ns > waits.first_ns + ends_ns:
        return ""
    more, why, at = (
        ("", "TCP_USER_TIMEOUT", "at")
        if by_user
        else (" or more", "tcp_retries2=15 on Linux, no TCP_USER_TIMEOUT", "not before")
    )
    when = f"{at} {moment(waits.first_ns + ends_ns)}"
    return f"; {facts.end(waits.from_a)} gives up {duration(ends_ns)}{more} after the first sending ({why}), {when}"


def heartbeat(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Small data at a regular cadence keeps a connection from ever being idle: keepalive never fires."""
    connection = facts.connection
    if connection.probers:
        return
    expected = context.expected(connection)
    idle = expected.idle if expected is not None else None
    found = [from_a for from_a in (True, False) if _masks(facts, facts.beat(from_a), idle)]
    if not found:
        return
    # Of two sides the one that is answered: more messages, or the earlier.
    from_a = max(found, key=lambda one: (facts.beat(one).n, -facts.sent(one).beat_ns))
    beat = facts.beat(from_a)
    answer = f"and at most {beat.answer_bytes} B back" if beat.answer_bytes else "one way"
    fires = f"an idle of {idle} s" if idle is not None else "a longer idle"
    sentence = (
        f"{facts.end(from_a)} > {facts.end(not from_a)} is kept alive by data of the application, not by TCP: "
        f"at most {beat.bytes} B, {answer}, every {between(beat.least_ns, beat.most_ns)} ({beat.n + 1} times in a row, "
        f"longest silence {duration(connection.longest_silence_ns)}); a keepalive with {fires} never fires"
    )
    yield Claim(sentence, [frame_of(beat.first_frame), frame_of(beat.last_frame)])


def _masks(facts: ConnectionFacts, beat: BeatRow, idle: int | None) -> bool:
    """Return whether messages are regular, small, far enough apart to matter, and most of what was watched."""
    connection = facts.connection
    if beat.n < bits.REGULAR_GAPS or max(beat.bytes, beat.answer_bytes) > SMALL_BYTES:
        return False
    if 2 * beat.n * beat.least_ns < connection.last_ns - connection.first_ns:
        return False
    if idle is not None:
        return beat.least_ns >= SECOND_NS and connection.longest_silence_ns < idle * SECOND_NS
    return beat.least_ns >= WORTH_NS


def never_probed(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Silent for longer than the expected idle and its lateness, and still no probe."""
    unprobed = facts.connection.unprobed
    if unprobed is not None and unprobed.verdict == DIFFERS and not facts.connection.probers:
        sentence = (
            f"{facts.connection.a} > {facts.connection.b}: idle is expected to be {unprobed.expected} s, and nobody "
            f"probed: {unprobed.why}; keepalive is likely off on this socket"
        )
        yield Claim(sentence, [])


def other_side_only(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Somebody probes, but not the side that is expected to."""
    expected, connection = context.expected(facts.connection), facts.connection
    if expected is None or expected.side is None:
        return
    ends = expected.ends(connection)
    watched_ns = connection.last_ns - connection.first_ns
    due_ns = band_ns(expected.idle)[1] if expected.idle is not None else 0
    if not ends or watched_ns <= due_ns or any(prober.side in ends for prober in connection.probers):
        return
    for prober in connection.probers:
        sentence = (
            f"only {prober.side} probes ({counted(prober.probes, 'probe')} in {duration(watched_ns)}); expected "
            f"{expected.side} to probe; it did not"
        )
        yield Claim(sentence, [probe.frame for episode in prober.episodes[:3] for probe in episode.probes[:1]])


def two_timers(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """The silences before one side's probes fall into two groups, by turns, that no single timer makes.

    Groups that follow each other are one timer that was set anew; where replies did not reach the prober, the gaps are
    those of idle and interval; one that is a multiple of the other may hold probes that the capture lacks.
    """
    for prober in facts.probers:
        in_order = _idle_gaps(prober) if not prober.idle.candidates else []
        gaps = sorted(in_order)
        if len(gaps) < FEWEST or prober.unheard:
            continue
        jump, cut = max((b - a, i + 1) for i, (a, b) in enumerate(pairwise(gaps)))
        low, high = gaps[:cut], gaps[cut:]
        tight = all(group[-1] - group[0] < 0.1 * group[0] for group in (low, high))
        mixed = len(list(groupby(in_order, key=lambda gap: gap <= low[-1]))) >= MIXED
        by_turns = tight and mixed and min(len(low), len(high)) >= 2 and jump > 0.2 * gaps[0]
        if by_turns and not _is_multiple(high[0], low[0]):
            sentence = (
                f"two timers likely probe from {prober.side}: after {between(low[0], low[-1])} of silence "
                f"({len(low)} times) and after {between(high[0], high[-1])} ({len(high)} times), by turns"
            )
            yield Claim(sentence, [p.frame for e in prober.episodes[:8] for p in e.probes[:1]])


def _is_multiple(gap_ns: int, other_ns: int) -> bool:
    """Return whether one gap is twice another, or more times, as far as timers are late."""
    times = round(gap_ns / other_ns)
    return times > 1 and abs(gap_ns - times * other_ns) <= LATE * gap_ns


def _idle_gaps(prober: Prober) -> list[int]:
    """Return the silences before a prober's answered probes, nanoseconds."""
    return [e.first_gap_ns for e in prober.episodes if e.first_gap_ns is not None and e.ending == Ending.ANSWERED]
