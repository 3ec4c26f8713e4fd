"""Who reset a connection: an RST that a box made in the name of one side, by what its headers give away."""

from __future__ import annotations

from collections.abc import Iterator

from kacap.clock import SECOND_NS
from kacap.findings import observed as bits
from kacap.findings.connection_facts import Claim, ConnectionFacts, Reset
from kacap.findings.context import Context
from kacap.findings.idle import death_of, forgetting, limit_words
from kacap.findings.observing import COUNTED_UP
from kacap.model import FrameRef
from kacap.units import counted, duration

TOLD_SILENCE_NS = 3 * SECOND_NS  # a shorter silence before an RST is not idle time


def forged_reset(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """RSTs whose TTL, IP ID or speed is not that of the side they claim to come from."""
    claims: dict[str, list[FrameRef]] = {}
    for reset in facts.resets:
        if reset.forged:
            reasons = ", ".join(_reasons(facts, reset))
            words = f"{facts.end(reset.from_a)} was likely made by a box in between: {reasons}"
            void = "" if reset.in_window else "; its sequence number is off, so that the receiver ignores it"
            claims.setdefault(f"{words}{_silence_before(facts, reset, context)}{void}", []).append(reset.frame)
    for words, frames in claims.items():
        which = "the RST" if len(frames) == 1 else f"each of {len(frames)} RSTs"
        yield Claim(f"{which} in the name of {words}", frames)


def usual_ttl(facts: ConnectionFacts, from_a: bool) -> int:
    """Return the TTL of most of a side's data; without data, of most of its other segments, or of its SYN,ACK."""
    side = facts.side(from_a)
    for counts in (side.data_n, [r + o for r, o in zip(side.reply_n, side.other_n, strict=True)]):
        if sum(counts):
            return int(max(zip(counts, side.ttl, strict=True), key=lambda one: one[0])[1])
    return int(side.syn_ttl)


def _reasons(facts: ConnectionFacts, reset: Reset) -> list[str]:
    """Return in words what sets an RST apart from its side's segments.

    IP ID and options only add to it: a host's own RST without a socket has IP ID 0 and no options (tcp_v4_send_reset).
    """
    side, reasons = facts.side(reset.from_a), []
    if reset.about & bits.FOREIGN_TTL:
        data = "data" if sum(side.data_n) else "other segments"
        reasons.append(f"its TTL is {reset.ttl}, that of its {data} {usual_ttl(facts, reset.from_a)}")
    if reset.about & bits.OTHER_COUNTER:
        reasons.append(f"it follows that side's own RST, with TTL {reset.ttl} for {usual_ttl(facts, reset.from_a)}")
    if reset.about & bits.TOO_FAST:
        replies = f"the fastest of {counted(side.replies, 'reply', 'replies')} after {duration(side.reply_ns)}"
        reasons.append(f"it came {duration(reset.after_ns)} after the probe, {replies}")
    if reset.usual_ip_id and reset.ip_id and not 0 < (reset.ip_id - reset.usual_ip_id) % 65_536 < COUNTED_UP:
        reasons.append(f"its IP ID is {reset.ip_id}, that of the segment before {reset.usual_ip_id}")
    if reset.about & bits.UNSTAMPED:
        reasons.append("it has no timestamps")
    return reasons


def _silence_before(facts: ConnectionFacts, reset: Reset, context: Context) -> str:
    """Return in words the silence that the RST ended, or that its first use did; empty if it was short.

    Known limits are named where no other row does: a box resets both ends when its limit has passed, unasked.
    """
    death = death_of(facts)
    if death is not None and reset.frame in death.frames:
        return f"; it came at the first use after {duration(death.silence_ns)} of silence"
    if reset.silence_ns < TOLD_SILENCE_NS:
        return ""
    limits = forgetting(facts.survived_ns, reset.silence_ns, context)
    known = f"; known limits up to that: {limit_words(limits)}" if limits else ""
    return f"; it came unasked, after {duration(reset.silence_ns)} of silence{known}"
