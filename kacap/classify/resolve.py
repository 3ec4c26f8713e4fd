"""What one segment cannot tell: events are held until those that follow decide, then passed on in order.

Three questions take more than one segment. A keepalive or a zero-window probe, while the peer's window is 0: the
gaps tell. An ACK of a connection whose numbers are unknown: its repetition or its answer tells. A probe that comes
too soon, or whose last ACK is missing from the capture: its company tells. What stays undecided is ambiguous.
"""

from __future__ import annotations

import itertools

from kacap.classify.events import Answered, Event
from kacap.classify.kinds import Grade, Kind
from kacap.classify.reasons import Why
from kacap.flows import NEVER
from kacap.wire.sequence import distance

SHORTEST_IDLE_NS = 950_000_000  # below the smallest idle and interval of tcp(7), a second, and a tick
SAME_GAP = 1.2  # gaps of one timer differ by less, those of a back-off by more
GROWING_GAP = 1.5
CONSTANT_GAP = 1.3
CERTAIN_REPEATS = 16  # from here on, what may follow is not waited for
_PROBE = int(Kind.PROBE)
# Reasons that one segment alone decides: nearly every event of a healthy connection.
CLEAR = frozenset(int(why) for why in (Why.BELOW_ACKNOWLEDGED, Why.GARBAGE_BYTE, Why.ANSWERS_PROBE))
PERSIST_CEILINGS_NS = (60_000_000_000, 120_000_000_000)  # where a persist timer's back-off ends (BSD, Linux)


def _near_ceiling(gap_ns: int) -> bool:
    """Return whether a gap is where back-off stops growing, so that constancy proves nothing."""
    return any(abs(gap_ns - ceiling) <= 0.03 * ceiling for ceiling in PERSIST_CEILINGS_NS)


def rate_closed_window(
    times_ns: list[int], heard_ns: int, *, from_start: bool
) -> tuple[Kind, Grade, Why] | None:
    """Tell keepalives from window probes by the times of a run in front of a closed window; None: not yet.

    RFC 9293 3.8.6.1: the first window probe comes after the RTO and the gaps double; a keepalive's never grow.
    ``from_start``: the capture shows the window closing, so that the run cannot have reached its ceiling before.
    """
    window = (Kind.WINDOW_PROBE, Grade.PROVEN, Why.ZERO_WINDOW_GROWING)
    keepalive = (Kind.PROBE, Grade.PROVEN, Why.ZERO_WINDOW_CONSTANT)
    known = [heard_ns] if heard_ns != int(NEVER) else []
    clock = known + times_ns
    gaps = [b - a for a, b in itertools.pairwise(clock)]
    if any(gap < SHORTEST_IDLE_NS for gap in gaps):
        return window
    if len(gaps) < 2 or (_near_ceiling(gaps[-1]) and not from_start):
        return None
    if gaps[-1] <= SAME_GAP * gaps[-2]:
        return keepalive
    grew_twice = len(times_ns) >= 3 and gaps[-1] >= GROWING_GAP * gaps[-2]
    return window if grew_twice else None


def _gaps(events: list[Event]) -> list[int]:
    """Return the times between events, nanoseconds."""
    return [b.time_ns - a.time_ns for a, b in itertools.pairwise(events)]


def _constant(gaps: list[int]) -> bool:
    """Return whether there are two gaps or more, and all alike."""
    return len(gaps) >= 2 and max(gaps) <= CONSTANT_GAP * min(gaps)


class Side:
    """What is undecided about one side's probes."""

    def __init__(self) -> None:
        self.closed: list[Event] = []  # shaped like probes while the peer's window is 0
        self.closed_rating: tuple[Kind, Grade, Why] | None = None
        self.repeats: list[Event] = []  # the same pure ACK again and again, never answered so far
        self.confirmed = False  # of that run
        self.lone: Event | None = None  # waits for the next event
        self.last: Event | Answered | None = None  # its last probe

    @property
    def busy(self) -> bool:
        """Whether something of this side is undecided, or decided for a run that goes on."""
        return bool(self.closed or self.closed_rating or self.repeats or self.lone)


