"""Carries out the table of ``states``: an event that one segment cannot decide waits in its row until others decide it.

Events of a connection leave in the order in which they came; while one waits, those behind it wait too.
"""

from __future__ import annotations

import numpy as np

from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import Grade, Kind
from kacap.classify.states import ACT, NEXT, Act, Seen, State
from kacap.classify.tables import Change
from kacap.clock import SECOND_NS
from kacap.flows import NEVER, UNSEEN
from kacap.kernels import Row, inlined, kernel
from kacap.wire.sequence import seq_diff

SHORTEST_IDLE_NS = np.int64(950_000_000)  # below the smallest idle and interval of tcp(7), a second, and a tick
SAME_GAP = 1.2  # gaps of one timer differ by less, those of a back-off by more
GROWING_GAP = 1.5
CONSTANT_GAP = 1.3
CERTAIN_REPEATS = 16  # from here on, what may follow is not waited for
# Where a persist timer's back-off ends, so that constant gaps prove nothing: BSD, Linux.
CEILINGS_NS = (np.int64(60 * SECOND_NS), np.int64(120 * SECOND_NS))

_K = {kind.name: int(kind) for kind in Kind}
_PROBE, _WINDOW_PROBE, _REPLY, _ACK, _DATA = _K["PROBE"], _K["WINDOW_PROBE"], _K["REPLY"], _K["ACK"], _K["DATA"]
_RESET, _ABORT, _RETRANSMISSION = _K["RESET"], _K["ABORT"], _K["RETRANSMISSION"]
_UNREACHABLE, _COPY = _K["UNREACHABLE"], _K["DUPLICATE_FRAME"]
_PROVEN, _ANSWERED, _PATTERNED, _AMBIGUOUS = (int(grade) for grade in Grade)
_W = {why.name: int(why) for why in KindReason}
_W_SHORT, _W_UNSEEN = _W["SHORT_SILENCE"], _W["ACK_UNSEEN"]
_W_REPEATS, _W_HIGHER = _W["REPEATS"], _W["ANSWERED_ONE_HIGHER"]
_W_FEW, _W_GROWING, _W_UNDECIDED = _W["REPEATS_TOO_LITTLE"], _W["GROWING_REPEATS"], _W["ZERO_WINDOW_UNDECIDED"]
_W_ZERO_GROWING, _W_ZERO_CONSTANT = _W["ZERO_WINDOW_GROWING"], _W["ZERO_WINDOW_CONSTANT"]
_S = {state.name: int(state) for state in State}
_CLEAR, _CLOSED, _REPEATED, _CONFIRMED = _S["CLEAR"], _S["CLOSED"], _S["REPEATED"], _S["CONFIRMED"]
_KEEPALIVE, _PERSIST, _LONE = _S["KEEPALIVE"], _S["PERSIST"], _S["LONE"]
_E = {seen.name: int(seen) for seen in Seen}
_E_PROBE, _E_SOON, _E_UNPROVEN, _E_CLOSED = _E["PROBE"], _E["SOON_PROBE"], _E["UNPROVEN_PROBE"], _E["CLOSED_PROBE"]
_E_REPEAT, _E_OTHER_REPEAT, _E_ABORT, _E_SAME = _E["REPEAT"], _E["OTHER_REPEAT"], _E["ABORT"], _E["SAME_BYTES"]
_E_BYTES, _E_HIGHER, _E_REPLY, _E_SPEECH = _E["BYTES"], _E["ONE_HIGHER"], _E["REPLY"], _E["SPEECH"]
_E_RESET, _E_END, _E_OTHER = _E["RESET"], _E["END"], _E["OTHER"]
_A = {act.name: int(act) for act in Act}
_A_PASS, _A_AS_BEFORE, _A_WAIT, _A_JOIN_CLOSED = _A["PASS"], _A["AS_BEFORE"], _A["WAIT"], _A["JOIN_CLOSED"]
_A_RATE, _A_JOIN_REPEATS = _A["RATE_AS_RUN"], _A["JOIN_REPEATS"]
_A_HOLD, _A_IS_ACK = _A["HOLD_REPLY"], _A["REPLY_IS_ACK"]
_A_CONFIRM, _A_CONFIRM_ABORT, _A_ANSWER, _A_DROP = _A["CONFIRM"], _A["CONFIRM_ABORT"], _A["ANSWER"], _A["DROP"]
_A_DOUBT, _A_DOUBT_AGAIN, _A_HOLD_DOUBT = _A["DOUBT_CLOSED"], _A["DOUBT_CLOSED_AGAIN"], _A["HOLD_REPLY_DOUBT"]
_A_END, _A_END_AGAIN, _A_FORGET_AGAIN = _A["END_REPEATS"], _A["END_REPEATS_AGAIN"], _A["FORGET_AGAIN"]
_A_COMPANY_AGAIN = _A["COMPANY_AGAIN"]
_C_SUSPECTED, _C_DOUBTED = int(Change.SUSPECTED), int(Change.DOUBTED)


