"""Findings about replies: swallowed although the peer is up, held back by a limit, lost on the way to the prober."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from kacap.classify.kinds import Ending
from kacap.findings.connection_facts import Claim, ConnectionFacts, closing_ns, episodes, frames_of, met_nothing
from kacap.findings.context import Context
from kacap.findings.idle import death_of, is_lively
from kacap.findings.screening import RATE_LIMIT_NS
from kacap.model import Episode, Probe, Prober
from kacap.units import between, counted, duration

ALIKE = 3  # runs of one length: two may be chance
SHOWN, MANY = 4, 16  # frames
UNANSWERED = (Ending.GAVE_UP, Ending.OPEN, Ending.RESUMED, Ending.USER_TIMEOUT, Ending.RESET)


def unanswered_while_alive(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Probes go unanswered while the same peer is heard on another connection: it is the probes that are swallowed."""
    death = death_of(facts)
    if death is not None and is_lively(death, context):
        return  # forgotten after a silence: another row
    for prober, episode in episodes(facts, *UNANSWERED):
        lost = [probe for probe in _missed(episode) if probe.reply_frame is None]
        if len(lost) < 2 or not _heard_elsewhere(facts, context, prober, (lost[0].time_ns, closing_ns(episode))):
            continue
        never = " (none on this connection was ever answered)" if prober.replies == 0 else ""
        gave_up = f", and {prober.side} gave up" if episode.ending in (Ending.GAVE_UP, Ending.USER_TIMEOUT) else ""
        shown = gave_up or met_nothing(facts, prober, episode)
        unseen = "" if shown else ", or were answered in what the capture does not show"
        sentence = (
            f"{prober.peer.address} is up: it was heard on another connection while {counted(len(lost), 'probe')} of "
            f"{prober.side} to {prober.peer} went unanswered{never}{gave_up}{unseen}"
        )
        yield Claim(sentence, frames_of(episode))


def _heard_elsewhere(facts: ConnectionFacts, context: Context, prober: Prober, span: tuple[int, int]) -> bool:
    """Return whether a prober's peer was heard on another connection within a span, and not on this one."""
    return context.alive(prober.peer, prober.side, *span) and not facts.heard_within(prober.peer, *span)


def _missed(episode: Episode) -> list[Probe]:
    """Return the probes of an episode that met nothing at all: an RST answers the last one."""
    return episode.probes[:-1] if episode.ending == Ending.RESET else episode.probes


