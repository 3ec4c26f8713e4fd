"""What a segment teaches about its sender, its receiver and their connection, once it is rated."""

from __future__ import annotations

import numpy as np

from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import Grade, Kind
from kacap.classify.rules import COUNTED_IDS, id_step, lacks_bytes
from kacap.clock import SECOND_NS
from kacap.flows import (
    A_FIN,
    AFTER_HOLE,
    B_FIN,
    BYTE,
    BYTES_WAIT,
    ECHOED_STAMP,
    FIN_NEWEST,
    ISN,
    NEVER,
    NXT,
    OFF_CLOCK,
    SEEN,
    SENT_ACK,
    SKIPPED_ID,
    STAMP,
    STOOD_STILL,
    UNA,
    UNWANTED,
    WAS_RESET,
    WINDOW,
)
from kacap.kernels import Row, inlined, kernel
from kacap.segments import ACK, FIN, HAS_LAST_BYTE, HAS_TIMESTAMPS, RST, SYN
from kacap.wire.sequence import seq_diff

SAME_MOMENT_NS = np.int64(50_000_000)
ONE_PACKET = 1460  # bytes that fit one Ethernet frame
MILLISECOND_NS = np.int64(1_000_000)
LONG_NS = np.int64(900_000_000)  # in so much time the rate of a clock shows
FAST_HZ = 100  # a clock that ticks so often does not stand still for STRAY_NS
STRAY_NS = np.int64(30_000_000)  # a frame that is late by less changes no setting
TICKS_HZ = (1000, 100, 250, 300, 10, 2, 1, 1_000_000)  # of timestamps, the usual first

_PROBE, _WINDOW_PROBE, _RETRANSMISSION = int(Kind.PROBE), int(Kind.WINDOW_PROBE), int(Kind.RETRANSMISSION)
_PROVEN, _W_OUT_RST = int(Grade.PROVEN), int(KindReason.OUT_OF_WINDOW_RST)


@kernel
def _newest(y: Row) -> Row:
    """Return the newest of the moments that are kept of what Y heard."""
    n = y.heard_n
    return y.heard_0 if n == 1 else y.heard_1 if n == 2 else y.heard_2 if n == 3 else y.heard_3


@kernel
def retract_heard(x: Row, time_ns: Row, before_ns: Row) -> None:
    """Take back that X heard something at ``time_ns``, and at ``before_ns`` before: it answers a probe to come."""
    x.heard_ns = before_ns
    if x.heard_n > 4 or (x.heard_n > 0 and _newest(x) == time_ns):
        x.heard_n -= 1


@kernel
def retract_reply(x: Row) -> None:
    """Take back that X heard the last reply to its probe, and everything since: it never arrived."""
    x.heard_ns, x.heard_n = x.unheard_ns, 0


@kernel
def note_heard(y: Row, time_ns: Row) -> None:
    """Start Y's idle clock again, and keep when: what comes within a twentieth of a second counts as one."""
    n = y.heard_n
    y.heard_ns = time_ns
    if 0 < n <= 4 and time_ns - _newest(y) < SAME_MOMENT_NS:
        return
    y.heard_n += 1
    if n == 0:
        y.heard_0 = time_ns
    elif n == 1:
        y.heard_1 = time_ns
    elif n == 2:
        y.heard_2 = time_ns
    elif n == 3:
        y.heard_3 = time_ns


@inlined
def note_accepted(seg: Row, x: Row, y: Row) -> None:
    """Start Y's idle clock again for a segment of X that Y accepts if it arrives, and keep what is not sure of that.

    Bytes arrive when they are acknowledged. What is behind bytes that Y lacks is acknowledged by nothing. Of bytes that
    Y has already Linux takes no note, nor, since 6.16, of those beyond its window (tcp_sequence); other systems do.
    """
    length = seg.payload_len + (1 if seg.flags & FIN else 0)
    beyond = seq_diff(np.uint32(seg.seq + length), y.sent_ack) if y.known & SENT_ACK else np.int64(length)
    if length and beyond > 0 and not y.lacks & BYTES_WAIT:
        y.sure_ns, y.sure_n = y.heard_ns, y.heard_n
        y.lacks |= BYTES_WAIT
    elif length == 0 and beyond > 0:
        y.lacks |= AFTER_HOLE
    unwanted = length and (beyond < 0 or (beyond > 0 and y.known & WINDOW and y.window == 0))
    y.lacks = y.lacks | UNWANTED if unwanted else y.lacks & ~np.uint8(UNWANTED)
    note_heard(y, seg.time_ns)