@inlined
def change(middle: Row, what: Row, row: Row, watched: Row, time_ns: Row) -> Row:
    """Note that something is new; return the row of CHANGE that tells it."""
    counts = middle.counts[0]
    one = middle.changes[counts.changes]
    one.what, one.row, one.watched, one.time_ns = what, row, watched, time_ns
    one.number = one.gap_ns = 0
    if counts.listening:
        counts.changes += 1
    return one


@kernel
def _near_ceiling(gap_ns: Row) -> Row:
    """Return whether a gap is where back-off stops growing, so that constancy proves nothing."""
    for ceiling in CEILINGS_NS:
        if abs(gap_ns - ceiling) <= 0.03 * ceiling:
            return True
    return False


@kernel
def settle(middle: Row, head: Row, side: Row, verdict: Row) -> None:
    """Give the undecided probes of a side, and the replies held for them, their (kind, grade, why)."""
    kind, grade, why = verdict
    row = head.queue
    while row:
        event = middle.waiting[row]
        if event.open and 1 - event.from_a == side:
            event.kind, event.grade, event.why, event.open = kind, grade, why, 0
        elif event.held and event.from_a == side:
            event.grade, event.held = grade, 0
            if kind == _WINDOW_PROBE:
                event.kind, event.dropped = _ACK, 1
        row = event.next


@kernel
def _start_run(own: Row, event: Row) -> None:
    """Begin a run with its first segment."""
    own.run_n, own.run_seq, own.run_ack = 1, event.seq, event.ack
    own.run_last_ns, own.run_gap_ns = event.time_ns, 0
    own.run_least_ns = own.run_most_ns = 0
    own.heard_first = own.growths = own.holes = 0


@kernel
def _extend_run(own: Row, time_ns: Row) -> Row:
    """Take one more segment's time into a run; return the gap before the last."""
    gap = time_ns - own.run_last_ns
    before = own.run_gap_ns
    own.growths = own.growths + 1 if before and gap >= GROWING_GAP * before else 0
    if own.run_least_ns and _is_multiple(gap, own.run_least_ns):
        own.holes += 1
    elif own.run_n == 2 and _is_multiple(own.run_least_ns, gap):
        own.holes += 1
        own.run_least_ns = own.run_most_ns = gap
    else:
        own.run_least_ns = gap if own.run_n <= 1 else min(own.run_least_ns, gap)
        own.run_most_ns = max(own.run_most_ns, gap)
    own.run_last_ns, own.run_gap_ns = time_ns, gap
    own.run_n += 1
    return before


