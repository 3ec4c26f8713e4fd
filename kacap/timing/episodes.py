"""Decided events to rows: which probe was answered by what, the gaps between them, and what ended each run.

``take_event`` is the way in; ``passing`` calls it with the events of a connection in order. One road for every probe.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kacap.classify.emit import EventRows
from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import ENDINGS, Ending, Kind
from kacap.classify.resolve import change
from kacap.classify.tables import (
    Change,
    ChangeRows,
    DecidedRows,
    EpisodeRows,
    Outcome,
    ProbeRows,
    ProberRows,
    WatchedRows,
)
from kacap.clock import SECOND_NS
from kacap.flows import HEARD_UNSEEN, NEVER, UNHEARD, UNSEEN
from kacap.kernels import Row, inlined, kernel
from kacap.segments import FIN, RST, SYN
from kacap.timing.history import ABORT, HistoryRows, StepRows, take_firing, take_run_end

# The least interval of tcp(7): an answer that takes longer does not belong to an earlier probe.
ANSWER_WAIT_NS = np.int64(SECOND_NS)
PAIRED = 4096  # replies of one run that are paired with its probes
MOST_HOLES = 4  # whole intervals in a gap: with more of them almost any gap is a multiple
HOLE_NS = np.int64(30_000_000)  # jitter of firings that should be whole intervals apart
EARLIEST = 0.98  # of a second: a tick and the jitter of a capture
EARLY_ABORT = 0.85  # of the shortest gap of a run: a reset sooner than that comes from no keepalive timer

_K = {kind.name: int(kind) for kind in Kind}
_PROBE, _REPLY, _RESET, _ABORT = _K["PROBE"], _K["REPLY"], _K["RESET"], _K["ABORT"]
_UNREACHABLE, _COPY = _K["UNREACHABLE"], _K["DUPLICATE_FRAME"]
_W_OUT_RST, _W_LATE = int(KindReason.OUT_OF_WINDOW_RST), int(KindReason.ANSWERED_LATE)
_W_AFTER_DATA = int(KindReason.ANSWERED_AFTER_DATA)
_CODE = {ending: code for code, ending in enumerate(ENDINGS)}
_ANSWERED, _RESET_END, _GAVE_UP = _CODE[Ending.ANSWERED], _CODE[Ending.RESET], _CODE[Ending.GAVE_UP]
REFUSED, _RESUMED, _CLOSED, OPEN = (
    _CODE[Ending.UNREACHABLE],
    _CODE[Ending.RESUMED],
    _CODE[Ending.CLOSED],
    _CODE[Ending.OPEN],
)
_WAITING, _WAS_ANSWERED, _MISSED, _WAS_RESET, _UNCAPTURED = (int(outcome) for outcome in Outcome)
_C_SENT, _C_ANSWERED, _C_REFUSED = int(Change.SENT), int(Change.ANSWERED), int(Change.REFUSED)
_C_ENDED = int(Change.ENDED)
_KEEP = 255  # an ending that a reply has already set
_UNCAPTURED_END = 254  # resumed, by what the capture lacks


class Middle(NamedTuple):
    """The tables of the middle as kernels see them: rows of the dtypes of ``classify.tables``, by name."""

    counts: NDArray[np.void]
    watched: WatchedRows
    sides: NDArray[np.void]  # WATCHED_SIDE
    waiting: EventRows  # row 0 is not used
    probers: ProberRows  # row 0 is not used
    histories: HistoryRows  # HISTORY, beside probers
    probes: ProbeRows
    episodes: EpisodeRows  # row 0 is not used
    decided: DecidedRows
    changes: ChangeRows
    steps: StepRows
    pool: NDArray[np.void]  # one row: how many steps are in use
    firing: NDArray[np.void]  # one row of scratch


@inlined
def _prober_of(middle: Row, event: Row, side: Row) -> Row:
    """Return the row of PROBER of a side, made when it first probes."""
    own = middle.sides[2 * event.watched + side]
    if own.prober == 0:
        counts = middle.counts[0]
        own.prober = counts.probers
        counts.probers += 1
        prober = middle.probers[own.prober]
        prober.watched, prober.side = event.watched, side
        prober.first_ns = event.time_ns
        prober.last_probe = -1
        prober.reply_least_ns, prober.reply_most_ns = -NEVER, NEVER
        prober.ending = OPEN
        middle.histories[own.prober].began = middle.watched[event.watched].began
    return own.prober


@inlined
def _fire(middle: Row, number: Row, event: Row, flags: Row) -> None:
    """Take a firing of a prober's timer, a probe or the abort after the last, into its history."""
    firing = middle.firing[0]
    firing.time_ns, firing.since_ns, firing.prober = event.time_ns, event.heard_ns, number
    firing.heard_ns[0], firing.heard_ns[1] = event.heard_0, event.heard_1
    firing.heard_ns[2], firing.heard_ns[3] = event.heard_2, event.heard_3
    firing.heard_n, firing.flags = event.heard_n, flags
    take_firing(middle.histories[number], (middle.pool[0], middle.steps), firing)