@kernel
def sure_heard_ns(seg: Row, x: Row, y: Row) -> Row:
    """Return when X had last heard something for sure when it sent this segment: bytes that it lacks do not count."""
    return x.sure_ns if x.lacks & BYTES_WAIT and lacks_bytes(seg, y) else x.heard_ns


@kernel
def withdraw_bytes(seg: Row, x: Row, y: Row) -> Row:
    """Take back that X heard bytes that it lacks when its timer fires; return whether it may have heard more, or less.

    ``seg`` is what its timer sent.
    """
    lacking = lacks_bytes(seg, y)
    unsure = x.lacks & UNWANTED or (lacking and x.lacks & AFTER_HOLE)
    if x.lacks & BYTES_WAIT and lacking:
        x.heard_ns, x.heard_n = x.sure_ns, x.sure_n
    x.lacks = np.uint8(0)
    return unsure


@kernel
def settle_bytes(seg: Row, x: Row, y: Row, at_once: Row) -> None:
    """Take from an acknowledgement of X that bytes have arrived. One ``at_once`` that moves on nothing answers them."""
    moves_on = not x.known & SENT_ACK or seq_diff(seg.ack, x.sent_ack) > 0
    if at_once or moves_on or not lacks_bytes(seg, y):
        x.lacks &= np.uint8(UNWANTED)


@inlined
def learn_numbers(seg: Row, x: Row, y: Row, kind: Row) -> None:
    """Take a segment's sequence and acknowledgement numbers into what is known of both sides."""
    length = seg.payload_len + (1 if seg.flags & SYN else 0) + (1 if seg.flags & FIN else 0)
    if kind != _WINDOW_PROBE and kind != _PROBE and seg.flags & (ACK | SYN):
        end = np.uint32(seg.seq + length)
        if not x.known & NXT or seq_diff(end, x.nxt) > 0:
            x.nxt = end
        if length and (not x.known & SEEN or seq_diff(end, x.seen) > 0):
            x.seen = end
            x.known |= SEEN
            x.known &= ~np.uint8(BYTE)
            x.stamps = x.stamps | FIN_NEWEST if seg.flags & FIN else x.stamps & ~np.uint8(FIN_NEWEST)
            if seg.has & HAS_LAST_BYTE:
                x.byte = seg.last_byte
                x.known |= BYTE
        if length and end == x.seen:
            x.data_gap_ns = seg.time_ns - x.data_ns if kind == _RETRANSMISSION else np.int64(0)
            x.data_ns = seg.time_ns
        x.known |= NXT
    if seg.flags & SYN:
        x.isn = seg.seq
        x.known |= ISN
    elif x.known & ISN and not x.known & UNA and not seg.flags & RST and seg.flags & ACK:
        x.una = np.uint32(x.isn + 1)  # who goes on after its SYN has had it acknowledged (RFC 9293 3.5)
        x.known |= UNA
    if seg.flags & ACK:
        if not y.known & UNA or seq_diff(seg.ack, y.una) > 0:
            y.una = seg.ack
        if not y.known & NXT or seq_diff(seg.ack, y.nxt) > 0:
            y.nxt = seg.ack
        y.known |= UNA | NXT
        if not x.known & SENT_ACK or seq_diff(seg.ack, x.sent_ack) > 0:
            x.sent_ack = seg.ack
        x.known |= SENT_ACK


@inlined
def learn_rest(seg: Row, x: Row, kind: Row) -> None:
    """Take window, timestamp, IP ID and TTL of a segment into what is known of its sender.

    A segment that was overtaken says nothing of the window any more (RFC 9293 3.10.7.4: SND.WL1, SND.WL2).
    """
    overtaken = x.known & SENT_ACK and seg.flags & ACK and seq_diff(seg.ack, x.sent_ack) < -1
    if seg.has & HAS_TIMESTAMPS and x.known & STAMP:
        overtaken = seq_diff(seg.tsval, x.tsval) < 0
    if seg.flags & (ACK | SYN) and not seg.flags & RST and not overtaken:
        if seg.window:
            x.closed_ns = NEVER
        elif x.known & WINDOW and x.window:
            x.closed_ns = seg.time_ns
        x.window = seg.window
        x.known |= WINDOW
    if seg.has & HAS_TIMESTAMPS and (not x.known & STAMP or seq_diff(seg.tsval, x.tsval) > 0):
        x.tsval = seg.tsval
        x.known |= STAMP
    if seg.has & HAS_TIMESTAMPS and seg.flags & ACK and not seg.flags & SYN:
        x.echoed = seg.tsecr
        x.stamps |= ECHOED_STAMP
    learn_ip_id(seg, x)
    if x.ttl == 0 or seg.payload_len > 1 or seg.flags & SYN:
        x.ttl = seg.ttl  # replies may come from a nearer hop, data does not


