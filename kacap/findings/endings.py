"""Findings about how probing ended: peer gone, restarted, unreachable, given up early, not answered though alive."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from kacap.classify.kinds import Ending
from kacap.evidence import Case, Reset
from kacap.findings.case import Context, Told
from kacap.model import Episode, FrameRef, Prober
from kacap.units import between, counted, duration, moment

RATE_LIMIT_NS = 500_000_000  # net.ipv4.tcp_invalid_ratelimit
# Names of ICMP and ICMPv6 codes: RFC 792, RFC 1812 5.2.7.1, RFC 4443 3.1.
UNREACHABLE_V4 = {
    0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
    9: "network prohibited", 10: "host prohibited", 13: "communication administratively prohibited",
}
UNREACHABLE_V6 = {
    0: "no route to destination", 1: "administratively prohibited", 2: "beyond scope of source address",
    3: "address unreachable", 4: "port unreachable", 5: "source address failed policy", 6: "route rejected",
}


def episodes(case: Case, *endings: Ending) -> Iterator[tuple[Prober, Episode]]:
    """Yield the episodes of a connection that ended in one of the ways given."""
    for prober in case.connection.probers:
        for episode in prober.episodes:
            if episode.ending in endings:
                yield prober, episode


def frames_of(episode: Episode) -> list[FrameRef]:
    """Return the frames that show an episode: its probes and what closed it."""
    frames = [probe.frame for probe in episode.probes]
    return [*frames, episode.ending_frame] if episode.ending_frame else frames


def closing_ns(episode: Episode) -> int:
    """Return when an episode was given up: one more gap after its last probe."""
    extra = episode.gaps_ns[-1] if len(episode.gaps_ns) >= len(episode.probes) else 0
    return episode.probes[-1].time_ns + extra


def _detection(episode: Episode) -> str:
    """Return how long it took from the last sign of life to the end, in words."""
    if episode.silent_since_ns is None:
        return "its last sign of life is before the capture"
    return f"{duration(closing_ns(episode) - episode.silent_since_ns)} after its last sign of life"


def peer_gone(case: Case, context: Context) -> Iterator[Told]:
    """Every probe of a run went unanswered and the prober reset the connection."""
    for prober, episode in episodes(case, Ending.GAVE_UP):
        sentence = (
            f"{prober.peer} is gone: {counted(len(episode.probes), 'probe')} unanswered, {prober.side} gave up "
            f"{_detection(episode)}; its application sees ETIMEDOUT"
        )
        yield sentence, frames_of(episode)


def peer_restarted(case: Case, context: Context) -> Iterator[Told]:
    """A reset without ACK at the number the probe acknowledged: the connection is not known there any more."""
    for prober, episode in episodes(case, Ending.RESET):
        reset = _reset_at(case, episode.ending_frame)
        if reset is None or foreign(reset):
            continue
        after = duration(reset.time_ns - episode.probes[-1].time_ns)
        sentence = (
            f"{prober.peer} answers the probe with RST after {after}: it has restarted, or closed without a word, and "
            "does not know the connection"
        )
        yield sentence, frames_of(episode)


def _reset_at(case: Case, frame: FrameRef | None) -> Reset | None:
    """Return the RST in a frame."""
    return next((reset for reset in case.evidence.resets if reset.frame == frame), None)


def foreign(reset: Reset) -> bool:
    """Return whether an RST came over another number of hops than its side's data."""
    return bool(reset.usual_ttl) and reset.ttl != reset.usual_ttl and not _same_host(reset.ttl, reset.usual_ttl)


def _same_host(ttl: int, usual: int) -> bool:
    """Return whether two TTLs are the same distance from two usual starts (64, 128, 255).

    A host sends its own RST with the same start as data; some stacks use 255 for control segments.
    """
    distances = [start - ttl for start in (64, 128, 255) if start >= ttl]
    usual_distance = min(start - usual for start in (64, 128, 255) if start >= usual)
    return usual_distance in distances and usual_distance < 40


def refused(case: Case, context: Context) -> Iterator[Told]:
    """ICMP errors quote probes: somebody on the way says why."""
    for by in sorted({refusal.by for refusal in case.evidence.refusals}):
        refusals = [refusal for refusal in case.evidence.refusals if refusal.by == by]
        first = refusals[0]
        prober = next((p for p in case.connection.probers if (p.side == case.connection.a) == first.from_a), None)
        if prober is None:
            continue
        names = UNREACHABLE_V6 if ":" in by else UNREACHABLE_V4
        kind = names.get(first.code, f"code {first.code}") if first.type in (1, 3) else f"ICMP type {first.type}"
        sentence = (
            f"{by} says of {prober.peer}: {kind} ({counted(len(refusals), 'error')} quoting probes of {prober.side}); "
            "Linux does not let that shorten the wait"
        )
        yield sentence, [refusal.frame for refusal in refusals]


