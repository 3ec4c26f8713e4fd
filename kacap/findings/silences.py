"""Kernels that tell silences that a connection survived from those that killed it, and regular data from other data."""

from __future__ import annotations

import numpy as np

from kacap.clock import SECOND_NS
from kacap.findings.observed import ANSWERS, BARE, BEATING
from kacap.findings.outstanding import frame_of
from kacap.kernels import Row, inlined, kernel
from kacap.segments import FIN, SYN

# A shorter silence may be one between retransmissions: the timeout after a lost SYN is 3 s (RFC 6298 5.7).
TRIAL_NS = np.int64(3 * SECOND_NS)
# Who has no such connection answers at once: later than the longest round trip it is something else.
SOON_NS = np.int64(3 * SECOND_NS)
BURST_NS = np.int64(900_000_000)
REGULAR = 10  # gaps that differ by no more than a tenth


@inlined
def take_sign(seg: Row, row: Row, from_a: Row, idle: Row) -> None:
    """Take a segment that is no RST: it ends a silence, or shows that the connection survived one.

    ``idle``: nothing was waiting for an acknowledgement; else the silence was one between retransmissions.
    """
    if row.trial_ns and row.trial_from_a != from_a:
        row.survived_ns = max(row.survived_ns, row.trial_ns)
        row.trial_ns = 0
    if row.killed_ns and row.killed_from_a != from_a:  # it goes on: it was not dead
        row.survived_ns = max(row.survived_ns, row.killed_ns)
        row.killed_ns = 0
    silence = seg.time_ns - row.last_ns
    if idle and silence >= TRIAL_NS and row.trial_ns == 0 and not seg.flags & (SYN | FIN):
        row.trial_ns, row.trial_at_ns, row.trial_from_a = silence, seg.time_ns, from_a


@kernel
def take_refusal(note: Row, note_row: Row, row: Row) -> None:
    """Take an RST while a silence waits for an answer: one from a host that does not know the connection was fatal."""
    if row.trial_ns == 0 or row.trial_from_a == note.from_a:
        return
    unknown = note.about & (BARE | ANSWERS) == BARE | ANSWERS and 0 <= note.after_ns <= SOON_NS
    if unknown:
        row.killed_ns, row.killed_at_ns, row.killed_from_a = row.trial_ns, row.trial_at_ns, row.trial_from_a
        row.killed_note = note_row
    row.trial_ns = 0


@kernel
def _extend(run: Row, gap: Row) -> None:
    """Take one more gap between messages into a regular run, or start another."""
    least, most = (min(run.least_ns, gap), max(run.most_ns, gap)) if run.n else (gap, gap)
    if run.n and most - least > least // REGULAR:
        least = most = gap
        run.n = 0
        run.bytes = run.answer_bytes = 0
        run.first_frame = run.last_frame
    run.n += 1
    run.least_ns, run.most_ns = least, most


@kernel
def _keep(beat: Row, run: Row) -> None:
    """Copy a run."""
    beat.n, beat.bytes, beat.answer_bytes = run.n, run.bytes, run.answer_bytes
    beat.least_ns, beat.most_ns = run.least_ns, run.most_ns
    beat.first_frame, beat.last_frame = run.first_frame, run.last_frame


@inlined
def take_message(seg: Row, x: Row, y: Row, sent: Row) -> None:
    """Take data of X: a message begins after a pause in X's data; it may answer one of Y."""
    if y.known & BEATING:
        other = sent[y.data - 1]
        if seg.time_ns - other.beat_ns < BURST_NS:
            other.run.answer_bytes = max(other.run.answer_bytes, seg.payload_len)
            if other.run.n == other.beat.n:
                other.beat.answer_bytes = other.run.answer_bytes
    if x.known & BEATING and seg.time_ns - x.sent_ns < BURST_NS:
        return
    own = sent[x.data - 1]
    run = own.run
    if x.known & BEATING:
        _extend(run, seg.time_ns - own.beat_ns)
    else:
        run.first_frame = frame_of(seg)
    x.known |= BEATING
    own.beat_ns = seg.time_ns
    run.bytes = max(run.bytes, seg.payload_len)
    run.last_frame = frame_of(seg)
    if run.n and run.n >= own.beat.n:
        _keep(own.beat, run)
