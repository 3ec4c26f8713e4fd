"""Findings about how probing ended: peer gone, restarted, closed long ago, unreachable, given up early or late."""

from __future__ import annotations

from collections.abc import Iterator

from kacap.classify.kinds import Ending
from kacap.clock import SECOND_NS
from kacap.findings.answers import hops
from kacap.findings.connection_facts import Claim, ConnectionFacts, Refusal, Reset, closing_ns, episodes, frames_of
from kacap.findings.context import Context
from kacap.findings.idle import death_of, is_lively, reset_at
from kacap.findings.observed import FIN_SEEN
from kacap.findings.resets import usual_ttl
from kacap.findings.screening import FAST_NS, Trait
from kacap.findings.silences import SOON_NS
from kacap.model import Episode, Probe, Prober
from kacap.timing.giving_up import may_be_the_application, user_timeout_words
from kacap.units import counted, duration

LATE = 1.3  # of the budget: timers may be late by an eighth, a capture may lack a probe
# Names of ICMP and ICMPv6 codes: RFC 792, RFC 1812 5.2.7.1, RFC 4443 3.1 and 3.3.
UNREACHABLE_V4 = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    9: "network prohibited",
    10: "host prohibited",
    13: "communication administratively prohibited",
}
UNREACHABLE_V6 = {
    0: "no route to destination",
    1: "administratively prohibited",
    2: "beyond scope of source address",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address failed policy",
    6: "route rejected",
}
NAMES = {(4, 3): UNREACHABLE_V4, (6, 1): UNREACHABLE_V6}
_EXPECTED = int(Trait.EXPECTED)
EXCEEDED = {(4, 11), (6, 3)}


