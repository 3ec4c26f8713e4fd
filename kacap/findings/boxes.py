"""Findings about what stands between the ends: resets that it makes, connections that it forgets, probes it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from kacap.classify.kinds import Ending, Kind
from kacap.evidence import LONG_IDLE_NS, Case, Reset
from kacap.findings.case import Context, Told, closing_ns, episodes, frames_of
from kacap.model import Endpoint, Episode, FrameRef, Prober
from kacap.timing.limits import Limit, matching
from kacap.units import counted, duration

COUNTS_UP = 4096  # how far a host's next IP ID may be from its last
SOON_NS = 60_000_000_000  # who finds a connection dead opens another by then
STEADY = 20  # a silence that differs from one survived before by less than a twentieth is no longer one


@dataclass(frozen=True, slots=True)
class Death:
    """The first use of a connection after a silence that got an RST, or nothing, in nanoseconds.

    ``dead`` is the end that should have answered, ``by_box`` whether the RST in its name looks like a box's.
    """

    silence_ns: int
    at_ns: int
    until_ns: int
    dead: Endpoint
    by_reset: bool
    by_box: bool
    frames: list[FrameRef]
    user: Endpoint
    probed: bool


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


def reset_at(case: Case, frame: FrameRef | None) -> Reset | None:
    """Return the RST in a frame."""
    return next((reset for reset in case.evidence.resets if reset.frame == frame), None)


def survived_ns(case: Case) -> int:
    """Return the longest silence that the connection is known to have survived, nanoseconds."""
    return max([case.survived_ns, *(prober.survived_ns for prober in case.connection.probers)])


def death_of(case: Case) -> Death | None:
    """Return how a connection was found dead at its first use after a long silence, None if it was not.

    A silence that it has survived before, as each probe of a regular prober shows, is none; nor is one after the other
    side had closed.
    """
    for prober, episode in episodes(case, Ending.GAVE_UP, Ending.RESET, Ending.USER_TIMEOUT, Ending.OPEN):
        if episode.ending == Ending.OPEN and len(episode.probes) < 2:
            continue
        death = _at_probe(case, prober, episode)
        if death is not None and not case.closed[death.dead == case.connection.a]:
            return death
    killed = case.killed
    if killed is None or case.connection.probers or killed.silence_ns < LONG_IDLE_NS:
        return None
    if case.survived_ns >= killed.silence_ns or case.closed[not killed.from_a]:
        return None
    dead, user = case.end(not killed.from_a), case.end(killed.from_a)
    resets = [r for r in case.evidence.resets if r.time_ns >= killed.at_ns and r.from_a != killed.from_a][:1]
    frames = [r.frame for r in resets] if killed.by_reset else case.evidence.resent[:6]
    by_box = killed.by_reset and any(foreign(reset) for reset in resets)
    until_ns = case.connection.last_ns
    return Death(killed.silence_ns, killed.at_ns, until_ns, dead, killed.by_reset, by_box, frames, user, False)


def _at_probe(case: Case, prober: Prober, episode: Episode) -> Death | None:
    """Return the death that a run of probes found."""
    gap = episode.first_gap_ns
    if gap is None or gap < LONG_IDLE_NS or survived_ns(case) * STEADY >= gap * (STEADY - 1):
        return None
    by_reset = episode.ending == Ending.RESET
    reset = reset_at(case, episode.ending_frame) if by_reset else None
    by_box = reset is not None and foreign(reset)
    times = gap, episode.probes[0].time_ns, closing_ns(episode)
    return Death(*times, prober.peer, by_reset, by_box, frames_of(episode), prober.side, True)


def destination(case: Case) -> Endpoint:
    """Return the end that was connected to; where the SYN was not captured, the one with the smaller port."""
    a, b = case.connection.a, case.connection.b
    return b if case.connection.began_in_capture or b.port <= a.port else a


def is_lively(death: Death, context: Context) -> bool:
    """Return whether the end that should have answered was not gone itself: a box has forgotten the connection.

    After silence it was heard elsewhere, then or soon after: a laptop may sleep for longer. An RST proves that
    something is there, but a host that was started again sends one too: then no connection is older than the silence.
    """
    address = death.dead.address
    if death.by_box:
        return True
    if address == death.user.address:
        return False  # what is heard of it may be the user's own
    if death.by_reset:
        return context.heard.throughout(address, death.at_ns - death.silence_ns, death.at_ns)
    return context.alive(death.dead, death.user, death.at_ns, death.until_ns + SOON_NS)


def forgetting(low_ns: int, high_ns: int, context: Context) -> list[Limit]:
    """Return the known limits of boxes that forget without a word, above a silence survived, up to one that killed.

    Where only data counts the box is an end itself (a proxy): it closes, and the capture shows that.
    """
    return [limit for limit in matching(low_ns, high_ns, context.limits) if limit.refreshed]


def limit_words(limits: Iterable[Limit]) -> str:
    """Return limits as ``350 s (AWS NLB (TCP), AWS NAT gateway), 300 s (F5 BIG-IP)``, the nearest first."""
    words = []
    for seconds, group in groupby(limits, key=lambda limit: limit.seconds):
        names = [limit.what for limit in group]
        more = ", ..." if len(names) > 3 else ""
        words.append(f"{duration(seconds * 1_000_000_000)} ({', '.join(names[:3])}{more})")
    return ", ".join(words[:3])


def forged_reset(case: Case, context: Context) -> Iterator[Told]:
    """An RST over another number of hops than its side's data, or faster than that side ever answers."""
    told: dict[str, list[FrameRef]] = {}
    for reset in case.evidence.resets:
        reasons = _reasons(case, reset)
        if reasons:
            void = "" if reset.in_window else "; its sequence number is off, so that the receiver ignores it"
            words = f"{case.end(reset.from_a)} was likely made by a box in between: {', '.join(reasons)}"
            told.setdefault(f"{words}{_silence_before(case, reset, context)}{void}", []).append(reset.frame)
    for words, frames in told.items():
        which = "the RST" if len(frames) == 1 else f"each of {len(frames)} RSTs"
        yield f"{which} in the name of {words}", frames