def rate_limited(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """A probe less than half a second after an answered one: Linux answers such segments twice a second at most."""
    for prober in facts.probers:
        if prober.steady or not prober.replies or prober.gaps_ns is None or prober.gaps_ns[0] >= RATE_LIMIT_NS:
            continue
        frames, answered_ns = [], None
        for probe in (probe for episode in prober.episodes for probe in episode.probes):
            if probe.reply_frame is not None:
                answered_ns = probe.time_ns
            elif answered_ns is not None and probe.time_ns - answered_ns < RATE_LIMIT_NS:
                frames.append(probe.frame)
        if frames:
            sentence = (
                f"{counted(len(frames), 'probe')} of {prober.side} came within 0.5 s of an answered one and got no "
                f"reply: {prober.peer} likely limits its replies (Linux does), these are no losses"
            )
            yield Claim(sentence, frames)


def outage(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Probes went unanswered, two or more in a row, then the peer answered again: for how long nothing was heard.

    Misses that a limit on replies explains are not an outage, nor is silence while the peer sends elsewhere, nor what
    the capture may lack.
    """
    survived = [(prober, runs) for prober in facts.probers if prober.longest_run > 1 and (runs := _survived(prober))]
    if not survived or _limited(facts, context):
        return
    for prober, runs in survived:
        found = []
        for episode in runs:
            lost = _lost(episode)
            if len(lost) < 2:
                continue
            if not met_nothing(facts, prober, episode, from_first=True):
                continue
            since_ns = episode.silent_since_ns or lost[0].time_ns
            back_ns = _back_ns(episode)
            if not _heard_elsewhere(facts, context, prober, (lost[0].time_ns, lost[-1].time_ns)):
                shown = met_nothing(facts, prober, episode)
                least = "" if episode.silent_since_ns else "at least "
                found.append((back_ns - since_ns, len(lost), frames_of(episode), shown, least))
        alike = len({number for _, number, *_ in found}) == 1 and len(found) > 1 and prober.lone <= 1
        if found and not alike:  # runs of one length, one after the other, may be a limit on replies
            lasted_ns, number, frames, shown, least = max(found)
            unseen = "" if shown else ", unless it answered in what the capture does not show"
            more = f", the longest of {len(found)} outages" if len(found) > 1 else ""
            sentence = (
                f"nothing was heard of {prober.peer} for {least}{duration(lasted_ns)} ({counted(number, 'probe')} of "
                f"{prober.side} unanswered){more}, then it answered again: the connection survived{unseen}"
            )
            yield Claim(sentence, frames)


def _limited(facts: ConnectionFacts, context: Context) -> bool:
    """Return whether a limit on replies explains misses."""
    return any(rate_limited(facts, context)) or any(regular_misses(facts, context))


def _survived(prober: Prober) -> list[Episode]:
    """Return the runs with misses after which the peer was heard again."""
    return [e for e in prober.runs if e.ending in (Ending.ANSWERED, Ending.RESUMED)] if prober.missed else []


def _lost(episode: Episode) -> list[Probe]:
    """Return the probes of a run that were missed."""
    return [probe for probe in episode.probes if probe.outcome == "missed"]


def _back_ns(episode: Episode) -> int:
    """Return when a run's peer was heard again: its reply, or at the latest its prober's last probe if it spoke."""
    replies = [probe.time_ns + probe.reply_after_ns for probe in episode.probes if probe.reply_after_ns is not None]
    return min(replies) if replies else episode.probes[-1].time_ns


def probe_loss(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Probes are missed again and again, with answers in between: something loses packets."""
    survived = [(prober, runs) for prober in facts.probers if (runs := _survived(prober))]
    if not survived or _limited(facts, context):
        return
    for prober, runs in survived:
        lost = [found for found in map(_lost, runs) if found]
        number = sum(map(len, lost))
        if len(lost) >= ALIKE:
            shown = all(met_nothing(facts, prober, episode) for episode in runs if _lost(episode))
            where = "on the path" if shown else "on the path, or are in what the capture does not show"
            sentence = (
                f"{number:,} of {prober.probes:,} probes of {prober.side} to {prober.peer} got no answer, in "
                f"{len(lost):,} runs with answers in between: probes or replies are lost {where}"
            )
            yield Claim(sentence, [probe.frame for found in lost for probe in found][:MANY])


def regular_misses(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Every k-th probe is answered, again and again: losses are not so regular, a limit on replies is.

    Probes that come sooner than Linux answers have their own row.
    """
    some = [prober for prober in facts.probers if prober.replies >= ALIKE and not prober.steady and prober.lone <= 1]
    if not some or any(rate_limited(facts, context)):
        return
    for prober in some:
        answered = [e for e in prober.episodes if e.ending == Ending.ANSWERED][1:]
        lengths = {len(episode.probes) for episode in answered}
        if len(answered) >= ALIKE - 1 and len(lengths) == 1 and min(lengths) > 1:
            replies = [p.time_ns + (p.reply_after_ns or 0) for e in answered for p in e.probes if p.reply_frame]
            gaps = [b - a for a, b in pairwise(replies)]
            if 2 * max(gaps) > 3 * min(gaps):  # a limit is one of time: it is met after as long each time
                continue
            shown = all(met_nothing(facts, prober, episode) for episode in answered)
            unseen = "" if shown else ", or as many replies are in what the capture does not show"
            sentence = (
                f"{prober.peer} answers one probe in {min(lengths)}, regularly ({between(min(gaps), max(gaps))} "
                "apart): it likely limits its replies (net.ipv4.tcp_invalid_ratelimit, 500 ms unless set), or "
                f"something in between loses as many{unseen}"
            )
            yield Claim(sentence, [frame for episode in answered[:4] for frame in frames_of(episode)])


def reply_lost(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Replies are in the capture, yet the prober went on as if none had come.

    Its probes echo the timestamp of the last reply that it heard (RFC 7323 4.3): where they go on echoing an older one
    than the replies before them carry, these were lost. One such reply is a loss as any other, unless it gave up.
    """
    for prober in facts.probers:
        gave_up = prober.ending in (Ending.GAVE_UP, Ending.USER_TIMEOUT)
        if prober.unheard < (1 if gave_up else 2):
            continue
        replies = [p.reply_frame for e in prober.episodes for p in e.probes if p.reply_frame][-SHOWN:]
        resets = [r.frame for r in facts.resets if gave_up and r.from_a == (prober.side == facts.connection.a)][-1:]
        end = f", and {prober.side} gave up" if gave_up else ""
        sentence = (
            f"replies of {prober.peer} are in the capture, but at least {prober.unheard:,} did not reach "
            f"{prober.side}: it went on echoing an older timestamp{end}; they were lost between the "
            "capture point and the prober"
        )
        yield Claim(sentence, [*replies, *resets])
