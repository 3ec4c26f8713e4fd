"""The kernel that watches labelled segments for the findings: one look at each, right after they were classified."""

from __future__ import annotations

import numpy as np

from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import Kind
from kacap.findings.observed import (
    ACKS_NEW,
    AFTER_PROBES,
    AFTER_RESET,
    ANSWERS,
    BARE,
    BEYOND_RESET,
    BYTES,
    COUNTING,
    DEAF,
    END,
    FIN_SEEN,
    FRESH,
    HEAD,
    HEARD,
    IN_WINDOW,
    NOTES_EACH,
    OWN_NUMBER,
    QUOTE_NOTE,
    RESET_LAST,
    RESET_OWN,
    RST_NOTE,
    TIMESTAMPS,
    TO_PROBE,
    TTLS,
    UNA,
    UNSTAMPED,
    WENT_UNSEEN,
)
from kacap.findings.outstanding import frame_of, take_acknowledgement, take_bytes, take_own_reset, take_peer_reset
from kacap.findings.silences import take_message, take_refusal, take_sign
from kacap.kernels import Row, entry, fetch, inlined, kernel
from kacap.segments import ACK, FIN, HAS_TIMESTAMPS, IS_QUOTE, RST, SYN
from kacap.wire.sequence import seq_diff

COUNTED_UP = 4096  # how far a host's next IP ID may be from its last
ON_ITS_WAY_NS = np.int64(900_000_000)  # sooner, what one side sent may not have reached the other
AHEAD = 8  # segments whose rows are brought near before they are looked at
ROOM = 2  # rows of each pool that one segment may need

_COPY, _DATA, _FIN, _RETRANSMISSION = (
    int(Kind.DUPLICATE_FRAME),
    int(Kind.DATA),
    int(Kind.FIN),
    int(Kind.RETRANSMISSION),
)
_PROBE, _WINDOW_PROBE, _REPLY = int(Kind.PROBE), int(Kind.WINDOW_PROBE), int(Kind.REPLY)
_RESET, _ABORT = int(Kind.RESET), int(Kind.ABORT)
_W_OUT_RST = int(KindReason.OUT_OF_WINDOW_RST)
_COUNT_MOST = 65_535


@inlined
def _take_ttl(seg: Row, x: Row, kind: Row) -> None:
    """Count a segment under its TTL."""
    if seg.flags & SYN:
        x.syn_ttl = seg.ttl
        return
    for i in range(TTLS):
        if x.ttl[i] == seg.ttl or x.data_n[i] + x.reply_n[i] + x.other_n[i] == 0:
            x.ttl[i] = seg.ttl
            if seg.payload_len > 1:
                x.data_n[i] = min(x.data_n[i] + 1, _COUNT_MOST)
            elif kind == _REPLY:
                x.reply_n[i] = min(x.reply_n[i] + 1, _COUNT_MOST)
            else:
                x.other_n[i] = min(x.other_n[i] + 1, _COUNT_MOST)
            return
    x.more_ttls = 1


@kernel
def has_ttl(ttl: Row, side: Row) -> Row:
    """Return whether a side's segments came with a TTL."""
    found = ttl == side.syn_ttl
    for i in range(TTLS):
        found = found or (side.ttl[i] == ttl and side.data_n[i] + side.reply_n[i] + side.other_n[i] > 0)
    return found


@inlined
def _take_presence(seg: Row, x: Row) -> None:
    """Take when X was heard, and whether its IP ID is counted up."""
    if x.known & HEARD:
        x.quiet_ns = max(x.quiet_ns, seg.time_ns - x.last_ns)
        x.last_ns = max(x.last_ns, seg.time_ns)
        if 0 < np.uint16(seg.ip_id - x.ip_id) < COUNTED_UP:
            x.ip_steps = min(x.ip_steps + 1, 255)
        elif seg.ip_id != x.ip_id or seg.ip_id == 0:
            x.ip_jumps = min(x.ip_jumps + 1, 255)
    else:
        x.known |= HEARD
        x.first_ns = x.last_ns = seg.time_ns
    x.ip_id = seg.ip_id


