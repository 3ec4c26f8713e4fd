"""Decided events to episodes: which probe was answered by what, the gaps between them, and what ended the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kacap.classify.events import Answered, Event
from kacap.classify.kinds import GRADE_WORDS, Ending, Kind
from kacap.classify.reasons import Why
from kacap.model import Connection, Endpoint, Episode, FrameRef, Probe, Prober
from kacap.segments import ACK, FIN, RST, SYN
from kacap.timing.kept import History, widen

# The least interval of tcp(7): an answer that takes longer than this is no answer to an earlier probe.
ANSWER_WAIT_NS = 1_000_000_000

_ANSWERED = Ending.ANSWERED  # nearly all
_RANK = {word: rank for rank, word in enumerate(GRADE_WORDS)}


@dataclass(slots=True)
class Run:
    """An episode under way: its record, and what is needed to go on with it."""

    episode: Episode
    replies: list[tuple[FrameRef, int]] = field(default_factory=list)
    refused: FrameRef | None = None  # the first ICMP error that quoted one of its probes
    spoken: bool = False  # the peer was heard after the last probe

    @property
    def unanswered(self) -> bool:
        """Whether the newest probe still waits."""
        return not self.spoken


class Gatherer:
    """The episodes of one connection, both sides; ``emit`` hears of each one that is final."""

    def __init__(self, connection: Connection, emit: Callable[[Prober, Episode], None]) -> None:
        self.connection = connection
        self.emit = emit
        self.runs: list[Run | None] = [None, None]
        self.probers: list[Prober | None] = [None, None]
        self.histories = (History(began=connection.began_in_capture), History(began=connection.began_in_capture))

    def take(self, event: Event) -> None:
        """Take the next decided event of the connection."""
        own, other = 1 - event.from_a, event.from_a
        if event.kind == Kind.PROBE:
            self._take_probe(event, own)
        elif event.kind == Kind.UNREACHABLE:
            self._take_unreachable(event, own)
        elif event.kind == Kind.REPLY:
            self._take_reply(event, other)
        elif event.kind == Kind.ABORT:
            self._take_abort(event, own)
        elif event.kind == Kind.RESET:
            if event.why != Why.OUT_OF_WINDOW_RST:
                self._end(other, Ending.RESET, event.ref)
        elif event.answers:
            self._take_speech(event, other)
        elif event.kind != Kind.DUPLICATE_FRAME and event.flags & (RST | SYN | FIN):
            self._note_unheard(event, own)
            self._close_open(event)

    def take_answered(self, probe: Answered) -> Prober | None:
        """Take a probe together with its reply; return its prober, or None (not taken) if a run of it is under way."""
        side = 1 - probe.from_a
        if self.runs[side] is not None:
            return None
        prober = self.probers[side] or self._begin(side, probe.time_ns)
        time_ns, since_ns, after_ns = probe.time_ns, probe.silent_since_ns, probe.reply_ns - probe.time_ns
        self.histories[side].add(time_ns, probe.heards_ns, since_ns, probe=True)
        _add(prober, time_ns, after_ns, probe.payload_len, GRADE_WORDS[probe.grade])
        prober.at_once += 1
        prober.ending = _ANSWERED
        if since_ns is not None and time_ns - since_ns > prober.survived_ns:
            prober.survived_ns = time_ns - since_ns
        return prober

    def finish(self, last_ns: int | None) -> None:
        """The connection ended, or the capture at ``last_ns``: what is still open stays so."""
        for side in (0, 1):
            run = self.runs[side]
            if run is not None:
                self._end(side, Ending.UNREACHABLE if run.refused else Ending.OPEN, run.refused, last_ns)

    def waiting(self, now_ns: int) -> list[Probe]:
        """Return the probes that wait for an answer longer than ``ANSWER_WAIT_NS`` at ``now_ns``."""
        newest = [run.episode.probes[-1] for run in self.runs if run is not None and run.unanswered]
        return [probe for probe in newest if now_ns - probe.time_ns >= ANSWER_WAIT_NS]

    def _ends(self, side: int) -> tuple[Endpoint, Endpoint]:
        """Return (prober, peer) of a side: 0 is a."""
        a, b = self.connection.a, self.connection.b
        return (a, b) if side == 0 else (b, a)

    def _take_probe(self, event: Event, side: int) -> None:
        """Another probe of a run, or the first of one."""
        prober, peer = self._ends(side)
        probe = Probe(
            self.connection.connection, event.ref, event.time_ns, prober, peer, GRADE_WORDS[event.grade],
            event.payload_len,
        )
        self.histories[side].add(event.time_ns, event.heards_ns, event.silent_since_ns, probe=True)
        run = self.runs[side]
        if run is not None and run.spoken:
            self._end(side, None, None)
            run = None
        if run is None:
            since = event.silent_since_ns
            gap = None if since is None else event.time_ns - since
            self.runs[side] = Run(Episode(probe.connection, prober, [probe], since, gap, [], Ending.OPEN, None))
        else:
            run.episode.gaps_ns.append(event.time_ns - run.episode.probes[-1].time_ns)
            run.episode.probes.append(probe)

    def _take_reply(self, event: Event, side: int) -> None:
        """A reply to the newest probe; one more late reply shifts the pairing: the last k probes have k replies."""
        run = self.runs[side]
        if run is None:
            return
        run.replies.append((event.ref, event.time_ns))
        run.spoken = True
        probes = run.episode.probes
        for probe, (frame, time_ns) in zip(probes[-len(run.replies) :], run.replies, strict=False):
            probe.reply_frame, probe.reply_after_ns = frame, time_ns - probe.time_ns
        if event.why != Why.ANSWERED_LATE:
            run.episode.ending, run.episode.ending_frame = Ending.ANSWERED, event.ref
        if len(run.replies) == len(probes):
            self._end(side, None, None)

    def _take_speech(self, event: Event, side: int) -> None:
        """The peer sent something else that the prober accepts: an answer if it came soon, alive in any case."""
        run = self.runs[side]
        if run is None or run.spoken:
            return
        newest = run.episode.probes[-1]
        if event.time_ns - newest.time_ns <= min([*run.episode.gaps_ns, ANSWER_WAIT_NS]):
            newest.reply_frame, newest.reply_after_ns = event.ref, event.time_ns - newest.time_ns
        ending = Ending.CLOSED if event.flags & (FIN | RST | SYN) else Ending.RESUMED
        self._end(side, ending, event.ref)

    def _take_abort(self, event: Event, side: int) -> None:
        """The prober gave up: the gap from its last probe is one more interval."""
        run = self.runs[side]
        if run is None:
            return
        run.episode.gaps_ns.append(event.time_ns - run.episode.probes[-1].time_ns)
        if run.unanswered:
            history = self.histories[side]
            history.add(event.time_ns, (), event.silent_since_ns, probe=False)
            if run.episode.silent_since_ns is not None:  # else the run may be longer than the capture shows
                history.exhausted.append(len(run.episode.probes))
        self._end(side, Ending.UNREACHABLE if run.refused else Ending.GAVE_UP, event.ref)

    def _take_unreachable(self, event: Event, side: int) -> None:
        """Somebody on the way says that the peer cannot be reached; the prober's stack goes on regardless."""
        run = self.runs[side]
        if run is not None and run.refused is None:
            run.refused = event.ref

    def _note_unheard(self, event: Event, side: int) -> None:
        """An RST, ACK one more equal gap after the last probes, all answered: the answers never reached the prober."""
        prober, history = self.probers[side], self.histories[side]
        if prober is None or event.flags & (RST | ACK) != RST | ACK or len(history.fired) < 2:
            return
        newest, before = history.fired[-1], history.fired[-2]
        gap, last = newest[0] - before[0], event.time_ns - newest[0]
        idle = max((time_ns - since_ns for time_ns, _, since_ns, _ in history.fired if since_ns), default=0)
        history.unheard = abs(last - gap) <= gap // 16 and idle > 1.3 * last

    def _close_open(self, event: Event) -> None:
        """A FIN, RST or SYN that answers no probe ends every run that still waits, on either side."""
        for side in (0, 1):
            run = self.runs[side]
            if run is not None and run.unanswered:
                self._end(side, Ending.CLOSED, event.ref)

    def _end(self, side: int, ending: Ending | None, frame: FrameRef | None, last_ns: int | None = None) -> None:
        """Close a side's run and tell of it; ``ending`` None keeps what a reply has set."""
        run = self.runs[side]
        if run is None:
            return
        self.runs[side] = None
        episode = run.episode
        if not run.spoken and ending is not None:
            episode.ending, episode.ending_frame = ending, frame
        self._tell(side, episode, last_ns)

    def _tell(self, side: int, episode: Episode, last_ns: int | None) -> None:
        """Add a final episode to its prober and tell of it."""
        prober = self.probers[side] or self._begin(side, episode.probes[0].time_ns)
        _count(prober, episode, last_ns)
        self.emit(prober, episode)

    def _begin(self, side: int, first_ns: int) -> Prober:
        """Make the record of a side that probes."""
        prober = Prober(*self._ends(side), first_probe_ns=first_ns, connection=self.connection.connection)
        prober.history = self.histories[side]
        self.probers[side] = prober
        return prober


