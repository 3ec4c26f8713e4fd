"""Kernels that follow the bytes of one side from their first sending to the acknowledgement that covers them.

Only bytes that are sent again are followed: their first sending is looked up among the side's last flights (data in
sequence, sent within a moment). A FIN counts as a byte where data goes with it; SYNs and window probes do not.
"""

from __future__ import annotations

import numpy as np

from kacap.findings.observed import (
    ACKED,
    BYTES,
    END,
    FLIGHTS,
    HEAD,
    PEER_RESET,
    RESET_BY_PEER,
    RESET_BY_SENDER,
    SPAN_FRAMES,
    SUSPENDED_AFTER,
    UNA,
    VAIN,
    WENT_ON,
)
from kacap.kernels import Row, inlined, kernel
from kacap.segments import FIN
from kacap.wire.sequence import seq_diff

FLIGHT_NS = np.int64(50_000_000)
REORDERED_NS = np.int64(3_000_000)  # what comes sooner has swapped places, or is captured twice


@kernel
def frame_of(seg: Row) -> Row:
    """Return a segment's frame as one number."""
    return np.int64(seg.file) << np.int64(48) | np.int64(seg.frame)


@kernel
def data_of(x: Row, slot: Row, pools: Row) -> Row:
    """Return the row of SENT of a side, made when it first sends data."""
    header, _, sent = pools
    if x.data == 0:
        sent[header.sent].slot = slot
        header.sent += 1
        x.data = header.sent
    return sent[x.data - 1]


@kernel
def _start_flight(seg: Row, d: Row, end: Row) -> None:
    """Take new bytes: they go on with the newest flight, or start another."""
    flight = d.flights[d.flight]
    if d.flights_n and flight.end == seg.seq and seg.time_ns - flight.time_ns < FLIGHT_NS:
        flight.end = end
        return
    if d.flights_n:
        d.flight = (d.flight + 1) % FLIGHTS
    d.flights_n = min(d.flights_n + 1, FLIGHTS)
    flight = d.flights[d.flight]
    flight.seq, flight.end, flight.time_ns, flight.frame = seg.seq, end, seg.time_ns, frame_of(seg)
    flight.ip_id = seg.ip_id


@kernel
def _flight_of(seq: Row, d: Row) -> Row:
    """Return which flight of a side (SENT) holds a byte, -1: none that is kept."""
    for i in range(FLIGHTS):
        if i < d.flights_n and seq_diff(seq, d.flights[i].seq) >= 0 and seq_diff(seq, d.flights[i].end) < 0:
            return i
    return -1


@kernel
def _start_head(seg: Row, x: Row, d: Row, end: Row) -> Row:
    """Follow the bytes of a segment from now on; return whether it was sent again rather than for the first time."""
    number = _flight_of(seg.seq, d)
    if number >= 0:
        flight = d.flights[number]
        same = flight.seq == seg.seq
        if seg.time_ns - flight.time_ns < REORDERED_NS or (same and seg.ip_id and flight.ip_id == seg.ip_id):
            return False
        d.head_ns, d.head_frame = flight.time_ns, flight.frame if same else 0
    else:  # it fills a hole: the sending before was not captured
        d.head_ns, d.head_frame = seg.time_ns, frame_of(seg)
    x.known = (x.known | HEAD) & ~np.uint32(PEER_RESET | VAIN)
    d.head_seq, d.head_end, d.head_n, d.head_ip_id = seg.seq, end, 0, seg.ip_id
    return number >= 0


@kernel
def _remember(seg: Row, d: Row, slot: Row, pools: Row) -> None:
    """Keep a retransmission in the SPAN of its bytes, from the second on."""
    header, spans, _ = pools
    if d.head_n == 1:
        d.resent_frame = frame_of(seg)
        return
    if d.span == 0:
        header.spans += 1
        d.span = header.spans
    span = spans[d.span - 1]
    if d.head_n == 2:
        span.slot, span.n = slot, 1
        span.frames[0], span.times_ns[0] = d.resent_frame, d.resent_ns
    span.frames[span.n % SPAN_FRAMES], span.times_ns[span.n % SPAN_FRAMES] = frame_of(seg), seg.time_ns
    span.n += 1