@inlined
def _note_uncaptured(probe: Row) -> None:
    """Note that the capture lacks what answered a probe, unless it has a reply: each probe is answered once."""
    if probe.reply_frame == 0:
        probe.outcome = _UNCAPTURED


@inlined
def _take_probe(middle: Row, event: Row) -> None:
    """Take another probe of a run, or the first of one."""
    side = 1 - event.from_a
    number = _prober_of(middle, event, side)
    prober = middle.probers[number]
    _fire(middle, number, event, event.hints & ~np.uint8(UNHEARD))  # what it heard is corrected already
    if prober.run_ending == _CLOSED and not prober.run_spoken:  # it goes on after its FIN
        prober.run_ending, prober.run_ending_frame, prober.run_ending_ns = OPEN, 0, NEVER
    if prober.run_n and (prober.run_spoken or (prober.run_unheard and not event.hints & UNHEARD)):
        end_run(middle, number, event, _KEEP)
    elif prober.run_n and event.hints & HEARD_UNSEEN:
        _note_uncaptured(middle.probes[prober.last_probe])
        end_run(middle, number, event, _UNCAPTURED_END)
    row = middle.counts[0].probes
    middle.counts[0].probes += 1
    probe = middle.probes[row]
    probe.time_ns, probe.frame, probe.file = event.time_ns, event.frame, event.file
    probe.prober, probe.previous = number, prober.last_probe
    probe.grade, probe.payload = event.grade, event.payload_len
    gap = event.time_ns - prober.last_ns
    if prober.probes:
        prober.gap_least_ns = gap if prober.probes == 1 else min(prober.gap_least_ns, gap)
        prober.gap_most_ns = gap if prober.probes == 1 else max(prober.gap_most_ns, gap)
    else:
        prober.first_probe = row
    if prober.run_n == 0:
        since_ns = NEVER if event.hints & HEARD_UNSEEN else event.heard_ns
        gap = event.time_ns - since_ns if since_ns != NEVER else np.int64(0)
        prober.run_first, prober.run_since_ns = row, since_ns
        if since_ns != NEVER:
            prober.silence_least_ns = min(prober.silence_least_ns, gap) if prober.silence_least_ns else gap
            prober.silence_most_ns = max(prober.silence_most_ns, gap)
        prober.run_replies = prober.run_spoken = 0
        prober.run_ending, prober.run_ending_frame, prober.run_ending_ns = OPEN, 0, NEVER
        prober.run_unheard = 1 if event.hints & UNHEARD else 0
        prober.unheard += prober.run_unheard
        prober.refused_frame = 0
        prober.run_gap_ns = 0
    else:
        prober.run_gap_ns = gap if prober.run_n == 1 else min(prober.run_gap_ns, gap)
        prober.unheard += 1 if event.hints & UNHEARD else 0
    prober.run_n += 1
    prober.probes += 1
    prober.rows += 1
    prober.last_probe, prober.last_ns, prober.overdue = row, event.time_ns, 0
    prober.grade = max(prober.grade, event.grade)
    prober.path_ns = event.path_ns
    if event.payload_len:
        prober.payload = event.payload_len
    one = change(middle, _C_SENT, row, event.watched, event.time_ns)
    one.number, one.gap_ns = prober.run_n, gap


