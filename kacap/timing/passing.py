"""Events of all connections, in order of time, through ``classify.resolve`` into the tables: who waits holds the rest.

``gather`` takes the events of a batch, ``close`` ends connections.
"""

from __future__ import annotations

import numpy as np

from kacap.classify.kinds import Kind
from kacap.classify.resolve import change, is_plain, note_plain, resolve, step
from kacap.classify.states import Seen
from kacap.classify.tables import Change
from kacap.flows import NEVER
from kacap.kernels import Row, entry, fetch, inlined, kernel
from kacap.timing.episodes import OPEN, REFUSED, end_run, take_event

AHEAD = 4  # events from one step of looking ahead to the next

_WINDOW_PROBE, _ACK, _DATA = int(Kind.WINDOW_PROBE), int(Kind.ACK), int(Kind.DATA)
_E_END, _C_SEGMENT = int(Seen.END), int(Change.SEGMENT)


@inlined
def _pass_on(middle: Row, event: Row) -> None:
    """Tell of a decided event, and gather it."""
    counts = middle.counts[0]
    if event.kind == _WINDOW_PROBE and event.payload_len == 0:
        middle.watched[event.watched].window_probes += 1
    if counts.listening and event.kind >= counts.reported_from:
        decided = middle.decided[counts.decided]
        decided.time_ns, decided.frame, decided.file = event.time_ns, event.frame, event.file
        decided.watched, decided.from_a = event.watched, event.from_a
        decided.kind, decided.grade, decided.why = event.kind, event.grade, event.why
        change(middle, _C_SEGMENT, counts.decided, event.watched, event.time_ns)
        counts.decided += 1
    if not event.dropped:
        take_event(middle, event)


@kernel
def _flush(middle: Row, head: Row) -> None:
    """Pass on the decided events at the front of a connection's queue."""
    counts = middle.counts[0]
    while head.queue and not middle.waiting[head.queue].open:
        row = head.queue
        event = middle.waiting[row]
        head.queue = event.next
        if head.queue == 0:
            head.queue_end = 0
        _pass_on(middle, event)
        event.next = counts.free
        counts.free = row


@kernel
def _enqueue(middle: Row, head: Row, event: Row) -> Row:
    """Put an event at the end of its connection's queue; return its row there."""
    counts = middle.counts[0]
    row = counts.free
    if row:
        counts.free = middle.waiting[row].next
    else:
        row = counts.waiting
        counts.waiting += 1
    middle.waiting[row] = event
    middle.waiting[row].next = 0
    if head.queue_end:
        middle.waiting[head.queue_end].next = row
    else:
        head.queue = row
    head.queue_end = row
    return middle.waiting[row]


@kernel
def _look_ahead(events: Row, at: Row, middle: Row) -> None:
    """Ask for what events to come will touch: their connections, nearer by its probers, nearer by the last probe."""
    newest = len(events) - 1
    far, near, next_one = (
        events[min(at + 3 * AHEAD, newest)].watched,
        events[min(at + 2 * AHEAD, newest)].watched,
        events[min(at + AHEAD, newest)].watched,
    )
    fetch(middle.watched[far])
    for side in range(2):
        fetch(middle.sides[2 * far + side])
        number = middle.sides[2 * near + side].prober
        if number:
            fetch(middle.probers[number])
            fetch(middle.histories[number])
        number = middle.sides[2 * next_one + side].prober
        if number:
            fetch(middle.probes[middle.probers[number].last_probe])


@entry
def gather(events: Row, middle: Row) -> None:
    """Take EVENT rows in order of time into the tables; these have room for all that can follow from them."""
    for i in range(len(events)):
        _look_ahead(events, i, middle)
        event = events[i]
        head = middle.watched[event.watched]
        own, other = middle.sides[2 * event.watched + 1 - event.from_a], middle.sides[2 * event.watched + event.from_a]
        if head.queue == 0 and is_plain(event, own, other):
            note_plain(event, own, other)
            _pass_on(middle, event)
        else:
            resolve(middle, head, _enqueue(middle, head, event))
            _flush(middle, head)


@entry
def close(rows: Row, now_ns: Row, middle: Row, event: Row) -> None:
    """End the connections in these rows of WATCHED, of an ended capture at ``now_ns`` (NEVER: they closed before).

    What is undecided stays so, what is open is left open. ``event`` is one EVENT row of scratch.
    """
    last = event[0]
    for i in range(len(rows)):
        head = middle.watched[rows[i]]
        last.watched, last.kind, last.frame, last.file = rows[i], _ACK, 0, 0
        last.time_ns = now_ns if now_ns != NEVER else np.int64(2**62)
        for side in range(2):
            step(middle, head, side, last, _E_END)
        _flush(middle, head)
        for side in range(2):
            number = middle.sides[2 * rows[i] + side].prober
            if number and middle.probers[number].run_n:
                end_run(middle, number, last, REFUSED if middle.probers[number].refused_frame else OPEN)
        head.closed = 1
