"""Once connections are over: which of them hold anything that a finding could rest on, and which RSTs a box made."""

from __future__ import annotations

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from kacap.classify.kinds import ENDINGS, Ending
from kacap.classify.tables import ProberRows
from kacap.clock import SECOND_NS
from kacap.findings.observations import Observed
from kacap.findings.observed import (
    AFTER_RESET,
    ANSWERS,
    BARE,
    BEYOND_RESET,
    COUNTING,
    FIN_SEEN,
    FOREIGN_TTL,
    FORGED,
    HEAD,
    OTHER_COUNTER,
    REGULAR_GAPS,
    RST_NOTE,
    SUSPENDED_AFTER,
    TOO_FAST,
    TTLS,
    ObservedRows,
)
from kacap.findings.observing import COUNTED_UP, has_ttl
from kacap.flows import A_FIN, B_FIN, ConnectionRows
from kacap.kernels import Row, entry, kernel

FARTHEST = 40  # hops; more of them are a wrong guess of the TTL that a packet started with
FAST_NS = np.int64(1_000_000)  # on shorter paths, who answers first says nothing
# Messages closer together do not count as a heartbeat; if an idle is expected they may be closer.
MANY_NS, FEW_NS = 5 * SECOND_NS, SECOND_NS
UNEVEN, FEW_GAPS = 10, 5  # gaps of one timer differ by less than a tenth; fewer of them tell nothing
RATE_LIMIT_NS = 500_000_000  # net.ipv4.tcp_invalid_ratelimit
_HARMLESS = np.array([one in (Ending.ANSWERED, Ending.RESUMED, Ending.CLOSED, Ending.OPEN) for one in ENDINGS])
SMALL_BYTES = 512  # what a heartbeat carries at most


class Trait(IntFlag):
    """What has happened on a connection, as far as it decides which findings may hold."""

    PROBES = 1  # somebody probes
    RUNS = 2  # ... and not every probe was answered at once
    ANSWERED = 4
    MANY = 8  # probes of one side
    UNHEARD = 16  # replies that did not reach their prober
    RESET = 32
    QUOTED = 64  # by ICMP errors
    CLOSED = 128  # by one side, or both
    RESENT = 256  # bytes, again and again
    BEAT = 512  # regular data
    DEAD = 1024  # nobody who knows it answered the use after a silence
    EXPECTED = 2048  # settings are expected: known when findings are looked for
    FORGED = 4096  # by a box in between: an RST


@kernel
def _may_start(ttl: Row, start: Row) -> Row:
    """Return whether a packet with a TTL may have started with another: the next usual start, or one not too far."""
    hops = start - np.int64(ttl)
    nearest = 64 if ttl <= 64 else 128 if ttl <= 128 else 255
    return start == nearest or 0 <= hops <= FARTHEST


@kernel
def apart(ttl: Row, other: Row) -> Row:
    """Return how many hops apart two TTLs are at least, from any of the usual starts (64, 128, 255)."""
    least = np.int64(255)
    for start in (64, 128, 255):
        for other_start in (64, 128, 255):
            if _may_start(ttl, start) and _may_start(other, other_start):
                least = min(least, abs((start - np.int64(ttl)) - (other_start - np.int64(other))))
    return least


@kernel
def nearest(ttl: Row, side: Row) -> Row:
    """Return how many hops a TTL is apart from the nearest of a side's data, 0 where that says nothing.

    Where the data itself takes several paths (or was captured at several points) a TTL says nothing; where these are
    one hop apart, the RST may have come one further. Without data its other segments are compared, and without those
    its SYN,ACK.
    """
    if side.more_ttls:
        return np.int64(0)
    with_data = np.int64(0)
    for i in range(TTLS):
        with_data += side.data_n[i]
    least, spread = np.int64(255), np.int64(0)
    for i in range(TTLS):
        if side.data_n[i] or (with_data == 0 and side.reply_n[i] + side.other_n[i]):
            least = min(least, apart(ttl, side.ttl[i]))
            for j in range(i):
                if side.data_n[j] or (with_data == 0 and side.reply_n[j] + side.other_n[j]):
                    spread = max(spread, apart(side.ttl[i], side.ttl[j]))
    if spread > 1:
        return np.int64(0)
    if least == 255:
        least = apart(ttl, side.syn_ttl) if side.syn_ttl else np.int64(0)
    return least - spread


@kernel
def is_its_ttl(ttl: Row, side: Row) -> Row:
    """Return whether all segments of a side that were captured came with a TTL."""
    its = not side.more_ttls
    for i in range(TTLS):
        its = its and (side.ttl[i] == ttl or side.data_n[i] + side.reply_n[i] + side.other_n[i] == 0)
    return its


@kernel
def _forged(note: Row, side: Row) -> Row:
    """Return what sets an RST apart from the segments of the side it claims to come from, as bits of NOTE.

    A difference of one hop means nothing. A host's own RST without a socket may start with another TTL than its data
    (255 for 64), and has no IP ID (tcp_v4_send_reset): one that comes after the host's own RST, with another TTL and
    an IP ID that is not of the host's counter, is not its own. Nor is, where no segment has an IP ID (IPv6), one with
    another TTL and with ACK: a host without a socket sends none in answer to an ACK (RFC 9293 3.10.7.1).
    """
    bits = note.about & np.int64(BEYOND_RESET)
    hops = nearest(note.ttl, side)
    if hops > 1:
        bits |= FOREIGN_TTL
    jumped = note.ip_id != 0 and np.uint16(note.ip_id - note.usual_ip_id) >= COUNTED_UP
    strange = note.about & COUNTING != 0 and jumped
    if note.ip_id == 0 and note.usual_ip_id == 0 and side.ip_steps == 0:
        strange = note.about & BARE == 0
    if hops <= 1 and note.about & AFTER_RESET and strange and not has_ttl(note.ttl, side):
        bits |= OTHER_COUNTER
    answers = note.about & (BARE | ANSWERS) == BARE | ANSWERS
    enough = side.replies >= (1 if bits else 2) and side.reply_ns >= FAST_NS
    if answers and enough and 0 <= note.after_ns * 3 < side.reply_ns:
        bits |= TOO_FAST
    return bits


