"""A prober as a watch knows it, and what happens to it: what live lines, screen, metrics and hooks are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kacap.clock import SECOND_NS
from kacap.facts.due import first_due, gives_up_ns
from kacap.model import Endpoint
from kacap.timing.expectations import Expectation

OUTCOMES = 12  # kept of each prober
EndpointPair = tuple[Endpoint, Endpoint]


class What(StrEnum):
    """What happened to a prober; ``NOTE`` is anything else that is told."""

    NOTE = "note"
    PROBE = "probe"
    ANSWERED = "answered"
    MISSING = "missing"  # a probe was not answered in time
    SURVIVED = "survived"  # the peer is back after probes were missed
    DEAD = "dead"
    RESET = "reset"  # an application reset the connection: nobody died


class Cause(StrEnum):
    """Of what a connection died."""

    GAVE_UP = "gave_up"
    USER_TIMEOUT = "user_timeout"
    UNREACHABLE = "unreachable"
    RESET_BY_PEER = "reset_by_peer"
    RESET_BY_BOX = "reset_by_box"


@dataclass(slots=True)
class LiveEvent:
    """One thing that happened: when, between whom, in words; ``mood`` as in the text report ("" for none).

    ``what`` happened to ``prober`` (None: a note). ``run`` is how many of its probes in a row were unanswered then,
    ``after_ns`` how long an answer took or, of a probe, how late it was where that is known. Without words it was told
    before, when it was only probable, or is not told as a line at all.

    >>> import kacap
    >>> watch = kacap.live(stream="captures/lab/recovered/capture.pcapng")
    >>> [str(event.what) for event in watch][:6]
    ['probe', 'missing', 'probe', 'missing', 'probe', 'answered']
    """

    time_ns: int
    source: Endpoint
    destination: Endpoint
    words: str
    mood: str = ""
    what: What = What.NOTE
    prober: ProbingConnection | None = None
    run: int = 0
    after_ns: int | None = None
    cause: Cause | None = None


@dataclass(slots=True)
class ProbingConnection:
    """One prober as it goes. ``run`` counts its unanswered probes in a row, ``missed`` those that were overdue."""

    connection: int
    prober: Endpoint
    peer: Endpoint
    service: Endpoint | None = None  # which of the two was connected to
    whole: bool = False  # its handshake was captured: nothing happened before that
    process: str | None = None  # whose socket it is, once somebody has asked
    probes: int = 0
    answered: int = 0
    missed: int = 0
    run: int = 0
    heard_ns: int | None = None  # when it last heard its peer
    probe_ns: int = 0
    answer_after_ns: int | None = None
    idle_gap_ns: int | None = None
    interval_gap_ns: int | None = None
    ending: str | None = None  # how the connection died, once it has
    expected: Expectation | None = None
    died_ns: int | None = None
    death: str = ""  # of what, in words
    outcomes: str = ""  # of its newest probes in order: + answered, - missed
    unsure: bool = False  # its segments repeat as probes do, and nobody answers: no more is known
    reported_missed: set[int] = field(default_factory=set)  # probes of the run reported as missed, by their time

    @property
    def decided(self) -> int:
        """How many of its probes have been answered or missed."""
        return self.answered + self.missed

    @property
    def missing(self) -> bool:
        """Whether its newest probes are unanswered for longer than an answer takes."""
        return self.ending is None and self.run > 0 and (self.unsure or bool(self.reported_missed))

    def first_due(self, heard_ns: int) -> tuple[int, int] | None:
        """Return for which setting the first probe of the next run waits, in seconds, and since when; None: not known.

        Where the capture began later than the connection, a probe may have been sent before it.
        """
        wanted = self.expected
        if wanted is None or wanted.idle is None:
            return None
        if not self.probes and not self.whole and (wanted.interval or 0) > wanted.idle:
            return None
        return first_due(wanted.idle, wanted.interval, heard_ns, self.probe_ns if self.probes else None)

    @property
    def interval_ns(self) -> int | None:
        """How long it waits between unanswered probes: as expected, else as last seen."""
        if self.expected is not None and self.expected.interval is not None:
            return self.expected.interval * SECOND_NS
        return self.interval_gap_ns

    def note_outcome(self, answered: bool, *, late: bool = False) -> None:
        """Note what became of a probe; a ``late`` answer takes back that it was missed."""
        before, missed, since = self.outcomes.rpartition("-")
        if late and missed:
            self.outcomes = f"{before}+{since}"
        else:
            self.outcomes = (self.outcomes + ("+" if answered else "-"))[-OUTCOMES:]

    def dies_ns(self) -> int | None:
        """When it gives up if nothing comes: as long as a run is unanswered and its settings are known, else None."""
        return gives_up_ns(self.expected, self.run, self.probe_ns, self.heard_ns) if self.missing else None

    def due_ns(self) -> int | None:
        """When the next probe is due if the peer stays silent; None: not known, or none will come."""
        if self.ending:
            return None
        if self.run:
            return None if self.interval_ns is None else self.probe_ns + self.interval_ns
        if self.heard_ns is None:
            return None
        if (due := self.first_due(self.heard_ns)) is not None:
            return due[1] + due[0] * SECOND_NS
        return None if self.idle_gap_ns is None else self.heard_ns + self.idle_gap_ns