def _settle(events: list[Event], kind: Kind, grade: Grade, why: Why) -> None:
    """Give undecided events their kind."""
    for event in events:
        if event.open:
            event.kind, event.grade, event.why, event.open = int(kind), int(grade), int(why), False


class Resolver:
    """The undecided events of one connection, in order; ``take`` returns those that are decided by now."""

    def __init__(self) -> None:
        self.queue: list[Event] = []
        self.calm = True  # nothing is undecided
        self.sides = (Side(), Side())

    def passes(self, probe: Answered) -> bool:
        """Return whether a probe that was answered at once needs nothing of what follows: nothing is undecided."""
        if not self.calm or probe.why not in CLEAR:
            return False
        self.sides[1 - probe.from_a].last = probe
        return True

    def take(self, event: Event) -> list[Event]:
        """Add an event of the connection; return what can be passed on, in order."""
        own, other = self.sides[1 - event.from_a], self.sides[event.from_a]
        if self.calm and event.why in CLEAR:
            if event.kind == _PROBE:
                own.last = event
            elif other.last is not None:
                event.grade = other.last.grade
            return [event]
        self.queue.append(event)
        self._settle_lone(event)
        if event.kind in (Kind.UNREACHABLE, Kind.DUPLICATE_FRAME):
            return self._flush()
        if event.answers or event.kind in (Kind.REPLY, Kind.RESET):
            self._hear(event, other)
        self._hear_own(event, own)
        if event.kind in (Kind.PROBE, Kind.WINDOW_PROBE):
            own.last = event
        passed = self._flush()
        self.calm = not self.queue and not any(side.busy for side in self.sides)
        return passed

    def finish(self) -> list[Event]:
        """Return what is left; the undecided is ambiguous."""
        for side in self.sides:
            self._end_repeats(side, None)
            self._end_closed(side)
            if side.lone:
                side.lone.open = False
        return self._flush()

    def _flush(self) -> list[Event]:
        """Take the decided events off the front of the queue."""
        ready = 0
        while ready < len(self.queue) and not self.queue[ready].open:
            ready += 1
        passed, self.queue = self.queue[:ready], self.queue[ready:]
        return passed

    def _settle_lone(self, event: Event) -> None:
        """A probe that waited for company: an answer right after it confirms what the capture had not shown."""
        for side in self.sides:
            lone, side.lone = side.lone, None
            if lone is None:
                continue
            if lone.why == Why.ACK_UNSEEN and event.kind == Kind.REPLY and event.from_a != lone.from_a:
                lone.grade = int(Grade.ANSWERED)
            lone.open = False

    def _hear(self, event: Event, prober: Side) -> None:
        """The peer of ``prober`` spoke while probes were unanswered."""
        if prober.repeats:
            self._end_repeats(prober, event)
        if event.kind == Kind.REPLY and prober.last is not None:
            event.grade = prober.last.grade
        if prober.closed:
            if prober.closed_rating and prober.closed_rating[0] == Kind.WINDOW_PROBE and event.kind == Kind.REPLY:
                event.kind, event.dropped = int(Kind.ACK), True
            elif prober.closed_rating is None and event.kind == Kind.REPLY:
                prober.closed.append(event)
            if event.window:
                self._end_closed(prober)

    def _hear_own(self, event: Event, own: Side) -> None:
        """Take an event of the prober itself: another probe, or what ends its run."""
        if event.kind == Kind.WINDOW_PROBE and event.grade == Grade.AMBIGUOUS:
            self._take_closed(event, own)
        elif event.kind == Kind.PROBE and event.grade == Grade.PATTERNED:
            self._take_repeat(event, own)
        elif event.kind == Kind.ABORT and own.repeats:
            event.grade = int(Grade.PATTERNED)
            self._confirm(own)
        elif event.kind in (Kind.DATA, Kind.RETRANSMISSION) and own.repeats:
            self._drop(own) if event.seq == own.repeats[0].seq else self._confirm(own)
        elif event.kind == Kind.PROBE:
            self._end_closed(own)
            if event.why == Why.SHORT_SILENCE and own.last and own.last.seq == event.seq:
                event.grade, event.why = own.last.grade, own.last.why
            elif event.why == Why.ACK_UNSEEN:
                event.open, own.lone = True, event

    def _take_closed(self, event: Event, own: Side) -> None:
        """Another probe in front of a closed window; its run is decided by its gaps."""
        if own.closed_rating is not None:
            event.kind, event.grade, event.why = (int(part) for part in own.closed_rating)
            return
        event.open = True
        own.closed.append(event)
        probes = [e for e in own.closed if e.kind == Kind.WINDOW_PROBE]
        from_start = probes[0].closed_ns != int(NEVER)
        rating = rate_closed_window([e.time_ns for e in probes], probes[0].heard_ns, from_start=from_start)
        if rating is not None:
            self._decide_closed(own, rating)

    def _decide_closed(self, own: Side, rating: tuple[Kind, Grade, Why]) -> None:
        """Settle a run in front of a closed window, and what answered it."""
        own.closed_rating = rating
        _settle([e for e in own.closed if e.kind == Kind.WINDOW_PROBE], *rating)
        for event in own.closed:
            if event.kind == Kind.REPLY:
                event.grade = int(rating[1])
                if rating[0] == Kind.WINDOW_PROBE:
                    event.kind, event.dropped = int(Kind.ACK), True

    def _end_closed(self, own: Side) -> None:
        """The window opened, or the capture ended: what was not decided stays ambiguous."""
        if own.closed and own.closed_rating is None:
            self._decide_closed(own, (Kind.WINDOW_PROBE, Grade.AMBIGUOUS, Why.ZERO_WINDOW_UNDECIDED))
        own.closed, own.closed_rating = [], None

    def _take_repeat(self, event: Event, own: Side) -> None:
        """The same pure ACK once more: three at constant gaps are probes."""
        if own.repeats and own.repeats[0].seq != event.seq:
            self._end_repeats(own, None)
        if own.confirmed and own.last and own.last.seq == event.seq:
            return
        own.confirmed = False
        event.open = True
        own.repeats.append(event)
        gaps = _gaps(own.repeats)
        if len(own.repeats) >= CERTAIN_REPEATS and _constant(gaps):
            self._confirm(own)
        elif len(gaps) >= 2 and gaps[-1] >= GROWING_GAP * gaps[-2]:
            sent_before = event.payload_len > 0
            kind = Kind.RETRANSMISSION if sent_before else Kind.WINDOW_PROBE
            _settle(own.repeats, kind, Grade.PROVEN if sent_before else Grade.AMBIGUOUS, Why.GROWING_REPEATS)
            own.repeats = []

    def _confirm(self, own: Side) -> None:
        """A run of equal ACKs that nothing answered was a run of probes."""
        _settle(own.repeats, Kind.PROBE, Grade.PATTERNED, Why.REPEATS)
        own.repeats, own.confirmed = [], True

    def _drop(self, own: Side) -> None:
        """A run of equal ACKs was nothing else: the side's data goes on from their number, or its peer's does."""
        for event in own.repeats:
            event.kind, event.dropped, event.open = int(Kind.ACK), True, False
        own.repeats = []

    def _end_repeats(self, own: Side, answer: Event | None) -> None:
        """What came after a run of equal ACKs: an answer one higher, an RST, something else, or nothing."""
        if not own.repeats:
            return
        if answer is None and not _constant(_gaps(own.repeats)):
            _settle(own.repeats, Kind.PROBE, Grade.AMBIGUOUS, Why.REPEATS_TOO_LITTLE)
        elif answer is None or answer.kind == Kind.RESET:
            self._confirm(own)
        elif distance(answer.ack, own.repeats[0].seq) == 1:
            _settle(own.repeats, Kind.PROBE, Grade.ANSWERED, Why.ANSWERED_ONE_HIGHER)
        else:
            self._drop(own)
        own.repeats = []
