"""What endings and grades are called, in one place; verdicts are in ``facts.verdicts``."""

from __future__ import annotations

from dataclasses import dataclass

from kacap.analysis import Analysis
from kacap.classify.kinds import Ending, Grade


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
    Grade.AMBIGUOUS.word: "ambiguous: it may be a window probe, a stray ACK or a late retransmission",
}


def missed_word(analysis: Analysis) -> str:
    """Return what a probe without an answer is called: where frames were dropped the answer may be one of them."""
    return "missed or not captured" if analysis.capture.dropped else "missed"
