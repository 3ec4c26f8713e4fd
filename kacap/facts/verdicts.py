"""The one verdict of a connection, which every report shows: the gravest true thing with its cause, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kacap.classify.kinds import Ending, Grade, Kind
from kacap.clock import SECOND_NS
from kacap.facts.ended import (
    ABORT,
    FORGERY,
    LIKELY_ABORT,
    OWN_RESET,
    REFUSED,
    REFUSED_DATA,
    UNASKED,
    UNKNOWN_CONNECTION,
    EndedRow,
    ended_of,
    observed_until_ns,
)
from kacap.facts.runs import cadence, over_ns, unanswered, uncaptured
from kacap.findings import observed as bits
from kacap.findings.connection_facts import ConnectionFacts, Outstanding
from kacap.model import Connection, Ended, Endpoint, Episode, Probe, Prober, Verdict
from kacap.timing.assumes import WORDS, Assumes
from kacap.timing.episodes import EARLY_ABORT, HOLE_NS, MOST_HOLES
from kacap.timing.giving_up import may_be_the_application, user_timeout_words
from kacap.units import counted, duration

WORTH_NS = 5 * SECOND_NS  # bytes that wait for less than this say nothing of a connection
FEW = 4  # probes at one pace: between them none is missing from the capture
FactsOf = Callable[[Connection], ConnectionFacts | None]  # None: nothing to tell
GRAVE = (Ending.GAVE_UP, Ending.USER_TIMEOUT, Ending.UNREACHABLE)
# Endings of a prober, gravest first.
ORDER = (*GRAVE, Ending.RESET, Ending.OPEN, Ending.RESUMED, Ending.CLOSED, Ending.ANSWERED)


def conclude(connection: Connection, row: EndedRow, facts_of: FactsOf, now_ns: int) -> None:
    """Write how a connection ended, until when it was observed, and its verdict; ``row`` is its row of ENDED.

    ``facts_of`` returns what was observed of it, ``now_ns`` is the end of the capture, or now.
    """
    connection.ended = ended = ended_of(row, connection)
    connection.observed_until_ns = until_ns = observed_until_ns(ended, connection.last_ns, now_ns)
    connection.verdict = lambda one: verdict(one, ended, facts_of(one), until_ns)  # it must not hold itself


def verdict(connection: Connection, ended: Ended, facts: ConnectionFacts | None, until_ns: int) -> Verdict:
    """Return the verdict of a connection that was watched until ``until_ns``; ``facts`` is what was observed of it.

    Ambiguous probes make no headline.
    """
    certain = [prober for prober in connection.probers if prober.grade != Grade.AMBIGUOUS.word]
    certain.sort(key=lambda prober: (ORDER.index(Ending(prober.ending)), -prober.missed))
    if not certain:
        return _unprobed(connection, ended, facts, until_ns)
    first = certain[0]
    if ended.cause == FORGERY:
        return Verdict(f"{_reset(connection, ended)}; {_pace(first)}", "bad")
    if first.unheard > (0 if first.ending in GRAVE else 1):
        return _deaf(first)
    if first.ending in GRAVE:
        return of_prober(first)
    if ended.how == "reset":
        return _ended_by_reset(connection, ended, first, facts)
    if facts is not None and ended.how == "open" and (closed := _half_closed(facts, first)):
        return Verdict(f"{_answered(first).sentence}; {closed}", "bad")
    waits = _waiting(facts)
    if waits is not None and facts is not None and first.ending != Ending.OPEN:
        # A side that waits for an acknowledgement sends no probe; the other one may, all the while.
        when = "before, " if first.last_probe_ns < waits.first_ns else ""
        return Verdict(f"{_waits(facts, waits)}; {when}{_pace(first)}", "bad")
    said = of_prober(first)
    if ended.how == "open" and first.ending == Ending.ANSWERED and (stopped := _stopped(connection, first, until_ns)):
        return Verdict(f"{said.sentence}; {stopped}", "doubt")
    if ended.how == "fin" and first.ending in (Ending.ANSWERED, Ending.RESUMED, Ending.CLOSED):
        answered = _answered(first)
        return Verdict(f"{answered.sentence}; {_closed(connection, ended, first)}", answered.mood)
    return said


def _stopped(connection: Connection, prober: Prober, until_ns: int) -> str:
    """Return that nobody has sent anything for twice a prober's longest gap, in words; empty: somebody has."""
    silent_ns = until_ns - connection.last_ns
    if prober.gaps_ns is None or prober.probes < FEW or silent_ns <= 2 * prober.gaps_ns[1]:
        return ""
    return f"none in the last {duration(silent_ns)}: off, gone, or not captured"