def gave_up_early(case: Case, context: Context) -> Iterator[Told]:
    """Given up before the expected count: TCP_USER_TIMEOUT, bracketed by the two last firings."""
    for prober, episode in episodes(case, Ending.USER_TIMEOUT):
        since = episode.silent_since_ns
        bracket = ""
        if since is not None:
            low, high = episode.probes[-1].time_ns - since, closing_ns(episode) - since
            bracket = f": TCP_USER_TIMEOUT of {between(low, high)} overrides the count"
        expected = f" of {prober.count.expected}" if prober.count.expected else ""
        sentence = f"{prober.side} gave up after {len(episode.probes)}{expected} probes{bracket}"
        yield sentence, frames_of(episode)


def unanswered_while_alive(case: Case, context: Context) -> Iterator[Told]:
    """Probes go unanswered while the same peer answers on another connection: it is the probes that are swallowed."""
    for prober, episode in episodes(case, Ending.GAVE_UP, Ending.OPEN, Ending.RESUMED, Ending.USER_TIMEOUT):
        lost = [probe for probe in episode.probes if probe.reply_frame is None]
        if len(lost) < 2:
            continue
        heard = context.heard_between(prober.peer.address, lost[0].time_ns, closing_ns(episode))
        if heard is not None:
            sentence = (
                f"{prober.peer.address} is alive: it answered on another connection at {moment(heard)}, while "
                f"{counted(len(lost), 'probe')} of {prober.side} went unanswered"
            )
            yield sentence, frames_of(episode)


def rate_limited(case: Case, context: Context) -> Iterator[Told]:
    """A probe less than half a second after an answered one: Linux answers such segments twice a second at most."""
    for prober in case.connection.probers:
        frames, answered_ns = [], None
        for probe in (probe for episode in prober.episodes for probe in episode.probes):
            if probe.reply_frame is not None:
                answered_ns = probe.time_ns
            elif answered_ns is not None and probe.time_ns - answered_ns < RATE_LIMIT_NS:
                frames.append(probe.frame)
        if frames:
            sentence = (
                f"{counted(len(frames), 'probe')} of {prober.side} came within 0.5 s of an answered one: "
                f"{prober.peer} limits its replies, these are no losses"
            )
            yield sentence, frames


def regular_misses(case: Case, context: Context) -> Iterator[Told]:
    """Every k-th probe is answered, again and again: losses are not so regular, a limit on replies is."""
    for prober in case.connection.probers:
        answered = [e for e in prober.episodes if e.ending == Ending.ANSWERED][1:]
        lengths = {len(episode.probes) for episode in answered}
        if len(answered) >= 2 and len(lengths) == 1 and min(lengths) > 1:
            replies = [p.time_ns + (p.reply_after_ns or 0) for e in answered for p in e.probes if p.reply_frame]
            apart = between(*_least_and_most([b - a for a, b in pairwise(replies)]))
            sentence = (
                f"{prober.peer} answers one probe in {min(lengths)}, regularly ({apart} apart): it limits its replies "
                "(net.ipv4.tcp_invalid_ratelimit), or something in between does"
            )
            yield sentence, [frame for episode in answered[:4] for frame in frames_of(episode)]


def _least_and_most(values: list[int]) -> tuple[int, int]:
    """Return the smallest and the largest value."""
    return min(values), max(values)


def late_detection(case: Case, context: Context) -> Iterator[Told]:
    """How long detection took beside the budget of idle + interval x count."""
    for prober, episode in episodes(case, Ending.GAVE_UP, Ending.UNREACHABLE, Ending.USER_TIMEOUT):
        idle, interval, count = (s.expected for s in (prober.idle, prober.interval, prober.count))
        if episode.silent_since_ns is None or idle is None or interval is None or count is None:
            continue
        if len(episode.gaps_ns) < len(episode.probes):
            continue
        took, budget = closing_ns(episode) - episode.silent_since_ns, (idle + interval * count) * 1_000_000_000
        if took > 1.3 * budget or took < budget:
            side = "later" if took > budget else "sooner"
            sentence = (
                f"{prober.side} took {duration(took)} to notice, {side} than the budget of idle {idle} + interval "
                f"{interval} x count {count} = {duration(budget)}"
            )
            yield sentence, frames_of(episode)
