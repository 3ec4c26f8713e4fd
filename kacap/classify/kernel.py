"""Segments to kinds, one after the other: find the connection, rate the segment, remember what it says.

Writes a LABEL for each segment and an EVENT for each that a later stage needs. A pure ACK of a connection
whose numbers are not known yet is *held*: the peer's next segment, or its own repetition, shows what it was.
"""

from __future__ import annotations

import numpy as np

from kacap.classify.ahead import AHEAD, look_ahead
from kacap.classify.alone import forget, join, leave_alone
from kacap.classify.emit import EVENTS_PER_SEGMENT, emit, emit_held, emit_quoted
from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import Grade, Kind
from kacap.classify.learn import (
    advance_row,
    learn_clock,
    learn_numbers,
    learn_path,
    learn_rest,
    note_accepted,
    note_heard,
    retract_heard,
    retract_reply,
    settle_bytes,
    sure_heard_ns,
    withdraw_bytes,
)
from kacap.classify.rules import LONG_SILENCE_NS, SHORT_SILENCE_NS, hints_of, rate
from kacap.clock import SECOND_NS
from kacap.flows import (
    ACCEPTED_STAMP,
    FINISHED,
    IS_WATCHED,
    NEVER,
    NXT,
    REPLIED_STAMP,
    SEEN,
    SENT_ACK,
    SKIPPED_ID,
    UNA,
    UNHEARD,
    UNSEEN,
    WINDOW,
    find,
    is_copy,
    open_connection,
    starts_another,
)
from kacap.kernels import Row, entry, inlined, kernel
from kacap.segments import ACK, FIN, HAS_SACK, HAS_TIMESTAMPS, IS_QUOTE, PSH, RST, SYN
from kacap.wire.sequence import seq_diff

# The default interval of tcp(7): nothing that comes later is a reply, whatever its shape.
REPLY_LIMIT_NS = np.int64(75 * SECOND_NS)
EARLY_REPLY_NS = np.int64(5_000_000)  # how far apart merged captures may swap a probe and its reply

_K = {kind.name: int(kind) for kind in Kind}
_DATA, _COPY = _K["DATA"], _K["DUPLICATE_FRAME"]
_ACK, _PROBE, _REPLY, _WINDOW_PROBE = _K["ACK"], _K["PROBE"], _K["REPLY"], _K["WINDOW_PROBE"]
_RESET, _ABORT, _UNREACHABLE = _K["RESET"], _K["ABORT"], _K["UNREACHABLE"]
_PROVEN, _ANSWERED, _PATTERNED, _AMBIGUOUS = (int(grade) for grade in Grade)
_W = {why.name: int(why) for why in KindReason}
_W_COPY, _W_HIGHER, _W_REPEATS = _W["SAME_FRAME"], _W["ANSWERED_ONE_HIGHER"], _W["REPEATS"]
_W_ANSWERS, _W_LATE, _W_EARLY = _W["ANSWERS_PROBE"], _W["ANSWERED_LATE"], _W["ANSWERED_BEFORE"]
_W_AFTER_DATA, _W_LONE_BYTE, _W_ZERO = _W["ANSWERED_AFTER_DATA"], _W["LONE_BYTE"], _W["ZERO_WINDOW_SHAPE"]
_W_QUOTED, _W_QUOTED_OTHER, _W_OUT_RST = _W["QUOTED"], _W["QUOTED_OTHER"], _W["OUT_OF_WINDOW_RST"]


@kernel
def _tell_held(out: Row, seg: Row, label: Row, row: Row, x: Row, from_a: Row) -> Row:
    """Tell of X's held segment, now that it is known for what it is, and of the ICMP error that quoted it."""
    event = emit_held(out, seg, label, row, x)
    event.from_a = from_a
    if x.quoted_ns != NEVER:
        emit_quoted(out, seg, label, row, x).from_a = from_a
    return event