def peer_gone(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Every probe of a run went unanswered, the prober reset the connection, and the peer sent nothing since."""
    for prober, episode in episodes(facts, Ending.GAVE_UP):
        span = episode.probes[0].time_ns, closing_ns(episode)
        if _is_early(facts, prober, episode) or facts.heard_within(prober.peer, *span):
            continue
        if context.alive(prober.peer, prober.side, *span) or _is_lively(facts, context):
            continue
        whole = episode.silent_since_ns is not None  # else there may have been probes before the capture
        one = " (a count of 1, or TCP_USER_TIMEOUT)" if len(episode.probes) == 1 and whole else ""
        either = "; or its application reset the connection" if may_be_the_application(prober) else ""
        sentence = (
            f"{prober.peer} is gone or cut off: {counted(len(episode.probes), 'probe')} unanswered, {prober.side} gave "
            f"up{_detection(episode)}{one}; its application sees ETIMEDOUT{either}"
        )
        yield Claim(sentence, frames_of(episode))


def _is_lively(facts: ConnectionFacts, context: Context) -> bool:
    """Return whether the end that did not answer after a silence was heard elsewhere."""
    death = death_of(facts)
    return death is not None and is_lively(death, context)


def _detection(episode: Episode) -> str:
    """Return how long it took from the last sign of life to the end, in words."""
    if episode.silent_since_ns is None:
        return ", its last sign of life is before the capture"
    return f" {duration(closing_ns(episode) - episode.silent_since_ns)} after its last sign of life"


def peer_restarted(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """A reset without ACK at the number the probe acknowledged: the connection is not known there any more.

    A reset with ACK, or one long after the probe, is the peer's application closing.
    """
    for prober, episode in episodes(facts, Ending.RESET):
        reset = reset_at(facts, episode.ending_frame)
        if reset is None or reset.forged or not reset.connection_unknown or reset.after_ns > SOON_NS:
            continue
        if hops(reset.ttl) != hops(usual_ttl(facts, reset.from_a)):
            continue  # other hops: a box or the peer
        if any(one.from_a == reset.from_a and one.in_window and one.time_ns < reset.time_ns for one in facts.resets):
            continue  # it had reset the connection before, and that did not arrive
        if facts.closed(reset.from_a) or _is_lively(facts, context) or _is_too_fast(reset, prober):
            continue
        after = duration(reset.time_ns - episode.probes[-1].time_ns)
        whole = facts.connection.began_in_capture and facts.side(reset.from_a).syn_ttl
        closed = "without a word" if whole else "without a word, or in what the capture does not show"
        sentence = (
            f"{prober.peer} answers the probe with RST after {after}: it does not know the connection, so it has "
            f"likely restarted or closed {closed}, or an address translation on the way was lost"
        )
        yield Claim(sentence, frames_of(episode))


def _is_too_fast(reset: Reset, prober: Prober) -> bool:
    """Return whether an RST came far faster than any reply: it may be nearer than the peer."""
    fastest_ns = 0 if prober.reply_after_ns is None else prober.reply_after_ns[0]
    return bool(fastest_ns >= FAST_NS and 3 * reset.after_ns < fastest_ns)


def probes_after_close(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """The peer has closed, the prober has not and probes on: its socket is in CLOSE_WAIT (RFC 9293 3.6)."""
    for prober in facts.probers:
        peer, own = (facts.side(prober.side != facts.connection.a), facts.side(prober.side == facts.connection.a))
        if not peer.known & FIN_SEEN or own.known & FIN_SEEN:
            continue
        late = [probe for episode in prober.episodes for probe in episode.probes if probe.time_ns > peer.fin_ns]
        if late:
            forgotten = " and has forgotten the connection by now (RST)" if prober.ending == Ending.RESET else ""
            sentence = (
                f"{prober.peer} has closed (FIN){forgotten}, {prober.side} has not and went on probing: "
                f"{counted(len(late), 'probe')}{_over(late)}; its socket is in CLOSE_WAIT"
            )
            yield Claim(sentence, [probe.frame for probe in late])


def _over(probes: list[Probe]) -> str:
    """Return the time that probes span, in words."""
    return f" in {duration(probes[-1].time_ns - probes[0].time_ns)}" if len(probes) > 1 else ""


def refused(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """ICMP errors quote probes: somebody on the way says why."""
    for prober in facts.probers:
        from_a = prober.side == facts.connection.a
        quotes = [refusal for refusal in facts.refusals if refusal.from_a == from_a]
        if not quotes:
            continue
        sent_ns = {probe.time_ns for episode in prober.episodes for probe in episode.probes}
        quotes = [refusal for refusal in quotes if refusal.quoted_ns in sent_ns]
        for by in sorted({refusal.by for refusal in quotes}):
            refusals = [refusal for refusal in quotes if refusal.by == by]
            kinds = ", ".join(dict.fromkeys(_kind(refusal) for refusal in refusals))
            errors = counted(len(refusals), "error")
            sentence = (
                f"{by} says of {prober.peer}: {kinds} ({errors} quoting probes of {prober.side}); "
                "Linux keeps probing regardless"
            )
            yield Claim(sentence, [refusal.frame for refusal in refusals])


def _kind(refusal: Refusal) -> str:
    """Return what an ICMP error says, in words."""
    kind = (6 if ":" in refusal.by else 4, refusal.type)
    if kind in EXCEEDED:
        return "time exceeded (a routing loop, or too many hops)"
    return NAMES.get(kind, {}).get(refusal.code, f"ICMP type {refusal.type} code {refusal.code}")


def gave_up_early(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Given up before the expected count: TCP_USER_TIMEOUT, bracketed by the two last firings."""
    for prober, episode in episodes(facts, Ending.GAVE_UP, Ending.USER_TIMEOUT):
        if not _is_early(facts, prober, episode):
            continue
        bracket = ""
        if span := user_timeout_words(prober):
            known = episode.ending == Ending.USER_TIMEOUT
            either = "" if known else f"a count of {len(episode.probes)}, or "
            bracket = f": {either}a TCP_USER_TIMEOUT of {span} overrides the count"
        expected = f" of {prober.count.expected}" if prober.count.expected else ""
        yield Claim(f"{prober.side} gave up after {len(episode.probes)}{expected} probes{bracket}", frames_of(episode))


def _is_early(facts: ConnectionFacts, prober: Prober, episode: Episode) -> bool:
    """Return whether a prober gave up before its expected count."""
    if episode.ending == Ending.USER_TIMEOUT:
        return True
    expected = prober.count.expected if facts.traits & _EXPECTED else None
    return expected is not None and episode.ending == Ending.GAVE_UP and len(episode.probes) < expected


def late_detection(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """How long detection took beside the budget of idle + interval x count; what ended it early has its own row."""
    for prober, episode in episodes(facts, Ending.GAVE_UP, Ending.UNREACHABLE):
        budget = _budget_s(prober)
        if episode.silent_since_ns is None or budget is None or len(episode.gaps_ns) < len(episode.probes):
            continue
        if _is_early(facts, prober, episode):
            continue
        took = closing_ns(episode) - episode.silent_since_ns
        if not budget * SECOND_NS <= took <= LATE * budget * SECOND_NS:
            side = "later" if took > budget * SECOND_NS else "sooner"
            sentence = (
                f"{prober.side} took {duration(took)} to notice, {side} than the budget of idle "
                f"{prober.idle.expected} + interval {prober.interval.expected} x count {prober.count.expected} = "
                f"{duration(budget * SECOND_NS)}"
            )
            yield Claim(sentence, frames_of(episode))


def _budget_s(prober: Prober) -> int | None:
    """Return idle + interval x count as expected, in seconds; None: not all three are."""
    idle, interval, count = (setting.expected for setting in (prober.idle, prober.interval, prober.count))
    return None if idle is None or interval is None or count is None else idle + interval * count
