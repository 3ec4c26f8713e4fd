"""The rules as kernels: one segment from X to Y and what is known of both sides, to a kind, a grade and a reason.

Nothing here changes state. ``una`` is the highest acknowledgement seen from the peer, ``nxt`` the next sequence
number (own segments, and what the peer acknowledges). The rules are those of the table in ``kinds.py``.
"""

from __future__ import annotations

import numpy as np

from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import Grade, Kind
from kacap.clock import SECOND_NS
from kacap.flows import (
    ACCEPTED_STAMP,
    BYTE,
    DELAYED,
    ECHOED_STAMP,
    EXACT,
    FIN_NEWEST,
    HEARD_UNSEEN,
    NEVER,
    NXT,
    OFF_CLOCK,
    REPLIED_STAMP,
    SEEN,
    SENT_ACK,
    SKIPPED_ID,
    STAMP,
    UNA,
    UNHEARD,
    UNSEEN,
    WINDOW,
)
from kacap.kernels import Row, inlined, kernel
from kacap.segments import ACK, FIN, HAS_LAST_BYTE, HAS_TIMESTAMPS, PSH, RST, SYN
from kacap.wire.sequence import seq_diff

# A keepalive waits for at least a second wherever its unit is the second; sooner, a stray ACK has the same bytes.
SHORT_SILENCE_NS = np.int64(200_000_000)
LONG_SILENCE_NS = np.int64(900_000_000)
# Segments of one flight that swapped places in the capture lie closer than this.
REORDERED_NS = np.int64(3_000_000)
# A late retransmission of an acknowledged byte comes on the scale of the RTO (RFC 6298), a keepalive does not.
RTO_LIKE_NS = np.int64(SECOND_NS)
BACKED_OFF = 3  # times the gap before: each retransmission waits twice as long as the last (RFC 6298 5.5)
# How long after a reply a probe shows by its timestamps whether that reply arrived: sooner it may be on its way.
ARRIVED_NS = np.int64(900_000_000)
COUNTED_IDS = 64  # a jump of more is no loss

_ACK, _DATA, _SYN, _FIN, _RST = int(Kind.ACK), int(Kind.DATA), int(Kind.SYN), int(Kind.FIN), int(Kind.RST)
_PROBE, _RETRANSMISSION, _WINDOW_PROBE = int(Kind.PROBE), int(Kind.RETRANSMISSION), int(Kind.WINDOW_PROBE)
_RESET, _ABORT = int(Kind.RESET), int(Kind.ABORT)
_PROVEN, _AMBIGUOUS = int(Grade.PROVEN), int(Grade.AMBIGUOUS)
_WHY = {why.name: int(why) for why in KindReason}
W_PLAIN, W_DATA, W_OPENS, W_CLOSES = _WHY["PLAIN_ACK"], _WHY["NEW_DATA"], _WHY["OPENS"], _WHY["CLOSES"]
W_RESETS, W_BEFORE, W_NO_ACK, W_OLD = _WHY["RESETS"], _WHY["SENT_BEFORE"], _WHY["NO_ACK_FLAG"], _WHY["OLD_ACK"]
W_BELOW, W_SHORT, W_UNSEEN = _WHY["BELOW_ACKNOWLEDGED"], _WHY["SHORT_SILENCE"], _WHY["ACK_UNSEEN"]
W_GARBAGE, W_LATER, W_FIN_BYTE = _WHY["GARBAGE_BYTE"], _WHY["SAME_BYTE_LATER"], _WHY["BYTE_AT_FIN"]
W_ZERO, W_NEW_BYTE = _WHY["ZERO_WINDOW_SHAPE"], _WHY["NEW_BYTE_AT_ZERO_WINDOW"]
W_RST_PROBE, W_GAVE_UP, W_OUT_RST = _WHY["RST_AFTER_PROBE"], _WHY["GAVE_UP"], _WHY["OUT_OF_WINDOW_RST"]


@kernel
def verdict(kind: Row, grade: Row, why: Row) -> Row:
    """Pack a kind, a grade and a reason into one number."""
    return np.int64(kind | grade << 8 | why << 16)


@kernel
def is_idle(x: Row) -> Row:
    """Return whether everything X sent is acknowledged, as far as the capture knows."""
    return (x.known & (NXT | UNA)) == (NXT | UNA) and x.nxt == x.una


@kernel
def is_stale(seg: Row, x: Row) -> Row:
    """Return whether a pure ACK is older than its sender's newest segment: it was overtaken on the way.

    RFC 7323: timestamps never run back. An acknowledgement never does either, but for the 4.2BSD probe's, which is
    one below (NetBSD tcp_compat_42).
    """
    if seg.has & HAS_TIMESTAMPS and x.known & STAMP:
        return seq_diff(seg.tsval, x.tsval) < 0
    if x.known & SENT_ACK and seq_diff(seg.ack, x.sent_ack) < -1:
        return True
    behind = np.int16(np.uint16(x.ip_id) - np.uint16(seg.ip_id))
    near = seg.time_ns - x.sent_ns < REORDERED_NS
    return near and seg.ip_id != 0 and x.ip_id != 0 and 0 < behind < 256