@inlined
def _tell_answer(middle: Row, row: Row, event: Row) -> None:
    """Tell that a probe has an answer, which ``event`` is or has shifted to it."""
    change(middle, _C_ANSWERED, row, event.watched, event.time_ns).gap_ns = middle.probes[row].reply_after_ns


@inlined
def _take_reply(middle: Row, number: Row, event: Row) -> None:
    """Take a reply to the newest probe; one more late reply shifts the pairing: the last k probes have k replies."""
    prober = middle.probers[number]
    if prober.run_replies >= prober.run_n:  # no run, or each of its probes has a reply
        return
    prober.run_replies += 1
    prober.replies += 1
    frame, file, time_ns, answer = event.frame, event.file, event.time_ns, event.kind
    row = prober.last_probe
    for _ in range(min(prober.run_replies, PAIRED)):
        probe = middle.probes[row]
        before = (probe.reply_frame, probe.reply_file, probe.time_ns + probe.reply_after_ns, probe.answer)
        probe.reply_frame, probe.reply_file, probe.reply_after_ns = frame, file, time_ns - probe.time_ns
        probe.answer, probe.outcome = answer, _WAS_ANSWERED
        if before[0] == 0:
            break
        frame, file, time_ns, answer = before
        row = probe.previous
    _tell_answer(middle, row, event)
    if prober.run_unheard:
        return
    prober.run_spoken = 1
    if event.why != _W_LATE and event.why != _W_AFTER_DATA:
        prober.run_ending, prober.run_ending_file = _ANSWERED, event.file
        prober.run_ending_frame, prober.run_ending_ns = event.frame, event.time_ns
    if prober.run_replies == prober.run_n:
        end_run(middle, number, event, _KEEP)


@kernel
def _take_speech(middle: Row, number: Row, event: Row) -> None:
    """Take something else that the peer sent and the prober accepts: an answer if it came soon, alive in any case."""
    prober = middle.probers[number]
    if prober.run_n == 0 or prober.run_spoken:
        return
    newest = middle.probes[prober.last_probe]
    closing = prober.run_ending == _CLOSED  # what comes after its FIN may acknowledge that
    wait = min(prober.run_gap_ns, ANSWER_WAIT_NS) if prober.run_n > 1 else ANSWER_WAIT_NS
    if newest.reply_frame == 0 and not closing and 0 <= event.time_ns - newest.time_ns <= wait:
        newest.reply_frame, newest.reply_file = event.frame, event.file
        newest.reply_after_ns = event.time_ns - newest.time_ns
        newest.answer, newest.outcome = event.kind, _WAS_ANSWERED
        prober.replies += 1
        _tell_answer(middle, prober.last_probe, event)
    end_run(middle, number, event, _CLOSED if event.flags & (FIN | RST | SYN) else _RESUMED)


