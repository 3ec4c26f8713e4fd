"""The few segments that later stages hear of, as plain objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kacap.classify.emit import EVENT
from kacap.classify.kinds import GRADE_WORDS, Ending, Kind
from kacap.classify.reasons import Why
from kacap.flows import NEVER
from kacap.model import Episode, FrameRef, Probe, Prober
from kacap.segments import ACK
from kacap.wire.sequence import after

_NEVER, _REPLY, _ANSWERS = int(NEVER), int(Kind.REPLY), int(Why.ANSWERS_PROBE)


@dataclass(slots=True)
class Event:
    """One row of EVENT, field by field; ``open`` while its kind is not decided, ``dropped`` if nobody is to hear it."""

    time_ns: int
    frame: int
    id: int
    slot: int
    heard_ns: int
    closed_ns: int
    heard_0: int
    heard_1: int
    heard_2: int
    heard_3: int
    heard_n: int
    silence_ns: int
    reply_ns: int
    reply_frame: int
    by_hi: int
    by_lo: int
    seq: int
    ack: int
    payload_len: int
    reply_file: int
    file: int
    window: int
    ip_id: int
    usual_ip_id: int
    kind: int
    grade: int
    why: int
    from_a: int
    flags: int
    ttl: int
    usual_ttl: int
    has: int
    stamped: int
    answers: int
    reply_ttl: int
    reply_usual_ttl: int
    icmp_type: int
    icmp_code: int
    open: bool = False
    dropped: bool = False

    def reply(self) -> Event:
        """Return that reply as an event of its own."""
        return replace(
            self, time_ns=self.reply_ns, frame=self.reply_frame, file=self.reply_file, reply_ns=_NEVER, kind=_REPLY,
            why=_ANSWERS, seq=self.ack, ack=int(after(self.seq, 1)), from_a=1 - self.from_a, flags=ACK,
            payload_len=0, ttl=self.reply_ttl, usual_ttl=self.reply_usual_ttl, answers=1,
        )

    @property
    def ref(self) -> FrameRef:
        """The frame that carried it."""
        return FrameRef(self.file, self.frame)

    @property
    def silent_since_ns(self) -> int | None:
        """When its sender had last accepted a segment from the peer; None: before the capture's view."""
        return None if self.heard_ns == _NEVER else self.heard_ns

    @property
    def heards_ns(self) -> tuple[int, ...] | None:
        """When its sender heard something since its probe before; None: more often than is kept."""
        return _heards(self)


class Answered(NamedTuple):
    """The row of a probe that was answered at once, as far as it matters: nearly all rows are such."""

    time_ns: int
    frame: int
    id: int
    heard_ns: int
    heard_0: int
    heard_1: int
    heard_2: int
    heard_3: int
    heard_n: int
    reply_ns: int
    reply_frame: int
    reply_file: int
    file: int
    seq: int
    payload_len: int
    grade: int
    why: int
    from_a: int
    reply_ttl: int
    reply_usual_ttl: int

    @property
    def silent_since_ns(self) -> int | None:
        """When its sender had last accepted a segment from the peer; None: before the capture's view."""
        return None if self.heard_ns == _NEVER else self.heard_ns

    @property
    def heards_ns(self) -> tuple[int, ...] | None:
        """When its sender heard something since its probe before; None: more often than is kept."""
        if self.heard_n == 1:
            return (self.heard_0,)
        return _heards(self)

    def episode(self, prober: Prober) -> Episode:
        """Return the episode of this probe alone."""
        since_ns, reply = self.silent_since_ns, FrameRef(self.reply_file, self.reply_frame)
        probe = Probe(
            prober.connection, FrameRef(self.file, self.frame), self.time_ns, prober.side, prober.peer,
            GRADE_WORDS[self.grade], self.payload_len, reply, self.reply_ns - self.time_ns,
        )
        gap_ns = None if since_ns is None else self.time_ns - since_ns
        return Episode(prober.connection, prober.side, [probe], since_ns, gap_ns, [], Ending.ANSWERED, reply)


def _heards(seen: Event | Answered) -> tuple[int, ...] | None:
    """Return the moments of a row at which its sender heard something; None: more than it has room for."""
    if seen.heard_n > 4:
        return None
    return (seen.heard_0, seen.heard_1, seen.heard_2, seen.heard_3)[: max(seen.heard_n, 0)]


def events_of(rows: NDArray[np.void]) -> Iterator[Event | tuple[Answered, NDArray[np.void]]]:
    """Turn EVENT rows into objects, in order: a probe that was answered at once comes with its row."""
    at_once = rows["reply_ns"] != NEVER
    answered = iter(rows[list(Answered._fields)][at_once].tolist())
    others = iter(rows[~at_once].tolist())
    for i, is_answered in enumerate(at_once.tolist()):
        yield (Answered(*next(answered)), rows[i : i + 1]) if is_answered else Event(*next(others))


def apart(row: NDArray[np.void]) -> tuple[Event, Event]:
    """Return a probe that was answered at once, of one EVENT row, and its reply as two events."""
    event = Event(*row.tolist()[0])
    return event, event.reply()


assert EVENT.names is not None and tuple(EVENT.names) == tuple(Event.__dataclass_fields__)[: len(EVENT.names)]