@kernel
def _resolve_held(out: Row, seg: Row, label: Row, row: Row, x: Row, y: Row) -> None:
    """Turn Y's held ACK into a probe if X acknowledges one more than it carried; forget it otherwise.

    The byte below the acknowledgement was never captured, so the connection is older than the capture (or lost
    frames); a held ACK in the midst of a known connection must follow a silence.
    """
    one_higher = seg.flags & ACK and seq_diff(seg.ack, y.held_seq) == 1
    unseen = not (y.known & SEEN and seq_diff(y.seen, seg.ack) >= 0)
    lone_byte = y.held_payload == 1 and seg.payload_len == 0
    if one_higher and (unseen or lone_byte) and not seg.flags & RST and y.held_n == 1:
        event = _tell_held(out, seg, label, row, y, 1 - label.from_a)
        event.grade, event.why = _ANSWERED, _W_LONE_BYTE if lone_byte else _W_HIGHER
        if seg.window == 0 and y.held_payload == 0:
            event.kind, event.grade, event.why = _WINDOW_PROBE, _AMBIGUOUS, _W_ZERO
        y.open_probes = 1
        y.probe_seq, y.probe_ack, y.probe_ns = y.held_seq, y.held_ack, y.held_ns
        row.state |= IS_WATCHED
        y.heard_ns = y.held_heard_ns
        y.heard_n = 0
        if x.heard_ns == y.held_ns:
            retract_heard(x, y.held_ns, y.held_peer_ns)  # a receiver does not accept a probe
    y.held_n = 0


@kernel
def _may_prove_a_probe(seg: Row, label: Row, x: Row) -> Row:
    """Return whether a segment may be held: a pure ACK, or at an unknown place one byte without PSH.

    A stack sets PSH on the last byte it has to send (RFC 9293 3.9.1.2), so a lone byte without it is not data.
    """
    if seg.payload_len == 0:
        return label.kind == _ACK and seg.flags & ACK != 0 and not seg.has & HAS_SACK
    unknown = (x.known & (NXT | UNA)) != (NXT | UNA)
    return seg.payload_len == 1 and unknown and seg.flags & (ACK | PSH | FIN | SYN | RST) == ACK


@kernel
def _hold(out: Row, seg: Row, label: Row, row: Row, x: Row, y: Row) -> None:
    """Remember an ACK that may prove to be a probe; emit the run once it repeats after a silence.

    One at the end of X's captured bytes is not a probe: a probe is one below.
    """
    if x.known & SEEN and seg.seq == x.seen:
        x.held_n = 0
        return
    silence = seg.time_ns - max(x.sent_ns, x.heard_ns)
    unknown = (x.known & (NXT | UNA)) != (NXT | UNA)
    same = x.held_n > 0 and x.held_seq == seg.seq and x.held_ack == seg.ack and x.held_payload == seg.payload_len
    if same and y.sent_ns <= x.held_last_ns:
        if unknown and seg.time_ns - x.held_last_ns >= SHORT_SILENCE_NS:
            if x.held_n == 1:
                _tell_held(out, seg, label, row, x, label.from_a)
                x.open_probes += 1
            x.held_n += 1
            x.open_probes += 1
            x.held_last_ns = seg.time_ns
            x.probe_seq, x.probe_ack, x.probe_ns = seg.seq, seg.ack, seg.time_ns
            x.heard_n = 0
            label.kind, label.grade, label.why = _PROBE, _PATTERNED, _W_REPEATS
        return
    if unknown or silence >= LONG_SILENCE_NS:
        label.held = 1
        x.held_n = 1
        x.held_ns = x.held_last_ns = seg.time_ns
        x.held_frame, x.held_file = seg.frame, seg.file
        x.held_seq, x.held_ack, x.held_payload = seg.seq, seg.ack, seg.payload_len
        x.held_hints = hints_of(seg, x, y) & ~np.uint8(UNHEARD)
        x.held_heard_ns, x.held_peer_ns = sure_heard_ns(seg, x, y), y.heard_ns
        x.quoted_ns = NEVER


