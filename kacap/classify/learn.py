"""What a segment teaches about its sender, its receiver and their connection, once it is rated."""

from __future__ import annotations

import numpy as np

from kacap.classify.kinds import Grade, Kind
from kacap.classify.reasons import Why
from kacap.flows import (
    A_FIN,
    B_FIN,
    BYTE,
    ISN,
    NEVER,
    NXT,
    SEEN,
    SENT_ACK,
    STAMP,
    UNA,
    WAS_RESET,
    WINDOW,
)
from kacap.kernels import Row, kernel
from kacap.segments import ACK, FIN, HAS_LAST_BYTE, HAS_TIMESTAMPS, RST, SYN
from kacap.wire.sequence import seq_diff

SAME_MOMENT_NS = np.int64(50_000_000)

TRIAL_NS = np.int64(10_000_000_000)  # shorter silences say nothing about a middlebox
BURST_NS = np.int64(900_000_000)
REGULAR = 10  # gaps that differ by no more than a tenth

_DATA = int(Kind.DATA)
_PROBE, _WINDOW_PROBE, _RETRANSMISSION = int(Kind.PROBE), int(Kind.WINDOW_PROBE), int(Kind.RETRANSMISSION)
_PROVEN, _W_OUT_RST = int(Grade.PROVEN), int(Why.OUT_OF_WINDOW_RST)


@kernel
def _newest(y: Row) -> Row:
    """Return the newest of the moments that are kept of what Y heard."""
    n = y.heard_n
    return y.heard_0 if n == 1 else y.heard_1 if n == 2 else y.heard_2 if n == 3 else y.heard_3


@kernel
def unhear(x: Row, time_ns: Row, before_ns: Row) -> None:
    """Take back that X heard something at ``time_ns``, and at ``before_ns`` before: it answers a probe to come."""
    x.heard_ns = before_ns
    if x.heard_n > 4 or (x.heard_n > 0 and _newest(x) == time_ns):
        x.heard_n -= 1


@kernel
def unhear_reply(x: Row) -> None:
    """Take back that X heard the last reply to its probe, and everything since: it never arrived."""
    x.heard_ns, x.heard_n = x.unheard_ns, 0


@kernel
def hear(y: Row, time_ns: Row) -> None:
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


@kernel
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
    if seg.flags & ACK:
        if not y.known & UNA or seq_diff(seg.ack, y.una) > 0:
            y.una = seg.ack
            y.resent_n = 0
        if not y.known & NXT or seq_diff(seg.ack, y.nxt) > 0:
            y.nxt = seg.ack
        y.known |= UNA | NXT
        if not x.known & SENT_ACK or seq_diff(seg.ack, x.sent_ack) > 0:
            x.sent_ack = seg.ack
        x.known |= SENT_ACK


@kernel
def learn_rest(seg: Row, x: Row, kind: Row) -> None:
    """Take window, timestamp, IP ID and TTL of a segment into what is known of its sender."""
    if seg.flags & (ACK | SYN) and not seg.flags & RST:
        if seg.window:
            x.closed_ns = NEVER
        elif x.known & WINDOW and x.window:
            x.closed_ns = seg.time_ns
        x.window = seg.window
        x.known |= WINDOW
    if seg.has & HAS_TIMESTAMPS and (not x.known & STAMP or seq_diff(seg.tsval, x.tsval) > 0):
        x.tsval = seg.tsval
        x.known |= STAMP
    learn_ip_id(seg, x)
    if x.ttl == 0 or seg.payload_len > 1 or seg.flags & SYN:
        x.ttl = seg.ttl  # replies may come from a nearer hop, data does not


@kernel
def learn_ip_id(seg: Row, x: Row) -> None:
    """Watch whether a sender counts its IP IDs packet by packet, as Linux does for each socket (ip_select_ident_segs).

    A segment with data may be several packets on the wire (segmentation offload), so only those after one without count.
    """
    step = np.uint16(np.uint16(seg.ip_id) - np.uint16(x.ip_id))
    if x.id_pure and x.ip_id and seg.ip_id:
        if step == 1:
            x.id_ones = min(x.id_ones + 1, 250)
        else:
            x.id_jumps = min(x.id_jumps + 1, 250)
    x.id_pure = 1 if seg.payload_len <= 1 else 0
    x.ip_id = seg.ip_id


@kernel
def learn_path(seg: Row, x: Row, y: Row) -> None:
    """Take from the handshake how long X is away from the place of the capture, there and back: who is asked answers."""
    if x.asked_ns != NEVER and seg.flags & ACK and not seg.flags & RST:
        x.path_ns = seg.time_ns - x.asked_ns
        x.asked_ns = NEVER
    if seg.flags & SYN:
        y.asked_ns = seg.time_ns