def unanswered_in(episode: Episode) -> int:
    """Return how many probes of an episode had to be sent again: all but the last, or all if that failed too."""
    return sum(probe.reply_frame is None for probe in episode.probes)


def missed_by(prober: Prober) -> list[Probe]:
    """Return the probes of the kept episodes that count as missed: not what an RST answered, nor what may come yet."""
    if not prober.missed:
        return []
    found = [
        probe for episode in prober.episodes
        for probe in episode.probes[: -1 if episode.ending == Ending.RESET else None] if probe.reply_frame is None
    ]  # fmt: skip
    return found[: prober.missed] if prober.ending == Ending.OPEN else found


def _add(prober: Prober, time_ns: int, after_ns: int | None, payload_bytes: int, grade: str) -> None:
    """Add one probe, answered ``after_ns`` or missed (None), to its prober's numbers."""
    if prober.probes:
        prober.gaps_ns = widen(prober.gaps_ns, time_ns - prober.last_probe_ns)
    prober.probes += 1
    prober.last_probe_ns = time_ns
    if after_ns is None:
        prober.missed += 1
    else:
        prober.replies += 1
        prober.reply_after_ns = widen(prober.reply_after_ns, after_ns)
    if payload_bytes:
        prober.payload_bytes = payload_bytes
    if _RANK[grade] > _RANK[prober.grade]:
        prober.grade = grade


def _count(prober: Prober, episode: Episode, last_ns: int | None) -> None:
    """Add a final episode to its prober's numbers; the newest probe is no miss before ``ANSWER_WAIT_NS``."""
    history, newest = prober.history, episode.probes[-1]
    if episode.ending not in (Ending.GAVE_UP, Ending.UNREACHABLE) or episode.silent_since_ns is None:
        history.longest_run = max(history.longest_run, unanswered_in(episode))
    for probe in episode.probes:
        _add(prober, probe.time_ns, probe.reply_after_ns, probe.payload_bytes, probe.grade)
    if episode.ending == Ending.RESET:
        prober.missed -= 1
    if newest.reply_after_ns is None and last_ns is not None and last_ns - newest.time_ns < ANSWER_WAIT_NS:
        prober.missed -= 1
    prober.ending = episode.ending
    if episode.ending in (Ending.ANSWERED, Ending.RESUMED) and episode.first_gap_ns is not None:
        prober.survived_ns = max(prober.survived_ns, episode.first_gap_ns)
