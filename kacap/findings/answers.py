"""Findings about who answers: something nearer than the peer."""

from __future__ import annotations

from collections.abc import Iterator

from kacap.findings.connection_facts import Claim, ConnectionFacts
from kacap.findings.context import Context
from kacap.model import FrameRef
from kacap.units import counted

STARTS = (64, 128, 255)  # what a packet's TTL starts with
SHOWN = 16  # frames


def hops(ttl: int) -> int:
    """Return over how many hops a packet came, by the next usual start above its TTL."""
    return min(start - ttl for start in STARTS if start >= ttl)


def nearer_answer(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """All replies come over fewer hops than all data: something in between answers the probes."""
    for from_a in (False, True):
        side = facts.side(from_a)
        if side.more_ttls or not side.reply_n.any():
            continue  # where one side's segments come with several TTLs, they tell nothing
        by_reply = [ttl for ttl, n in zip(side.ttl, side.reply_n, strict=True) if n]
        by_data = [ttl for ttl, n in zip(side.ttl, side.data_n, strict=True) if n]
        if len(by_reply) != 1 or len(by_data) != 1:
            continue
        near, far = int(by_reply[0]), int(by_data[0])
        nearer = hops(far) - hops(near)
        if nearer < 2:
            continue
        replies = counted(sum(side.reply_n), "reply", "replies")
        sentence = (
            f"not end to end: {replies} in the name of {facts.end(from_a)} with TTL {near}, its data with TTL {far}; "
            f"what answers {facts.end(not from_a)} likely stands {counted(nearer, 'hop')} nearer"
        )
        yield Claim(sentence, _replies(facts, from_a))


def _replies(facts: ConnectionFacts, from_a: bool) -> list[FrameRef]:
    """Return the first replies of a side to probes."""
    probers = [prober for prober in facts.connection.probers if prober.peer == facts.end(from_a)]
    probes = (probe for prober in probers for episode in prober.episodes for probe in episode.probes)
    return [probe.reply_frame for probe in probes if probe.reply_frame is not None][:SHOWN]
