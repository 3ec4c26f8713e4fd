"""How a connection ended, by whom, and in which frame: a row of ENDED for each row of OBSERVED.

An RST that the connection outlived (both sides go on after it) ended nothing. Of several the first counts: what
follows answers segments that were still on their way. Both sides' FINs before it, and it only swept up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kacap.clock import SECOND_NS
from kacap.findings.connection_facts import frame_of
from kacap.findings.observations import Observed
from kacap.findings.observed import (
    ACKS_NEW,
    ANSWERS,
    BARE,
    COUNTING,
    DEAF,
    FIN_SEEN,
    FORGED,
    FRESH,
    HEARD,
    IN_WINDOW,
    RST_NOTE,
    UNSTAMPED,
)
from kacap.findings.screening import is_its_ttl
from kacap.findings.silences import SOON_NS
from kacap.kernels import Row, entry, kernel
from kacap.model import Connection, Ended, Episode, FrameRef
from kacap.rows import I8, U1, dtype_of
from kacap.timing.giving_up import GIVEN_UP, given_up

# ENDED["how"], and ENDED["by"]: nobody, a side, a box in between, or the capture does not tell
OPEN, FIN, RESET = 0, 1, 2
A, B, BOX, UNCLEAR = 1, 2, 3, 4
HOW = ("open", "fin", "reset")
BY = (None, "a", "b", "a box", "unclear")
# ENDED["cause"] of a reset
FORGERY, UNKNOWN_CONNECTION, REFUSED_DATA, ABORT, REFUSED, OWN_RESET, LIKELY_ABORT, UNASKED = 1, 2, 3, 4, 5, 6, 7, 8
CAUSES = UNASKED + 1  # 0: none
# A prober gives up after its first probe's interval at the earliest: a second each, by tcp(7), and a tick.
GIVES_UP_NS = np.int64(1_950_000_000)
# A side that is heard so long after its peer's FIN has not closed; what comes sooner was on its way, or swept up.
HALF_OPEN_NS = np.int64(3 * SECOND_NS)


class EndedRow(NamedTuple):
    """How a connection ended."""

    time_ns: I8
    frame: I8  # packed; 0: none
    how: U1
    by: U1
    cause: U1
    named: U1  # A or B: whose FIN it is, or in whose name the RST came


ENDED = dtype_of(EndedRow)
EndedRows = NDArray[np.void]  # of ENDED


@kernel
def _first_reset(row: Row, notes: Row) -> Row:
    """Return the row of the RST that ended a connection, 0: none did."""
    note_row = np.int64(row.first_note)
    while note_row:
        note = notes[note_row - 1]
        heard_later = (row.a.known & HEARD and row.a.last_ns > note.time_ns) and (
            row.b.known & HEARD and row.b.last_ns > note.time_ns
        )
        if note.kind == RST_NOTE and note.about & IN_WINDOW and not heard_later:
            return note_row
        note_row = np.int64(note.next)
    return np.int64(0)


@kernel
def _cause(note: Row, row: Row) -> Row:
    """Return the cause of a reset, by what only its maker knows.

    A host without the connection answers without ACK, at the number it was asked with (RFC 9293 3.10.7.1), and soon; an
    application that aborts sends RST,ACK with the connection's numbers and timestamps (tcp_send_active_reset); a
    socket closed before its data came acknowledges that data. A keepalive that gave up sends what an application that
    aborts does: which of them it was is open where nothing had been heard for so long, and its probes may be missing
    from the capture (its IP ID does not follow on that of its segment before). Sure is an RST soon after its maker had
    heard, which its timestamps show.
    """
    side = row.a if note.from_a else row.b
    if note.about & FORGED:
        return FORGERY
    if note.about & (BARE | ANSWERS) == BARE | ANSWERS:
        return UNKNOWN_CONNECTION if note.after_ns <= SOON_NS else UNASKED
    if not side.known & HEARD and note.seq == 0:
        return REFUSED  # in answer to a SYN (RFC 9293 3.10.7.1)
    if note.about & ACKS_NEW:
        return REFUSED_DATA
    if side.known & HEARD == 0:
        return OWN_RESET
    follows = note.about & COUNTING and np.uint16(note.ip_id - note.usual_ip_id) == 1
    soon = 0 <= note.after_ns < GIVES_UP_NS and not note.about & DEAF
    if soon and note.about & FRESH:
        return ABORT
    return LIKELY_ABORT if follows or soon else OWN_RESET


@kernel
def _by(note: Row, row: Row, cause: Row) -> Row:
    """Return who made a reset: the side it names where its TTL or its timestamps say so."""
    if cause == FORGERY:
        return BOX
    side = row.a if note.from_a else row.b
    own = A if note.from_a else B
    if cause == UNASKED:
        return UNCLEAR
    if cause == UNKNOWN_CONNECTION:
        return own if side.known & HEARD and is_its_ttl(note.ttl, side) else UNCLEAR
    return UNCLEAR if note.about & UNSTAMPED else own


@kernel
def _close_by_fin(row: Row, ended: Row) -> None:
    """Write the end of a connection that FINs closed."""
    fin_a, fin_b = row.a.known & FIN_SEEN != 0, row.b.known & FIN_SEEN != 0
    if not fin_a and not fin_b:
        return
    a_first = fin_a and (not fin_b or row.a.fin_ns <= row.b.fin_ns)
    first, other = (row.a, row.b) if a_first else (row.b, row.a)
    if not (fin_a and fin_b) and other.known & HEARD and other.last_ns - first.fin_ns >= HALF_OPEN_NS:
        return
    ended.how = FIN
    ended.by = ended.named = A if a_first else B
    ended.time_ns, ended.frame = first.fin_ns, first.fin_frame


@entry
def _ends(observed: Row, notes: Row, ends: Row) -> None:
    """Write a row of ENDED for each row of OBSERVED, whose forged RSTs are known."""
    for i in range(len(observed)):
        row, ended = observed[i], ends[i]
        _close_by_fin(row, ended)
        note_row = _first_reset(row, notes)
        if note_row == 0:
            continue
        note = notes[note_row - 1]
        both = row.a.known & FIN_SEEN and row.b.known & FIN_SEEN
        if both and note.time_ns > max(row.a.fin_ns, row.b.fin_ns):
            continue
        ended.how, ended.cause = RESET, _cause(note, row)
        ended.by, ended.named = _by(note, row, ended.cause), A if note.from_a else B
        ended.time_ns, ended.frame = note.time_ns, note.frame


def ends(observed: Observed) -> EndedRows:
    """Return a row of ENDED for each connection that was watched; ``screen`` has marked the forged RSTs."""
    found = np.zeros(len(observed.rows), ENDED)
    _ends(observed.rows, observed.notes, found)
    return found


def ended_of(row: EndedRow, connection: Connection) -> Ended:
    """Return how a connection ended: what its ENDED row says, or that one of its probers gave up."""
    for prober in connection.probers:
        episode = given_up(prober) if prober.ending in GIVEN_UP else None
        if episode is not None:
            by = "a" if prober.side == connection.a else "b"
            at_ns = episode.probes[-1].time_ns + episode.gaps_ns[-1]
            return Ended(str(prober.ending), by, _abort_frame(row, by, episode), at_ns, named=by)
    at = frame_of(row.frame) if row.frame else None
    return Ended(HOW[row.how], BY[row.by], at, row.time_ns if row.how else None, row.cause, BY[row.named])


def _abort_frame(row: EndedRow, by: str, episode: Episode) -> FrameRef | None:
    """Return the frame of the RST with which a prober gave up: a run that ICMP errors ended names one of these."""
    if row.how == RESET and BY[row.by] == by:
        return frame_of(row.frame)
    return episode.ending_frame


def observed_until_ns(ended: Ended, last_ns: int, now_ns: int) -> int:
    """Return until when a connection was watched, nanoseconds: until it closed, or until the capture ended.

    ``last_ns`` is its last segment, ``now_ns`` the end of the capture, or now.
    """
    if ended.how == "open":
        return max(now_ns, last_ns)
    return last_ns if ended.how == "fin" or ended.time_ns is None else ended.time_ns
