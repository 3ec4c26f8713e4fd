"""What happens on the connections that probe, as it happens: the live lines and the live screen are made of this.

An analyzer tells of records when they are final; a line is wanted when a probe is sent, answered or overdue. So after
each batch the records told meanwhile are laid beside the runs that are still open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from kacap.analyzer import Analyzer, Watch
from kacap.classify.events import Event
from kacap.classify.kinds import Ending, Kind
from kacap.model import Connection, Endpoint, Episode, FrameRef, Probe, SegmentRecord
from kacap.report.sentences import unanswered
from kacap.timing.episodes import ANSWER_WAIT_NS
from kacap.timing.expectations import Expectation
from kacap.timing.verdicts import band_ns
from kacap.units import counted, duration

SECOND_NS = 1_000_000_000
UNDECIDED = 3  # probes in front of a closed window: nearly every run is decided by then
Key = tuple[int, Endpoint]  # connection, prober


@dataclass(slots=True)
class Happening:
    """One thing that happened: when, between whom, in words; ``mood`` as in the text report ("" for none)."""

    time_ns: int
    source: Endpoint
    destination: Endpoint
    words: str
    mood: str = ""


@dataclass(slots=True)
class Probing:
    """One prober as it goes. ``run`` counts its unanswered probes in a row, ``missed`` those that were overdue."""

    connection: int
    prober: Endpoint
    peer: Endpoint
    probes: int = 0
    answered: int = 0
    missed: int = 0
    run: int = 0
    streak: int = 0  # answered probes in a row
    heard_ns: int | None = None  # when it last heard its peer
    probe_ns: int = 0
    answer_after_ns: int | None = None
    idle_gap_ns: int | None = None
    interval_gap_ns: int | None = None
    ending: str | None = None  # how the connection died, once it has
    expected: Expectation | None = None
    overdue: set[int] = field(default_factory=set)  # probes of the run that were told as missed, by their time

    @property
    def idle_ns(self) -> int | None:
        """How long it stays silent before the next probe: as expected, else as last seen."""
        if self.expected is not None and self.expected.idle is not None:
            return max(self.expected.idle, self.expected.interval or 0) * SECOND_NS
        return self.idle_gap_ns

    @property
    def interval_ns(self) -> int | None:
        """How long it waits between unanswered probes: as expected, else as last seen."""
        if self.expected is not None and self.expected.interval is not None:
            return self.expected.interval * SECOND_NS
        return self.interval_gap_ns

    def due_ns(self) -> int | None:
        """When the next probe is due if the peer stays silent; None: not known, or none will come."""
        gap, since = (self.interval_ns, self.probe_ns) if self.run else (self.idle_ns, self.heard_ns)
        return None if self.ending or gap is None or since is None else since + gap


class Follower:
    """Follows one analyzer: make ``hear`` its sink (``segments="events"``), ask ``happened`` after each batch.

    ``expected`` returns what a prober (given with its peer) is configured to do, or None.
    """

    def __init__(self, expected: Callable[[Endpoint, Endpoint], Expectation | None] | None = None) -> None:
        self.rows: dict[Key, Probing] = {}
        self.suspects: list[Probing] = []  # of runs that nobody answers: probably probes, not sure yet
        self.word = "missed"  # with drops: "missed or not captured"
        self._expected = expected
        self._heard: list[object] = []
        self._late = 0  # runs of the analyzer that were given up and are told late, and are known here
        self._final: dict[FrameRef, tuple[Episode, int]] = {}
        self._told: list[Happening] = []
        self._suspected: set[FrameRef] = set()  # told before it was sure what they are
        self._asked: dict[tuple[int, Endpoint], Expectation | None] = {}  # of suspects: asked at each new repeat
        self._handlers = {
            Kind.PROBE.word: self._probe, Kind.REPLY.word: self._reply, Kind.WINDOW_PROBE.word: self._window_probe,
            Kind.UNREACHABLE.word: self._unreachable,
        }  # fmt: skip

    def hear(self, record: object) -> None:
        """Take a record that the analyzer tells of."""
        if isinstance(record, SegmentRecord | Episode):
            self._heard.append(record)

    def happened(self, analyzer: Analyzer, now_ns: int) -> list[Happening]:
        """Return what has happened since the last call, up to ``now_ns``, in order."""
        overdue = analyzer.advance(now_ns)
        heard, self._heard, self._told = self._heard + analyzer.late[self._late :], [], []
        self._late = len(analyzer.late)
        self._analyzer = analyzer
        self._final = {
            probe.frame: (e, i) for e in heard if isinstance(e, Episode) for i, probe in enumerate(e.probes)
        }
        segments: dict[FrameRef, SegmentRecord] = {}
        for record in heard:
            if isinstance(record, Episode):
                self._ended(record, segments.get(record.ending_frame) if record.ending_frame else None)
            elif isinstance(record, SegmentRecord):
                segments[record.frame] = record
                if (handler := self._handlers.get(record.kind)) is not None:
                    handler(record)
        for connection, probe_ns in overdue:
            self._overdue(connection, probe_ns, now_ns)
        self.suspects.clear()
        for watch in analyzer.watches.values():
            if not watch.resolver.calm:
                self._undecided(watch, now_ns)
        if not self.suspects:
            self._asked.clear()
        return self._told

    def _undecided(self, watch: Watch, now_ns: int) -> None:
        """Tell of what may be probes of a connection before it is sure."""
        a, b = watch.connection.a, watch.connection.b
        for side, ends in zip(watch.resolver.sides, ((a, b), (b, a)), strict=True):
            if len(side.repeats) > 1:
                self._suspect(watch.connection.connection, side.repeats, ends, now_ns)
            if side.closed and side.closed_rating is None:
                self._doubt([event for event in side.closed if event.kind == Kind.WINDOW_PROBE], ends)

    def _suspect(self, connection: int, repeats: list[Event], ends: tuple[Endpoint, Endpoint], now_ns: int) -> None:
        """Tell of what repeats as probes do, though it may take long until it is sure: nobody answers."""
        key = (connection, ends[0])
        for number, (before, event) in enumerate(pairwise(repeats), 2):
            if event.ref not in self._suspected:
                self._asked[key] = self._expected(*ends) if self._expected is not None else None
                self._suspected |= {before.ref, event.ref}
                gap = duration(event.time_ns - before.time_ns)
                words = f"probably probe {number} of a run, {gap} after the one before; nothing answers"
                self._tell(event.time_ns, *ends, words, "doubt")
        newest_ns, run = repeats[-1].time_ns, len(repeats)
        row = Probing(connection, *ends, probes=run, run=run, heard_ns=repeats[0].silent_since_ns, probe_ns=newest_ns)
        row.missed = run if now_ns - newest_ns >= ANSWER_WAIT_NS else run - 1
        row.interval_gap_ns = newest_ns - repeats[-2].time_ns
        row.expected = self._asked.get(key)
        self.suspects.append(row)

    def _doubt(self, probes: list[Event], ends: tuple[Endpoint, Endpoint]) -> None:
        """Tell of probes in front of a closed window whose gaps have not shown in time what they are."""
        for event in probes[UNDECIDED - 1 :]:
            if event.ref not in self._suspected:
                self._suspected.add(event.ref)
                words = f"keepalive or zero-window probe: the window of {ends[1]} is 0, and the gaps do not tell yet"
                self._tell(event.time_ns, *ends, words, "doubt")

    def _open(self, connection: int) -> list[Episode]:
        """Return the runs of a connection that are not final."""
        watch = self._analyzer.watches.get(connection)
        return [run.episode for run in watch.gatherer.runs if run is not None] if watch else []

    def _find(self, record: SegmentRecord) -> tuple[Episode, int] | None:
        """Return the run that a probe's segment belongs to, and its place in it."""
        if record.frame in self._final:
            return self._final[record.frame]
        for episode in self._open(record.connection):
            for index in range(len(episode.probes) - 1, -1, -1):
                if episode.probes[index].frame == record.frame:
                    return episode, index
        return None

    def _row(self, connection: int, prober: Endpoint, peer: Endpoint) -> Probing:
        """Return the row of a prober, made when it is first seen."""
        key = connection, prober
        if key not in self.rows:
            self.rows[key] = Probing(connection, prober, peer)
        row = self.rows[key]
        if self._expected is not None:
            row.expected = self._expected(prober, peer)
        return row

    def _tell(self, time_ns: int, source: Endpoint, destination: Endpoint, words: str, mood: str = "") -> None:
        self._told.append(Happening(time_ns, source, destination, words, mood))

    def _probe(self, record: SegmentRecord) -> None:
        """A probe was sent: its place in the run, the gap, and how that compares."""
        row = self._row(record.connection, record.source, record.destination)
        if (found := self._find(record)) is None:
            return
        episode, index = found
        if index:
            self._missed(row, episode.probes[index - 1], record.time_ns)
            gap, what = episode.gaps_ns[index - 1], f"probe {index + 1} of the run"
            row.interval_gap_ns = gap
        else:
            gap, what = episode.first_gap_ns or 0, "probe"
            row.overdue.clear()
            row.idle_gap_ns = episode.first_gap_ns or row.idle_gap_ns
            row.heard_ns = episode.silent_since_ns
        words = f"{what} after {duration(gap)}{'' if index else ' of silence'}" if gap else what
        against, mood = _against(row.interval_ns if index else row.idle_ns, gap, row.expected)
        row.probes, row.run, row.probe_ns = row.probes + 1, index + 1, record.time_ns
        if record.frame not in self._suspected:
            self._tell(record.time_ns, row.prober, row.peer, words + against, mood)

    def _reply(self, record: SegmentRecord) -> None:
        """A reply came: how fast, and when the next probe is due."""
        row = self._row(record.connection, record.destination, record.source)
        episodes = [e for e, _ in self._final.values() if e.connection == record.connection]
        for episode in [*episodes, *self._open(record.connection)]:
            for probe in episode.probes:
                if probe.reply_frame == record.frame and probe.reply_after_ns is not None:
                    self._answered(row, record.time_ns, probe.reply_after_ns, "answered")
                    return

    def _answered(self, row: Probing, time_ns: int, after_ns: int, how: str) -> None:
        """A probe has its answer."""
        late = row.probe_ns in row.overdue
        row.run, row.answered, row.streak = 0, row.answered + 1, row.streak + 1
        row.heard_ns, row.answer_after_ns = time_ns, after_ns
        words = f"{how} after {duration(max(after_ns, 0))}{' after all' if late else ''}"
        row.missed -= late
        self._tell(time_ns, row.peer, row.prober, words + _next(row, time_ns), "doubt" if late else "good")

    def _window_probe(self, record: SegmentRecord) -> None:
        """Zero-window probes look like keepalives, so they are told, as what they are."""
        if record.frame not in self._suspected:
            self._tell(record.time_ns, record.source, record.destination, "zero-window probe, not a keepalive", "dim")

    def _unreachable(self, record: SegmentRecord) -> None:
        """An ICMP error quotes a probe."""
        self._tell(record.time_ns, record.source, record.destination, f"ICMP: {record.reason}", "doubt")

    def _missed(self, row: Probing, probe: Probe, now_ns: int) -> None:
        """Nothing answered a probe in time; told once."""
        if probe.time_ns in row.overdue or probe.reply_frame is not None:
            return
        row.overdue.add(probe.time_ns)
        row.missed, row.streak = row.missed + 1, 0
        waited = duration(now_ns - probe.time_ns)
        if probe.frame not in self._suspected:
            words = f"{self.word}: no answer for {waited}{_next(row, now_ns)}"
            self._tell(now_ns, row.prober, row.peer, words, "bad")

    def _overdue(self, connection: Connection, probe_ns: int, now_ns: int) -> None:
        """A probe waits for its answer longer than one may take."""
        for episode in self._open(connection.connection):
            newest = episode.probes[-1]
            if newest.time_ns == probe_ns:
                self._missed(self._row(connection.connection, newest.prober, newest.peer), newest, now_ns)

    def _ended(self, episode: Episode, by: SegmentRecord | None) -> None:
        """A run is over: what ended it, and who sent that."""
        newest = episode.probes[-1]
        self._suspected.difference_update(probe.frame for probe in episode.probes[:-1])
        row = self._row(episode.connection, newest.prober, newest.peer)
        time_ns = by.time_ns if by else self._analyzer.tracker.now_ns
        lost, run = unanswered(episode), row.run
        if episode.ending == Ending.RESET:
            self._die(row, "reset", time_ns, (row.peer, row.prober), f"RST from {row.peer} in answer to {_nth(run)}")
        elif episode.ending in (Ending.GAVE_UP, Ending.USER_TIMEOUT) or (by and by.kind == Kind.ABORT.word):
            self._missed(row, newest, time_ns)
            silent = f" in {duration(time_ns - episode.silent_since_ns)} of silence" if episode.silent_since_ns else ""
            words = f"RST from {row.prober}: gave up after {counted(lost, 'unanswered probe')}{silent}"
            self._die(row, episode.ending, time_ns, (row.prober, row.peer), words)
        elif episode.ending in (Ending.RESUMED, Ending.CLOSED):
            if newest.reply_frame is not None and newest.reply_after_ns is not None:
                after_ns = newest.reply_after_ns
                self._answered(row, newest.time_ns + after_ns, after_ns, "answered by other traffic")
            else:
                words = "spoke again" if episode.ending == Ending.RESUMED else "the connection was closed"
                self._tell(time_ns, row.peer, row.prober, f"{words} after {counted(lost, 'unanswered probe')}", "doubt")
            row.run, row.heard_ns = 0, time_ns

    def _die(self, row: Probing, ending: str, time_ns: int, ends: tuple[Endpoint, Endpoint], words: str) -> None:
        """The connection is over because of, or during, its keepalives."""
        row.ending, row.run = str(ending), 0
        self._tell(time_ns, *ends, words, "bad")


def _nth(run: int) -> str:
    """Return which probe of a run was meant."""
    return f"probe {run} of the run" if run > 1 else "the probe"


def _next(row: Probing, now_ns: int) -> str:
    """Return when the next probe is due, in words."""
    due_ns = row.due_ns()
    return f"; next probe due in {duration(due_ns - now_ns)}" if due_ns is not None and due_ns > now_ns else ""


def _against(wanted_ns: int | None, gap_ns: int, expected: Expectation | None) -> tuple[str, str]:
    """Return how a gap compares with what is configured, and the mood of that; nothing where nothing is configured."""
    if expected is None or wanted_ns is None or not gap_ns:
        return "", ""
    seconds, late_ns = wanted_ns // SECOND_NS, gap_ns - wanted_ns
    earliest_ns, latest_ns = band_ns(seconds)
    words = f"{duration(abs(late_ns))} {'late' if late_ns >= 0 else 'early'}"
    mood = "" if earliest_ns <= gap_ns <= latest_ns else "doubt"
    return f" (expected {seconds} s, {expected.source}: {words})", mood
