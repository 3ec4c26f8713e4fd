"""Findings about connections that were dead at their first use after a silence: who forgot them, and after how long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from kacap.classify.kinds import Ending
from kacap.clock import SECOND_NS
from kacap.findings.connection_facts import (
    Claim,
    ConnectionFacts,
    Reset,
    closing_ns,
    episodes,
    frames_of,
    met_nothing,
)
from kacap.findings.context import Context
from kacap.findings.screening import Trait
from kacap.model import Endpoint, Episode, FrameRef, Prober
from kacap.timing.limits import Limit, matching
from kacap.units import duration

IDLE_NS = 3 * SECOND_NS  # a shorter silence may be one between retransmissions
SOON_NS = 60 * SECOND_NS  # who finds a connection dead opens another by then
STEADY = 20  # a silence counts as longer than one survived if it is longer by a twentieth
TIGHT_NS = 30 * SECOND_NS  # the shortest default of a known box: what is survived below that brackets none
_MAY_HAVE_DIED = int(Trait.RUNS | Trait.DEAD)
LATE = 1.25  # of a prober's own period: its timer may be late by an eighth, and the capture may begin in between


@dataclass(frozen=True, slots=True)
class Death:
    """The first use of a connection after a silence that got an RST, or nothing, in nanoseconds.

    ``dead`` is the end that should have answered, ``by_box`` whether the RST in its name is a box's.
    """

    connection: int
    silence_ns: int
    at_ns: int
    until_ns: int
    dead: Endpoint
    by_reset: bool
    by_box: bool
    frames: list[FrameRef]
    user: Endpoint
    probed: bool
    answered: bool  # ``dead`` was heard on this connection after all


def reset_at(facts: ConnectionFacts, frame: FrameRef | None) -> Reset | None:
    """Return the RST in a frame."""
    return next((reset for reset in facts.resets if reset.frame == frame), None)


def death_of(facts: ConnectionFacts) -> Death | None:
    """Return how a connection was found dead at its first use after a silence, None if it was not; worked out once."""
    if facts.death is None:
        facts.death = (_death_of(facts) if facts.traits & _MAY_HAVE_DIED else None,)
    return facts.death[0]


def _death_of(facts: ConnectionFacts) -> Death | None:
    """Return how a connection was found dead at its first use after a silence, None if it was not.

    The first use must meet an RST from a host without the connection, or no answer until resending or probing ends.
    Silences no longer than one it survived are ignored, as are silences after the other side closed or its own
    keepalive stopped: it was gone before.
    """
    for prober, episode in episodes(facts, Ending.GAVE_UP, Ending.RESET, Ending.USER_TIMEOUT, Ending.OPEN):
        if episode.ending == Ending.OPEN and (len(episode.probes) < 2 or not met_nothing(facts, prober, episode)):
            continue
        death = _at_probe(facts, prober, episode)
        if death is not None:
            return death
    killed = None if facts.connection.probers else facts.killed
    if killed is None:
        return None
    if facts.survived_ns >= killed.silence_ns or facts.closed(not killed.from_a):
        return None
    dead, user, reset = facts.end(not killed.from_a), facts.end(killed.from_a), killed.reset
    waits = facts.outstanding(killed.from_a)
    frames = [reset.frame] if reset else waits.frames[:6] if waits else []
    until_ns, by_box = facts.connection.last_ns, reset is not None and reset.forged
    answered = facts.heard_within(dead, killed.at_ns, until_ns + SOON_NS)
    return Death(
        facts.connection.connection,
        killed.silence_ns,
        killed.at_ns,
        until_ns,
        dead,
        reset is not None,
        by_box,
        frames,
        user,
        False,
        answered,
    )


def _at_probe(facts: ConnectionFacts, prober: Prober, episode: Episode) -> Death | None:
    """Return the death that a run of probes found."""
    gap, by_reset = episode.first_gap_ns, episode.ending == Ending.RESET
    if gap is None or gap < IDLE_NS:
        return None
    if not by_reset and prober.replies == 0 and gap < TIGHT_NS:
        return None  # no probe was ever answered: no box that forgets so soon is known, one that drops probes is
    if facts.survived_ns * STEADY >= gap * (STEADY - 1):
        return None
    if facts.closed(prober.peer == facts.connection.a) or stopped_probing(facts, prober, episode):
        return None
    reset = reset_at(facts, episode.ending_frame) if by_reset else None
    by_box = reset is not None and reset.forged
    if by_reset and not by_box and (reset is None or not reset.connection_unknown):
        return None
    times = gap, episode.probes[0].time_ns, closing_ns(episode)
    answered = facts.heard_within(prober.peer, times[1], times[2] + SOON_NS)
    return Death(
        prober.connection, *times, prober.peer, by_reset, by_box, frames_of(episode), prober.side, True, answered
    )


def stopped_probing(facts: ConnectionFacts, prober: Prober, episode: Episode) -> bool:
    """Return whether the peer probed before, and did not when its own keepalive was due in the silence: it was gone."""
    other = next((p for p in facts.connection.probers if p.side == prober.peer), None)
    if other is None or episode.first_gap_ns is None:
        return False
    return episode.first_gap_ns > LATE * max(other.silences_ns, default=episode.first_gap_ns)


def is_lively(death: Death, context: Context) -> bool:
    """Return whether the end that should have answered was not gone itself: a box has forgotten the connection.

    After silence it was heard elsewhere, then or soon after: a laptop may sleep for longer. An RST proves that
    something is there, but a host that was started again sends one too: then no connection is older than the silence.
    """
    address = death.dead.address
    if death.by_box:
        return True
    if address == death.user.address or (death.answered and not death.by_reset):
        return False  # its segments may be the user's own, or those of this connection
    if death.by_reset:
        return context.heard.throughout(address, death.at_ns - death.silence_ns, death.at_ns)
    return context.alive(death.dead, death.user, death.at_ns, death.until_ns + SOON_NS)


def forgetting(low_ns: int, high_ns: int, context: Context) -> tuple[Limit, ...]:
    """Return the known limits of boxes that forget without a word, above a silence survived, up to one that killed.

    Where only data counts the box is an end itself (a proxy): it closes, and the capture shows that.
    """
    return tuple(limit for limit in matching(low_ns, high_ns, context.limits) if limit.refreshed)


@lru_cache(maxsize=1024)
def limit_words(limits: tuple[Limit, ...]) -> str:
    """Return limits as ``350 s (AWS NLB (TCP), AWS NAT gateway), 300 s (F5 BIG-IP)``, the nearest first."""
    words = []
    for seconds, group in groupby(limits, key=lambda limit: limit.seconds):
        names = [limit.what for limit in group]
        more = ", ..." if len(names) > 3 else ""
        words.append(f"{duration(seconds * SECOND_NS)} ({', '.join(names[:3])}{more})")
    return ", ".join(words[:3])


def limit_s(survived_ns: int, killed_ns: int) -> int:
    """Return the silence that is known to be safe, whole seconds: the longest survived, else less than what killed."""
    return max((survived_ns or killed_ns) // SECOND_NS, 1)


def path_forgot(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """Probes after a long silence meet nothing, or an RST, where shorter silences were survived or the peer is up."""
    death = death_of(facts)
    if death is None or not death.probed:
        return
    survived, lively = facts.survived_ns, is_lively(death, context)
    limits = forgetting(survived, death.silence_ns, context)
    tight = survived >= TIGHT_NS and 2 * survived >= death.silence_ns
    if lively or (tight and limits):
        came = "an RST" if death.by_reset else "nothing"
        sentence = (
            f"after {duration(death.silence_ns)} of silence the first probe of {death.user} met {came}; "
            f"{_blame(death, survived, lively, limits)}"
        )
        yield Claim(sentence, death.frames, limit_s(survived, death.silence_ns))


def _blame(death: Death, survived: int, lively: bool, limits: tuple[Limit, ...]) -> str:
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


def died_idle(facts: ConnectionFacts, context: Context) -> Iterator[Claim]:
    """A connection without probes was dead at its first use after a silence."""
    death = death_of(facts)
    if death is None or death.probed:
        return
    lively, survived = is_lively(death, context), facts.survived_ns
    if not (death.by_reset or lively):
        return
    limits = forgetting(survived, death.silence_ns, context)
    came = "an RST" if death.by_reset else "no answer"
    sentence = (
        f"{death.user} > {death.dead} died while nobody used it: what came after {duration(death.silence_ns)} of "
        f"silence got {came}; {_blame(death, survived, lively, limits)}"
    )
    yield Claim(sentence, death.frames, limit_s(survived, death.silence_ns))