@kernel
def silence_before(seg: Row, x: Row, heard_ns: Row) -> Row:
    """Return how long X had neither sent data nor accepted anything: nanoseconds, large when unknown."""
    last = max(x.data_ns, heard_ns)
    return seg.time_ns - last if last != NEVER else LONG_SILENCE_NS


@kernel
def is_unheard(seg: Row, x: Row, y: Row) -> Row:
    """Return whether X has not received Y's last reply: what X echoes is older than that reply's timestamp.

    RFC 7323 4.3: an ACK in sequence updates what its receiver echoes, also one that acknowledges nothing new.
    """
    known = seg.has & HAS_TIMESTAMPS and y.stamps & REPLIED_STAMP and x.replied_ns != NEVER
    return known and seg.time_ns - x.replied_ns >= ARRIVED_NS and seq_diff(seg.tsecr, y.replied_tsval) < 0


@kernel
def echoes_unseen(seg: Row, x: Row, y: Row) -> Row:
    """Return whether X echoes a timestamp of Y that the capture lacks: it has received something since.

    A zero-length probe of Y is below X's window and leaves no timestamp there (RFC 7323 4.3), so that what X echoes is
    newer than anything it could accept; or newer than what it echoed before, and nothing was captured in between.
    """
    if not seg.has & HAS_TIMESTAMPS:
        return False
    if x.stamps & ECHOED_STAMP and seq_diff(seg.tsecr, x.echoed) > 0 and x.heard_n == 0:
        return True
    if not y.known & STAMP:
        return False
    newer = y.stamps & ACCEPTED_STAMP and seq_diff(seg.tsecr, y.accepted_tsval) > 0 and seg.tsecr != y.tsval
    return newer or seq_diff(seg.tsecr, y.tsval) > 0


@kernel
def hears_unseen(seg: Row, x: Row, y: Row) -> Row:
    """Return whether X has received something since its segment before that the capture lacks.

    It acknowledges bytes of Y that were not captured, or echoes a timestamp that was not.
    """
    return (seg.flags & ACK and y.known & NXT and seq_diff(seg.ack, y.nxt) > 0) or echoes_unseen(seg, x, y)


@kernel
def lacks_bytes(seg: Row, y: Row) -> Row:
    """Return whether X, when it sent this segment, had not received all bytes that Y had sent by then."""
    return seg.flags & ACK and y.known & SEEN and seq_diff(seg.ack, y.seen) < 0


@kernel
def id_step(seg: Row, x: Row) -> Row:
    """Return by how much X's IP ID has grown since its segment before; -1: not said, or that was several packets.

    A large segment may be several packets on the wire (segmentation offload), so that what comes after it counts not.
    """
    if not (x.id_pure and x.ip_id and seg.ip_id):
        return np.int64(-1)
    return np.int64(np.uint16(np.uint16(seg.ip_id) - np.uint16(x.ip_id)))


@kernel
def hints_of(seg: Row, x: Row, y: Row) -> Row:
    """Return what numbers, timestamps and IP ID of X's segment say of frames that the capture, or X, lacks (flows)."""
    hints = UNHEARD if is_unheard(seg, x, y) else 0
    hints |= DELAYED if (x.stamps | y.stamps) & OFF_CLOCK else 0
    if hears_unseen(seg, x, y):
        return hints | UNSEEN | HEARD_UNSEEN
    step = id_step(seg, x)
    if not (step >= 0 and x.id_ones > 3 * x.id_jumps):
        return hints
    if 1 < step <= COUNTED_IDS or x.stamps & SKIPPED_ID:
        hints |= UNSEEN
    elif step == 1 and seg.has & HAS_TIMESTAMPS and y.stamps & ACCEPTED_STAMP and seg.tsecr == y.accepted_tsval:
        hints |= EXACT
    return hints


@kernel
def rate_data(seg: Row, x: Row) -> Row:
    """Rate a segment with two or more payload bytes: new, sent before, or captured out of order."""
    end = np.uint32(seg.seq + seg.payload_len)
    acknowledged = x.known & UNA and seq_diff(end, x.una) <= 0
    sent_before = x.known & SEEN and seq_diff(end, x.seen) <= 0
    if sent_before and (acknowledged or seg.time_ns - x.data_ns >= REORDERED_NS):
        return verdict(_RETRANSMISSION, _PROVEN, W_BEFORE)
    return verdict(_DATA, _PROVEN, W_DATA)