@kernel
def _is_telling(side: Row, sent: Row, beat_ns: Row) -> Row:
    """Return whether a side's data is regular, or its bytes were sent again and again."""
    if side.data == 0:
        return False
    own = sent[side.data - 1]
    outstanding = own.kept or (side.known & HEAD and own.head_n >= SUSPENDED_AFTER)
    beat = own.beat
    small = max(beat.bytes, beat.answer_bytes) <= SMALL_BYTES
    return outstanding or (beat.n >= REGULAR_GAPS and beat.least_ns >= beat_ns and small)


@entry
def _screen(observed: Row, notes: Row, sent: Row, telling: Row, beat_ns: Row) -> None:
    """Write the FORGED bits of each note, and whether each row holds anything to tell."""
    for i in range(len(notes)):
        note, row = notes[i], observed[notes[i].slot]
        if note.kind == RST_NOTE:
            note.about = (note.about & ~np.uint16(FORGED)) | _forged(note, row.a if note.from_a else row.b)
            if note.about & FORGED:
                telling[note.slot] = True
    for i in range(len(observed)):
        row = observed[i]
        if row.killed_ns or row.quotes or _is_telling(row.a, sent, beat_ns) or _is_telling(row.b, sent, beat_ns):
            telling[i] = True


def screen(observed: Observed, beat_ns: int) -> NDArray[np.bool_]:
    """Return which connections hold anything that a finding could rest on; their notes say which RSTs are forged.

    ``beat_ns``: closer messages do not count as a heartbeat.
    """
    telling = np.zeros(len(observed.rows), np.bool_)
    _screen(observed.rows, observed.notes, observed.sent, telling, np.int64(beat_ns))
    return telling


def worth_a_look(connections: ConnectionRows, observed: ObservedRows) -> NDArray[np.bool_]:
    """Return which connections (CONNECTION, OBSERVED) may have a finding about answered probes.

    One side alone has closed, or replies came with a TTL that none of their side's data has.
    """
    one_closed = (connections["state"] & A_FIN != 0) != (connections["state"] & B_FIN != 0)
    strange = np.zeros(len(connections), np.bool_)
    for side in ("a", "b"):
        seen = observed[side]
        strange |= ((seen["reply_n"] > 0) & (seen["data_n"] == 0)).any(axis=1) & (seen["data_n"] > 0).any(axis=1)
    worth: NDArray[np.bool_] = one_closed | strange
    return worth


def has_more(probers: ProberRows) -> NDArray[np.bool_]:
    """Return which probers (rows of PROBER) may show more than probes that are answered.

    Two unanswered probes or one that ended it, replies that did not reach it, or silences of different lengths before
    its probes. A single miss tells something only where it came right after an answered probe.
    """
    unanswered = probers["probes"] - probers["replies"]
    ended = ~_HARMLESS[probers["ending"]] | (probers["gap_least_ns"] < RATE_LIMIT_NS)
    uneven = probers["silence_most_ns"] - probers["silence_least_ns"] > probers["silence_least_ns"] // UNEVEN
    found: NDArray[np.bool_] = (unanswered >= 2) | ((unanswered > 0) & ended) | (probers["unheard"] > 0)
    found |= (probers["probes"] > FEW_GAPS) & uneven
    return found


def traits(observed: Observed, probers: NDArray[np.int64], table: ProberRows) -> NDArray[np.int64]:
    """Return what has happened on each connection, as bits of ``Trait``.

    ``probers`` are the rows in ``table`` of its sides, shape (connections, 2); row 0 is nobody.
    """
    rows, sent = observed.rows, observed.sent
    resent = (sent["kept"] > 0) | (sent["head_n"] >= SUSPENDED_AFTER)
    forged = observed.notes["about"] & FORGED != 0
    a, b = rows["a"], rows["b"]
    has = {
        Trait.PROBES: (table["probes"] > 0)[probers].any(axis=1),
        Trait.RUNS: (table["runs"] > 0)[probers].any(axis=1),
        Trait.ANSWERED: (table["replies"] > 0)[probers].any(axis=1) | (a["reply_n"] | b["reply_n"]).any(axis=1),
        Trait.MANY: (table["probes"] > FEW_GAPS)[probers].any(axis=1),
        Trait.UNHEARD: (table["unheard"] > 0)[probers].any(axis=1),
        Trait.RESET: a["resets"] | b["resets"] > 0,
        Trait.QUOTED: rows["quotes"] > 0,
        Trait.CLOSED: (a["known"] | b["known"]) & FIN_SEEN > 0,
        Trait.RESENT: _marked(sent["slot"][resent], len(rows)),
        Trait.BEAT: _marked(sent["slot"][sent["beat"]["n"] >= REGULAR_GAPS], len(rows)),
        Trait.FORGED: _marked(observed.notes["slot"][forged], len(rows)),
        Trait.DEAD: (rows["killed_ns"] > 0) | (rows["trial_ns"] > 0),
    }
    found = np.zeros(len(rows), np.int64)
    for trait, held in has.items():
        found[held] |= int(trait)
    return found


def _marked(rows: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
    """Return a column that holds in these rows."""
    found = np.zeros(number, np.bool_)
    found[rows] = True
    return found