def _deaf(prober: Prober) -> Verdict:
    """Return the verdict on a prober that did not hear its peer's replies."""
    verb = "gave up on" if prober.ending in GRAVE else "does not hear"
    replies = counted(prober.unheard, "reply", "replies")
    return Verdict(f"{prober.side} {verb} {prober.peer}: {replies} in the capture did not reach it", "bad")


def _end(connection: Connection, letter: str | None) -> Endpoint | None:
    """Return the end that a or b means; None for anything else."""
    return {"a": connection.a, "b": connection.b}.get(letter or "")


def _closed(connection: Connection, ended: Ended, prober: Prober) -> str:
    """Return who closed the connection and how long after the last probe, in words."""
    after_ns = (ended.time_ns or 0) - prober.last_probe_ns
    when = f" {duration(after_ns)} after the last probe" if after_ns >= 0 else ""
    return f"{_end(connection, ended.by)} closed it (FIN){when}"


def _reset(connection: Connection, ended: Ended) -> str:
    """Return who reset a connection, in words: each maker has a sentence of its own."""
    named = _end(connection, ended.named)
    unclear = ended.by == "unclear"
    return {
        FORGERY: f"a box in between reset the connection in the name of {named}",
        UNKNOWN_CONNECTION: f"{named}{', or a box in its name,' if unclear else ''} does not know the connection: it "
        "answered with RST",
        UNASKED: f"an RST in the name of {named} ended the connection unasked",
        REFUSED_DATA: f"{named}, whose application had closed without reading the last data, reset the connection",
        REFUSED: f"{named} refused the connection (RST)",
        ABORT: f"an RST in the name of {named} ended the connection"
        if unclear
        else f"the application of {named} reset the connection",
        LIKELY_ABORT: f"an RST in the name of {named} ended the connection"
        if unclear
        else f"the application of {named} reset the connection",
        OWN_RESET: f"an RST in the name of {named} ended the connection"
        if unclear
        else f"{named} itself reset the connection (its application, or a keepalive that gave up unseen)",
    }.get(ended.cause, f"{named} reset the connection")


def _is_delayed(prober: Prober) -> bool:
    """Return whether timestamps show that frames were delayed before they were captured."""
    return WORDS[Assumes.NO_FRAME_DELAYED] in prober.idle.assumes + prober.interval.assumes


def _may_lack_frames(prober: Prober) -> bool:
    """Return whether nothing shows that no frame is missing between a prober's probes."""
    return WORDS[Assumes.NO_FRAME_MISSING] in prober.idle.assumes


def _own_cause(prober: Prober, after_ns: int) -> int:
    """Return whether a prober's RST so long after its last probe is its application's for sure: no timer fires then."""
    shortest_ns = SECOND_NS if prober.gaps_ns is None else prober.gaps_ns[0]
    if prober.unheard or _is_delayed(prober) or not 0 <= after_ns < EARLY_ABORT * shortest_ns:
        return OWN_RESET
    if prober.ending == Ending.CLOSED and prober.last is not None and len(prober.last.probes) == 1:
        return ABORT if after_ns < EARLY_ABORT * SECOND_NS else OWN_RESET  # it may have sent probes since
    whole_gaps = prober.gaps_ns is not None and bool(prober.idle.candidates) and not _may_lack_frames(prober)
    regular = whole_gaps or (prober.probes >= FEW and cadence(prober).startswith("every"))
    sure = regular or prober.ending == Ending.CLOSED or after_ns < EARLY_ABORT * SECOND_NS
    parts = max(round(shortest_ns / max(after_ns, 1)), 1)  # of a gap in which a firing may be missing
    whole = abs(shortest_ns - parts * after_ns) <= parts * HOLE_NS
    exact = 1 < parts <= MOST_HOLES and abs(shortest_ns - parts * after_ns) <= HOLE_NS
    return ABORT if sure and (whole_gaps or not exact) and (regular or not whole) else OWN_RESET


