"""The plain twin of resolving and gathering: what waits and what decides it, which probe has which answer, what ends.

One ``Connection`` takes its events in order, as lists of objects, and keeps everything; slow and without a table of
states. Kinds, grades, reasons and endings are words. Imports nothing of kacap.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

SECOND = 1_000_000_000
FIN, SYN, RST = 1, 2, 4
UNHEARD, UNSEEN, EXACT, HEARD_UNSEEN = 1, 2, 4, 8  # what timestamps and IP ID of an event say

LEAST_IDLE_NS = 950_000_000
ANSWER_WAIT_NS = SECOND
HOLE_NS = 30_000_000
MOST_HOLES = 4  # intervals in a gap
CERTAIN = 16  # repetitions
CEILINGS_NS = (60 * SECOND, 120 * SECOND)
CROSSING_NS = 200_000_000

ZERO_SHAPE, PATTERN = ("window-probe", "ambiguous"), ("probe", "patterned")
KEEPALIVE = ("probe", "proven", "ZERO_WINDOW_CONSTANT")
PERSIST = ("window-probe", "proven", "ZERO_WINDOW_GROWING")
UNDECIDED = ("window-probe", "ambiguous", "ZERO_WINDOW_UNDECIDED")
REPEATS = ("probe", "patterned", "REPEATS")
Verdict = tuple[str, str, str]
Frame = tuple[int, int]


@dataclass
class Event:
    """A segment that matters, as one segment alone shows it; resolving changes kind, grade and reason."""

    time_ns: int
    frame: Frame
    from_a: bool
    kind: str
    grade: str
    why: str
    seq: int = 0
    ack: int = 0
    payload: int = 0
    window: int = 0
    flags: int = 16
    answers: bool = False
    hints: int = 0
    heard_ns: int | None = None  # when its sender last accepted something from the peer
    closed_ns: int | None = None  # when the peer's window was seen to close
    waits: bool = False
    held: bool = False  # a reply to a run that is not decided
    dropped: bool = False

    def becomes(self, verdict: Verdict) -> None:
        self.kind, self.grade, self.why = verdict
        self.waits = False


def is_multiple(gap: int, of: int) -> bool:
    """Whether ``gap`` is two to four times ``of``, to a twentieth: some firings between were not captured."""
    times = (gap + of // 2) // max(of, 1)
    return 2 <= times <= 4 and abs(gap - times * of) <= 0.05 * gap


@dataclass
class Gaps:
    """The gaps of a run of equal ACKs: those that are one interval, and how many hold more than one."""

    single: list[int]
    holes: int
    growths: int  # gaps at the end, each half as long again as the one before, or more

    @classmethod
    def of(cls, times: list[int]) -> Gaps:
        gaps = [b - a for a, b in itertools.pairwise(times)]
        single: list[int] = []
        holes = growths = 0
        for before, gap in zip([0, *gaps], gaps, strict=False):
            growths = growths + 1 if before and gap >= 1.5 * before else 0
            if single and min(single) and is_multiple(gap, min(single)):
                holes += 1
            elif len(single) == 1 and not holes and is_multiple(single[0], gap):
                holes, single = 1, [gap]
            else:
                single.append(gap)
        return cls(single, holes, growths)

    @property
    def constant(self) -> bool:
        return len(self.single) >= 2 and max(self.single) <= 1.3 * min(self.single)


@dataclass
class Side:
    """What is undecided of one side's probes, and its last probe."""

    closed: list[Event] = field(default_factory=list)  # in front of a closed window
    rating: Verdict | None = None  # what they were found to be
    repeats: list[Event] = field(default_factory=list)  # equal ACKs at an unknown place
    confirmed: bool = False  # ... which were probes
    lone: Event | None = None
    replies: list[Event] = field(default_factory=list)  # to the run in front of a closed window
    last: tuple[int, str, str] | None = None  # (seq, grade, reason) of its last probe

    def rate_closed(self) -> Verdict | None:
        """What a run in front of a closed window is, by its gaps; None: they do not tell."""
        first, newest = self.closed[0], self.closed[-1]
        heard = [] if first.heard_ns is None or first.hints & UNSEEN else [first.heard_ns]
        clock = [*heard, *(event.time_ns for event in self.closed)]
        gaps = [b - a for a, b in itertools.pairwise(clock)]
        if gaps and gaps[-1] < LEAST_IDLE_NS:
            return PERSIST
        at_ceiling = bool(gaps) and any(abs(gaps[-1] - ceiling) <= 0.03 * ceiling for ceiling in CEILINGS_NS)
        if len(gaps) < 2 or (at_ceiling and first.closed_ns is None):
            return None
        if gaps[-1] <= 1.2 * gaps[-2]:
            return KEEPALIVE
        return PERSIST if len(self.closed) >= 3 and gaps[-1] >= 1.5 * gaps[-2] and newest else None

    def decide_closed(self, verdict: Verdict) -> None:
        for event in self.closed:
            event.becomes(verdict)
        for reply in self.replies:
            reply.grade, reply.held = verdict[1], False
            if verdict[0] == "window-probe":
                reply.kind, reply.dropped = "ack", True
        self.closed, self.replies = [], []

    def decide_repeats(self, verdict: Verdict) -> None:
        for event in self.repeats:
            event.becomes(verdict)
        self.repeats = []

    def drop_repeats(self) -> None:
        for event in self.repeats:
            event.kind, event.dropped, event.waits = "ack", True, False
        self.repeats = []

    def grade_last(self, grade: str, why: str | None = None) -> None:
        if self.last is not None:
            self.last = (self.last[0], grade, why or self.last[2])


