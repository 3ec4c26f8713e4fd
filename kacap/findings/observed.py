"""What findings rest on, one row of OBSERVED for each connection slot. A row of zeros has seen nothing.

A side's half (SIDE_OBSERVED) holds when it was heard, its numbers, TTLs and IP IDs. What not every connection has lies
in pools: a SENT for each side that sends data (the bytes that wait for an acknowledgement, its most regular data), a
NOTE for each RST or ICMP error, a SPAN for bytes that were sent again and again. Rows of a pool are counted from 1, 0
means no row; a frame is packed as ``file << 48 | number``.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kacap.rows import I4, I8, U1, U2, U4, U8, dtype_of

FLIGHTS, TTLS, SPAN_FRAMES = 3, 4, 16
NOTES_EACH = 8  # notes kept of one connection, of each kind and side
SUSPENDED_AFTER = 3  # retransmissions of the same bytes
REGULAR_GAPS = 4  # between data, that differ by no more than a tenth

# SIDE_OBSERVED["known"]
HEARD = 1  # first_ns, last_ns
UNA = 2
END = 4
BYTES = 8  # end is that of payload in the capture
TIMESTAMPS = 16  # its segments carry timestamps
FIN_SEEN = 32
HEAD = 64  # of SENT: bytes wait for an acknowledgement, and were sent again
VAIN = 128  # ... although the capture shows that they were acknowledged
PEER_RESET = 256  # an RST of the peer came since they were last sent
BEATING = 512  # of SENT: beat_ns
RESET_OWN = 1024  # it has sent an RST, with a TTL of its other segments
WENT_UNSEEN = 2048  # its numbers went on by what the capture lacks, and no bytes came since: that may have been a FIN
RESET_LAST = 4096  # the last of it was an RST at its own number

# NOTE["kind"], NOTE["about"]
RST_NOTE, QUOTE_NOTE = 1, 2
BARE = 1  # RST without ACK
ANSWERS = 2  # its sequence number is what the other side's last segment acknowledges
OWN_NUMBER = 4  # its sequence number is the next one of its side
ACKS_NEW = 8  # it acknowledges bytes that were not acknowledged before
UNSTAMPED = 16  # without timestamps, although the side's other segments carry them
IN_WINDOW = 32
TO_PROBE = 64  # it follows unanswered probes of the other side
AFTER_PROBES = 128  # it follows unanswered probes of its own side
COUNTING = 256  # the IP IDs of its side were counted up so far
DEAF = 8192  # it echoes an older timestamp than the other side's last segment, long after it, carries
FRESH = 16384  # it echoes the newest timestamp that the other side has sent
AFTER_RESET = 512  # its side had sent an RST of its own before
# ... and once the whole connection is known (screening): why a box in between made it
FOREIGN_TTL = 1024  # it came over another number of hops than its side's data
OTHER_COUNTER = 2048  # its side had sent an RST of its own, and it is not of that side's IP IDs
TOO_FAST = 4096  # it came faster than that side ever answers
BEYOND_RESET = 32768  # it follows an RST at its side's own number, at a higher one
FORGED = FOREIGN_TTL | OTHER_COUNTER | TOO_FAST | BEYOND_RESET

# SPAN["how"]
OPEN, ACKED, RESET_BY_SENDER, RESET_BY_PEER, WENT_ON = 0, 1, 2, 3, 4

_U1OfTtl: TypeAlias = Annotated[NDArray[np.uint8], ("u1", (TTLS,))]
_U2OfTtl: TypeAlias = Annotated[NDArray[np.uint16], ("<u2", (TTLS,))]
_I8OfFrame: TypeAlias = Annotated[NDArray[np.int64], ("<i8", (SPAN_FRAMES,))]


class _FlightRow(NamedTuple):
    """A segment with data that is on its way."""

    time_ns: I8
    frame: I8
    seq: U4
    end: U4
    ip_id: U2  # of its first segment


_FLIGHT = dtype_of(_FlightRow)
_Flights: TypeAlias = Annotated[NDArray[np.void], (_FLIGHT, (FLIGHTS,))]


class BeatRow(NamedTuple):
    """A run of regular data."""

    least_ns: I8  # between messages
    most_ns: I8
    first_frame: I8
    last_frame: I8
    n: U4  # gaps
    bytes: U4  # payload of the first segment of a message: the largest
    answer_bytes: U4  # ... and of the other side's answer


_BEAT = dtype_of(BeatRow)
_Beat: TypeAlias = Annotated[tuple[int, ...], _BEAT]


class SideFacts(NamedTuple):
    """What is observed of one side of a connection."""

    known: U4
    una: U4  # highest acknowledgement of the peer
    end: U4  # next sequence number
    sent_ack: U4  # its newest acknowledgement
    last_seq: U4  # of its last segment
    tsval: U4  # the timestamp of its last segment that its peer accepts: no probe
    first_ns: I8  # when it was heard first, RSTs apart
    last_ns: I8  # ... and last
    quiet_ns: I8  # its longest pause in between
    sent_ns: I8  # its last new bytes
    ttl: _U1OfTtl  # of its segments, copies included, all but RSTs and SYNs
    data_n: _U2OfTtl  # how many with that TTL: with payload, replies to probes, others
    reply_n: _U2OfTtl
    other_n: _U2OfTtl
    ip_id: U2
    ip_steps: U1  # how often its IP ID grew by little
    ip_jumps: U1  # ... and how often not
    syn_ttl: U1  # of its SYN,ACK
    more_ttls: U1  # 1: there are more than these
    resets: U1  # its RSTs, those that are noted
    rtt_ns: I8  # how soon it answered, at its fastest; 0: not seen
    reply_ns: I8  # the same of its replies to probes, which are never delayed; 0: none
    replies: U4
    fin_ns: I8
    fin_frame: I8
    data: I4  # its row of SENT; 0: it has sent no data


SIDE_OBSERVED = dtype_of(SideFacts)


class SentRow(NamedTuple):
    """What a side that sends data is like."""

    slot: I8
    head_ns: I8  # the bytes that were sent again: when first
    resent_ns: I8  # ... and when last
    head_reset_ns: I8
    head_frame: I8  # 0: not known which
    resent_frame: I8  # the first retransmission
    head_seq: U4
    head_end: U4
    head_n: U4  # retransmissions
    head_ip_id: U2
    flight: U1  # the newest of flights
    flights_n: U1
    span: I4  # of these bytes, once they were sent again twice
    kept: I4  # the longest SPAN that is over
    flights: _Flights
    beat_ns: I8  # when its last message began
    run: _Beat
    beat: _Beat  # the longest run


SENT = dtype_of(SentRow)
SentRows = NDArray[np.void]  # of SENT

OBSERVED = np.dtype(
    [
        ("a", SIDE_OBSERVED),
        ("b", SIDE_OBSERVED),
        ("last_ns", "<i8"),
        ("survived_ns", "<i8"),  # the longest silence after which both sides were heard again
        ("trial_ns", "<i8"),  # a silence that one side has ended and the other has not answered yet
        ("trial_at_ns", "<i8"),  # when it ended
        ("killed_ns", "<i8"),  # the silence whose end was answered as only who has no such connection does; 0: none
        ("killed_at_ns", "<i8"),
        ("first_note", "<i4"),
        ("last_note", "<i4"),
        ("killed_note", "<i4"),
        ("quotes", "<u4"),  # ICMP errors
        ("trial_from_a", "u1"),
        ("killed_from_a", "u1"),
    ],
    align=True,
)
ObservedRows = NDArray[np.void]  # of OBSERVED


class NoteRow(NamedTuple):
    """An RST, or an ICMP error that quotes a segment."""

    time_ns: I8
    frame: I8
    slot: I8
    silence_ns: I8  # since the connection's last segment
    after_ns: I8  # since the other side's last segment; -1: none
    quoted_ns: I8  # of an ICMP error: when what it quotes was sent; 0: not its side's last segment
    by_hi: U8
    by_lo: U8
    seq: U4
    ack: U4
    next: I4  # of the same connection
    about: U2
    ip_id: U2
    usual_ip_id: U2  # of its side's segment before; 0: none, or not counted
    window: U2
    kind: U1
    from_a: U1
    ttl: U1
    icmp_type: U1
    icmp_code: U1


NOTE = dtype_of(NoteRow)
NoteRows = NDArray[np.void]  # of NOTE


class SpanRow(NamedTuple):
    """Bytes that were sent again: from their first sending to what ended them."""

    slot: I8
    first_ns: I8
    last_ns: I8
    end_ns: I8
    first_frame: I8
    frames: _I8OfFrame  # the last retransmissions, as a ring
    times_ns: _I8OfFrame
    n: U4
    bytes: U4
    how: U1
    vain: U1


SPAN = dtype_of(SpanRow)
SpanRows = NDArray[np.void]  # of SPAN

POOLS = np.dtype([("position", "<i8"), ("notes", "<i8"), ("spans", "<i8"), ("sent", "<i8")], align=True)