@kernel
def _accepts(seg: Row, x: Row, y: Row, kind: Row) -> Row:
    """Return whether Y's stack takes a segment for a sign of life: data, or an ACK that is not old.

    Linux tcp_ack and tcp_event_data_recv; a zero-length probe is below the window and is not. Into a closed window an
    ACK has the number of its edge, whatever was sent beyond (tcp_acceptable_seq).
    """
    if seg.flags & RST or kind == _COPY:
        return False
    if seg.payload_len or seg.flags & (SYN | FIN):
        return True
    if not seg.flags & ACK or kind in (_PROBE, _WINDOW_PROBE):
        return False
    at_edge = x.known & UNA and seg.seq == x.una and y.known & WINDOW and y.window == 0
    current = not x.known & NXT or seq_diff(seg.seq, x.nxt) >= 0 or at_edge
    return current and (not y.known & UNA or seq_diff(seg.ack, y.una) >= 0)


@kernel
def _comes_late(time_ns: Row, y: Row) -> Row:
    """Return whether an ACK of nothing new answers one more probe of Y's last run.

    Where replies take longer than the interval, they are spaced as their probes were; where the peer's data crossed
    the probe, the reply follows soon.
    """
    if y.replied_ns < y.probe_ns:
        return time_ns - y.probe_ns < LONG_SILENCE_NS
    return abs(time_ns - y.replied_ns - y.gap_ns) <= y.gap_ns // 4


@inlined
def _rate_answer(seg: Row, label: Row, x: Row, y: Row, accepted: Row) -> Row:
    """Relabel a pure ACK that answers Y's probe as its reply; return whether it answers anything."""
    pure = label.kind == _ACK and seg.payload_len == 0 and accepted
    if y.open_probes > 0 and accepted:
        if pure and seq_diff(seg.ack, y.probe_seq) == 1 and seg.time_ns - y.probe_ns <= REPLY_LIMIT_NS:
            label.kind, label.grade, label.why = _REPLY, _PROVEN, _W_ANSWERS
        return True
    late = pure and y.late_replies > 0 and y.known & UNA and seg.ack == y.una and y.data_ns < y.probe_ns
    if late and _comes_late(seg.time_ns, y):
        crossed = y.replied_ns < y.probe_ns
        label.kind, label.grade, label.why = _REPLY, _PROVEN, _W_AFTER_DATA if crossed else _W_LATE
        y.late_replies -= 1
        y.replied_ns = seg.time_ns
    return False


@kernel
def _timer_hints(seg: Row, x: Row, y: Row) -> Row:
    """Return EVENT["hints"] of what X's timer sent, and correct what X has heard by it."""
    hints = hints_of(seg, x, y)
    if hints & UNHEARD:
        retract_reply(x)
    return hints | UNSEEN if withdraw_bytes(seg, x, y) else hints


@kernel
def _note_probe(out: Row, seg: Row, label: Row, row: Row, x: Row, y: Row) -> None:
    """Count an open probe of X and emit it; pair it with a reply that the capture shows just before it."""
    early = y.dup_ns != NEVER and seg.time_ns - y.dup_ns <= EARLY_REPLY_NS and y.dup_ns > x.sent_ns
    if early:
        retract_heard(x, y.dup_ns, y.dup_heard_ns)
    hints = _timer_hints(seg, x, y)
    event = emit(out, seg, label, row, x)
    event.closed_ns, event.hints = y.closed_ns, hints
    x.gap_ns = seg.time_ns - x.probe_ns
    x.open_probes += 1
    x.late_replies = 0
    x.probe_seq, x.probe_ack, x.probe_ns = seg.seq, seg.ack, seg.time_ns
    x.heard_n = 0
    if early:
        reply = emit(out, seg, label, row, y)
        reply.time_ns, reply.frame, reply.file = y.dup_ns, y.dup_frame, y.dup_file
        reply.kind, reply.grade, reply.why = _REPLY, _PROVEN, _W_EARLY
        reply.from_a, reply.answers, reply.payload_len = 1 - label.from_a, 1, 0
        reply.flags = ACK
        x.open_probes = 0
        note_heard(x, seg.time_ns)
        x.heard_ns = y.dup_ns
        y.dup_ns = NEVER


