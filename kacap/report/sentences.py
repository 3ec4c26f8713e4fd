"""What endings, grades and observation are called, each once; verdicts are in ``facts.verdicts``."""

from __future__ import annotations

from dataclasses import dataclass

from kacap.analysis import Analysis
from kacap.classify.kinds import Ending, Grade
from kacap.facts.verdicts import other_answer
from kacap.model import Connection, Prober
from kacap.summary import Break, CaptureSummary
from kacap.units import between, clean, counted, duration, moment


@dataclass(frozen=True, slots=True)
class EndingRow:
    """An ending's short name in totals, and what it means for the peer."""

    total: str
    meaning: str


ENDINGS = {
    Ending.GAVE_UP: EndingRow(
        "gave up", "the peer crashed, or it or its replies were cut off; the prober's application sees ETIMEDOUT"
    ),
    Ending.USER_TIMEOUT: EndingRow(
        "gave up early", "given up before the count (TCP_USER_TIMEOUT); the prober's application sees ETIMEDOUT"
    ),
    Ending.RESET: EndingRow(
        "reset", "the peer restarted or closed, or a box in between forgot it and sent the RST in its name"
    ),
    Ending.UNREACHABLE: EndingRow(
        "unreachable", "ICMP errors quoted the probes: the peer may be up, but no packet gets there"
    ),
    Ending.OPEN: EndingRow("still waiting", "the capture ended, or its clock was set, before an answer or a reset"),
    Ending.RESUMED: EndingRow("resumed", "the peer sent something other than a reply"),
    Ending.CLOSED: EndingRow("closed", "the connection was closed before a reply came"),
    Ending.ANSWERED: EndingRow("all answered", "last probe answered"),
}

GRADES = {
    Grade.PROVEN.word: "certain (proven): the sequence numbers of both sides were captured",
    Grade.ANSWERED.word: "high (answered): starts mid-connection; each reply acknowledges one more than its probe",
    Grade.PATTERNED.word: "low (patterned): never answered; the same pure ACK repeats at keepalive gaps",
    Grade.AMBIGUOUS.word: "very low (ambiguous): may be a window probe, a stray ACK or a late retransmission",
}


def ending_words(ending: str) -> str:
    """Return an ending with what it means for the peer: ``gave up: the peer crashed, or ...``."""
    row = ENDINGS[Ending(ending)]
    return row.meaning if ending == Ending.ANSWERED else f"{row.total}: {row.meaning}"


def ending_name(ending: str) -> str:
    """Return an ending of one prober in few words: ``gave up``, ``last probe answered``."""
    row = ENDINGS[Ending(ending)]
    return row.meaning if ending == Ending.ANSWERED else row.total


def reply_words(prober: Prober) -> str | None:
    """Return how fast probes were answered, and by what else than replies: ``after 20 to 120 ms (1 by data)``."""
    if prober.reply_after_ns is None:
        return None
    others = [word for episode in prober.runs for probe in episode.probes if (word := other_answer(probe))]
    by = ", ".join(f"{others.count(word):,} by {word}" for word in dict.fromkeys(others))
    return f"after {between(*prober.reply_after_ns)}" + (f" ({by})" if by else "")


def began_words(connection: Connection) -> str:
    """Return whether the beginning of a connection was captured, in words."""
    return "handshake captured" if connection.began_in_capture else "starts mid-connection"


def observed_words(connection: Connection) -> str:
    """Return when a connection was observed, for how long, and whether from its beginning."""
    observed = duration(connection.observed_ns)
    number = f"connection {connection.connection}"
    return f"{moment(connection.first_ns)}, for {observed}, {began_words(connection)} ({number})"


def missed_word(analysis: Analysis) -> str:
    """Return what a probe without an answer is called: where frames are lacking the answer may be one of them."""
    return "missed or not captured" if analysis.capture.incomplete else "missed"


def span_words(capture: CaptureSummary) -> str | None:
    """Return how long a capture is, in words; None: it holds no frame. How long a step of its clock took is unknown."""
    if capture.first_ns is None or capture.last_ns is None:
        return None
    return f"{'' if capture.is_timed else 'at least '}{duration(capture.last_ns - capture.first_ns)}"


def _clock_words(step: Break) -> str:
    """Return where the times of a file go back, or forward again, and what follows from it."""
    by_ns = step.until_ns - step.since_ns
    way = "back" if by_ns < 0 else "forward again"
    times = f"{moment(step.since_ns)} to {moment(step.until_ns)}"
    why = "the clock was set, or captures were put together"
    given = (
        f"times are given {duration(step.later_ns)} later than the file has them"
        if step.later_ns
        else ("times are given as the file has them")
    )
    return (
        f"times go {way} by {duration(abs(by_ns))} before frame {step.frame} of {clean(step.after)} ({times}): {why}; "
        f"nothing is measured across it, each connection that goes on counts anew, and from there on {given}"
    )


def break_words(each: Break) -> str:
    """Return where the times of a capture do not follow on one another."""
    if each.what == "clock":
        return _clock_words(each)
    span = f"{moment(each.since_ns)} to {moment(each.until_ns)}"
    before, after, length = clean(each.before), clean(each.after), duration(each.until_ns - each.since_ns)
    if each.what == "missing":
        files = f"{counted(each.files, 'file is', 'files are')} missing between {before} and {after}"
        return f"{files}, by their numbers: nothing is known of {span} ({length})"
    if each.what == "overlap":
        return f"{after} begins before {before} ends: both hold frames of {span} ({length}), read in order of time"
    return f"no frame for {length} between {before} and {after} ({span}): longer than within any file"
