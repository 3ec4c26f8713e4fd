"""One connection as the rules see it: its record, and what was observed of it, read from rows when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kacap.addresses import address_text
from kacap.classify.kinds import Ending, Grade
from kacap.clock import SECOND_NS
from kacap.findings import observed as bits
from kacap.findings.observations import Observed
from kacap.findings.observed import BeatRow, NoteRow, SentRow, SideFacts, SpanRow
from kacap.model import Connection, Endpoint, Episode, FrameRef, Prober
from kacap.wire.sequence import distance

if TYPE_CHECKING:
    from kacap.findings.idle import Death


class Claim(NamedTuple):
    """A sentence, the frames that show it, and the silence that an idle must stay below (whole seconds; None: none)."""

    sentence: str
    frames: list[FrameRef]
    limit_s: int | None = None


_NOTHING_SENT = SentRow._make(np.zeros((), bits.SENT).item())


def frame_of(packed: int) -> FrameRef:
    """Return the frame that a row holds as one number."""
    return FrameRef(*divmod(packed, 1 << 48))


@dataclass(frozen=True, slots=True)
class Reset:
    """An RST: who it claims to come from, and what its headers are beside the other segments of that side."""

    frame: FrameRef
    time_ns: int
    from_a: bool
    about: int  # bits of NOTE
    ttl: int
    ip_id: int
    usual_ip_id: int
    silence_ns: int  # before it, on the whole connection
    after_ns: int  # since the other side's last segment; -1: none

    @property
    def forged(self) -> bool:
        """Whether its headers show that a box in between made it."""
        return self.about & bits.FORGED != 0

    @property
    def connection_unknown(self) -> bool:
        """Whether its sender does not know the connection: no ACK, at the number that it answers."""
        both = bits.BARE | bits.ANSWERS
        return self.about & both == both

    @property
    def in_window(self) -> bool:
        """Whether the receiver takes it."""
        return self.about & bits.IN_WINDOW != 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An ICMP error that quoted a segment; ``quoted_ns`` is when that was sent, 0 if it was not its side's last."""

    frame: FrameRef
    time_ns: int
    by: str
    type: int
    code: int
    from_a: bool  # whose segment it quotes
    quoted_ns: int


class Outstanding(NamedTuple):
    """Bytes that one side sent ``n`` times again: from their first sending to what ended them, nanoseconds."""

    from_a: bool
    n: int
    bytes: int
    first_ns: int
    last_ns: int  # the last retransmission
    end_ns: int
    how: int  # SPAN["how"]
    vain: bool  # the capture shows their acknowledgement, which the sender did not hear
    first_frame: FrameRef | None
    frames: list[FrameRef]
    times_ns: list[int]


class Killed(NamedTuple):
    """The silence that a connection did not survive: how long, when and by whom it was ended, what the first use met.

    ``reset`` is the RST that answered; None: nothing did, until the end of resending.
    """

    silence_ns: int
    at_ns: int
    from_a: bool
    reset: Reset | None


OVERDUE = 3  # times the gap before: each retransmission waits twice as long as the last (RFC 6298 5.5)
ENDS_NS = 100 * SECOND_NS  # resending goes on for so long at least (RFC 9293 3.8.3)
LEAST_NS = 950_000_000  # below the least interval of tcp(7), a second, and a tick: sooner, a probe may be a copy
SOONER = 0.85  # of the silence before a run: a timer is an eighth late at most


