"""What the classifier writes: a LABEL for each segment, an EVENT for each that later stages must hear of."""

from __future__ import annotations

import numpy as np

from kacap.classify.kinds import Grade, Kind
from kacap.classify.reasons import Why
from kacap.flows import NEVER, STAMP
from kacap.kernels import Row, kernel
from kacap.segments import ACK

_PROBE, _PROVEN, _PATTERNED = int(Kind.PROBE), int(Grade.PROVEN), int(Grade.PATTERNED)
_W_REPEATS = int(Why.REPEATS)

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
        ("silence_ns", "<i8"),  # since the connection's last segment
        ("reply_ns", "<i8"),  # of a probe that was answered at once: its reply (NEVER: none, or told of apart)
        ("reply_frame", "<i8"),
        ("by_hi", "<u8"),
        ("by_lo", "<u8"),
        ("seq", "<u4"),
        ("ack", "<u4"),
        ("payload_len", "<u4"),
        ("reply_file", "<u2"),
        ("file", "<u2"),
        ("window", "<u2"),
        ("ip_id", "<u2"),
        ("usual_ip_id", "<u2"),  # of its sender's segment before
        ("kind", "u1"),
        ("grade", "u1"),
        ("why", "u1"),
        ("from_a", "u1"),
        ("flags", "u1"),
        ("ttl", "u1"),
        ("usual_ttl", "u1"),  # of its sender's other segments; 0: none seen
        ("has", "u1"),
        ("stamped", "u1"),  # its sender's other segments carry timestamps
        ("answers", "u1"),  # 1: accepted by a peer whose probes were unanswered
        ("reply_ttl", "u1"),
        ("reply_usual_ttl", "u1"),
        ("icmp_type", "u1"),
        ("icmp_code", "u1"),
    ],
    align=True,
)
EVENTS_PER_SEGMENT = 4  # at most: a held run's first, this one, what it answers, and an early reply


@kernel
def emit(out: Row, seg: Row, label: Row, row: Row, x: Row) -> Row:
    """Append an EVENT for the segment at hand and return it; ``out`` is (HEADER row, EVENT rows)."""
    header, events = out
    event = events[header.events]
    row.last_event = header.events_before + header.events
    header.events += 1
    event.reply_ns = NEVER
    label.event = 1
    event.time_ns, event.frame, event.file = seg.time_ns, seg.frame, seg.file
    event.id, event.slot, event.from_a = label.id, label.slot, label.from_a
    event.kind, event.grade, event.why = label.kind, label.grade, label.why
    event.heard_ns, event.closed_ns = x.heard_ns, NEVER
    event.heard_0, event.heard_1, event.heard_2, event.heard_3 = x.heard_0, x.heard_1, x.heard_2, x.heard_3
    event.heard_n = x.heard_n
    event.by_hi, event.by_lo, event.icmp_type, event.icmp_code = seg.by_hi, seg.by_lo, seg.icmp_type, seg.icmp_code
    event.seq, event.ack, event.payload_len = seg.seq, seg.ack, seg.payload_len
    event.window, event.ip_id, event.flags, event.has = seg.window, seg.ip_id, seg.flags, seg.has
    event.ttl, event.usual_ttl, event.usual_ip_id = seg.ttl, x.ttl, x.ip_id
    event.stamped = 1 if x.known & STAMP else 0
    event.answers = 0
    event.silence_ns = seg.time_ns - row.last_ns
    return event


@kernel
def emit_held(out: Row, seg: Row, label: Row, row: Row, y: Row) -> Row:
    """Append an EVENT for the first segment of Y's held run, now that it is known for what it is."""
    event = emit(out, seg, label, row, y)
    event.time_ns, event.frame, event.file = y.held_ns, y.held_frame, y.held_file
    event.heard_ns = y.held_heard_ns
    event.seq, event.ack, event.payload_len = y.held_seq, y.held_ack, y.held_payload
    event.ttl = y.held_ttl
    event.flags, event.ip_id, event.has, event.window = ACK, 0, 0, 0
    event.kind, event.grade = _PROBE, _PATTERNED
    event.why = _W_REPEATS
    return event


@kernel
def join_reply(out: Row, seg: Row, label: Row, row: Row, x: Row, y: Row) -> Row:
    """Write a reply from X into the EVENT of Y's lone open probe, if nothing was told of the connection since.

    Nearly all probes are answered at once: half the events, and half the work of what hears of them.
    """
    header, events = out
    if y.open_probes != 1 or y.probe_event < header.events_before or row.last_event != y.probe_event:
        return False
    event = events[y.probe_event - header.events_before]
    if event.kind != _PROBE or event.grade != _PROVEN:
        return False
    event.reply_ns, event.reply_frame, event.reply_file = seg.time_ns, seg.frame, seg.file
    event.reply_ttl, event.reply_usual_ttl = seg.ttl, x.ttl
    label.event = 1
    return True