@kernel
def _rate_acknowledged_byte(seg: Row, x: Row) -> Row:
    """Rate one byte that lies one below what the peer has acknowledged: a keepalive or a late retransmission."""
    newest = x.known & SEEN and x.seen == x.una
    if seg.flags & PSH and x.known & SEEN and seq_diff(x.seen, x.una) == -1:
        return verdict(_DATA, _PROVEN, W_DATA)  # its ACK was captured before it
    same = newest and x.known & BYTE and seg.has & HAS_LAST_BYTE and seg.last_byte == x.byte
    soon = seg.time_ns - x.data_ns < max(RTO_LIKE_NS, BACKED_OFF * x.data_gap_ns)
    if (newest and not same) or not (seg.flags & PSH or soon):
        return verdict(_PROBE, _PROVEN, W_GARBAGE)
    if soon and seg.flags & PSH:
        return verdict(_RETRANSMISSION, _PROVEN, W_BEFORE)
    return verdict(_PROBE, _AMBIGUOUS, W_LATER)


@kernel
def rate_one_byte(seg: Row, x: Row, y: Row) -> Row:
    """Rate a segment with one payload byte: probe, window probe, retransmission or data."""
    if x.stamps & FIN_NEWEST and x.known & SEEN and seq_diff(seg.seq, x.seen) == -1:
        return verdict(_PROBE, _PROVEN, W_FIN_BYTE)
    if is_idle(x) and seq_diff(seg.seq, x.una) == -1:
        return _rate_acknowledged_byte(seg, x)
    at_edge = x.known & UNA and seg.seq == x.una
    if at_edge and y.known & WINDOW and y.window == 0:
        return verdict(_WINDOW_PROBE, _PROVEN, W_NEW_BYTE)
    return rate_data(seg, x)


@inlined
def rate_pure_ack(seg: Row, x: Row, y: Row, heard_ns: Row) -> Row:
    """Rate a segment without payload: probe, window probe, or an ACK (that may prove to be a probe later)."""
    known = (x.known & (NXT | UNA)) == (NXT | UNA)
    if not known or seq_diff(seg.seq, x.nxt) >= 0:
        return verdict(_ACK, _PROVEN, W_PLAIN)
    if is_stale(seg, x):
        return verdict(_ACK, _PROVEN, W_OLD)
    silence = silence_before(seg, x, heard_ns)
    if x.nxt != x.una:
        if seq_diff(seg.seq, x.nxt) == -1 and silence >= LONG_SILENCE_NS:
            return verdict(_PROBE, _AMBIGUOUS, W_UNSEEN)
        return verdict(_ACK, _PROVEN, W_OLD)
    if seq_diff(seg.seq, x.una) != -1:
        return verdict(_ACK, _PROVEN, W_OLD)
    if y.known & WINDOW and y.window == 0:
        return verdict(_WINDOW_PROBE, _AMBIGUOUS, W_ZERO)
    if silence < SHORT_SILENCE_NS:
        return verdict(_PROBE, _AMBIGUOUS, W_SHORT)
    return verdict(_PROBE, _PROVEN, W_BELOW)


@kernel
def rate_reset(seg: Row, x: Row, y: Row) -> Row:
    """Rate an RST from X: X gave up, X's address answers a probe of Y, or neither."""
    expected = not x.known & NXT or seg.seq == x.nxt
    own = seg.flags & ACK and not hears_unseen(seg, x, y)  # who heard something has not given up
    if own and expected and (x.open_probes > 0 or is_unheard(seg, x, y)):
        return verdict(_ABORT, _PROVEN, W_GAVE_UP)
    if own and x.held_n > 0 and seq_diff(seg.seq, x.held_seq) == 1:
        return verdict(_ABORT, _PROVEN, W_GAVE_UP)
    if y.open_probes > 0:
        return verdict(_RESET, _PROVEN, W_RST_PROBE if expected or seg.seq == y.probe_ack else W_OUT_RST)
    return verdict(_RST, _PROVEN, W_RESETS if expected else W_OUT_RST)


@inlined
def rate(seg: Row, x: Row, y: Row, heard_ns: Row) -> Row:
    """Return the packed verdict on one TCP segment from X to Y; ``heard_ns`` is when X's idle clock started."""
    flags = seg.flags
    if flags & RST:
        return rate_reset(seg, x, y)
    if flags & SYN:
        return verdict(_SYN, _PROVEN, W_OPENS)
    if flags & FIN:
        return verdict(_FIN, _PROVEN, W_CLOSES)
    if not flags & ACK:
        return verdict(_DATA if seg.payload_len else _ACK, _PROVEN, W_NO_ACK)
    if seg.payload_len >= 2:
        return rate_data(seg, x)
    if seg.payload_len == 1:
        return rate_one_byte(seg, x, y)
    return rate_pure_ack(seg, x, y, heard_ns)