@kernel
def learn_resending(seg: Row, row: Row, label: Row, x: Row) -> None:
    """Count a retransmission, and keep which bytes were resent most: as long as any are out, Linux sends no probe."""
    if label.kind == _RETRANSMISSION:
        row.retransmissions += 1
        if x.resent_n == 0:
            x.resent_since_ns = x.data_ns
        x.resent_n += 1
        if x.resent_n >= max(row.resent_n, 1):
            row.resent_n, row.resent_from_a, row.resent_open = x.resent_n, label.from_a, 1
            row.resent_since_ns, row.resent_until_ns = x.resent_since_ns, seg.time_ns
    elif row.resent_from_a != label.from_a:
        row.resent_open = 0


@kernel
def learn_silence(seg: Row, row: Row, label: Row) -> None:
    """Tell silences that a connection survived from those that killed it: does the other side answer what ends one?"""
    silence = seg.time_ns - row.last_ns
    row.longest_silence_ns = max(row.longest_silence_ns, silence)
    if row.trial_ns and row.trial_from_a != label.from_a and label.why != _W_OUT_RST:
        if not seg.flags & RST:
            row.survived_ns = max(row.survived_ns, row.trial_ns)
        elif row.killed_ns == 0 or row.trial_ns < row.killed_ns:
            row.killed_ns, row.killed_at_ns, row.killed_from_a = row.trial_ns, row.trial_at_ns, row.trial_from_a
        row.trial_ns = 0
    if silence >= TRIAL_NS and row.trial_ns == 0 and not seg.flags & (RST | SYN | FIN):
        row.trial_ns, row.trial_at_ns, row.trial_from_a = silence, seg.time_ns, label.from_a


@kernel
def learn_presence(seg: Row, row: Row, label: Row) -> None:
    """Keep from when to when each side was heard, and its longest pause; an RST may be anybody's."""
    if seg.flags & RST:
        return
    if label.from_a:
        if row.a_last_ns == NEVER:
            row.a_first_ns = row.a_last_ns = seg.time_ns
        row.a_quiet_ns = max(row.a_quiet_ns, seg.time_ns - row.a_last_ns)
        row.a_last_ns = seg.time_ns
    else:
        if row.b_last_ns == NEVER:
            row.b_first_ns = row.b_last_ns = seg.time_ns
        row.b_quiet_ns = max(row.b_quiet_ns, seg.time_ns - row.b_last_ns)
        row.b_last_ns = seg.time_ns


@kernel
def learn_beat(seg: Row, row: Row, label: Row) -> None:
    """Measure the cadence of data that comes after silences: an application's heartbeat is regular and small."""
    if label.kind != _DATA:
        return
    if row.burst_ns != NEVER and label.from_a != row.burst_from_a and seg.time_ns - row.burst_ns < BURST_NS:
        row.run_answer = max(row.run_answer, seg.payload_len)
    if seg.time_ns - row.last_ns < BURST_NS and row.burst_ns != NEVER:
        return
    if row.burst_ns != NEVER:
        _extend_run(row, seg.time_ns - row.burst_ns)
    row.burst_ns, row.burst_from_a = seg.time_ns, label.from_a
    row.run_bytes = max(row.run_bytes, seg.payload_len)


@kernel
def _extend_run(row: Row, gap: Row) -> None:
    """Take one more gap between bursts into the regular run, or start another; keep the longest."""
    least, most = min(row.run_least_ns, gap), max(row.run_most_ns, gap)
    if row.run_n > 0 and most - least <= least // REGULAR:
        row.run_n += 1
    else:
        least = most = gap
        row.run_n = 1
        row.run_bytes = row.run_answer = 0
    row.run_least_ns, row.run_most_ns = least, most
    if row.run_n >= row.beats:
        row.beats, row.beat_least_ns, row.beat_most_ns = row.run_n, least, most
        row.beat_bytes, row.answer_bytes = row.run_bytes, row.run_answer


@kernel
def advance_row(seg: Row, row: Row, label: Row, x: Row) -> None:
    """Take a segment into its connection's row: times, counts, what closed it."""
    learn_silence(seg, row, label)
    learn_presence(seg, row, label)
    learn_beat(seg, row, label)
    learn_resending(seg, row, label, x)
    row.last_ns = max(row.last_ns, seg.time_ns)
    row.segments += 1
    if label.kind == _WINDOW_PROBE and label.grade == _PROVEN:
        row.window_probes += 1
    if seg.flags & RST:
        if label.why != _W_OUT_RST:
            row.state |= WAS_RESET
    else:
        row.state &= ~np.uint8(WAS_RESET)
    if seg.flags & FIN:
        row.state |= A_FIN if label.from_a else B_FIN