@kernel
def end_head(x: Row, d: Row, how: Row, end_ns: Row, pools: Row) -> None:
    """The bytes that were followed have come to an end: keep their SPAN if it is worth telling, and the longest."""
    spans = pools[1]
    x.known &= ~np.uint32(HEAD)
    if d.head_n < SUSPENDED_AFTER:
        return
    span = spans[d.span - 1]
    span.first_ns, span.last_ns, span.end_ns = d.head_ns, d.resent_ns, end_ns
    span.first_frame, span.bytes = d.head_frame, np.uint32(d.head_end - d.head_seq)
    span.how, span.vain = how, 1 if x.known & VAIN else 0
    if d.kept == 0:
        d.kept, d.span = d.span, 0
    else:
        kept = spans[d.kept - 1]
        if end_ns - d.head_ns > kept.end_ns - kept.first_ns:
            d.kept, d.span = d.span, d.kept


@kernel
def _send_again(seg: Row, x: Row, d: Row, slot: Row, pools: Row) -> None:
    """Take bytes that were sent before: those that are followed, or the first that are not acknowledged."""
    end = np.uint32(seg.seq + seg.payload_len + (1 if seg.flags & FIN else 0))
    acknowledged = x.known & UNA and seq_diff(end, x.una) <= 0
    if x.known & HEAD and seq_diff(seg.seq, d.head_seq) <= 0 and seq_diff(end, d.head_seq) > 0:
        if seg.ip_id and seg.ip_id == d.head_ip_id:
            return  # the same packet, captured again
    else:
        if x.known & HEAD and x.known & UNA and (acknowledged or d.head_seq == x.una):
            return  # another hole of the same flight
        if not _start_head(seg, x, d, end):
            return
        if acknowledged:
            x.known |= VAIN
    x.known &= ~np.uint32(PEER_RESET)
    d.head_n += 1
    _remember(seg, d, slot, pools)
    d.resent_ns, d.head_ip_id = seg.time_ns, seg.ip_id
    if seq_diff(end, d.head_end) > 0:
        d.head_end = end


@inlined
def take_bytes(seg: Row, x: Row, slot: Row, pools: Row) -> None:
    """Take a segment of X with payload, before its numbers are learnt."""
    d = data_of(x, slot, pools)
    end = np.uint32(seg.seq + seg.payload_len + (1 if seg.flags & FIN else 0))
    if x.known & END and x.known & BYTES and seq_diff(seg.seq, x.end) < 0:
        _send_again(seg, x, d, slot, pools)
        if seq_diff(end, x.end) > 0 and d.flights[d.flight].end == x.end:
            d.flights[d.flight].end = end
        return
    one_way = not x.known & UNA
    if x.known & HEAD and (one_way or x.known & VAIN) and d.head_n > 0:
        end_head(x, d, WENT_ON, seg.time_ns, pools)  # after a timeout new bytes wait for an acknowledgement
    _start_flight(seg, d, end)


@inlined
def take_acknowledgement(seg: Row, y: Row, pools: Row) -> None:
    """Take an acknowledgement of Y's bytes."""
    if not y.known & HEAD or y.known & VAIN:
        return
    d = pools[2][y.data - 1]
    if seq_diff(seg.ack, d.head_end) >= 0:
        end_head(y, d, ACKED, seg.time_ns, pools)
    elif seq_diff(seg.ack, d.head_seq) > 0:
        d.head_seq = seg.ack


@kernel
def take_own_reset(seg: Row, x: Row, pools: Row) -> None:
    """Take an RST of X, which ends what X follows: who resets a connection has given it up, whatever the number."""
    if x.known & HEAD:
        d = pools[2][x.data - 1]
        how = RESET_BY_PEER if x.known & PEER_RESET else RESET_BY_SENDER
        end_head(x, d, how, d.head_reset_ns if x.known & PEER_RESET else seg.time_ns, pools)


@kernel
def take_peer_reset(seg: Row, y: Row, pools: Row) -> None:
    """Take an RST of Y's peer that Y accepts: it ends what Y follows, unless Y sends that again."""
    if y.known & HEAD and not y.known & PEER_RESET:
        pools[2][y.data - 1].head_reset_ns = seg.time_ns
        y.known |= PEER_RESET
