"""Connections of a single segment: floods and scans make very many, of which the oldest are let go."""

from __future__ import annotations

import numpy as np

from kacap.flows import FINISHED, LONE, LONE_ACK
from kacap.kernels import Row, kernel
from kacap.segments import RST, SYN

# Connections of a single segment: a flood of them is no reason to run out of memory. Of ACKs more are kept: where one
# direction alone was captured, all that probe begin so.
LONE_KEPT, LONE_ACKS_KEPT = np.int64(1 << 15), np.int64(1 << 16)


@kernel
def leave_alone(seg: Row, row: Row, tracker: Row, connections: Row) -> None:
    """Note that a new connection has a single segment; of those that are too many the oldest is let go."""
    if seg.payload_len <= 1 and not seg.flags & (SYN | RST):
        row.state |= LONE_ACK
        tracker.lone_acks += 1
        if tracker.lone_acks > LONE_ACKS_KEPT:
            tracker.oldest_ack = _let_go(LONE_ACK, tracker.oldest_ack, tracker, connections)
    else:
        row.state |= LONE
        tracker.lone += 1
        if tracker.lone > LONE_KEPT:
            tracker.oldest = _let_go(LONE, tracker.oldest, tracker, connections)


@kernel
def _let_go(alone: Row, oldest: Row, tracker: Row, connections: Row) -> Row:
    """Forget the first connection, from row ``oldest`` on, that is alone in this way; return its row."""
    while not connections[oldest].state & alone:
        oldest += 1
    forget(connections[oldest], tracker)
    tracker.let_go += 1
    return oldest


@kernel
def join(row: Row, tracker: Row) -> None:
    """Note that a connection has another segment."""
    if row.state & LONE:
        tracker.lone -= 1
    if row.state & LONE_ACK:
        tracker.lone_acks -= 1
    row.state &= ~np.uint16(LONE | LONE_ACK)


@kernel
def forget(row: Row, tracker: Row) -> None:
    """Let a connection be over: it only waits to be collected, and its next segment starts another."""
    join(row, tracker)
    row.state |= FINISHED
    tracker.finished += 1