@kernel
def _take_quote(out: Row, seg: Row, label: Row, row: Row, x: Row) -> None:
    """Label an ICMP error that quotes a segment of X: it matters if the segment is an open probe."""
    label.kind, label.why = _UNREACHABLE, _W_QUOTED
    if x.open_probes == 0 or seg.seq != x.probe_seq:
        label.kind, label.why = _ACK, _W_QUOTED_OTHER
        if x.held_n == 1 and seg.seq == x.held_seq and x.quoted_ns == NEVER:
            x.quoted_ns, x.quoted_frame, x.quoted_file = seg.time_ns, seg.frame, seg.file
            label.held = 1
        return
    emit(out, seg, label, row, x)


@kernel
def _is_reported(seg: Row, label: Row, x: Row, answers: Row) -> Row:
    """Return whether a segment gets an EVENT: all but data and ACKs that change nothing for a probe."""
    return label.kind > _DATA or answers or (seg.payload_len > 0 and x.open_probes > 0)


@kernel
def _is_of_note(label: Row) -> Row:
    """Return whether a segment other than a probe gives its connection events."""
    return label.kind == _REPLY or label.kind == _RESET or label.kind == _ABORT


@kernel
def _take_copy(out: Row, seg: Row, label: Row, row: Row, x: Row) -> None:
    """Label a frame that was captured a moment before."""
    label.kind, label.why = _COPY, _W_COPY
    if row.state & IS_WATCHED or out[0].all_segments:
        emit(out, seg, label, row, x)


@inlined
def _take_segment(out: Row, seg: Row, label: Row, row: Row, x: Row, y: Row) -> None:
    """Rate one TCP segment from X to Y, emit it if needed, and remember it."""
    early = y.dup_ns > x.sent_ns and seg.time_ns - y.dup_ns <= EARLY_REPLY_NS
    heard_ns = y.dup_heard_ns if early else sure_heard_ns(seg, x, y)
    packed = rate(seg, x, y, heard_ns)
    learn_clock(seg, x)
    label.kind, label.grade, label.why = packed & 0xFF, packed >> 8 & 0xFF, packed >> 16
    accepted = _accepts(seg, x, y, label.kind)
    if y.held_n > 0:
        _resolve_held(out, seg, label, row, x, y)
    if label.kind == _ABORT and x.held_n == 1:
        _tell_held(out, seg, label, row, x, label.from_a)
    answers = _rate_answer(seg, label, x, y, accepted)
    if _may_prove_a_probe(seg, label, x):
        _hold(out, seg, label, row, x, y)
        if accepted and label.kind == _ACK and y.known & UNA and seg.ack == y.una:
            label.held = 1
            x.dup_ns, x.dup_frame, x.dup_file, x.dup_heard_ns = seg.time_ns, seg.frame, seg.file, y.heard_ns
    else:
        x.held_n = 0
    shaped = label.kind == _PROBE or label.kind == _WINDOW_PROBE
    if shaped or _is_of_note(label):
        row.state |= IS_WATCHED
    if shaped and not (label.grade == _PATTERNED or (label.kind == _WINDOW_PROBE and seg.payload_len)):
        _note_probe(out, seg, label, row, x, y)
    elif _is_reported(seg, label, x, answers) and (row.state & IS_WATCHED or out[0].all_segments):
        timer = seg.flags & RST or label.kind == _PROBE
        hints = _timer_hints(seg, x, y) if timer else 0
        event = emit(out, seg, label, row, x)
        event.answers, event.hints = 1 if answers else 0, hints
    if answers:
        y.late_replies = y.open_probes - (1 if label.kind == _REPLY else 0)
        y.replied_ns = seg.time_ns if label.kind == _REPLY else NEVER
        y.open_probes = 0
    if label.kind == _REPLY:
        y.unheard_ns = y.heard_ns
        x.stamps &= ~np.uint8(REPLIED_STAMP)
        if seg.has & HAS_TIMESTAMPS and y.known & SENT_ACK and y.sent_ack == seg.seq:
            x.replied_tsval = seg.tsval
            x.stamps |= REPLIED_STAMP
    if x.lacks and seg.flags & ACK and not (shaped or x.held_ns == seg.time_ns):
        settle_bytes(seg, x, y, label.kind == _ACK)
    if accepted:
        note_accepted(seg, x, y)
        if seg.has & HAS_TIMESTAMPS:
            x.accepted_tsval = seg.tsval
            x.stamps |= ACCEPTED_STAMP
    if shaped and label.kind == _WINDOW_PROBE and seg.payload_len:
        x.heard_n = 0
    learn_path(seg, x, y)
    advance_row(seg, row, label)
    learn_numbers(seg, x, y, label.kind)
    learn_rest(seg, x, label.kind)
    if shaped:
        x.stamps &= ~np.uint8(SKIPPED_ID)
    x.sent_ns = seg.time_ns