@inlined
def _take_numbers(seg: Row, x: Row, y: Row, kind: Row) -> None:
    """Learn the numbers of a segment from X, and how soon it answers Y."""
    length = seg.payload_len + (1 if seg.flags & SYN else 0) + (1 if seg.flags & FIN else 0)
    if kind != _PROBE and kind != _WINDOW_PROBE:
        end = np.uint32(seg.seq + length)
        if not x.known & END or seq_diff(end, x.end) > 0:
            if x.known & END and seq_diff(seg.seq, x.end) > 0:
                x.known |= WENT_UNSEEN
            if length:
                x.known &= ~np.uint32(WENT_UNSEEN)
            x.end = end
            x.known |= END
            if length:
                x.sent_ns = seg.time_ns
        if length:
            x.known |= BYTES
    if not seg.flags & ACK:
        return
    if not y.known & UNA or seq_diff(seg.ack, y.una) > 0:
        soon = seg.time_ns - y.sent_ns
        if y.known & BYTES and seg.ack == y.end and not y.known & HEAD and soon > 0:
            x.rtt_ns = min(x.rtt_ns, soon) if x.rtt_ns else soon
        y.una = seg.ack
        y.known |= UNA
    x.sent_ack, x.last_seq = seg.ack, seg.seq


@kernel
def _is_answer(seg: Row, x: Row, y: Row) -> Row:
    """Return whether an RST of X has the number that Y's last segment acknowledges (RFC 9293 3.10.7.1)."""
    return y.known & HEARD != 0 and seg.seq == y.sent_ack


@kernel
def _is_beyond_reset(seg: Row, x: Row) -> Row:
    """Return whether an RST of X follows one at X's own number, at a number that X has never come to.

    Who has reset a connection only answers what still comes, at the number that this acknowledges (RFC 9293 3.10.7.1).
    """
    known = END | RESET_LAST
    unseen = x.known & UNA and seq_diff(x.una, x.end) > 0
    return x.known & known == known and not unseen and seq_diff(seg.seq, x.end) > 0


@kernel
def _about(seg: Row, label: Row, x: Row, y: Row) -> Row:
    """Return what can be said of an RST of X: the bits of NOTE."""
    about = 0 if seg.flags & ACK else BARE
    about |= ANSWERS if _is_answer(seg, x, y) else 0
    about |= OWN_NUMBER if x.known & END and seg.seq == x.end else 0
    new = seg.flags & ACK and y.known & UNA and seq_diff(seg.ack, y.una) > 0
    about |= ACKS_NEW if new else 0
    about |= UNSTAMPED if x.known & TIMESTAMPS and not seg.has & HAS_TIMESTAMPS else 0
    about |= IN_WINDOW if label.why != _W_OUT_RST or about & ANSWERS else 0  # what a receiver acknowledged it expects
    about |= TO_PROBE if label.kind == _RESET else AFTER_PROBES if label.kind == _ABORT else 0
    about |= COUNTING if x.ip_steps >= 2 and x.ip_jumps == 0 else 0
    about |= AFTER_RESET if x.known & RESET_OWN else 0
    about |= BEYOND_RESET if _is_beyond_reset(seg, x) else 0
    if seg.has & HAS_TIMESTAMPS and y.known & TIMESTAMPS and seg.time_ns - y.last_ns > ON_ITS_WAY_NS:
        about |= DEAF if seq_diff(seg.tsecr, y.tsval) < 0 else 0
    if seg.has & HAS_TIMESTAMPS and y.known & TIMESTAMPS and seg.tsecr == y.tsval:
        about |= FRESH
    return about


@kernel
def _add_note(seg: Row, label: Row, row: Row, pools: Row) -> Row:
    """Append a NOTE to those of a connection, and return it."""
    header, notes = pools[0], pools[1]
    note = notes[header.notes]
    header.notes += 1
    if row.first_note == 0:
        row.first_note = header.notes
    else:
        notes[row.last_note - 1].next = header.notes
    row.last_note = header.notes
    note.time_ns, note.frame, note.slot, note.from_a = seg.time_ns, frame_of(seg), label.slot, label.from_a
    note.seq, note.ack, note.next, note.window = seg.seq, seg.ack, 0, seg.window
    note.ttl, note.ip_id, note.usual_ip_id = seg.ttl, seg.ip_id, 0
    note.silence_ns = seg.time_ns - row.last_ns if (row.a.known | row.b.known) & HEARD else 0
    note.icmp_type, note.icmp_code, note.by_hi, note.by_lo = seg.icmp_type, seg.icmp_code, seg.by_hi, seg.by_lo
    return note


@kernel
def _note_reset(seg: Row, label: Row, row: Row, pools: Row) -> None:
    """Take an RST: it ends what waits for an acknowledgement, and is noted; the first few of a side, and the last."""
    header, notes, spans, sent = pools
    x, y = (row.a, row.b) if label.from_a else (row.b, row.a)
    if not (x.known | y.known) & HEARD and label.from_a:
        return  # nothing else was seen of it
    if x.resets < NOTES_EACH:
        x.resets += 1
        note = _add_note(seg, label, row, (header, notes))
        note.kind, note.about = RST_NOTE, _about(seg, label, x, y)
        note.usual_ip_id = x.ip_id
        note.after_ns = seg.time_ns - y.last_ns if y.known & HEARD else -1
        take_refusal(note, row.last_note, row)
    if has_ttl(seg.ttl, x):
        x.known |= RESET_OWN
    if x.known & END and seg.seq == x.end:
        x.known |= RESET_LAST
    take_own_reset(seg, x, (header, spans, sent))
    if label.why != _W_OUT_RST or _is_answer(seg, x, y):
        take_peer_reset(seg, y, (header, spans, sent))


