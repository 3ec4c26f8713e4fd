"""Connections across batches and files: the connection, direction and incarnation of each segment.

State is columns: one row per connection, two rows (side a, side b) of what is known of each direction. All of it is
fixed in size per connection; the kernels here find the row of a segment and tell copies of a frame from new ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.clock import SECOND_NS
from kacap.kernels import LINE, Row, entry, inlined, kernel
from kacap.segments import ACK, HAS_TIMESTAMPS, IS_QUOTE, RST, SYN
from kacap.wire.sequence import seq_diff

NEVER = np.int64(-(2**62))  # a time that has not been

# CONNECTION["state"]
BEGAN, A_FIN, B_FIN, WAS_RESET, IS_WATCHED, FINISHED, LONE, CUT = 1, 2, 4, 8, 16, 32, 64, 128
LONE_ACK = 256  # its only segment may yet prove to be a probe

# EVENT["hints"]: what a probe's timestamps and IP ID say of frames that the capture lacks, or has and its sender not.
UNHEARD = 1  # the newest reply in the capture did not reach its sender
UNSEEN = 2  # its sender heard, or sent, something that is not in the capture since its segment before
EXACT = 4  # what the capture shows is what its sender heard and sent: its timestamp and its IP ID follow on
DELAYED = 32  # its or its peer's timestamps run unlike the capture's clock
HEARD_UNSEEN = 8  # with UNSEEN: what is not in the capture is something that its sender heard

# SIDE["lacks"]: what it may not have received of what the capture shows.
BYTES_WAIT = 1  # its peer has sent bytes since that it has not acknowledged: sure_ns, sure_n
AFTER_HOLE = 2  # ... and more behind bytes that it lacks: no acknowledgement tells whether that arrived
UNWANTED = 4  # what came last are bytes that it had already, or no room for: on some systems they restart its clock


def on_lines(fields: list[tuple[str, str]]) -> np.dtype[np.void]:
    """Return the type of a row that fills whole cache lines: two, or an odd number of them.

    What every segment touches comes first, so that few are fetched. With another even one, the first lines of all rows
    would compete for a part of the cache.
    """
    row = np.dtype(fields, align=True)
    names = [name for name, _ in fields]
    layout = [row.fields[name] for name in names] if row.fields else []
    return np.dtype(
        {
            "names": names, "formats": [field[0] for field in layout], "offsets": [field[1] for field in layout],
            "itemsize": LINE * (2 if LINE < row.itemsize <= 2 * LINE else -(-row.itemsize // LINE) | 1),
        },
        align=True,
    )  # fmt: skip


CONNECTION = on_lines(
    [
        ("a_hi", "<u8"),
        ("a_lo", "<u8"),
        ("b_hi", "<u8"),
        ("b_lo", "<u8"),
        ("encapsulation", "<u8"),
        ("last_ns", "<i8"),
        ("a_port", "<u2"),
        ("b_port", "<u2"),
        ("id", "<u4"),  # serial number, from 1, in order of the first segment
        ("watched", "<i4"),  # its row of WATCHED, -1: it gets no events
        ("state", "<u2"),
        # The second line.
        ("segments", "<i8"),
        ("longest_silence_ns", "<i8"),
        # What few segments touch.
        ("first_ns", "<i8"),
        ("window_probes", "<i8"),
        ("retransmissions", "<i8"),
    ]
)
ConnectionRows = NDArray[np.void]  # of CONNECTION

# SIDE["known"]: what has been seen of a direction; nothing is assumed from a zero.
NXT, UNA, SEEN, SENT_ACK, WINDOW, STAMP, ISN, BYTE = 1, 2, 4, 8, 16, 32, 64, 128

# SIDE["stamps"]
ACCEPTED_STAMP, REPLIED_STAMP, ECHOED_STAMP = 1, 2, 4
FIN_NEWEST = 32  # its newest number is that of its FIN
STOOD_STILL = 16  # its timestamps stood still while the capture's clock went on: a slow clock, or a delay
SKIPPED_ID = 64  # its IP IDs skipped some since its last probe: it sent what is not in the capture
OFF_CLOCK = 8  # its timestamps and the capture's times tell of different gaps: a frame was delayed on its way here

SIDE = on_lines(
    [
        ("sent_ns", "<i8"),  # its last segment
        ("heard_ns", "<i8"),  # the last segment it received and accepted: where its idle clock starts
        ("data_ns", "<i8"),  # when its newest byte was last sent
        ("nxt", "<u4"),  # next sequence number: own segments, and what the peer acknowledges
        ("una", "<u4"),  # highest acknowledgement seen from the peer
        ("seen", "<u4"),  # highest sequence end of bytes, SYN or FIN in the capture
        ("sent_ack", "<u4"),  # highest acknowledgement it sent
        ("tsval", "<u4"),
        ("open_probes", "<i4"),  # unanswered probes of the run
        ("late_replies", "<i4"),  # misses of the last run that a late reply may still answer
        ("held_n", "<i4"),
        ("window", "<u2"),
        ("ip_id", "<u2"),
        ("ttl", "u1"),
        ("known", "u1"),
        ("byte", "u1"),  # its newest byte
        ("held_payload", "u1"),
        # The second line.
        ("dup_ns", "<i8"),  # its last ACK of nothing new that answered no probe
        ("closed_ns", "<i8"),  # when its window was seen to close; NEVER: open, or closed before the capture
        ("heard_0", "<i8"),  # when it heard something since its last probe, to a twentieth of a second: the first four
        ("heard_1", "<i8"),
        ("heard_2", "<i8"),
        ("heard_3", "<i8"),
        ("heard_n", "<i8"),  # ... and how many there were
        ("isn", "<u4"),
        ("accepted_tsval", "<u4"),  # the newest timestamp of a segment that the peer accepts
        ("replied_tsval", "<u4"),  # that of its last reply to a probe
        ("echoed", "<u4"),  # the newest timestamp of its peer that it echoed
        ("stamps", "u1"),  # ACCEPTED_STAMP, REPLIED_STAMP, ECHOED_STAMP, OFF_CLOCK, STOOD_STILL; FIN_NEWEST, SKIPPED_ID
        ("tick_hz", "u4"),  # ticks a second of its timestamps; 0: not seen yet
        ("held_hints", "u1"),  # EVENT["hints"] of the held ACK
        ("id_ones", "u1"),  # how often its IP ID grew by one after a segment without data
        ("id_jumps", "u1"),  # ... and how often by more
        ("id_pure", "u1"),  # 1: its last segment carried no data
        ("lacks", "u1"),  # BYTES_WAIT, AFTER_HOLE, UNWANTED
        # What few segments touch.
        ("asked_ns", "<i8"),  # when the handshake, or bytes, asked it to answer; NEVER: not seen
        ("path_ns", "<i8"),  # how long its soonest answer took: from the capture point to it and back
        ("sure_ns", "<i8"),  # what heard_ns was before the first bytes that it has not acknowledged
        ("sure_n", "<i8"),  # ... and heard_n
        ("unheard_ns", "<i8"),  # what heard_ns was before the last reply to its probe
        ("data_gap_ns", "<i8"),  # between the last two sendings of its newest byte; 0: it was sent once
        ("quoted_ns", "<i8"),  # when an ICMP error quoted the held ACK; NEVER: none did
        ("quoted_frame", "<i8"),
        ("dup_frame", "<i8"),
        ("dup_heard_ns", "<i8"),  # the other side's heard_ns before that ACK
        ("probe_ns", "<i8"),  # its last probe
        ("gap_ns", "<i8"),  # between its last two probes
        ("replied_ns", "<i8"),  # the last reply to one
        ("held_ns", "<i8"),  # a pure ACK that may yet prove to be a probe: the first of a run
        ("held_frame", "<i8"),
        ("held_last_ns", "<i8"),  # ... and the last of the run
        ("held_heard_ns", "<i8"),
        ("held_peer_ns", "<i8"),  # the other side's heard_ns before that ACK
        ("held_seq", "<u4"),
        ("held_ack", "<u4"),
        ("probe_seq", "<u4"),
        ("probe_ack", "<u4"),
        ("held_file", "<u2"),
        ("dup_file", "<u2"),
        ("quoted_file", "<u2"),
    ]
)

BUCKET = np.dtype([("slot", "<i4")])  # of the hash table; -1: free

RECENT = np.dtype([("digest", "<u8"), ("time_ns", "<i8")], align=True)
RECENT_ROWS = 1 << 16

TRACKER_STATE = np.dtype(
    [
        ("used", "<i8"),  # rows of CONNECTION in use
        ("next_id", "<i8"),
        ("finished", "<i8"),  # rows that only wait to be collected
        ("position", "<i8"),  # next segment of the batch
        ("events", "<i8"),  # rows of EVENT written
        ("watched", "<i8"),  # rows of WATCHED that connections have been given
        ("now_ns", "<i8"),  # newest time seen
        ("seed", "<u8"),  # of the hash table
        ("all_segments", "<i8"),  # 1: events also for connections that nobody watches
        ("lone", "<i8"),  # rows of CONNECTION that are LONE
        ("oldest", "<i8"),  # none before this row is
        ("lone_acks", "<i8"),  # rows that are LONE_ACK
        ("oldest_ack", "<i8"),
        ("let_go", "<i8"),  # how many were forgotten
    ],
    align=True,
)

LINGER_NS = np.int64(120 * SECOND_NS)  # after this a closed connection's next segment starts another
JUMP_SILENCE_NS = np.int64(SECOND_NS)
LONE_JUMP = np.int64(1 << 26)  # sequence distance that no loss explains after a silence
PAIRED_JUMP = np.int64(1 << 16)  # the same when sequence and acknowledgement jump together
COPY_NS = np.int64(10_000_000)
IDENTIFIED_COPY_NS = np.int64(500_000_000)
TWICE_IDENTIFIED_COPY_NS = np.int64(10 * SECOND_NS)


@kernel
def _mix(value: Row) -> Row:
    """Scramble a 64-bit number (the finaliser of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def _end_digest(hi: Row, lo: Row, port: Row, seed: Row) -> Row:
    """Return a digest of one endpoint that nobody can foresee who does not know the seed."""
    return _mix(_mix(lo ^ seed) ^ hi ^ (np.uint64(port) << np.uint64(40)))


@kernel
def connection_digest(row: Row, seed: Row) -> Row:
    """Return a digest of a CONNECTION row's key, the same for both directions."""
    a = _end_digest(row.a_hi, row.a_lo, row.a_port, seed)
    b = _end_digest(row.b_hi, row.b_lo, row.b_port, seed)
    return _mix((a + b) ^ row.encapsulation)


@kernel
def segment_digest(seg: Row, seed: Row) -> Row:
    """Return the digest of the connection that a SEGMENT row belongs to."""
    a = _end_digest(seg.src_hi, seg.src_lo, seg.src_port, seed)
    b = _end_digest(seg.dst_hi, seg.dst_lo, seg.dst_port, seed)
    return _mix((a + b) ^ seg.encapsulation)


@kernel
def _from_a(seg: Row, row: Row) -> Row:
    """Return whether a segment has side a's address as source and side b's as destination."""
    return (
        seg.src_lo == row.a_lo
        and seg.dst_lo == row.b_lo
        and seg.src_port == row.a_port
        and seg.dst_port == row.b_port
        and seg.src_hi == row.a_hi
        and seg.dst_hi == row.b_hi
        and seg.encapsulation == row.encapsulation
    )


@kernel
def _from_b(seg: Row, row: Row) -> Row:
    """Return whether a segment has side b's address as source and side a's as destination."""
    return (
        seg.src_lo == row.b_lo
        and seg.dst_lo == row.a_lo
        and seg.src_port == row.b_port
        and seg.dst_port == row.a_port
        and seg.src_hi == row.b_hi
        and seg.dst_hi == row.a_hi
        and seg.encapsulation == row.encapsulation
    )


@kernel
def bucket_of(digest: Row, table: Row) -> Row:
    """Return the bucket where a connection is looked for first."""
    return np.int64(digest & np.uint64(len(table) - 1))


@kernel
def find(seg: Row, digest: Row, table: Row, connections: Row) -> Row:
    """Return (bucket of the table, slot or -1, side 0 or 1) of a segment's connection; ``digest`` is of its key."""
    mask = np.int64(len(table) - 1)
    bucket = bucket_of(digest, table)
    while True:
        slot = np.int64(table[bucket].slot)
        if slot < 0:
            return bucket, np.int64(-1), 0
        row = connections[slot]
        if _from_a(seg, row):
            return bucket, slot, 0
        if _from_b(seg, row):
            return bucket, slot, 1
        bucket = (bucket + 1) & mask


@entry
def rebuild(table: Row, connections: Row, tracker: Row) -> None:
    """Fill an empty table with every unfinished connection."""
    mask = np.int64(len(table) - 1)
    for slot in range(tracker[0].used):
        if connections[slot].state & FINISHED:
            continue
        bucket = bucket_of(connection_digest(connections[slot], tracker[0].seed), table)
        while table[bucket].slot >= 0:
            bucket = (bucket + 1) & mask
        table[bucket].slot = slot


@inlined
def packet_digest(seg: Row) -> Row:
    """Return a digest of what every copy of a packet has in common."""
    digest = _mix(seg.src_lo * np.uint64(0x9E3779B97F4A7C15) + seg.dst_lo) ^ seg.src_hi ^ (seg.dst_hi << np.uint64(1))
    digest = digest ^ (np.uint64(seg.src_port) << np.uint64(48)) ^ (np.uint64(seg.dst_port) << np.uint64(32))
    digest = digest ^ seg.encapsulation
    if seg.has & IS_QUOTE:
        digest = _mix(digest + seg.by_lo)  # an error is not a copy of what it quotes
    digest = _mix(digest ^ ((np.uint64(seg.seq) << np.uint64(32)) | np.uint64(seg.ack)))
    digest = digest + ((np.uint64(seg.tsval) << np.uint64(32)) | np.uint64(seg.tsecr))
    digest = _mix(digest ^ ((np.uint64(seg.sack_left) << np.uint64(32)) | np.uint64(seg.sack_right)))
    return _mix(
        digest
        ^ (
            (np.uint64(seg.payload_len) << np.uint64(32))
            | (np.uint64(seg.window) << np.uint64(16))
            | np.uint64(seg.ip_id)
        )
        ^ (np.uint64(seg.flags) << np.uint64(56))
    )


@kernel
def places_of(digest: Row) -> Row:
    """Return the two rows of RECENT where a packet may be: the older makes way, so that few are forgotten too soon."""
    last = np.uint64(RECENT_ROWS - 1)
    return np.int64(digest & last), np.int64(digest >> np.uint64(32) & last)


@kernel
def is_copy(seg: Row, digest: Row, recent: Row) -> Row:
    """Return whether the same packet was captured a moment before (``any``, ``lo``, veth, merged captures).

    Equal addresses, ports, sequence numbers, flags, length, window, options and IP ID, as in its ``digest``; the TTL
    may differ. A packet that its IP ID or its timestamp identifies may be half a second apart (clocks of merged
    captures); one that both identify may be as far apart as two captures of a slow path: Linux gives no two packets
    both.
    """
    first, second = places_of(digest)
    row, other = recent[first], recent[second]
    if row.digest != digest and (other.digest == digest or other.time_ns < row.time_ns):
        row = other
    by_id, by_stamp = seg.ip_id != 0, seg.has & HAS_TIMESTAMPS != 0
    limit = TWICE_IDENTIFIED_COPY_NS if by_id and by_stamp else IDENTIFIED_COPY_NS if by_id or by_stamp else COPY_NS
    copy = row.digest == digest and abs(seg.time_ns - row.time_ns) <= limit
    if not copy:
        row.digest = digest
        row.time_ns = seg.time_ns
    return copy


@kernel
def _distance(known: Row, number: Row, reference: Row) -> Row:
    """Return how far a sequence number is from a known one, 0 when nothing is known."""
    return abs(seq_diff(number, reference)) if known else np.int64(0)


@kernel
def starts_another(seg: Row, row: Row, x: Row, y: Row) -> Row:
    """Return whether a segment opens a new incarnation of its 4-tuple.

    A SYN with another ISN; a segment long after the close; or, after a silence, a jump of the sequence space that no
    loss explains (ports were reused and the SYN was not captured). An RST never does: it may be out of window.
    """
    silence = seg.time_ns - row.last_ns
    if seg.flags & (SYN | ACK | RST) == SYN:
        return not (x.known & ISN and x.isn == seg.seq)
    closed = (row.state & WAS_RESET) != 0 or (row.state & (A_FIN | B_FIN)) == (A_FIN | B_FIN)
    if closed and silence > LINGER_NS:
        return True
    if seg.flags & RST or silence < JUMP_SILENCE_NS:
        return False
    forward = _distance(x.known & NXT, seg.seq, x.nxt)
    backward = _distance(y.known & NXT and seg.flags & ACK, seg.ack, y.nxt)
    return forward > LONE_JUMP or (forward > PAIRED_JUMP and backward > PAIRED_JUMP)


@kernel
def open_connection(seg: Row, tracker: Row, connections: Row, sides: Row) -> Row:
    """Write a fresh row for a segment's connection and return its slot; side a is who speaks first."""
    slot = tracker.used
    tracker.used += 1
    row = connections[slot]
    swap = (seg.flags & (SYN | ACK)) == (SYN | ACK)  # a SYN,ACK answers side a
    row.a_hi, row.a_lo, row.a_port = seg.src_hi, seg.src_lo, seg.src_port
    row.b_hi, row.b_lo, row.b_port = seg.dst_hi, seg.dst_lo, seg.dst_port
    if swap:
        row.a_hi, row.a_lo, row.a_port = seg.dst_hi, seg.dst_lo, seg.dst_port
        row.b_hi, row.b_lo, row.b_port = seg.src_hi, seg.src_lo, seg.src_port
    row.encapsulation = seg.encapsulation
    row.id = tracker.next_id
    tracker.next_id += 1
    row.first_ns = seg.time_ns
    row.last_ns = seg.time_ns
    row.longest_silence_ns = row.segments = row.window_probes = row.retransmissions = 0
    row.watched = -1
    row.state = BEGAN if seg.flags & SYN else 0
    for i in range(2):
        side = sides[2 * slot + i]
        side.sent_ns = side.heard_ns = side.data_ns = side.probe_ns = NEVER
        side.dup_ns = side.closed_ns = side.replied_ns = side.asked_ns = side.unheard_ns = side.quoted_ns = NEVER
        side.gap_ns = side.path_ns = side.data_gap_ns = 0
        side.tick_hz = 0
        side.lacks = side.stamps = side.id_ones = side.id_jumps = side.id_pure = 0
        side.heard_n = 0
        side.held_n = side.open_probes = side.late_replies = 0
        side.known = side.ttl = side.ip_id = 0
    return slot, (1 if swap else 0)