@dataclass
class ConnectionFacts:
    """One connection as the findings see it: ``row`` is its row in ``observed``."""

    connection: Connection
    observed: Observed
    row: int
    traits: int = 0  # bits of ``screening.Trait``: which findings may hold
    death: tuple[Death | None] | None = None  # what ``idle.death_of`` found; None: it was not asked yet

    @cached_property
    def probers(self) -> list[Prober]:
        """Its probers whose probes are certain: on others no finding rests."""
        return [prober for prober in self.connection.probers if prober.grade != Grade.AMBIGUOUS.word]

    def end(self, from_a: bool) -> Endpoint:
        """Return side a or side b."""
        return self.connection.a if from_a else self.connection.b

    @cached_property
    def _sides(self) -> tuple[SideFacts, SideFacts]:
        """What was observed of side b, and of side a."""
        row = self.observed.rows
        return SideFacts._make(row["b"][self.row].item()), SideFacts._make(row["a"][self.row].item())

    def side(self, from_a: bool) -> SideFacts:
        """Return the fields of SIDE_OBSERVED of side a or side b."""
        return self._sides[from_a]

    def beat(self, from_a: bool) -> BeatRow:
        """Return the longest run of regular data of a side."""
        return BeatRow._make(self.sent(from_a).beat)

    def sent(self, from_a: bool) -> SentRow:
        """Return the fields of SENT of side a or side b, all zero if it has sent no data."""
        row = self.side(from_a).data
        return SentRow._make(self.observed.sent[row - 1].item()) if row else _NOTHING_SENT

    def closed(self, from_a: bool) -> bool:
        """Return whether a side has sent its FIN, or may have: its numbers go on beyond what the capture shows."""
        side = self.side(from_a)
        numbers = bits.UNA | bits.END
        unseen = side.known & numbers == numbers and distance(side.una, side.end) > 0
        return bool(unseen or side.known & (bits.FIN_SEEN | bits.WENT_UNSEEN))

    def heard_within(self, end: Endpoint, low_ns: int, high_ns: int) -> bool:
        """Return whether an end was certainly heard on this connection within a span."""
        side = self.side(end == self.connection.a)
        if not side.known & bits.HEARD:
            return False
        throughout = side.first_ns < low_ns and side.last_ns > high_ns and side.quiet_ns <= high_ns - low_ns
        return throughout or any(low_ns <= time_ns <= high_ns for time_ns in (side.first_ns, side.last_ns))

    @cached_property
    def _notes(self) -> list[NoteRow]:
        """The NOTE rows of the connection, in order."""
        notes: list[NoteRow] = []
        row = int(self.observed.rows["first_note"][self.row])
        while row:
            note = NoteRow._make(self.observed.notes[row - 1].item())
            notes.append(note)
            row = note.next
        return notes

    @cached_property
    def resets(self) -> list[Reset]:
        """Its RSTs, the first few of each side."""
        return [_reset(note) for note in self._notes if note.kind == bits.RST_NOTE]

    @cached_property
    def refusals(self) -> list[Refusal]:
        """The first few ICMP errors that quote its segments."""
        return [
            Refusal(
                frame_of(n.frame),
                n.time_ns,
                address_text(n.by_hi, n.by_lo),
                n.icmp_type,
                n.icmp_code,
                bool(n.from_a),
                n.quoted_ns,
            )
            for n in self._notes
            if n.kind == bits.QUOTE_NOTE
        ]

    def outstanding(self, from_a: bool) -> Outstanding | None:
        """Return those often resent bytes of a side that waited longest for an acknowledgement."""
        known, sent, found = self.side(from_a).known, self.sent(from_a), []
        if sent.kept:
            found.append(_outstanding(self.observed, sent.kept, from_a))
        if known & bits.HEAD and sent.head_n >= bits.SUSPENDED_AFTER:
            found.append(_open(self.observed, known, sent, from_a))
        return max(found, key=lambda one: one.end_ns - one.first_ns, default=None)

    @property
    def survived_ns(self) -> int:
        """The longest silence after which both sides were heard again, that a probe ended included."""
        survived = int(self.observed.rows["survived_ns"][self.row])
        return max([survived, *(prober.survived_ns for prober in self.connection.probers)])

    @cached_property
    def killed(self) -> Killed | None:
        """The silence after which the other side was dead: only a host without the connection answered, or nobody."""
        row = self.observed.rows[self.row]
        if row["killed_ns"]:
            killed_note = int(row["killed_note"])
            reset = _reset(NoteRow._make(self.observed.notes[killed_note - 1].item()))
            if self._reset_before(int(row["killed_at_ns"])):
                return None
            return Killed(int(row["killed_ns"]), int(row["killed_at_ns"]), bool(row["killed_from_a"]), reset)
        if not row["trial_ns"]:
            return None
        from_a, at_ns = bool(row["trial_from_a"]), int(row["trial_at_ns"])
        waits = self.outstanding(from_a)
        if waits is None or waits.how == bits.ACKED or waits.vain or waits.first_ns < at_ns:
            return None
        if self._reset_before(at_ns):
            return None
        return Killed(int(row["trial_ns"]), at_ns, from_a, None)

    def killed_by(self, until_ns: int) -> Killed | None:
        """Return the silence that it had not survived by a time, unless it had survived one as long.

        What is sent again when the capture ends may yet be answered: resending has to have ended.
        """
        killed = self.killed
        if killed is None or self.survived_ns >= killed.silence_ns:
            return None
        waits = self.outstanding(killed.from_a)
        if killed.reset is not None or waits is None or waits.how != bits.OPEN:
            return killed
        gap_ns = waits.last_ns - (waits.times_ns[-2] if len(waits.times_ns) > 1 else waits.first_ns)
        ended = until_ns - waits.last_ns > OVERDUE * gap_ns or waits.last_ns - waits.first_ns >= ENDS_NS
        return killed if ended else None

    def _reset_before(self, time_ns: int) -> bool:
        """Return whether an RST that its receiver takes had ended the connection before a time."""
        return any(reset.time_ns < time_ns and reset.in_window for reset in self.resets)


