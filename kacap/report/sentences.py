"""What is said about a prober in words, in one place: text, chart titles and every later report share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kacap.analysis import Analysis
from kacap.classify.kinds import Ending, Grade
from kacap.facts.runs import over_ns, unanswered
from kacap.model import Prober
from kacap.units import between, counted, duration

# A cadence holds when this share of the gaps lies within this share of their median (the timer wheel is up to
# one eighth late).
CADENCE_SHARE, CADENCE_SPREAD = 0.8, 1 / 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence about one prober, and its mood: ``bad``, ``doubt`` or ``good``."""

    sentence: str
    mood: str


@dataclass(frozen=True, slots=True)
class EndingRow:
    """How grave an ending is (0: gravest), its short name in totals, and what it means for the peer."""

    severity: int
    total: str
    meaning: str


ENDINGS = {
    Ending.GAVE_UP: EndingRow(
        0, "gave up", "the peer crashed or was cut off; the prober's application sees ETIMEDOUT"
    ),
    Ending.USER_TIMEOUT: EndingRow(
        1, "gave up early", "given up before the count (TCP_USER_TIMEOUT); the prober's application sees ETIMEDOUT"
    ),
    Ending.RESET: EndingRow(
        2, "reset", "the peer restarted or closed, or a box in between forgot the connection and speaks for it"
    ),
    Ending.UNREACHABLE: EndingRow(
        3, "unreachable", "ICMP errors quoted the probes: the peer may be up, but no packet gets there"
    ),
    Ending.OPEN: EndingRow(4, "still waiting", "the capture ended before an answer or a reset"),
    Ending.RESUMED: EndingRow(5, "resumed", "the peer spoke again without answering the probe itself"),
    Ending.CLOSED: EndingRow(6, "closed", "the connection was closed while a probe waited"),
    Ending.ANSWERED: EndingRow(7, "all answered", "the peer is up"),
}

GRADES = {
    Grade.PROVEN.word: "proven: the sequence numbers of both sides were seen",
    Grade.ANSWERED.word: "answered: the capture began mid-connection; each reply acknowledges one more than its probe",
    Grade.PATTERNED.word: "patterned: never answered, but the same bare ACK repeats at keepalive gaps",
    Grade.AMBIGUOUS.word: "ambiguous: a zero-window probe would look the same here",
}


def probe_gaps(prober: Prober) -> list[int]:
    """Return the gaps between consecutive probes of a prober, in nanoseconds, sorted."""
    times = sorted(probe.time_ns for episode in prober.episodes for probe in episode.probes)
    return sorted(later - earlier for earlier, later in pairwise(times))


def steady(gaps_ns: Sequence[int]) -> int | None:
    """Return the median of sorted gaps in nanoseconds when most of them agree with it, else None."""
    if not gaps_ns:
        return None
    median = gaps_ns[len(gaps_ns) // 2]
    near = sum(abs(gap - median) <= median * CADENCE_SPREAD for gap in gaps_ns)
    return median if near >= CADENCE_SHARE * len(gaps_ns) else None


def cadence(prober: Prober) -> str:
    """Return how often a prober probes: ``every 1.02 s``, ``after 61.4 s of silence``, ``1.02 s to 2 h apart``."""
    gaps = probe_gaps(prober)
    if (every := steady(gaps)) is not None:
        return f"every {duration(every)}"
    idle = sorted(e.first_gap_ns for e in prober.episodes if e.first_gap_ns is not None)
    if (after := steady(idle)) is not None:
        return f"after {duration(after)} of silence"
    if prober.gaps_ns is not None:
        return f"{between(*prober.gaps_ns)} apart"
    return "once" if prober.probes == 1 else f"{prober.probes:,} times"


def _probes(prober: Prober) -> str:
    """Return how a sentence about a prober begins: ``10.0.0.1:5432 probes every 61.4 s``."""
    return f"{prober.side} {'probed' if prober.probes == 1 else 'probes'} {cadence(prober)}"


def share_answered(prober: Prober) -> str:
    """Return ``all answered``, ``none answered`` or ``409 of 412 answered``."""
    if prober.replies >= prober.probes:
        return "answered" if prober.probes == 1 else "all answered"
    if prober.replies == 0:
        return "not answered" if prober.probes == 1 else "none answered"
    return f"{prober.replies:,} of {prober.probes:,} answered"


def missed_word(analysis: Analysis) -> str:
    """Return what a probe without an answer is called: where frames were dropped the answer may be one of them."""
    return "missed or not captured" if analysis.capture.dropped else "missed"


def _silence(prober: Prober) -> str:
    """Return how long the peer had been silent when the last episode ended, in words."""
    if not prober.episodes:
        return ""
    last = prober.episodes[-1]
    if last.silent_since_ns is not None:
        return f" in {duration(over_ns(last) - last.silent_since_ns)} of silence"
    return f" in at least {duration(over_ns(last) - last.probes[0].time_ns)} of silence"


def _run(prober: Prober) -> str:
    """Return the length of the last run of unanswered probes, in words."""
    return counted(unanswered(prober.episodes[-1]) if prober.episodes else prober.missed, "unanswered probe")


def _answered(prober: Prober) -> Verdict:
    missed = prober.replies < prober.probes
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
    return Verdict(f"{_answered(prober).sentence}; {_run(prober)} when the capture ended", "doubt")


def _gave_up(prober: Prober) -> Verdict:
    return Verdict(f"{prober.side} gave up on {prober.peer}: {_run(prober)}{_silence(prober)}", "bad")


def _user_timeout(prober: Prober) -> Verdict:
    return Verdict(_gave_up(prober).sentence + " (TCP_USER_TIMEOUT, not its count)", "bad")


def _reset(prober: Prober) -> Verdict:
    last = prober.episodes[-1] if prober.episodes else None
    silence = f" after {duration(last.first_gap_ns)} of silence" if last and last.first_gap_ns is not None else ""
    return Verdict(f"{prober.peer} reset the connection when {prober.side} probed it{silence}", "bad")


def _unreachable(prober: Prober) -> Verdict:
    return Verdict(f"{prober.side} cannot reach {prober.peer}: {_run(prober)} and ICMP errors", "bad")


_SENTENCES: dict[Ending, Callable[[Prober], Verdict]] = {
    Ending.ANSWERED: _answered,
    Ending.RESUMED: _with_tail("then the peer spoke again"),
    Ending.CLOSED: _with_tail("then the connection was closed"),
    Ending.OPEN: _open,
    Ending.GAVE_UP: _gave_up,
    Ending.USER_TIMEOUT: _user_timeout,
    Ending.RESET: _reset,
    Ending.UNREACHABLE: _unreachable,
}


def verdict(prober: Prober) -> Verdict:
    """Return the one sentence that says how this prober fares."""
    said = _SENTENCES[Ending(prober.ending)](prober)
    if prober.grade != Grade.AMBIGUOUS.word:
        return said
    return Verdict(f"{said.sentence} (or these are zero-window probes)", "doubt")
