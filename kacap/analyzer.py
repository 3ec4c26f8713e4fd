"""The one path: frame batches in, an analysis out. ``feed``, ``advance``, ``finish``; no clock, no I/O.

Live and offline sources are the same to it. Results do not depend on how the frames were cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_text
from kacap.analysis import MARK, Analysis
from kacap.capture.frames import FrameBatch
from kacap.classify.events import Answered, Event, apart, events_of
from kacap.classify.kinds import GRADE_WORDS, KIND_WORDS, Ending, Kind
from kacap.classify.reasons import SENTENCES, Why
from kacap.classify.resolve import Resolver
from kacap.classify.tracker import Tracked, Tracker
from kacap.evidence import Case, Evidence, case_of, is_plain, presence_in
from kacap.findings import findings
from kacap.findings.case import Context, Heard
from kacap.findings.deaths import Deaths, summed
from kacap.flows import A_FIN, B_FIN, BEGAN, FINISHED, WAS_RESET, rows_of
from kacap.model import Connection, Endpoint, Episode, FrameRef, Prober, SegmentRecord
from kacap.timing.episodes import Gatherer
from kacap.timing.expectations import Expectation, Expected
from kacap.timing.limits import LIMITS, Limit
from kacap.timing.settings import fill
from kacap.timing.verdicts import judge_connection, may_have_timed_out
from kacap.wire import Reason, decode

Segments = Literal["events", "all", "none"]
Decode = Callable[[FrameBatch, NDArray[np.int64]], NDArray[np.void]]
Sink = Callable[[object], None]


def _ignore(record: object) -> None:
    """Take a record and do nothing: who asked for no records."""


AT_ONCE = 1 << 12  # events
FEW = 20  # connections, up to which those on which nobody probes are worth a finding each


class Watch:
    """One connection on which somebody probes: its undecided events, its episodes, its record."""

    __slots__ = ("connection", "evidence", "gatherer", "resolver", "window_probes")

    def __init__(self, connection: Connection, emit: Callable[[Connection, Prober, Episode], None]) -> None:
        self.connection = connection
        self.resolver = Resolver()
        self.gatherer = Gatherer(connection, partial(emit, connection))
        self.evidence = Evidence()
        self.window_probes = 0


def _connection(row: Any) -> Connection:
    """Turn a ConnectionRow into its record."""
    return Connection(
        row.id,
        Endpoint(address_text(row.a_hi, row.a_lo), row.a_port),
        Endpoint(address_text(row.b_hi, row.b_lo), row.b_port),
        first_ns=row.first_ns,
        last_ns=row.last_ns,
        longest_silence_ns=row.longest_silence_ns,
        segments=row.segments,
        began_in_capture=bool(row.state & BEGAN),
        window_probes=row.window_probes,
        retransmissions=row.retransmissions,
    )


class Analyzer:
    """Feed it frame batches in time order; it keeps what is few and forgets the rest.

    ``sink`` hears of each record (``kacap.model``) as soon as it is final; ``segments`` chooses which SegmentRecords.
    ``system`` names the timer model (``timing.systems.NAMES``). A connection on which somebody probes is told of
    at the end, when the clocks of all probers of its host have been compared. ``expect`` says what is expected of a
    connection, or of every one; ``limits`` are the idle limits of boxes to look for. ``keep_all`` keeps connections
    without a prober too, ``keep_episodes`` every probe, ``marks`` a row per segment for timelines. ``decoder`` is who
    turns frames into segments.
    """

    def __init__(
        self,
        *,
        sink: Sink | None = None,
        segments: Segments = "none",
        keep_all: bool = False,
        keep_episodes: bool = True,
        marks: bool = False,
        system: str = "auto",
        expect: Expected | Expectation | None = None,
        limits: tuple[Limit, ...] = LIMITS,
        decoder: Decode = decode,
    ) -> None:
        self.decoder = decoder
        self.system = system
        self.expect = expect if callable(expect) else lambda _: expect
        self.limits = limits
        # Whether a connection of which nothing is told may as well be counted without a record of its own.
        self.counts_only = sink is None and expect is None and not keep_all
        self.sink = sink or _ignore
        self.segments = segments
        self.keep_all = keep_all
        self.keep_episodes = keep_episodes
        self.keep_marks = marks
        self.tracker = Tracker(all_segments=segments != "none")
        self.skipped = np.zeros(len(Reason), np.int64)
        self.watches: dict[int, Watch] = {}
        self.held: dict[FrameRef, SegmentRecord] = {}  # plain ACKs that may yet prove to be probes
        self.told: set[FrameRef] = set()  # of this batch: spoken of by an event before their row was looked at
        self.unheard: list[NDArray[np.void]] = []  # EVENT rows that wait for more
        self.cases: list[Case] = []
        self.late: list[Episode] = []  # given up, told at the end: what is expected may show that it timed out
        self.deaths, self.heard = Deaths(), Heard()
        self.dropped = 0  # frames that the capture lost, where the source says so
        self.marks: list[NDArray[np.void]] = []
        self.analysis = Analysis()

    def feed(self, batch: FrameBatch) -> None:
        """Take some consecutive frames: all three parts of the work."""
        self.gather(self.track(self.decode(batch)))

    def decode(self, batch: FrameBatch) -> NDArray[np.void]:
        """Do the first part: frames to SEGMENT rows. May run ahead of the others, in a thread of its own."""
        summary = self.analysis.capture
        if len(batch.frames):
            first_ns, last_ns = int(batch.frames["time_ns"].min()), int(batch.frames["time_ns"].max())
            summary.first_ns = first_ns if summary.first_ns is None else min(first_ns, summary.first_ns)
            summary.last_ns = last_ns if summary.last_ns is None else max(last_ns, summary.last_ns)
        summary.frames += len(batch.frames)
        return self.decoder(batch, self.skipped)

    def track(self, segments: NDArray[np.void]) -> Tracked:
        """Do the second part, columns only: classify SEGMENT rows, whoever decoded them. May run ahead as well."""
        self.analysis.capture.segments += len(segments)
        tracked = self.tracker.take(segments)
        if self.segments == "all" or self.keep_marks:
            tracked.labels = tracked.labels.copy()
        return tracked

    def gather(self, tracked: Tracked) -> None:
        """Do the third part, objects: resolve what was undecided, gather episodes, tell of what is final."""
        if len(tracked.closed):
            self._hear()
            self._close_rows(tracked.closed)
        for row in rows_of(tracked.opened):
            self.watches[row.id] = Watch(_connection(row), self._final)
        self.unheard.append(tracked.events)
        if self.sink is not _ignore or sum(map(len, self.unheard)) >= AT_ONCE:
            self._hear()
        if self.keep_marks:
            self._mark(tracked)
        if self.segments == "all":
            self._tell_plain(tracked)

    def _hear(self) -> None:
        """Pass all events on that have come; where nobody listens connection by connection, each once in the cache."""
        events, self.unheard = np.concatenate([self.tracker.events[:0], *self.unheard]), []
        if self.sink is _ignore:
            events = events[np.argsort(events["id"], kind="stable")]
        for seen in events_of(events):
            if isinstance(seen, Event):
                self._resolve(self.watches[seen.id], seen)
            else:
                self._hear_answered(*seen)

    def _hear_answered(self, probe: Answered, row: NDArray[np.void]) -> None:
        """Pass a probe that was answered at once to its connection, as one if nothing there is undecided."""
        watch = self.watches[probe.id]
        prober = watch.gatherer.take_answered(probe) if watch.resolver.passes(probe) else None
        if prober is None:
            for event in apart(row):
                self._resolve(watch, event)
            return
        watch.evidence.take_answered(probe)
        if self.segments != "none":
            for event in apart(row):
                self._tell(watch.connection, event)
        if self.sink is not _ignore:
            self._final(watch.connection, prober, probe.episode(prober))
        elif self.keep_episodes:
            prober.kept.append(probe)
            prober.unmade = True

    def _resolve(self, watch: Watch, event: Event) -> None:
        """Pass an event to its connection's resolver, and what is decided by now on."""
        for decided in watch.resolver.take(event):
            self._decided(watch, decided)

    def advance(self, now_ns: int) -> list[tuple[Connection, int]]:
        """Say what time it is, in nanoseconds; return (connection, probe time) of the probes overdue by now."""
        self._hear()
        return [
            (watch.connection, probe.time_ns)
            for watch in self.watches.values()
            for probe in watch.gatherer.waiting(now_ns)
        ]

    def finish(self) -> Analysis:
        """The source has ended: close everything and return the analysis (its ``capture`` names no files yet)."""
        self._hear()
        self._close_rows(self.tracker.rest(), self.tracker.now_ns)
        for held in self.held.values():
            self.sink(held)
        self.held.clear()
        analysis = self.analysis
        analysis.connections.sort(key=lambda connection: connection.connection)
        probing = [connection for connection in analysis.connections if connection.probers]
        analysis.clocks = fill(probing, self.system)
        for connection in probing:
            judge_connection(connection, self.expect(connection))
        for episode in self.late:
            self._tell_episode(episode)
        for connection in probing:
            self.sink(connection)
        self._find(probing)
        analysis.capture.skipped = {
            Reason(i).text: int(count) for i, count in enumerate(self.skipped) if count
        }
        if self.marks:
            analysis.marks = np.concatenate(self.marks)
        return analysis

    def _find(self, probing: list[Connection]) -> None:
        """Look for findings, connection by connection and over the capture."""
        context = Context(probing, self.heard, self.dropped, expected=self.expect, limits=self.limits)
        context.timed_drops = self.analysis.capture.timed_drops
        context.few = self.analysis.quiet.connections + len(probing) <= FEW
        self.cases.sort(key=lambda case: case.connection.connection)
        probers = [prober for connection in probing for prober in connection.probers]
        telling = self.deaths.telling(context)
        self.analysis.idle_deaths = summed(telling)
        self.analysis.findings = findings(self.cases, probers, telling, context)
        for finding in self.analysis.findings:
            self.sink(finding)

    def _decided(self, watch: Watch, event: Event) -> None:
        """An event has its kind: count it, tell of it, gather it."""
        if event.kind == Kind.WINDOW_PROBE and not event.payload_len:
            watch.window_probes += 1
        if self.segments != "none":
            self._tell(watch.connection, event)
        if not event.dropped:
            watch.gatherer.take(event)
            watch.evidence.take(event)

    def _final(self, connection: Connection, prober: Prober, episode: Episode) -> None:
        """An episode is final: keep it and tell of its probes and of itself."""
        if self.keep_episodes:
            prober.kept.append(episode)
        if episode.ending == Ending.GAVE_UP and may_have_timed_out(episode, self.expect(connection)):
            self.late.append(episode)
        else:
            self._tell_episode(episode)

    def _tell_episode(self, episode: Episode) -> None:
        """Tell of an episode and its probes."""
        if self.sink is not _ignore:
            for probe in episode.probes:
                self.sink(probe)
            self.sink(episode)

    def _close_rows(self, rows: NDArray[np.void], now_ns: int | None = None) -> None:
        """Close connections, at ``now_ns`` those that are open; what concerns nobody is only counted."""
        if self.counts_only and len(rows):
            plain = is_plain(rows, beats=self.analysis.quiet.connections + len(rows) <= FEW)
            self._count_plain(rows[plain])
            rows = rows[~plain]
        for row in rows_of(rows):
            is_open = not row.state & (A_FIN | B_FIN | WAS_RESET | FINISHED)
            self._close(row, now_ns if is_open else None)

    def _count_plain(self, rows: NDArray[np.void]) -> None:
        """Add connections on which nobody probes, and of which nothing is told, to the summary of such."""
        if not len(rows):
            return
        longest = rows[rows["longest_silence_ns"] == rows["longest_silence_ns"].max()]
        first = _connection(rows_of(longest[[longest["id"].argmin()]])[0])
        probing, retransmitting = (int((rows[name] > 0).sum()) for name in ("window_probes", "retransmissions"))
        self.analysis.quiet.take(first, len(rows), probing, retransmitting)
        for row in rows_of(rows) if not self.heard.full else ():
            of_b, of_a = presence_in(row)
            self.heard.take(address_text(row.b_hi, row.b_lo), of_b)
            self.heard.take(address_text(row.a_hi, row.a_lo), of_a)

    def _close(self, row: Any, until_ns: int | None = None) -> None:
        """A connection has ended: finish what is open and keep its record, or only count it.

        ``until_ns`` is how long it was watched, where it stayed open to the end.
        """
        connection = _connection(row)
        watch = self.watches.pop(connection.connection, None)
        if watch is not None:
            for decided in watch.resolver.finish():
                self._decided(watch, decided)
            watch.gatherer.finish(None if row.state & FINISHED else self.tracker.now_ns)
            connection.probers = [prober for prober in watch.gatherer.probers if prober is not None]
            connection.window_probes += watch.window_probes
        case = case_of(row, connection, watch.evidence if watch is not None else Evidence())
        self.deaths.take(case)
        for side, presence in zip((connection.b, connection.a), case.present, strict=True):
            self.heard.take(side.address, presence)
        if connection.probers or case.opened or self.expect(connection) is not None:
            self.cases.append(case)
        if connection.probers or self.keep_all:
            self.analysis.connections.append(connection)
        if not connection.probers:
            judge_connection(connection, self.expect(connection), until_ns)
            self.analysis.quiet.take(connection, 1, connection.window_probes > 0, connection.retransmissions > 0)
            self.sink(connection)

    def _tell(self, connection: Connection, event: Event) -> None:
        """Tell of a segment that an event decided; ``held`` may hold it as a plain ACK."""
        if event.kind in (Kind.ACK, Kind.DATA) and self.segments != "all":
            return
        ends = (connection.a, connection.b) if event.from_a else (connection.b, connection.a)
        if self.held.pop(event.ref, None) is None and self.segments == "all":
            self.told.add(event.ref)
        self.sink(
            SegmentRecord(
                event.ref, event.time_ns, connection.connection, *ends, KIND_WORDS[event.kind],
                GRADE_WORDS[event.grade], SENTENCES[Why(event.why)],
            )
        )

    def _tell_plain(self, tracked: Tracked) -> None:
        """Tell of the segments that no event speaks of; those that may yet prove to be probes wait."""
        segments, labels = tracked.segments, tracked.labels
        for i in np.flatnonzero((labels["event"] == 0) & (labels["slot"] >= 0)).tolist():
            seg, label = segments[i], labels[i]
            source = Endpoint(address_text(int(seg["src_hi"]), int(seg["src_lo"])), int(seg["src_port"]))
            target = Endpoint(address_text(int(seg["dst_hi"]), int(seg["dst_lo"])), int(seg["dst_port"]))
            ref = FrameRef(int(seg["file"]), int(seg["frame"]))
            record = SegmentRecord(
                ref, int(seg["time_ns"]), int(label["id"]), source, target, KIND_WORDS[label["kind"]],
                GRADE_WORDS[label["grade"]], SENTENCES[Why(label["why"])],
            )
            if ref in self.told:
                continue
            if label["held"]:
                self.held[ref] = record
            else:
                self.sink(record)
        self.told.clear()

    def _mark(self, tracked: Tracked) -> None:
        """Keep a row for each segment that a timeline shows."""
        segments, labels = tracked.segments, tracked.labels
        shown = np.flatnonzero(labels["kind"] != int(Kind.ACK))
        marks = np.zeros(len(shown), MARK)
        for name in ("time_ns", "frame", "file", "payload_len"):
            marks[name] = segments[name][shown]
        marks["connection"], marks["kind"] = labels["id"][shown], labels["kind"][shown]
        marks["from_a"] = labels["from_a"][shown]
        self.marks.append(marks)