def _reset(note: NoteRow) -> Reset:
    """Return what a NOTE of an RST says."""
    return Reset(
        frame_of(note.frame),
        note.time_ns,
        bool(note.from_a),
        note.about,
        note.ttl,
        note.ip_id,
        note.usual_ip_id,
        note.silence_ns,
        note.after_ns,
    )


def _unrolled(span: SpanRow) -> tuple[list[FrameRef], list[int]]:
    """Return the frames of a SPAN's ring, oldest first, and their times."""
    kept = min(span.n, bits.SPAN_FRAMES)
    order = [i % bits.SPAN_FRAMES for i in range(span.n - kept, span.n)]
    return [frame_of(int(span.frames[i])) for i in order], [int(span.times_ns[i]) for i in order]


def _outstanding(observed: Observed, row: int, from_a: bool) -> Outstanding:
    """Return what a SPAN that is over says."""
    span = SpanRow._make(observed.spans[row - 1].item())
    first = frame_of(span.first_frame) if span.first_frame else None
    return Outstanding(
        from_a,
        span.n,
        span.bytes,
        span.first_ns,
        span.last_ns,
        span.end_ns,
        span.how,
        bool(span.vain),
        first,
        *_unrolled(span),
    )


def _open(observed: Observed, known: int, sent: SentRow, from_a: bool) -> Outstanding:
    """Return what is known of bytes that nothing has acknowledged."""
    span = SpanRow._make(observed.spans[sent.span - 1].item())
    first = frame_of(sent.head_frame) if sent.head_frame else None
    reset = known & bits.PEER_RESET
    end_ns, how = (sent.head_reset_ns, bits.RESET_BY_PEER) if reset else (sent.resent_ns, bits.OPEN)
    number = int(distance(sent.head_end, sent.head_seq))
    vain = known & bits.VAIN != 0
    return Outstanding(
        from_a, sent.head_n, number, sent.head_ns, sent.resent_ns, end_ns, how, vain, first, *_unrolled(span)
    )


def episodes(facts: ConnectionFacts, *endings: str) -> Iterator[tuple[Prober, Episode]]:
    """Yield the episodes of a connection that ended in one of the ways given."""
    for prober in facts.probers:
        if prober.steady and Ending.ANSWERED not in endings:
            continue
        for episode in prober.episodes if Ending.ANSWERED in endings else prober.runs:
            if episode.ending in endings:
                yield prober, episode


def met_nothing(facts: ConnectionFacts, prober: Prober, episode: Episode, *, from_first: bool = False) -> bool:
    """Return whether the capture shows that a run's prober heard nothing, not only that the capture holds nothing.

    What it echoes shows that (RFC 7323 4.3), or that it probes sooner than it does after an answer: by its interval
    (tcp_keepalive_timer). Otherwise replies may have passed where this capture was not made. The silence before its
    first run counts only ``from_first``: keepalive may have been switched on late.
    """
    if facts.side(prober.side == facts.connection.a).known & bits.TIMESTAMPS:
        return True
    after = [later.time_ns - probe.time_ns for probe, later in pairwise(episode.probes) if probe.outcome == "missed"]
    silences_ns = prober.silences_ns if from_first else prober.silences_ns[1:]
    return bool(after) and min(after) >= LEAST_NS and max(after) < SOONER * min(silences_ns, default=0)


def frames_of(episode: Episode) -> list[FrameRef]:
    """Return the frames that show an episode: its probes and what closed it."""
    frames = [probe.frame for probe in episode.probes]
    return [*frames, episode.ending_frame] if episode.ending_frame else frames


def closing_ns(episode: Episode) -> int:
    """Return when an episode was given up: one more gap after its last probe."""
    extra = episode.gaps_ns[-1] if len(episode.gaps_ns) >= len(episode.probes) else 0
    return episode.probes[-1].time_ns + extra