def _half_closed(facts: ConnectionFacts, prober: Prober) -> str:
    """Return that a prober's peer has closed while it has not, in words; empty if it did not."""
    own_is_a = prober.side == facts.connection.a
    own, peer = facts.side(own_is_a), facts.side(not own_is_a)
    if not peer.known & bits.FIN_SEEN or own.known & bits.FIN_SEEN:
        return ""
    return f"{prober.peer} has closed (FIN), {prober.side} has not"


def _probed_after_fin(facts: ConnectionFacts, prober: Prober) -> bool:
    """Return whether a prober, whose peer has closed, has probed since."""
    return prober.last_probe_ns > int(facts.side(prober.side != facts.connection.a).fin_ns)


def _ended_by_reset(connection: Connection, ended: Ended, prober: Prober, facts: ConnectionFacts | None) -> Verdict:
    """Return the verdict on a probed connection that an RST ended."""
    last = prober.last
    after_ns = (ended.time_ns or 0) - prober.last_probe_ns
    if ended.cause in (LIKELY_ABORT, OWN_RESET) and prober.side == _end(connection, ended.named):
        ended = replace(ended, cause=_own_cause(prober, after_ns))
    said = _reset(connection, ended)
    if ended.cause == OWN_RESET and ended.by != "unclear" and facts is not None:
        waited = facts.outstanding(ended.named == "a")
        if waited is not None and waited.how == bits.RESET_BY_SENDER:  # no keepalive fires while bytes wait
            named, waited_ns = _end(connection, ended.named), waited.end_ns - waited.first_ns
            unacknowledged = f"{waited.bytes:,} B of it unacknowledged for {duration(waited_ns)}"
            said = f"{named} itself reset the connection ({unacknowledged})"
    answers = ended.cause == UNKNOWN_CONNECTION and prober.peer == _end(connection, ended.named)
    if answers and facts is not None and _half_closed(facts, prober) and _probed_after_fin(facts, prober):
        return Verdict(
            f"{prober.peer} had closed (FIN) and has forgotten the connection (RST), {prober.side} had not closed and "
            "went on probing",
            "bad",
        )
    if prober.ending == Ending.RESET and ended.cause == UNKNOWN_CONNECTION:
        return Verdict(f"{said} to the probe of {prober.side}{_silence_before(last)}", "bad")
    if last is not None and last.probes[0].time_ns > (ended.time_ns or 0):
        return Verdict(f"{said}; {counted(len(last.probes), 'probe')} of {prober.side} came after it", "bad")
    missed = unanswered(last) if last is not None else prober.missed
    if missed and prober.ending != Ending.ANSWERED:
        return Verdict(f"{said}; {counted(missed, 'probe')} of {prober.side} went unanswered before", "bad")
    when = f" {duration(after_ns)} after the last probe" if after_ns >= 0 else ""
    mood = "bad" if ended.cause == UNKNOWN_CONNECTION else "doubt"
    return Verdict(f"{_answered(prober).sentence}; {said}{when}", mood)


def _pace(prober: Prober) -> str:
    """Return how a prober fared before something else ended the connection."""
    return f"{_probes(prober)}, {share_answered(prober)}"


def _waiting(facts: ConnectionFacts | None) -> Outstanding | None:
    """Return the bytes that still wait for an acknowledgement at the end of the capture, if they do for long."""
    if facts is None:
        return None
    found = [one for one in map(facts.outstanding, (True, False)) if one is not None and one.how == bits.OPEN]
    return next((one for one in found if not one.vain and one.last_ns - one.first_ns >= WORTH_NS), None)