def _reasons(case: Case, reset: Reset) -> list[str]:
    """Return in words what sets an RST apart from its side's segments, empty if nothing does.

    IP ID and options only add to it: a host's own RST without a socket has IP ID 0 and no options (tcp_v4_send_reset).
    """
    reasons = [f"its TTL is {reset.ttl}, that of its data {reset.usual_ttl}"] if foreign(reset) else []
    if faster := _faster_than_replies(case, reset, 1 if reasons else 2):
        reasons.append(faster)
    if not reasons:
        return []
    if reset.usual_ip_id and reset.ip_id and not 0 < (reset.ip_id - reset.usual_ip_id) % 65_536 < COUNTS_UP:
        reasons.append(f"its IP ID is {reset.ip_id}, that of the segment before {reset.usual_ip_id}")
    if reset.bare:
        reasons.append("it has no timestamps")
    return reasons


def _silence_before(case: Case, reset: Reset, context: Context) -> str:
    """Return in words the silence that the RST ended, or that its first use did; empty if it was short.

    Known limits are named where no other row does: a box resets both ends when its limit has passed, unasked.
    """
    death = death_of(case)
    if death is not None and reset.frame in death.frames:
        return f"; it came at the first use after {duration(death.silence_ns)} of silence"
    if reset.silence_ns < LONG_IDLE_NS:
        return ""
    limits = forgetting(survived_ns(case), reset.silence_ns, context)
    known = f"; known limits up to that: {limit_words(limits)}" if limits else ""
    return f"; it came unasked, after {duration(reset.silence_ns)} of silence{known}"


def _faster_than_replies(case: Case, reset: Reset, least: int) -> str:
    """Return in words that a reset came faster than any of so many replies, empty if it did not."""
    if reset.kind != Kind.RESET:
        return ""
    source = case.end(reset.from_a)
    prober = next((p for p in case.connection.probers if p.peer == source), None)
    if prober is None or prober.reply_after_ns is None or prober.replies < least:
        return ""
    sent = [p.time_ns for e in prober.episodes for p in e.probes if p.time_ns <= reset.time_ns]
    after, fastest = reset.time_ns - max(sent, default=reset.time_ns), prober.reply_after_ns[0]
    if fastest < 1_000_000 or after * 3 > fastest:
        return ""
    replies = f"the fastest of {counted(prober.replies, 'reply', 'replies')} after {duration(fastest)}"
    return f"it came {duration(after)} after the probe, {replies}"


def path_forgot(case: Case, context: Context) -> Iterator[Told]:
    """Probes after a long silence meet nothing, or an RST, where shorter silences were survived or the peer is up."""
    death = death_of(case)
    if death is None or not death.probed:
        return
    survived, lively = survived_ns(case), is_lively(death, context)
    limits = forgetting(survived, death.silence_ns, context)
    tight = survived >= LONG_IDLE_NS and 2 * survived >= death.silence_ns
    if lively or (tight and limits):
        came = "an RST" if death.by_reset else "nothing"
        yield f"after {duration(death.silence_ns)} of silence the first probe of {death.user} met {came}; " + _blame(
            death, survived, lively, limits
        ), death.frames


def _blame(death: Death, survived: int, lively: bool, limits: list[Limit]) -> str:
    """Say what was survived before, and how likely it is that a box has forgotten the connection."""
    before = f"it had survived {duration(survived)}" if survived else "no shorter silence was tried"
    known = f"; known limits in between: {limit_words(limits)}" if limits else ""
    if not lively:
        gone = "was started again" if death.by_reset else "has gone"
        return f"{before}; a box on the path may have forgotten the connection, or the peer {gone} meanwhile{known}"
    if death.by_box:
        why = "the RST is not the peer's own"
    elif death.by_reset:
        why = f"another connection of {death.dead.address} outlived that time"
    else:
        why = f"{death.dead.address} was heard on another connection then"
    return f"{before}; a box on the path has likely forgotten the connection ({why}){known}"


def died_idle(case: Case, context: Context) -> Iterator[Told]:
    """A connection on which nobody probes was found dead at its first use after a silence."""
    death = death_of(case)
    if death is None or death.probed:
        return
    lively, survived = is_lively(death, context), survived_ns(case)
    if not (death.by_reset or lively) or destination(case) in context.bracketed:
        return
    limits = forgetting(survived, death.silence_ns, context)
    came = "an RST" if death.by_reset else "no answer"
    sentence = (
        f"{death.user} > {death.dead} died while nobody used it: what came after {duration(death.silence_ns)} of "
        f"silence got {came}; {_blame(death, survived, lively, limits)}"
    )
    yield sentence, death.frames


def nearer_answer(case: Case, context: Context) -> Iterator[Told]:
    """All replies come over fewer hops than data: something in between answers the probes."""
    for from_a in (False, True):
        replies = case.evidence.replies[from_a]
        near, far = replies.near_ttls
        if replies.near == 0 or replies.near < replies.number or _same_host(near, far):
            continue
        sentence = (
            f"not end to end: {counted(replies.near, 'reply', 'replies')} in the name of {case.end(from_a)} with TTL "
            f"{near}, its data with TTL {far}; what answers {case.end(not from_a)} likely stands "
            f"{counted(near - far, 'hop')} nearer"
        )
        yield sentence, replies.near_frames
