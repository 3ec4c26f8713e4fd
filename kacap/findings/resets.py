"""Who reset a connection: an RST that a box made in the name of one side, by what its headers give away."""

from __future__ import annotations

from collections.abc import Iterator

from kacap.clock import SECOND_NS
from kacap.findings import observed as bits
from kacap.findings.connection_facts import Claim, ConnectionFacts, Reset
from kacap.findings.context import Context
from kacap.findings.idle import death_of, forgetting, limit_words
from kacap.findings.observing import COUNTED_UP
from kacap.units import counted, duration

TOLD_SILENCE_NS = 3 * SECOND_NS  # a shorter silence before an RST is not idle time


def forged_reset(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """RSTs whose TTL, IP ID or speed is not that of the side they claim to come from."""
    alike: dict[tuple[str, ...], list[Reset]] = {}
    for reset in facts.resets:
        if reset.forged:
            void = "" if reset.in_window else "; its sequence number is off, so that the receiver ignores it"
            unstamped = ", it has no timestamps" if reset.about & bits.UNSTAMPED else ""
            after = f"{unstamped}{_silence_before(facts, reset, context)}{void}"
            alike.setdefault((str(facts.end(reset.from_a)), ", ".join(_reasons(facts, reset)), after), []).append(reset)
    for (name, reasons, after), resets in alike.items():
        which = "the RST" if len(resets) == 1 else f"each of {len(resets)} RSTs"
        ids = _ids(resets)
        made = f"was likely made by a box in between: {reasons}{ids}{after}"
        yield Claim(f"{which} in the name of {name} {made}", [reset.frame for reset in resets])


def _ids(resets: list[Reset]) -> str:
    """Return in words that IP IDs of resets are not of their side's counter; empty where they do not show it."""
    strange = [one for one in resets if one.usual_ip_id and one.ip_id and not _follows(one)]
    if not strange:
        return ""
    ids = sorted({reset.ip_id for reset in strange})
    shown = f"ID is {ids[0]}" if len(ids) == 1 else f"IDs are {ids[0]} to {ids[-1]}"
    whose = "its" if len(resets) == 1 else "their"
    return f", {whose} IP {shown}, that of the segment before {strange[0].usual_ip_id}"


def _follows(reset: Reset) -> bool:
    """Return whether the IP ID of a reset is a little above that of its side's segment before."""
    return 0 < (reset.ip_id - reset.usual_ip_id) % 65_536 < COUNTED_UP


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
    if reset.about & bits.BEYOND_RESET:
        reasons.append("it follows that side's own RST, at a sequence number that this side has never come to")
    if reset.about & bits.TOO_FAST:
        replies = f"the fastest of {counted(side.replies, 'reply', 'replies')} after {duration(side.reply_ns)}"
        reasons.append(f"it came {duration(reset.after_ns)} after the probe, {replies}")
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