def _waits(facts: ConnectionFacts, waits: Outstanding) -> str:
    """Return in words that bytes wait."""
    return (
        f"{waits.bytes:,} B of {facts.end(waits.from_a)} are unacknowledged after "
        f"{duration(waits.last_ns - waits.first_ns)} and {counted(waits.n, 'retransmission')}"
    )


def _unprobed(connection: Connection, ended: Ended, facts: ConnectionFacts | None, until_ns: int) -> Verdict:
    """Return the verdict of a connection without certain probes."""
    none = f"no keepalive probe in {duration(max(until_ns - connection.first_ns, 0))}"
    if connection.probers:
        none = _doubtful(connection)
        ended = replace(ended, cause=OWN_RESET) if ended.cause == LIKELY_ABORT else ended
    killed, waits = facts.killed_by(until_ns) if facts is not None else None, _waiting(facts)
    if ended.cause == FORGERY:
        return Verdict(f"{_reset(connection, ended)}; {none}", "bad")
    if killed is not None and facts is not None and not facts.closed(not killed.from_a):
        met = "an RST" if killed.reset is not None else "no answer"
        use = f"the first use after {duration(killed.silence_ns)} of silence, by {facts.end(killed.from_a)}"
        return Verdict(f"{use}, met {met}; {none}", "bad")
    if waits is not None and facts is not None:
        return Verdict(f"{_waits(facts, waits)}; {none}", "bad")
    mood = "doubt" if connection.probers else "good"
    if ended.how == "reset":
        return Verdict(f"{_reset(connection, ended)}; {none}", "doubt")
    if ended.how == "fin":
        return Verdict(f"{_end(connection, ended.by)} closed it (FIN); {none}", mood)
    return Verdict(none, mood)


def _doubtful(connection: Connection) -> str:
    """Return what is said of segments that may be probes or not."""
    grades = [probe.grade for prober in connection.probers for e in prober.episodes for probe in e.probes]
    doubtful = grades.count(Grade.AMBIGUOUS.word)
    rest = len(grades) - doubtful
    certain = "none is certain" if not rest else f"{counted(rest, 'more is', 'more are')} certain"
    may_be = "may be a keepalive probe" if doubtful == 1 else "may be keepalive probes"
    return f"{counted(doubtful, 'segment')} {may_be}, {certain}"


def _probes(prober: Prober) -> str:
    """Return how a sentence about a prober begins: ``10.0.0.1:5432 probes every 61.4 s``."""
    return f"{prober.side} {'probed' if prober.probes == 1 else 'probes'} {cadence(prober)}"


def share_answered(prober: Prober) -> str:
    """Return ``all answered``, ``none answered`` or ``409 of 412 answered``."""
    unseen = uncaptured(prober)
    answered = prober.replies + unseen
    lacking = f" ({counted(unseen, 'answer')} not captured)" if unseen else ""
    if prober.unheard > 1:
        lacking += f" in the capture, but {counted(prober.unheard, 'reply', 'replies')} did not reach it"
    if answered >= prober.probes:
        return ("answered" if prober.probes == 1 else "all answered") + lacking
    if answered == 0:
        return "not answered" if prober.probes == 1 else "none answered"
    return f"{answered:,} of {prober.probes:,} answered{lacking}"


def _silence(prober: Prober) -> str:
    """Return how long the peer had been silent when the last episode ended, in words."""
    last = prober.last
    if last is None:
        return ""
    if last.silent_since_ns is not None:
        return f" in {duration(over_ns(last) - last.silent_since_ns)} of silence"
    return f" in at least {duration(over_ns(last) - last.probes[0].time_ns)} of silence"


def _silence_before(run: Episode | None) -> str:
    """Return how long the peer had been silent before the last probe of a run, in words; empty: not known."""
    if run is None or run.silent_since_ns is None:
        return ""
    return f" after {duration(run.probes[-1].time_ns - run.silent_since_ns)} of silence"


def _run(prober: Prober) -> str:
    """Return the length of the last run of unanswered probes, in words."""
    return counted(prober.missed if prober.last is None else unanswered(prober.last), "unanswered probe")


def _answered(prober: Prober) -> Verdict:
    missed = prober.replies + uncaptured(prober) < prober.probes
    return Verdict(f"{_probes(prober)}, {share_answered(prober)}", "doubt" if missed else "good")