@kernel
def _ticks_at(hz: Row, passed_ns: Row, ticks: Row) -> Row:
    """Return whether a clock of so many ticks a second ticks so often in a time of the capture."""
    most = STRAY_NS + passed_ns / 500 + SECOND_NS / hz
    return abs(passed_ns - ticks * (SECOND_NS / hz)) <= most


@inlined
def learn_clock(seg: Row, x: Row) -> None:
    """Compare how long X says that it waited, by its timestamps, with what the capture shows, before both are learnt.

    The clocks are those in use (RFC 7323 5.4: 1 ms to 1 s a tick; Linux also microseconds); one that stands still says
    nothing. A SYN,ACK with a cookie keeps options in its timestamp (Linux cookie_init_timestamp).
    """
    if not seg.has & HAS_TIMESTAMPS or not x.known & STAMP or seg.flags & SYN:
        return
    passed_ns, ticks = seg.time_ns - x.sent_ns, np.int64(seq_diff(seg.tsval, x.tsval))
    if -STRAY_NS <= passed_ns - ticks * MILLISECOND_NS <= STRAY_NS and passed_ns < LONG_NS:
        return
    if x.tick_hz and _ticks_at(x.tick_hz, passed_ns, ticks):
        return
    if x.tick_hz == 0:
        if ticks == 0:
            x.stamps |= STOOD_STILL
            return
        for hz in TICKS_HZ:
            if _ticks_at(hz, passed_ns, ticks):
                if passed_ns >= LONG_NS:
                    x.tick_hz = hz
                    x.stamps |= OFF_CLOCK if hz >= FAST_HZ and x.stamps & STOOD_STILL else 0
                return
    x.stamps |= OFF_CLOCK


@kernel
def learn_ip_id(seg: Row, x: Row) -> None:
    """Watch whether a sender counts its IP IDs packet by packet, as Linux does for each socket (ip_select_ident_segs).

    ``SKIPPED_ID``: it has skipped some since its last probe.
    """
    step = id_step(seg, x)
    if step == 1:
        x.id_ones = min(x.id_ones + 1, 250)
    elif step >= 0:
        x.id_jumps = min(x.id_jumps + 1, 250)
        x.stamps |= SKIPPED_ID if 1 < step <= COUNTED_IDS else 0
    x.id_pure = 1 if seg.payload_len <= ONE_PACKET else 0
    x.ip_id = seg.ip_id


@kernel
def learn_path(seg: Row, x: Row, y: Row) -> None:
    """Take how long X is away from the capture point, there and back, from its answer to what asks for one, at most.

    The handshake asks, or, where it was not seen, bytes of Y while all before them are acknowledged: the soonest of
    their acknowledgements. Which of several that were sent again is answered is open (Karn's algorithm, RFC 6298 3):
    the first may be, so that the path is never taken for shorter than it is.
    """
    moves_on = not x.known & SENT_ACK or seq_diff(seg.ack, x.sent_ack) > 0
    if x.asked_ns != NEVER and seg.flags & ACK and not seg.flags & RST and moves_on:
        took_ns = max(seg.time_ns - x.asked_ns, np.int64(1))
        x.path_ns = min(x.path_ns, took_ns) if x.path_ns else took_ns
        x.asked_ns = NEVER
    length = seg.payload_len + (1 if seg.flags & FIN else 0)
    mid = length and not x.known & y.known & ISN and y.known & SENT_ACK and seg.seq == y.sent_ack
    if (seg.flags & SYN or mid) and y.asked_ns == NEVER:
        y.asked_ns = seg.time_ns


@kernel
def advance_row(seg: Row, row: Row, label: Row) -> None:
    """Take a segment into its connection's row: times, counts, what closed it."""
    row.longest_silence_ns = max(row.longest_silence_ns, seg.time_ns - row.last_ns)
    if label.kind == _RETRANSMISSION:
        row.retransmissions += 1
    row.last_ns = max(row.last_ns, seg.time_ns)
    row.segments += 1
    if label.kind == _WINDOW_PROBE and label.grade == _PROVEN:
        row.window_probes += 1
    if seg.flags & RST:
        if label.why != _W_OUT_RST:
            row.state |= WAS_RESET
    else:
        row.state &= ~np.uint16(WAS_RESET)
    if seg.flags & FIN:
        row.state |= A_FIN if label.from_a else B_FIN
