"""The few segments that later stages hear of, as plain objects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kacap.classify.emit import EVENT
from kacap.classify.kinds import Kind
from kacap.classify.reasons import Why
from kacap.flows import NEVER
from kacap.model import FrameRef
from kacap.segments import ACK
from kacap.wire.sequence import seq_add

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

    @property
    def answered(self) -> bool:
        """Whether the row of this probe tells of its reply too."""
        return self.reply_ns != _NEVER

    @property
    def reply_ref(self) -> FrameRef:
        """The frame of that reply."""
        return FrameRef(self.reply_file, self.reply_frame)

    def reply(self) -> Event:
        """Return that reply as an event of its own."""
        return replace(
            self, time_ns=self.reply_ns, frame=self.reply_frame, file=self.reply_file, reply_ns=_NEVER, kind=_REPLY,
            why=_ANSWERS, seq=self.ack, ack=int(seq_add(self.seq, 1)), from_a=1 - self.from_a, flags=ACK,
            payload_len=0, ttl=self.reply_ttl, usual_ttl=self.reply_usual_ttl, answers=1,
        )

    @property
    def ref(self) -> FrameRef:
        """The frame that carried it."""
        return FrameRef(self.file, self.frame)

    @property
    def silent_since_ns(self) -> int | None:
        """When its sender had last accepted a segment from the peer; None: before the capture's view."""
        return None if self.heard_ns == int(NEVER) else self.heard_ns

    @property
    def heards_ns(self) -> tuple[int, ...] | None:
        """When its sender heard something since its probe before; None: more often than is kept."""
        if self.heard_n > 4:
            return None
        return (self.heard_0, self.heard_1, self.heard_2, self.heard_3)[: max(self.heard_n, 0)]


def events_of(rows: NDArray[np.void]) -> list[Event]:
    """Turn EVENT rows into objects, in order."""
    return [Event(*row) for row in rows.tolist()]


assert EVENT.names is not None and tuple(EVENT.names) == tuple(Event.__dataclass_fields__)[: len(EVENT.names)]
