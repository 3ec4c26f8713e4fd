"""The few segments that later stages hear of, as plain objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kacap.classify.kernel import EVENT
from kacap.flows import NEVER
from kacap.model import FrameRef


@dataclass(slots=True)
class Event:
    """One row of EVENT, field by field; ``open`` while its kind is not decided, ``dropped`` if nobody is to hear it."""

    time_ns: int
    frame: int
    id: int
    slot: int
    heard_ns: int
    sent_ns: int
    by_hi: int
    by_lo: int
    seq: int
    ack: int
    payload_len: int
    file: int
    window: int
    ip_id: int
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
    peer_window_zero: int
    icmp_type: int
    icmp_code: int
    open: bool = False
    dropped: bool = False

    @property
    def ref(self) -> FrameRef:
        """The frame that carried it."""
        return FrameRef(self.file, self.frame)

    @property
    def silent_since_ns(self) -> int | None:
        """When its sender had last accepted a segment from the peer; None: before the capture's view."""
        return None if self.heard_ns == int(NEVER) else self.heard_ns


def events_of(rows: NDArray[np.void]) -> list[Event]:
    """Turn EVENT rows into objects, in order."""
    return [Event(*row) for row in rows.tolist()]


assert EVENT.names is not None and tuple(EVENT.names) == tuple(Event.__dataclass_fields__)[: len(EVENT.names)]
