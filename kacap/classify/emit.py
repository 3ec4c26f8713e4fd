"""What the classifier writes: a LABEL for each segment, an EVENT for each that later stages need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import Grade, Kind
from kacap.flows import NEVER
from kacap.kernels import Row, kernel
from kacap.segments import ACK

_PROBE, _PROVEN, _PATTERNED = int(Kind.PROBE), int(Grade.PROVEN), int(Grade.PATTERNED)
_W_REPEATS, _W_QUOTED = int(KindReason.REPEATS), int(KindReason.QUOTED)
_UNREACHABLE = int(Kind.UNREACHABLE)

LABEL = np.dtype(
    [
        ("id", "<i8"),  # of the connection; 0: none (an ICMP error that quotes an unknown one)
        ("slot", "<i8"),  # its row, -1: none
        ("kind", "u1"),
        ("grade", "u1"),
        ("why", "u1"),
        ("from_a", "u1"),
        ("held", "u1"),  # 1: may still prove to be a probe
        ("event", "u1"),  # 1: an event tells what it is
    ],
    align=True,
)
LabelRows = NDArray[np.void]  # of LABEL

EVENT = np.dtype(
    [
        ("time_ns", "<i8"),
        ("frame", "<i8"),
        ("id", "<i8"),
        ("slot", "<i8"),
        ("heard_ns", "<i8"),  # when its sender had last accepted a segment from the peer (NEVER: unknown)
        ("closed_ns", "<i8"),  # when the peer's window was seen to close (NEVER: open, or not seen)
        ("heard_0", "<i8"),  # of a probe: when its sender heard something since its probe before
        ("heard_1", "<i8"),
        ("heard_2", "<i8"),
        ("heard_3", "<i8"),
        ("heard_n", "<i8"),
        ("path_ns", "<i8"),  # from the capture point to its sender and back; 0: not seen
        ("seq", "<u4"),
        ("ack", "<u4"),
        ("payload_len", "<u4"),
        ("watched", "<i4"),  # its connection's row of WATCHED
        ("next", "<i4"),  # while it waits: the row of WAITING behind it, from 1; 0: it is the last
        ("file", "<u2"),
        ("window", "<u2"),
        ("kind", "u1"),
        ("grade", "u1"),
        ("why", "u1"),
        ("from_a", "u1"),
        ("flags", "u1"),
        ("answers", "u1"),  # 1: accepted by a peer whose probes were unanswered
        ("hints", "u1"),  # UNHEARD, UNSEEN, EXACT: what its timestamps and IP ID say of frames that are not here
        ("open", "u1"),  # 1: its kind is not decided
        ("held", "u1"),  # 1: it is a reply to an undecided run
        ("dropped", "u1"),  # 1: it is a plain ACK after all
    ],
    align=True,
)
EventRows = NDArray[np.void]  # of EVENT

EVENTS_PER_SEGMENT = 5  # at most: a held run's first, what quotes it, this one, what it answers, an early reply


@kernel
def emit(out: Row, seg: Row, label: Row, row: Row, x: Row) -> Row:
    """Append an EVENT for the segment at hand and return it; ``out`` is (TRACKER_STATE row, EVENT rows)."""
    tracker, events = out
    event = events[tracker.events]
    tracker.events += 1
    label.event = 1
    if row.watched < 0:
        row.watched = tracker.watched
        tracker.watched += 1
    event.watched, event.next, event.hints = row.watched, 0, 0
    event.open = event.held = event.dropped = 0
    event.time_ns, event.frame, event.file = seg.time_ns, seg.frame, seg.file
    event.id, event.slot, event.from_a = label.id, label.slot, label.from_a
    event.kind, event.grade, event.why = label.kind, label.grade, label.why
    event.heard_ns, event.closed_ns = x.heard_ns, NEVER
    event.heard_0, event.heard_1, event.heard_2, event.heard_3 = x.heard_0, x.heard_1, x.heard_2, x.heard_3
    event.heard_n = x.heard_n
    event.seq, event.ack, event.payload_len = seg.seq, seg.ack, seg.payload_len
    event.window, event.flags = seg.window, seg.flags
    event.answers = 0
    event.path_ns = x.path_ns
    return event


@kernel
def emit_held(out: Row, seg: Row, label: Row, row: Row, y: Row) -> Row:
    """Append an EVENT for the first segment of Y's held run, now that it is known for what it is."""
    event = emit(out, seg, label, row, y)
    event.time_ns, event.frame, event.file = y.held_ns, y.held_frame, y.held_file
    event.heard_ns = y.held_heard_ns
    event.seq, event.ack, event.payload_len = y.held_seq, y.held_ack, y.held_payload
    event.flags, event.window, event.hints = ACK, 0, y.held_hints
    event.kind, event.grade = _PROBE, _PATTERNED
    event.why = _W_REPEATS
    return event


@kernel
def emit_quoted(out: Row, seg: Row, label: Row, row: Row, y: Row) -> Row:
    """Append an EVENT for the ICMP error that quoted Y's held segment, now that this is known for a probe."""
    event = emit(out, seg, label, row, y)
    event.time_ns, event.frame, event.file = y.quoted_ns, y.quoted_frame, y.quoted_file
    event.kind, event.grade, event.why = _UNREACHABLE, _PROVEN, _W_QUOTED
    event.flags, event.payload_len = ACK, 0
    return event