@dataclass
class Probe:
    event: Event
    reply: Event | None = None
    outcome: str = "waiting"

    @property
    def time_ns(self) -> int:
        return self.event.time_ns

    def numbers(self) -> tuple:
        """Everything that is told of a probe."""
        sent, reply = self.event, self.reply
        answer = (reply.frame, reply.time_ns - sent.time_ns, reply.kind) if reply else (None, None, None)
        return sent.frame, sent.time_ns, sent.grade, sent.payload, self.outcome, *answer


@dataclass
class Run:
    """Probes with one ending, under way."""

    probes: list[Probe]
    since_ns: int | None
    unheard: bool
    replies: int = 0
    spoken: bool = False  # its prober's peer was heard after the last probe
    refused: Frame | None = None
    ending: str = "open"
    ending_frame: Frame | None = None
    gave_up_ns: int | None = None

    @property
    def gaps(self) -> list[int]:
        return [b.time_ns - a.time_ns for a, b in itertools.pairwise(self.probes)]

    def numbers(self) -> tuple:
        """Everything that an episode tells."""
        probes = [probe.numbers() for probe in self.probes]
        return probes, self.since_ns, self.gave_up_ns, self.ending, self.ending_frame


@dataclass
class Prober:
    """One side that probes: its final runs, and how its timer fired."""

    episodes: list[Run] = field(default_factory=list)
    run: Run | None = None
    firings: list[tuple[int, str]] = field(default_factory=list)
    exhausted: list[int] = field(default_factory=list)  # lengths of the runs after which it gave up
    unheard: int = 0
    longest_miss_in_history: int = 0

    def numbers(self) -> dict:
        """What a prober's row counts, from all its runs."""
        probes = [probe for run in self.episodes for probe in run.probes]
        outcomes = Counter(probe.outcome for probe in probes)
        after = [probe.reply.time_ns - probe.time_ns for probe in probes if probe.reply]
        times = [probe.time_ns for probe in probes]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        worst = ("proven", "answered", "patterned", "ambiguous")
        survived = [
            run.probes[0].time_ns - run.since_ns
            for run in self.episodes
            if run.ending in ("answered", "resumed") and run.since_ns is not None
        ]
        return {
            "probes": len(probes), "replies": outcomes["answered"], "missed": outcomes["missed"],
            "reset": outcomes["reset"], "longest_run": max(map(_longest_miss, self.episodes), default=0),
            "episodes": len(self.episodes), "ending": self.episodes[-1].ending, "unheard": self.unheard,
            "first_ns": times[0], "last_ns": times[-1], "gaps": (min(gaps), max(gaps)) if gaps else None,
            "reply": (min(after), max(after)) if after else None,
            "grade": max((probe.event.grade for probe in probes), key=worst.index),
            "payload": next((p.event.payload for p in reversed(probes) if p.event.payload), 0),
            "survived_ns": max([0, *survived]), "firings": len(self.firings),
            "exhausted": (len(self.exhausted), min(self.exhausted, default=0), max(self.exhausted, default=0)),
            "longest_in_history": self.longest_miss_in_history,
        }  # fmt: skip


