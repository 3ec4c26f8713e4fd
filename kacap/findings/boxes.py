"""Findings about what stands between the ends: forged resets, forgotten connections, answers from nearer hops."""

from __future__ import annotations

from collections.abc import Iterator

from kacap.classify.kinds import Ending, Kind
from kacap.evidence import Case, Reset
from kacap.findings.case import Context, Told
from kacap.findings.endings import episodes, foreign, frames_of
from kacap.model import Endpoint, Prober
from kacap.timing.limits import matching
from kacap.units import counted, duration

LONG_IDLE_NS = 30_000_000_000  # the shortest idle limit of any known box is above this


def _ends(case: Case, from_a: bool) -> tuple[Endpoint, Endpoint]:
    """Return (who it claims to come from, to whom)."""
    a, b = case.connection.a, case.connection.b
    return (a, b) if from_a else (b, a)


def forged_reset(case: Case, context: Context) -> Iterator[Told]:
    """An RST over another number of hops than its side's data, or faster than that side ever answers."""
    for reset in case.evidence.resets:
        source, _ = _ends(case, reset.from_a)
        reasons = []
        if foreign(reset):
            reasons.append(f"its TTL is {reset.ttl}, that of its data {reset.usual_ttl}")
        faster = _faster_than_replies(case, reset)
        if faster:
            reasons.append(faster)
        if not reasons:
            continue
        if reset.bare:
            reasons.append("it has no timestamps")
        void = "" if reset.in_window else "; its sequence number is off, so that the receiver ignores it"
        yield f"the RST in the name of {source} was made by a box in between: {', '.join(reasons)}{void}", [reset.frame]


def _faster_than_replies(case: Case, reset: Reset) -> str:
    """Return in words that a reset came faster than any reply could, empty if it did not."""
    if reset.kind != Kind.RESET:
        return ""
    source, _ = _ends(case, reset.from_a)
    prober = next((p for p in case.connection.probers if p.peer == source), None)
    if prober is None or prober.reply_after_ns is None or prober.replies < 2:
        return ""
    sent = [p.time_ns for e in prober.episodes for p in e.probes if p.time_ns <= reset.time_ns]
    after, fastest = reset.time_ns - max(sent, default=reset.time_ns), prober.reply_after_ns[0]
    if fastest < 1_000_000 or after * 3 > fastest:
        return ""
    replies = f"the fastest of {prober.replies} replies after {duration(fastest)}"
    return f"it came {duration(after)} after the probe, {replies}"


def _survived(case: Case, prober: Prober) -> int:
    """Return the longest silence that the connection is known to have survived."""
    answered = [
        episode.first_gap_ns for episode in prober.episodes
        if episode.first_gap_ns is not None and episode.ending in (Ending.ANSWERED, Ending.RESUMED)
    ]
    return max([case.survived_ns, *answered], default=0)


def path_forgot(case: Case, context: Context) -> Iterator[Told]:
    """Probes after a long silence meet nothing, or a reset, where shorter silences were survived."""
    for prober, episode in episodes(case, Ending.GAVE_UP, Ending.RESET, Ending.USER_TIMEOUT, Ending.OPEN):
        gap = episode.first_gap_ns
        if gap is None or gap < LONG_IDLE_NS or (episode.ending == Ending.OPEN and len(episode.probes) < 2):
            continue
        survived = _survived(case, prober)
        limits = matching(survived, gap)
        if not limits or survived >= gap:
            continue
        names = ", ".join(f"{limit.what} {duration(limit.seconds * 1_000_000_000)}" for limit in limits[:3])
        came = "an RST" if episode.ending == Ending.RESET else "nothing"
        sentence = (
            f"after {duration(gap)} of silence the first probe of {prober.side} met {came}; "
            f"{_before(survived)}; a box on the path may have forgotten the connection: {names}"
        )
        yield sentence, frames_of(episode)


def _before(survived_ns: int) -> str:
    """Return in words what the connection had survived before."""
    return f"it had survived {duration(survived_ns)}" if survived_ns else "no shorter silence was tried"


def nearer_answer(case: Case, context: Context) -> Iterator[Told]:
    """Replies come over fewer hops than data: something in between answers the probes."""
    evidence = case.evidence
    if len(evidence.near_replies) < 1 or evidence.near_ttls is None:
        return
    source, target = _ends(case, evidence.near_from_a)
    near, far = evidence.near_ttls
    sentence = (
        f"not end to end: replies in the name of {source} have TTL {near}, its data TTL {far}; what answers "
        f"{target} stands {counted(near - far, 'hop')} nearer"
    )
    yield sentence, evidence.near_replies


def reply_swallowed(case: Case, context: Context) -> Iterator[Told]:
    """Replies are in the capture, yet the prober went on as if none had come, and gave up."""
    for prober in case.connection.probers:
        if not prober.history.unheard:
            continue
        probes = [probe for episode in prober.episodes for probe in episode.probes]
        sentence = (
            f"{prober.side} gave up although replies of {prober.peer} are in the capture: they were lost between the "
            "place of the capture and the prober"
        )
        resets = [reset.frame for reset in case.evidence.resets[-1:]]
        yield sentence, [*(p.reply_frame for p in probes[-4:] if p.reply_frame), *resets]


def died_idle(case: Case, context: Context) -> Iterator[Told]:
    """A connection on which nobody probes died at its first use after a silence."""
    if case.connection.probers or not case.killed_ns or case.killed_ns < LONG_IDLE_NS:
        return
    limits = matching(case.survived_ns, case.killed_ns)
    names = ", ".join(f"{limit.what} {duration(limit.seconds * 1_000_000_000)}" for limit in limits[:3])
    likely = f"; known limits in between: {names}" if names else ""
    a, b = case.connection.a, case.connection.b
    sentence = (
        f"{a} > {b} died at first use after {duration(case.killed_ns)} of silence; {_before(case.survived_ns)}{likely}"
    )
    yield sentence, []