@kernel
def _note_quote(seg: Row, label: Row, row: Row, pools: Row) -> None:
    """Take an ICMP error that quotes a segment of X."""
    header, notes = pools[0], pools[1]
    x = row.a if label.from_a else row.b
    row.quotes += 1
    if row.quotes > NOTES_EACH or not x.known & HEARD:
        return
    note = _add_note(seg, label, row, (header, notes))
    note.kind, note.about, note.after_ns = QUOTE_NOTE, 0, -1
    note.quoted_ns = x.last_ns if seg.seq == x.last_seq else 0


@kernel
def _waits(x: Row) -> Row:
    """Return whether bytes of X wait for an acknowledgement, as far as its numbers are known."""
    numbers = UNA | END
    return x.known & numbers == numbers and seq_diff(x.end, x.una) > 0


@inlined
def _take_segment(seg: Row, label: Row, row: Row, pools: Row) -> None:
    """Take one TCP segment that is neither a copy nor an RST."""
    header, _, spans, sent = pools
    x, y = (row.a, row.b) if label.from_a else (row.b, row.a)
    kind = label.kind
    x.known &= ~np.uint32(RESET_LAST)
    if (x.known | y.known) & HEARD:
        take_sign(seg, row, label.from_a, kind != _RETRANSMISSION and not _waits(x) and not _waits(y))
    if seg.has & HAS_TIMESTAMPS:
        x.known |= TIMESTAMPS
        if kind != _PROBE and kind != _WINDOW_PROBE:
            x.tsval = seg.tsval
    if seg.payload_len and kind in (_DATA, _RETRANSMISSION, _FIN) and not label.held:  # such a byte may be a probe's
        take_bytes(seg, x, label.slot, (header, spans, sent))
        if kind == _DATA:
            take_message(seg, x, y, sent)
    if seg.flags & ACK:
        take_acknowledgement(seg, y, (header, spans, sent))
    if kind == _REPLY and x.known & HEARD and y.known & HEARD and seg.time_ns > y.last_ns:
        soon = seg.time_ns - y.last_ns
        x.rtt_ns = min(x.rtt_ns, soon) if x.rtt_ns else soon
        x.reply_ns = min(x.reply_ns, soon) if x.replies else soon
        x.replies += 1
    _take_ttl(seg, x, kind)
    _take_presence(seg, x)
    _take_numbers(seg, x, y, kind)
    if seg.flags & FIN and not x.known & FIN_SEEN:
        x.known |= FIN_SEEN
        x.fin_ns, x.fin_frame = seg.time_ns, frame_of(seg)
    row.last_ns = seg.time_ns


@entry
def observe(segments: Row, labels: Row, columns: Row) -> None:
    """Watch segments from ``position`` on, until they or the room in the pools run out.

    ``columns`` is (POOLS of one row, OBSERVED, NOTE, SPAN, SENT); LABEL rows match the segments. A SYN without ACK is
    passed over: until somebody answers there is no connection to watch.
    """
    pool_rows, observed, notes, spans, sent = columns
    pool = pool_rows[0]
    pools = (pool, notes, spans, sent)
    notes_room, spans_room, sent_room = len(notes) - ROOM, len(spans) - ROOM, len(sent) - ROOM
    while (
        pool.position < len(segments) and pool.notes < notes_room and pool.spans < spans_room and pool.sent < sent_room
    ):
        seg, label = segments[pool.position], labels[pool.position]
        ahead = min(pool.position + AHEAD, len(segments) - 1)
        fetch(observed[max(labels[ahead].slot, 0)])
        pool.position += 1
        if label.slot < 0 or seg.flags & (SYN | ACK) == SYN:
            continue
        row = observed[label.slot]
        if label.kind == _COPY:
            if not seg.flags & (RST | SYN) and not seg.has & IS_QUOTE:
                _take_ttl(seg, row.a if label.from_a else row.b, label.kind)
        elif seg.has & IS_QUOTE:
            _note_quote(seg, label, row, pools)
        elif seg.flags & RST:
            _note_reset(seg, label, row, pools)
        else:
            _take_segment(seg, label, row, pools)