def _longest_miss(run: Run) -> int:
    """Misses in a row, the most."""
    in_a_row = itertools.groupby(run.probes, lambda probe: probe.outcome == "missed")
    return max((len(list(same)) for miss, same in in_a_row if miss), default=0)


class Connection:
    """One connection: ``take`` its events in order, then ``finish``; ``told`` and ``changes`` grow on the way."""

    def __init__(self) -> None:
        self.queue: list[Event] = []
        self.sides = (Side(), Side())
        self.probers: list[Prober | None] = [None, None]
        self.told: list[tuple[Frame, str, str, str]] = []
        self.changes: list[tuple] = []

    # Resolving

    def take(self, event: Event) -> None:
        """Take the next event; pass on what is decided by now."""
        own, other = self.sides[not event.from_a], self.sides[event.from_a]
        self.queue.append(event)
        if event.kind == "reply" and other.last:
            event.grade = other.last[1]
        self._hear(event, other)
        if event.kind == "reply" and other.last:
            event.grade = other.last[1]
        self._send(event, own)
        if event.kind in ("probe", "window-probe"):
            own.last = (event.seq, event.grade, event.why)
        self._flush()

    def finish(self, now_ns: int | None, scans: tuple[bool, bool]) -> None:
        """The connection is over (None), or the capture ended at ``now_ns``; ``scans``: sides that scan ports."""
        for side, scan in zip(self.sides, scans, strict=True):
            self._keep_company(side, None)
            self._end_repeats(side, scan)
            if side.closed:
                side.decide_closed(UNDECIDED)
        self._flush()
        for number, prober in enumerate(self.probers):
            if prober and prober.run:
                refused = prober.run.refused
                self._end(number, "unreachable" if refused else "open", refused, time_ns=None, now_ns=now_ns)

    def _flush(self) -> None:
        while self.queue and not self.queue[0].waits:
            event = self.queue.pop(0)
            self.told.append((event.frame, event.kind, event.grade, event.why))
            if not event.dropped:
                self._gather(event)

    def _keep_company(self, side: Side, event: Event | None) -> None:
        """A probe whose last ACK is missing waited for the next segment: a reply right after it proves it."""
        if side.lone is None:
            return
        if event is not None and event.kind == "reply" and event.from_a != side.lone.from_a:
            if event.window:
                side.lone.grade = "answered"
                side.grade_last("answered")
            else:  # it may answer a window probe
                side.lone.becomes(UNDECIDED)
                event.kind, event.dropped = "ack", True
        side.lone.waits, side.lone = False, None

    def _hear(self, event: Event, side: Side) -> None:
        """What the peer of a side sends means something to what is undecided of that side."""
        self._keep_company(side, event)
        if event.kind == "reset":
            if side.repeats:
                side.decide_repeats(REPEATS)
                side.confirmed = True
            if side.closed:
                side.decide_closed(UNDECIDED)
            return
        if not (event.answers or event.kind == "reply") or event.kind in ("duplicate-frame", "unreachable"):
            return
        if side.repeats:
            self._answer_repeats(event, side)
            return
        if side.closed and event.kind == "reply":
            event.held = True
            side.replies.append(event)
        elif side.rating == PERSIST and event.kind == "reply":
            event.kind, event.dropped = "ack", True
        if event.window:
            side.rating = None
            if side.closed:
                side.decide_closed(UNDECIDED)

    def _answer_repeats(self, event: Event, side: Side) -> None:
        """A run of equal ACKs was probes if its answer acknowledges one more than it carried, else it was just that."""
        if (event.ack - side.repeats[0].seq) % 2**32 == 1 and event.window == 0:
            side.decide_repeats(UNDECIDED)
            event.kind, event.dropped = "ack", True
        elif (event.ack - side.repeats[0].seq) % 2**32 == 1:
            side.decide_repeats(("probe", "answered", "ANSWERED_ONE_HIGHER"))
            side.grade_last("answered", "ANSWERED_ONE_HIGHER")
        else:
            side.drop_repeats()

    def _send(self, event: Event, side: Side) -> None:
        """What a side sends itself means something to what is undecided of it."""
        self._keep_company(side, event)
        shape = (event.kind, event.grade)
        if shape == ZERO_SHAPE:
            self._end_repeats(side)
            self._join_closed(event, side)
        elif event.kind == "probe":
            self._end_closed(side)
            if shape == PATTERN:
                self._join_repeats(event, side)
            else:
                self._end_repeats(side)
                self._rate_probe(event, side)
        elif event.kind == "abort" and side.repeats:
            side.decide_repeats(REPEATS)
            side.confirmed, event.grade = True, "patterned"
        elif event.kind in ("data", "retransmission") and side.repeats:
            if event.seq == side.repeats[0].seq:
                side.drop_repeats()
            else:
                side.decide_repeats(REPEATS)
                side.confirmed = True

    def _rate_probe(self, event: Event, side: Side) -> None:
        if event.why == "SHORT_SILENCE" and side.last and side.last[0] == event.seq:
            event.grade, event.why = side.last[1:]
        elif event.why == "ACK_UNSEEN":
            event.waits, side.lone, side.confirmed = True, event, False

    def _end_closed(self, side: Side) -> None:
        """A probe that is no longer shaped by a closed window ends the run in front of it."""
        if side.closed:
            side.decide_closed(UNDECIDED)
        side.rating = None

    def _join_closed(self, event: Event, side: Side) -> None:
        """One more segment shaped like a probe in front of a closed window."""
        if side.rating is not None:
            event.becomes(side.rating)
            return
        side.confirmed, event.waits = False, True
        side.closed.append(event)
        verdict = side.rate_closed()
        if verdict is not None:
            side.decide_closed(verdict)
            side.rating = verdict
        elif len(side.closed) >= 3:
            self.changes.append(("doubted", event.time_ns))

    def _join_repeats(self, event: Event, side: Side) -> None:
        """The same ACK once more, or the first of such."""
        same = side.last is not None and side.last[0] == event.seq
        if side.confirmed and same:
            return
        if not same:
            self._end_repeats(side)
        side.confirmed, event.waits = False, True
        side.repeats.append(event)
        number = len(side.repeats)
        if number == 1:
            return
        gaps = Gaps.of([one.time_ns for one in side.repeats])
        if number >= CERTAIN and gaps.constant:
            side.decide_repeats(REPEATS)
            side.confirmed = True
        elif gaps.growths >= 2 or (gaps.growths == 1 and not gaps.holes):
            byte = event.payload > 0
            side.decide_repeats(
                ("retransmission" if byte else "window-probe", "proven" if byte else "ambiguous", "GROWING_REPEATS")
            )
        else:
            self.changes.append(("suspected", event.time_ns, number, event.time_ns - side.repeats[-2].time_ns))

    def _end_repeats(self, side: Side, scan: bool = False) -> None:
        """Nothing came after a run of equal ACKs that tells."""
        if not side.repeats:
            return
        if scan:
            side.drop_repeats()
        elif Gaps.of([event.time_ns for event in side.repeats]).constant:
            side.decide_repeats(REPEATS)
        else:
            side.decide_repeats(("probe", "ambiguous", "REPEATS_TOO_LITTLE"))
            side.grade_last("ambiguous", "REPEATS_TOO_LITTLE")

    # Gathering

    def _gather(self, event: Event) -> None:
        own, other = int(not event.from_a), int(event.from_a)
        run, asked = (p.run if p else None for p in (self.probers[own], self.probers[other]))
        heard = event.flags & RST and event.hints & HEARD_UNSEEN and event.why != "OUT_OF_WINDOW_RST"
        if run and heard and run.ending != "closed":
            self.probers[own].unheard += bool(event.hints & UNHEARD)
            if run.probes[-1].reply is None:
                run.probes[-1].outcome = "uncaptured"
            self._end(own, "resumed", None, time_ns=event.time_ns)
            run = None
        if event.kind == "probe":
            self._probe(event, own)
        elif event.kind == "unreachable":
            if run and run.refused is None:
                run.refused = event.frame
                self.changes.append(("refused", event.time_ns, run.probes[-1].event.frame))
        elif event.kind == "reply":
            if asked:
                self._answer(event, other, asked)
        elif event.kind == "abort":
            if run:
                self._abort(event, own, run)
        elif event.kind == "reset":
            if event.why != "OUT_OF_WINDOW_RST" and asked:
                self._end(other, "reset", event.frame, time_ns=event.time_ns)
        elif event.answers:
            if asked and not asked.spoken:
                self._speak(event, other, asked)
        elif event.kind != "duplicate-frame" and event.flags & (FIN | SYN | RST):
            for number, prober in enumerate(self.probers):
                if not prober or not prober.run or prober.run.spoken:
                    continue
                if number != own or event.flags & (SYN | RST):
                    self._end(number, "closed", event.frame, time_ns=event.time_ns)
                elif prober.run.ending == "open":  # a reply may be on its way
                    prober.run.ending, prober.run.ending_frame = "closed", event.frame

    def _probe(self, event: Event, side: int) -> None:
        """Another probe of a run, or the first of one."""
        prober = self.probers[side] = self.probers[side] or Prober()
        prober.firings.append((event.time_ns, "probe"))
        run, unheard = prober.run, bool(event.hints & UNHEARD)
        if run and run.ending == "closed" and not run.spoken:  # it goes on after its FIN
            run.ending, run.ending_frame = "open", None
        if run and (run.spoken or (run.unheard and not unheard)):
            self._end(side, None, None, time_ns=event.time_ns)
        elif run and event.hints & HEARD_UNSEEN:
            if run.probes[-1].reply is None:
                run.probes[-1].outcome = "uncaptured"
            self._end(side, "resumed", None, time_ns=event.time_ns)
        prober.unheard += unheard
        run = prober.run
        if run is None:
            since_ns = None if event.hints & HEARD_UNSEEN else event.heard_ns
            run = prober.run = Run([Probe(event)], since_ns, unheard)
            gap = 0 if since_ns is None else event.time_ns - since_ns
        else:
            gap = event.time_ns - run.probes[-1].time_ns
            run.probes.append(Probe(event))
        self.changes.append(("sent", event.time_ns, event.frame, len(run.probes), gap))

    def _answer(self, event: Event, side: int, run: Run) -> None:
        """A reply: the newest probe's. What that one had before was the answer to the probe before it, and so on."""
        if run.replies == len(run.probes):  # each has one
            return
        answer: Event | None = event
        for probe in reversed(run.probes):
            answer, probe.reply, probe.outcome = probe.reply, answer, "answered"
            if answer is None:
                self._tell_answer(event, probe)
                break
        run.replies += 1
        if run.unheard:
            return
        run.spoken = True
        if event.why not in ("ANSWERED_LATE", "ANSWERED_AFTER_DATA"):
            run.ending, run.ending_frame = "answered", event.frame
        if run.replies == len(run.probes):
            self._end(side, None, None, time_ns=event.time_ns)

    def _tell_answer(self, event: Event, probe: Probe) -> None:
        """A probe has an answer now."""
        assert probe.reply is not None
        after_ns = probe.reply.time_ns - probe.time_ns
        self.changes.append(("answered", event.time_ns, probe.event.frame, after_ns))

    def _speak(self, event: Event, side: int, run: Run) -> None:
        """The peer sent something else that the prober accepts: an answer if it came soon, alive in any case."""
        newest = run.probes[-1]
        after_ns = event.time_ns - newest.time_ns
        if newest.reply is None and run.ending != "closed" and 0 <= after_ns <= min([*run.gaps, ANSWER_WAIT_NS]):
            newest.reply, newest.outcome = event, "answered"
            self._tell_answer(event, newest)
        ending = "closed" if event.flags & (FIN | SYN | RST) else "resumed"
        self._end(side, ending, event.frame, time_ns=event.time_ns)

    def _abort(self, event: Event, side: int, run: Run) -> None:
        """The prober reset the connection: when its timer was due it gave up, sooner its application did."""
        prober, gap = self.probers[side], event.time_ns - run.probes[-1].time_ns
        assert prober is not None
        if run.ending == "closed":
            self._end(side, None, None, time_ns=event.time_ns)
            return
        prober.unheard += bool(event.hints & UNHEARD)
        unseen = event.hints & UNSEEN and not event.hints & HEARD_UNSEEN  # it may have sent probes since
        if not run.gaps and (unseen or gap < 0.98 * SECOND):
            self._end(side, "closed", event.frame, time_ns=event.time_ns)
            return
        if run.gaps and gap < 0.85 * min(run.gaps):
            times = (run.gaps[0] + gap // 2) // max(gap, 1)
            if len(run.gaps) > 1 or times > MOST_HOLES or abs(run.gaps[0] - times * gap) > HOLE_NS:
                self._end(side, "closed", event.frame, time_ns=event.time_ns)
                return
        if not run.spoken:
            prober.firings.append((event.time_ns, "abort"))
        run.gave_up_ns = event.time_ns
        self._end(side, "unreachable" if run.refused else "gave-up", event.frame, time_ns=event.time_ns)

    def _end(
        self, side: int, ending: str | None, frame: Frame | None, *, time_ns: int | None, now_ns: int | None = None
    ) -> None:
        """Close a run; an ending of None keeps what a reply has made of it. ``now_ns``: the capture ends here."""
        prober = self.probers[side]
        assert prober is not None and prober.run is not None
        run, prober.run = prober.run, None
        newest = run.probes[-1]
        if run.ending == "closed":
            pass  # by its own FIN
        elif ending is not None and not run.spoken:
            run.ending, run.ending_frame = ending, frame
        elif run.unheard:
            run.ending = "answered" if newest.outcome == "answered" else "resumed"
            run.ending_frame = newest.reply.frame if newest.reply else None
        for probe in run.probes:
            if probe.outcome == "waiting":
                probe.outcome = "missed"
        if newest.outcome == "missed" and run.ending == "reset":
            newest.outcome = "reset"
        elif newest.outcome == "missed" and now_ns is not None and now_ns - newest.time_ns < ANSWER_WAIT_NS:
            newest.outcome = "waiting"
        prober.episodes.append(run)
        self._note_length(prober, run)
        self.changes.append(("ended", time_ns, run.probes[0].event.frame, run.ending))

    def _note_length(self, prober: Prober, run: Run) -> None:
        """What the timer's count is estimated from: how long runs were that were given up, and others."""
        if run.gave_up_ns is not None and run.since_ns is not None:
            prober.exhausted.append(len(run.probes) + run.unheard)
        else:
            unanswered = sum(probe.outcome not in ("answered", "uncaptured") for probe in run.probes)
            prober.longest_miss_in_history = max(prober.longest_miss_in_history, unanswered)


Address = tuple[int, int, int]  # (high half, low half, port)


def scans_of(connections: dict[int, Connection], ends: dict[int, tuple[Address, Address]]) -> set[tuple[int, int]]:
    """The (connection, side) whose undecided run has the numbers of another of its host, from or to another port."""
    groups: dict[tuple, dict[tuple[int, int], tuple[Address, Address]]] = {}
    for number, connection in connections.items():
        for side in (0, 1):
            own, peer = ends[number][side], ends[number][1 - side]
            for first in connection.sides[side].repeats[:1]:
                groups.setdefault((own[:2], first.seq, first.ack), {})[number, side] = (own, peer)
    return {place for places in groups.values() if len(set(places.values())) > 1 for place in places}