def _with_tail(tail: str) -> Callable[[Prober], Verdict]:
    """Return a sentence of the answered kind that goes on with ``tail``."""

    def sentence(prober: Prober) -> Verdict:
        start = _answered(prober)
        return Verdict(f"{start.sentence}; {tail}", start.mood)

    return sentence


def _open(prober: Prober) -> Verdict:
    if prober.replies >= prober.probes:
        return _answered(prober)
    end = "its clock was set" if prober.cut else "the capture ended"
    return Verdict(f"{_answered(prober).sentence}; {_run(prober)} when {end}", "doubt")


def _gave_up(prober: Prober) -> Verdict:
    """Return that a prober gave up; where count and user timeout both explain when, both readings stay."""
    either = ", or its application reset the connection" if may_be_the_application(prober) else ""
    said = f"{prober.side} gave up on {prober.peer}{either}: {_run(prober)}{_silence(prober)}"
    span = user_timeout_words(prober) if prober.ending == Ending.GAVE_UP else ""
    if not span or prober.count.verdict == "ok":
        return Verdict(said, "bad")
    if _is_delayed(prober):
        return Verdict(f"{said} ({_count_read(prober)}, or a TCP_USER_TIMEOUT)", "bad")
    return Verdict(f"{said} ({_count_read(prober)}, or a TCP_USER_TIMEOUT of {span})", "bad")


def _count_read(prober: Prober) -> str:
    """Return the count that explains when a prober gave up, in words, with what it takes for granted."""
    count = prober.count
    if not count.candidates:
        return f"a count of at least {1 if prober.last is None else unanswered(prober.last)}"
    missing = " if no frame is missing" if WORDS[Assumes.NO_FRAME_MISSING] in count.assumes else ""
    return f"count {count.candidates[0]}{missing}"


def _user_timeout(prober: Prober) -> Verdict:
    return Verdict(_gave_up(prober).sentence + " (TCP_USER_TIMEOUT, not its count)", "bad")


def _after_reset(prober: Prober) -> Verdict:
    when = f"when {prober.side} probed it{_silence_before(prober.last)}"
    return Verdict(f"{prober.peer} reset the connection {when}", "bad")


def _unreachable(prober: Prober) -> Verdict:
    return Verdict(f"{prober.side} cannot reach {prober.peer}: {_run(prober)} and ICMP errors", "bad")


def other_answer(probe: Probe) -> str:
    """Return what other than a reply answered a probe: ``data``, ``a FIN``; empty: a reply did, or nothing."""
    words = {None: "", Kind.REPLY.word: "", "data": "data", "fin": "a FIN", "ack": "another ACK"}
    return words.get(probe.answered_by, "another segment")


def _resumed(prober: Prober) -> Verdict:
    """Return that the peer was heard again: by what answered the last probe in time, if it did."""
    start, last = _answered(prober), prober.last
    by = other_answer(last.probes[-1]) if last is not None else ""
    if by and prober.probes == 1:
        return Verdict(f"{start.sentence} by {by}", start.mood)
    tail = f"the last by {by}" if by else "then the peer spoke again"
    return Verdict(f"{start.sentence}; {tail}", start.mood)


_SENTENCES: dict[Ending, Callable[[Prober], Verdict]] = {
    Ending.ANSWERED: _answered,
    Ending.RESUMED: _resumed,
    Ending.CLOSED: _with_tail("then the connection was closed"),
    Ending.OPEN: _open,
    Ending.GAVE_UP: _gave_up,
    Ending.USER_TIMEOUT: _user_timeout,
    Ending.RESET: _after_reset,
    Ending.UNREACHABLE: _unreachable,
}


def of_prober(prober: Prober) -> Verdict:
    """Return the sentence that says how one prober fares, whatever else happened to its connection."""
    said = _SENTENCES[Ending(prober.ending)](prober)
    if prober.grade != Grade.AMBIGUOUS.word:
        return said
    return Verdict(f"{said.sentence} (ambiguous: may not be keepalives)", "doubt")