@kernel
def _is_multiple(gap_ns: Row, of_ns: Row) -> Row:
    """Return whether a gap is two to four times another: so many firings, some of them not captured."""
    times = (gap_ns + of_ns // 2) // max(of_ns, 1)
    return 2 <= times <= 4 and abs(gap_ns - times * of_ns) <= 0.05 * gap_ns


@kernel
def _is_constant(own: Row) -> Row:
    """Return whether a run has two gaps or more that are alike; others may hold firings that were not captured."""
    return own.run_n - own.holes >= 3 and own.run_most_ns <= CONSTANT_GAP * own.run_least_ns


@kernel
def _join_closed(middle: Row, head: Row, own: Row, event: Row) -> None:
    """Take one more probe before a closed window; its run is decided by its gaps.

    RFC 9293 3.8.6.1: the first window probe comes after the RTO and the gaps double; a keepalive's never grow. Where
    the capture shows the window closing, a run cannot have reached its ceiling before.
    """
    event.open = 1
    gaps = own.run_n - 1
    if own.state != _CLOSED:
        _start_run(own, event)
        own.from_start = 1 if event.closed_ns != NEVER else 0
        before = np.int64(0)
        gaps = 0
        if event.heard_ns != NEVER and not event.hints & UNSEEN:
            own.run_last_ns, own.run_n = event.heard_ns, 0
            before = _extend_run(own, event.time_ns)
            own.run_n, gaps = 1, 1
            own.heard_first = 1  # the silence before the run counts as a gap
    else:
        before = _extend_run(own, event.time_ns)
        gaps = own.run_n - 1 + own.heard_first
    own.state = _CLOSED
    verdict = _rate_closed(own, gaps, before)
    if verdict == _CLOSED:
        if own.run_n >= 3:
            change(middle, _C_DOUBTED, 2 * event.watched + 1 - event.from_a, event.watched, event.time_ns)
        return
    own.state = verdict
    own.rating_kind = _WINDOW_PROBE if verdict == _PERSIST else _PROBE
    own.rating_grade = _PROVEN
    own.rating_why = _W_ZERO_GROWING if verdict == _PERSIST else _W_ZERO_CONSTANT
    own.last_grade, own.last_why = own.rating_grade, own.rating_why
    settle(middle, head, 1 - event.from_a, (own.rating_kind, own.rating_grade, own.rating_why))


@kernel
def _rate_closed(own: Row, gaps: Row, before_ns: Row) -> Row:
    """Return KEEPALIVE, PERSIST, or CLOSED while the gaps of a run do not tell; ``before_ns`` is the last but one."""
    gap = own.run_gap_ns
    if gaps >= 1 and gap < SHORTEST_IDLE_NS:
        return _PERSIST
    if gaps < 2 or (_near_ceiling(gap) and not own.from_start):
        return _CLOSED
    if gap <= SAME_GAP * before_ns:
        return _KEEPALIVE
    if own.run_n >= 3 and gap >= GROWING_GAP * before_ns:
        return _PERSIST
    return _CLOSED


@kernel
def _join_repeats(middle: Row, head: Row, own: Row, event: Row) -> None:
    """Take the same pure ACK once more: constant gaps are a keepalive's, growing ones are not."""
    event.open = 1
    side = 1 - event.from_a
    if own.state != _REPEATED:
        _start_run(own, event)
        own.state = _REPEATED
        return
    _extend_run(own, event.time_ns)
    if own.run_n >= CERTAIN_REPEATS and _is_constant(own):
        settle(middle, head, side, (_PROBE, _PATTERNED, _W_REPEATS))
        own.state = _CONFIRMED
    elif own.growths >= 2 or (own.growths == 1 and own.holes == 0 and own.run_n >= 3):
        kind = _RETRANSMISSION if event.payload_len > 0 else _WINDOW_PROBE
        settle(middle, head, side, (kind, _PROVEN if event.payload_len > 0 else _AMBIGUOUS, _W_GROWING))
        own.state = _CLEAR
    else:
        one = change(middle, _C_SUSPECTED, 2 * event.watched + side, event.watched, event.time_ns)
        one.number, one.gap_ns = own.run_n, own.run_gap_ns


@kernel
def _drop(middle: Row, head: Row, side: Row) -> None:
    """Let a run of equal ACKs be just that: its side's data goes on from their number, or its peer's does."""
    row = head.queue
    while row:
        event = middle.waiting[row]
        if event.open and 1 - event.from_a == side:
            event.kind, event.dropped, event.open = _ACK, 1, 0
        row = event.next


@kernel
def _end_repeats(middle: Row, head: Row, side: Row, own: Row) -> None:
    """Decide a run of equal ACKs after which nothing came that tells; where its sender scans ports it is just that."""
    if own.scan:
        _drop(middle, head, side)
    elif _is_constant(own):
        settle(middle, head, side, (_PROBE, _PATTERNED, _W_REPEATS))
    else:
        settle(middle, head, side, (_PROBE, _AMBIGUOUS, _W_FEW))
        own.last_grade, own.last_why = _AMBIGUOUS, _W_FEW


@kernel
def _keep_company(middle: Row, head: Row, side: Row, reply: Row, seen: Row) -> None:
    """Decide a lone probe: a reply right after it confirms what the capture had not shown.

    One with a window of 0 leaves open whether it answers a keepalive or a window probe.
    """
    row = head.queue
    while row:
        event = middle.waiting[row]
        if event.open and 1 - event.from_a == side:
            event.open = 0
            if seen == _E_REPLY:
                event.kind, event.grade, event.why = _WINDOW_PROBE, _AMBIGUOUS, _W_UNDECIDED
                reply.kind, reply.dropped = _ACK, 1
            elif seen == _E_REPLY + 1:
                event.grade = _ANSWERED
                middle.sides[2 * event.watched + side].last_grade = _ANSWERED
        row = event.next


@kernel
def _act(middle: Row, head: Row, side: Row, event: Row, order: Row) -> None:
    """Carry out one act of the table for a side; ``event`` is the segment that came, ``order`` (act, what it is)."""
    act, seen = order
    own = middle.sides[2 * event.watched + side]
    if act == _A_AS_BEFORE:
        if own.last_n and own.last_seq == event.seq:
            event.grade, event.why = own.last_grade, own.last_why
    elif act == _A_WAIT:
        event.open = 1
    elif act == _A_JOIN_CLOSED:
        _join_closed(middle, head, own, event)
    elif act == _A_RATE:
        event.kind, event.grade, event.why = own.rating_kind, own.rating_grade, own.rating_why
    elif act == _A_JOIN_REPEATS:
        _join_repeats(middle, head, own, event)
    elif act == _A_IS_ACK:
        event.kind, event.dropped = _ACK, 1
    elif act == _A_CONFIRM or act == _A_CONFIRM_ABORT:
        settle(middle, head, side, (_PROBE, _PATTERNED, _W_REPEATS))
        if act == _A_CONFIRM_ABORT:
            event.grade = _PATTERNED
    elif act == _A_ANSWER:
        if event.window:
            settle(middle, head, side, (_PROBE, _ANSWERED, _W_HIGHER))
            own.last_grade, own.last_why = _ANSWERED, _W_HIGHER
        else:  # it may be a window probe's answer as well
            settle(middle, head, side, (_WINDOW_PROBE, _AMBIGUOUS, _W_UNDECIDED))
            event.kind, event.dropped = _ACK, 1
    elif act == _A_DROP:
        _drop(middle, head, side)
    elif act == _A_END or act == _A_END_AGAIN:
        _end_repeats(middle, head, side, own)
    elif act == _A_COMPANY_AGAIN:
        _keep_company(middle, head, side, event, seen)
    if act == _A_HOLD or act == _A_HOLD_DOUBT:
        event.held = 1
    if act == _A_DOUBT or act == _A_DOUBT_AGAIN or act == _A_HOLD_DOUBT:
        settle(middle, head, side, (_WINDOW_PROBE, _AMBIGUOUS, _W_UNDECIDED))


@kernel
def step(middle: Row, head: Row, side: Row, event: Row, seen: Row) -> None:
    """Take a side through the table for one segment, again where the table says so."""
    own = middle.sides[2 * event.watched + side]
    for _ in range(3):
        state = own.state
        act = ACT[state, seen]
        own.state = NEXT[state, seen]
        if act == _A_JOIN_CLOSED or act == _A_JOIN_REPEATS:
            own.state = state  # these set the next one themselves
        _act(middle, head, side, event, (act, seen))
        if not (act == _A_DOUBT_AGAIN or act == _A_END_AGAIN or act == _A_FORGET_AGAIN or act == _A_COMPANY_AGAIN):
            return


@kernel
def seen_own(event: Row, own: Row) -> Row:
    """Return what an event is to the side that sent it."""
    kind = event.kind
    if kind == _PROBE and event.grade == _PATTERNED:
        return _E_REPEAT if own.last_n and own.last_seq == event.seq else _E_OTHER_REPEAT
    if kind == _PROBE:
        return _E_SOON if event.why == _W_SHORT else _E_UNPROVEN if event.why == _W_UNSEEN else _E_PROBE
    if kind == _WINDOW_PROBE and event.grade == _AMBIGUOUS:
        return _E_CLOSED
    if kind == _ABORT:
        return _E_ABORT
    if kind == _DATA or kind == _RETRANSMISSION:
        return _E_SAME if event.seq == own.run_seq else _E_BYTES
    return _E_OTHER


@kernel
def seen_by_peer(event: Row, prober: Row) -> Row:
    """Return what an event is to the side that did not send it: an answer, a reset, or nothing."""
    if event.kind == _RESET:
        return _E_RESET
    if not (event.answers or event.kind == _REPLY) or event.kind == _COPY or event.kind == _UNREACHABLE:
        return _E_OTHER
    if prober.state == _REPEATED and seq_diff(event.ack, prober.run_seq) == 1:
        return _E_HIGHER
    opening = 1 if event.window else 0
    return (_E_REPLY if event.kind == _REPLY else _E_SPEECH) + opening


@kernel
def resolve(middle: Row, head: Row, event: Row) -> None:
    """Take an event that waits in its connection's queue to both sides of it."""
    side = 1 - event.from_a
    own, prober = middle.sides[2 * event.watched + side], middle.sides[2 * event.watched + 1 - side]
    if event.kind == _REPLY and prober.last_n:
        event.grade = prober.last_grade
    step(middle, head, 1 - side, event, seen_by_peer(event, prober))
    if event.kind == _REPLY and prober.last_n:
        event.grade = prober.last_grade
    step(middle, head, side, event, seen_own(event, own))
    if event.kind == _PROBE or event.kind == _WINDOW_PROBE:
        own.last_n, own.last_seq = 1, event.seq
        own.last_grade, own.last_why = event.grade, event.why


@kernel
def is_plain(event: Row, own: Row, prober: Row) -> Row:
    """Return whether an event needs nothing of what came or comes: nothing is undecided, and it is clear itself."""
    if own.state != _CLEAR or prober.state != _CLEAR:
        return False
    kind = event.kind
    if kind == _PROBE:
        return event.grade == _PROVEN and event.why != _W_SHORT and event.why != _W_UNSEEN
    return kind != _WINDOW_PROBE or event.grade == _PROVEN


@kernel
def note_plain(event: Row, own: Row, prober: Row) -> None:
    """Remember what such an event leaves behind: it is its side's last probe, or gets the grade of what it answers."""
    if event.kind == _PROBE or event.kind == _WINDOW_PROBE:
        own.last_n, own.last_seq = 1, event.seq
        own.last_grade, own.last_why = event.grade, event.why
    elif event.kind == _REPLY and prober.last_n:
        event.grade = prober.last_grade