@entry
def classify(segments: Row, labels: Row, columns: Row) -> None:
    """Label segments from ``tracker.position`` on, until they or the room for events run out.

    ``columns`` is (TRACKER_STATE of one row, CONNECTION, SIDE, hash table, RECENT, EVENT, COMING); LABEL rows match
    segments.
    """
    headers, connections, sides, table, recent, events, coming = columns
    tracker, room = headers[0], len(events) - EVENTS_PER_SEGMENT
    out, near = (tracker, events), (coming, table, recent, connections, sides)
    for at in range(tracker.position - 2 * AHEAD, tracker.position):
        look_ahead(segments, at, tracker, near)
    while tracker.position < len(segments) and tracker.events < room:
        seg, label, own = segments[tracker.position], labels[tracker.position], coming[tracker.position % (2 * AHEAD)]
        digest, packet = own.connection, own.packet
        look_ahead(segments, tracker.position, tracker, near)
        tracker.position += 1
        tracker.now_ns = max(tracker.now_ns, seg.time_ns)
        label.held = label.event = 0
        label.grade = _PROVEN
        quote = seg.has & IS_QUOTE
        copy = is_copy(seg, packet, recent)
        bucket, slot, side = find(seg, digest, table, connections)
        if slot >= 0 and connections[slot].state & FINISHED:
            slot = np.int64(-1)  # it was let go
        if (
            slot >= 0
            and not copy
            and starts_another(seg, connections[slot], sides[2 * slot + side], sides[2 * slot + 1 - side])
        ):
            if not quote:
                forget(connections[slot], tracker)
            slot = np.int64(-1)
        if slot < 0 and quote:
            label.id, label.slot, label.kind, label.why, label.from_a = 0, -1, _ACK, _W_QUOTED_OTHER, 0
            continue
        if slot < 0:
            slot, side = open_connection(seg, tracker, connections, sides)
            table[bucket].slot = slot
            leave_alone(seg, connections[slot], tracker, connections)
        elif not copy:
            join(connections[slot], tracker)
        row, x, y = connections[slot], sides[2 * slot + side], sides[2 * slot + 1 - side]
        label.id, label.slot, label.from_a = row.id, slot, 1 - side
        if copy:
            _take_copy(out, seg, label, row, x)
        elif quote:
            _take_quote(out, seg, label, row, x)
        else:
            _take_segment(out, seg, label, row, x, y)