@kernel
def _has_hole(prober: Row, gap: Row) -> Row:
    """Return whether the only gap of a run is a multiple of the shorter ``gap``: firings between were not captured."""
    times = (prober.run_gap_ns + gap // 2) // max(gap, 1)
    return prober.run_n == 2 and times <= MOST_HOLES and abs(prober.run_gap_ns - times * gap) <= HOLE_NS


@kernel
def _take_abort(middle: Row, number: Row, event: Row) -> None:
    """The prober reset the connection: at its timer it gave up, in the middle of an interval its application did.

    Where it has sent something since its only probe that the capture lacks, that does not tell: this may be a probe.
    """
    prober = middle.probers[number]
    if prober.run_n == 0:
        return
    if prober.run_ending == _CLOSED:
        end_run(middle, number, event, _KEEP)
        return
    prober.unheard += 1 if event.hints & UNHEARD else 0
    gap = event.time_ns - middle.probes[prober.last_probe].time_ns
    shortest = prober.run_gap_ns if prober.run_n > 1 else ANSWER_WAIT_NS  # no interval is below a second
    early = EARLY_ABORT if prober.run_n > 1 else EARLIEST
    hidden = prober.run_n == 1 and event.hints & UNSEEN and not event.hints & HEARD_UNSEEN
    if hidden or (gap < early * shortest and not _has_hole(prober, gap)):
        end_run(middle, number, event, _CLOSED)
        return
    if not prober.run_spoken:
        _fire(middle, number, event, (event.hints & ~np.uint8(UNHEARD)) | ABORT)
    end_run(middle, number, event, REFUSED if prober.refused_frame else _GAVE_UP)


@kernel
def _take_answered_rst(middle: Row, number: Row, event: Row) -> None:
    """The prober reset the connection, and had been answered by what the capture lacks."""
    prober = middle.probers[number]
    if prober.run_n and prober.run_ending != _CLOSED:
        prober.unheard += 1 if event.hints & UNHEARD else 0
        _note_uncaptured(middle.probes[prober.last_probe])
        end_run(middle, number, event, _UNCAPTURED_END)


@kernel
def _close_open(middle: Row, event: Row) -> None:
    """A FIN, RST or SYN that answers no probe ends every run that still waits, on either side.

    A prober's own FIN leaves its run open for a reply that is on its way.
    """
    for side in range(2):
        number = middle.sides[2 * event.watched + side].prober
        if number == 0 or middle.probers[number].run_n == 0 or middle.probers[number].run_spoken:
            continue
        if side == event.from_a or event.flags & (RST | SYN):
            end_run(middle, number, event, _CLOSED)
        elif middle.probers[number].run_ending == OPEN:
            prober = middle.probers[number]
            prober.run_ending, prober.run_ending_file = _CLOSED, event.file
            prober.run_ending_frame, prober.run_ending_ns = event.frame, event.time_ns


@kernel
def end_run(middle: Row, number: Row, event: Row, ending: Row) -> None:
    """Close a prober's run with an EPISODE; ``ending`` _KEEP keeps what a reply has set."""
    prober = middle.probers[number]
    closing = prober.run_ending == _CLOSED and ending != _UNCAPTURED_END  # its own FIN has ended it
    ending = _KEEP if closing else ending
    row = middle.counts[0].episodes
    middle.counts[0].episodes += 1
    episode = middle.episodes[row]
    episode.prober, episode.first, episode.last = number, prober.run_first, prober.last_probe
    episode.probes, episode.previous = prober.run_n, prober.last_episode
    episode.silent_since_ns, episode.closed_ns = prober.run_since_ns, NEVER
    gave_up = ending == _GAVE_UP or (ending == REFUSED and event.kind == _ABORT)
    if gave_up:
        episode.closed_ns = event.time_ns
    if prober.run_spoken or ending == _KEEP:
        if prober.run_unheard and not closing:
            newest = middle.probes[prober.last_probe]
            episode.ending = _ANSWERED if newest.outcome == _WAS_ANSWERED else _RESUMED
            episode.ending_frame, episode.ending_file = newest.reply_frame, newest.reply_file
            episode.ending_ns = newest.time_ns + newest.reply_after_ns
        else:
            episode.ending, episode.ending_frame = prober.run_ending, prober.run_ending_frame
            episode.ending_file, episode.ending_ns = prober.run_ending_file, prober.run_ending_ns
    elif ending == _UNCAPTURED_END:
        episode.ending, episode.ending_ns = _RESUMED, NEVER
    else:
        episode.ending = ending
        episode.ending_frame, episode.ending_file, episode.ending_ns = event.frame, event.file, event.time_ns
        if ending == OPEN:
            episode.ending_ns = NEVER
        if ending == REFUSED and not gave_up:
            episode.ending_frame, episode.ending_file = prober.refused_frame, prober.refused_file
    missed = _count(middle, prober, episode, event.time_ns)
    if episode.silent_since_ns != NEVER and gave_up:
        take_run_end(middle.histories[number], prober.run_n + (1 if prober.run_unheard else 0), True)
    else:
        take_run_end(middle.histories[number], missed, False)
    episode.previous_run = prober.last_run
    if prober.run_n > 1 or episode.ending != _ANSWERED:
        prober.last_run = row
        prober.runs += 1
    prober.run_n = prober.run_replies = 0
    prober.last_episode = row
    prober.episodes += 1
    change(middle, _C_ENDED, row, event.watched, event.time_ns)


@inlined
def _count(middle: Row, prober: Row, episode: Row, now_ns: Row) -> Row:
    """Take the probes of a final episode into their prober's numbers; return how many had no reply.

    Where the capture ends, the newest is not missed before ANSWER_WAIT_NS: its answer may be on its way.
    """
    ending = episode.ending
    at_end = ending == OPEN or (ending == REFUSED and episode.closed_ns == NEVER)
    row, unanswered, first_ns = episode.last, 0, np.int64(0)
    run = 0
    for _ in range(episode.probes):
        probe = middle.probes[row]
        first_ns = probe.time_ns
        if probe.outcome == _WAS_ANSWERED:
            after = probe.reply_after_ns
            prober.reply_least_ns = min(prober.reply_least_ns, after)
            prober.reply_most_ns = max(prober.reply_most_ns, after)
            run = 0
        else:
            unanswered += 0 if probe.outcome == _UNCAPTURED else 1
            if probe.outcome == _UNCAPTURED:
                run = 0
            elif row == episode.last and ending == _RESET_END:
                probe.outcome = _WAS_RESET
                prober.reset += 1
            elif row == episode.last and at_end and now_ns - probe.time_ns < ANSWER_WAIT_NS:
                probe.outcome = _WAITING
            else:
                probe.outcome = _MISSED
                prober.missed += 1
                run += 1
                prober.longest_run = max(prober.longest_run, run)
        row = probe.previous
    prober.ending = ending
    if (ending == _ANSWERED or ending == _RESUMED) and episode.silent_since_ns != NEVER:
        prober.survived_ns = max(prober.survived_ns, first_ns - episode.silent_since_ns)
    return unanswered


@inlined
def take_event(middle: Row, event: Row) -> None:
    """Take the next decided event of a connection."""
    side = 1 - event.from_a
    own, other = middle.sides[2 * event.watched + side].prober, middle.sides[2 * event.watched + 1 - side].prober
    kind = event.kind
    if own and event.flags & RST and event.hints & HEARD_UNSEEN and event.why != _W_OUT_RST:
        _take_answered_rst(middle, own, event)
    if kind == _PROBE:
        _take_probe(middle, event)
    elif kind == _UNREACHABLE:
        if own and middle.probers[own].run_n and middle.probers[own].refused_frame == 0:
            middle.probers[own].refused_frame, middle.probers[own].refused_file = event.frame, event.file
            change(middle, _C_REFUSED, middle.probers[own].last_probe, event.watched, event.time_ns)
    elif kind == _REPLY:
        if other:
            _take_reply(middle, other, event)
    elif kind == _ABORT:
        if own:
            _take_abort(middle, own, event)
    elif kind == _RESET:
        if event.why != _W_OUT_RST and other and middle.probers[other].run_n:
            end_run(middle, other, event, _RESET_END)
    elif event.answers:
        if other:
            _take_speech(middle, other, event)
    elif kind != _COPY and event.flags & (RST | SYN | FIN):
        _close_open(middle, event)
