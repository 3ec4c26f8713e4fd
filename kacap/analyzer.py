"""The one path: frame batches in, an analysis out. ``feed``, ``advance``, ``finish``; no clock, no I/O.

Live and offline sources are the same to it. Results do not depend on how the frames were cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_text
from kacap.analysis import MARK, Analysis, MarkRows
from kacap.capture.frames import FrameBatch
from kacap.classify.kind_reasons import SENTENCES
from kacap.classify.kinds import ENDINGS, GRADE_WORDS, KIND_WORDS, Ending, Kind
from kacap.classify.tables import Change
from kacap.classify.tracker import Tracked, Tracker
from kacap.connections import Connections, probers_of
from kacap.facts.ended import ENDED, EndedRow, EndedRows, ends
from kacap.facts.probing import Probing
from kacap.facts.verdicts import FactsOf, conclude
from kacap.findings import findings
from kacap.findings.connection_facts import ConnectionFacts
from kacap.findings.context import Context
from kacap.findings.deaths import Deaths, summed
from kacap.findings.observations import Observations, Observed
from kacap.findings.past import Looked, Past
from kacap.findings.presence import Heard
from kacap.findings.screening import FEW_NS, MANY_NS, has_more, screen, worth_a_look
from kacap.flows import A_FIN, B_FIN, CUT, FINISHED, NEVER, WAS_RESET, ConnectionRows
from kacap.model import Connection, Endpoint, FrameRef, SegmentRecord
from kacap.news import Made, News, Sink
from kacap.options import DEFAULTS, Options
from kacap.resuming import State, resume, saved
from kacap.rows import in_parts, numbered
from kacap.segments import IS_QUOTE, SegmentRows
from kacap.timing.dropping import Moved, drop
from kacap.timing.episodes import ANSWER_WAIT_NS
from kacap.timing.estimate import Estimating
from kacap.timing.forgetting import forget
from kacap.timing.gathering import Gatherer
from kacap.timing.judging import judge_connection, may_have_timed_out
from kacap.views import Views, begun, unprobed
from kacap.wire import SkipReason, decode

Decode = Callable[[FrameBatch, NDArray[np.int64]], SegmentRows]
# From which kind on segments are reported: all but ACK and data, all, none.
_TOLD_FROM = {"events": int(Kind.SYN), "all": int(Kind.ACK), "none": len(Kind)}
_GAVE_UP, _ENDED = ENDINGS.index(Ending.GAVE_UP), int(Change.ENDED)

EPISODES, FEWEST = 1 << 15, 4  # kept in all, and of each prober in any case
FORGET_EVERY = 1 << 14  # episodes
OVER = 10_000  # connections
FEW_MARKS = 50_000  # so many are kept without being asked for


class Analyzer:
    """Feed it frame batches in time order; it keeps what is few and forgets the rest.

    ``sink`` is called with the ``News`` of each batch; the records of probing connections come at the end, when the
    clocks of all probers of a host have been compared. ``decoder`` turns frames into segments.
    """

    def __init__(self, options: Options = DEFAULTS, *, sink: Sink | None = None, decoder: Decode = decode) -> None:
        self.decoder, self.options, self.sink = decoder, options, sink
        self.expect = options.expected
        self.keep_marks = options.marks is not False
        self.forget_at, self.drop_at = FORGET_EVERY, 2 * OVER
        self.tracker = Tracker(all_segments=options.segments != "none")
        self.observations = Observations(len(self.tracker.connections))
        self.gatherer = Gatherer(listening=sink is not None, reported_from=_TOLD_FROM[options.segments])
        self.views = Views(self.gatherer)
        self.skipped = np.zeros(len(SkipReason), np.int64)
        self.past = Past()
        self.deaths, self.heard = Deaths(), Heard()
        self.held: dict[FrameRef, SegmentRecord] = {}  # plain ACKs that may yet prove to be probes
        self.withheld: list[int] = []  # rows of EPISODE: given up, but what is expected may show that it timed out
        self.dropped = 0  # frames that the capture lost, where the source says so
        self.marks: list[MarkRows] = []
        self.analysis = Analysis()

    def feed(self, batch: FrameBatch) -> News:
        """Take some consecutive frames: all three parts of the work. Return what is new."""
        return self.gather(self.track(self.decode(batch)))

    def decode(self, batch: FrameBatch) -> SegmentRows:
        """Do the first part: frames to SEGMENT rows. May run ahead of the others, in a thread of its own."""
        summary = self.analysis.capture
        if len(batch.frames):
            times = np.ascontiguousarray(batch.frames["time_ns"])
            first_ns, last_ns = int(times.min()), int(times.max())
            summary.first_ns = first_ns if summary.first_ns is None else min(first_ns, summary.first_ns)
            summary.last_ns = last_ns if summary.last_ns is None else max(last_ns, summary.last_ns)
        summary.frames += len(batch.frames)
        return self.decoder(batch, self.skipped)

    def track(self, segments: SegmentRows) -> Tracked:
        """Do the second part: classify SEGMENT rows, whoever decoded them. May run ahead as well."""
        quotes = int(np.count_nonzero(segments["has"] & IS_QUOTE))
        self.analysis.capture.segments += len(segments) - quotes
        self.analysis.capture.quotes += quotes
        return self.tracker.take(segments)

    def gather(self, tracked: Tracked) -> News:
        """Do the third part: resolve what was undecided, gather episodes, observe. Return what is new."""
        self._end_runs(tracked.closed, None)
        others = self._close(tracked.closed, self.observations.follow(tracked.moved))
        self.observations.take(tracked.segments, tracked.labels)
        self.gatherer.introduce(tracked.opened)
        self.gatherer.take(tracked.events)
        self.gatherer.close(tracked.cut, tracked.cut_ns)
        if self.keep_marks:
            self._mark(tracked)
        news = self._news(others)
        if self.options.segments == "all":
            news.others.append(self._plain(tracked, news))
        return self._tell(news)

    def save(self, options: dict[str, object] | None = None) -> State:
        """Return all that is known between two batches; see ``resuming.saved``."""
        return saved(self, options or {})

    def restore(self, state: State, files: int, options: dict[str, object] | None = None) -> None:
        """Go on, before the first batch, from a state of ``files`` files; see ``resuming.resume``."""
        resume(self, state, files, options or {})

    def forget(self) -> Moved | None:
        """Forget what is beyond ``keep_episodes``, once it is worth it: the news of before must have been used.

        Then memory is bounded, however long the watch: by ``EPISODES`` in all, or a few of each prober, and by twice
        ``OVER`` connections that are over. Return the new rows of WATCHED and PROBER if they have moved.
        """
        if self.options.keep_episodes is None:
            return None
        if self.gatherer.episodes.used >= self.forget_at:
            share = max(FEWEST, EPISODES // self.gatherer.probers.used)
            moved = forget(self.gatherer, min(self.options.keep_episodes, share))
            self.withheld = [row for row in moved[self.withheld].tolist() if row > 0]
            self.forget_at = self.gatherer.episodes.used * 3 // 2 + FORGET_EVERY
        if self.past.held >= 2 * OVER:
            self.past.forget(OVER)
            self.heard.forget(OVER)
            self.deaths.forget(OVER)
        return self._drop() if self.gatherer.watched.used >= self.drop_at else None

    def _drop(self) -> Moved:
        """Forget the rows of connections that are over, but for those that are reported one by one."""
        watched = self.gatherer.watched.filled
        reported = np.concatenate([np.zeros(0, np.int64), *(rows["id"].astype(np.int64) for rows in self.past.rows)])
        moved = drop(self.gatherer, (watched["closed"] != 0) & ~np.isin(watched["id"], reported))
        for rows in (self.tracker.rest(), *self.past.rows, *(rows for rows, _ in self.past.looked_at)):
            named = rows["watched"] >= 0
            rows["watched"][named] = moved.watched[rows["watched"][named]]
        self.withheld = [row for row in moved.episodes[self.withheld].tolist() if row > 0]
        self.tracker.introduced = self.gatherer.watched.used
        self.tracker.state["watched"] = self.tracker.introduced
        self.drop_at = self.gatherer.watched.used + OVER
        return moved

    def advance(self, now_ns: int) -> NDArray[np.int64]:
        """Say what time it is, in nanoseconds; return the rows of PROBER whose newest probe is overdue, each once."""
        probers = self.gatherer.probers.filled
        late = (probers["run_n"] > 0) & (probers["run_spoken"] == 0) & (probers["overdue"] == 0)
        late &= now_ns - probers["last_ns"] >= ANSWER_WAIT_NS
        probers["overdue"][late] = 1
        return np.flatnonzero(late)

    def heard_ns(self) -> NDArray[np.int64]:
        """Return when each prober last accepted something from its peer, by row of PROBER; NEVER: unseen or closed."""
        probers, rows = self.gatherer.probers.filled, self.tracker.rest()
        slots = np.full(self.gatherer.watched.used + 1, -1, np.int64)
        slots[rows["watched"]] = np.arange(len(rows))
        slot = slots[probers["watched"]]
        heard = np.full(len(probers), NEVER, np.int64)
        known = slot >= 0
        heard[known] = self.tracker.sides["heard_ns"][2 * slot[known] + probers["side"][known]]
        return heard

    def open_probers(self) -> NDArray[np.bool_]:
        """Return which probers' connections are open, by row of PROBER, whose row 0 is nobody."""
        rows = self.tracker.rest()
        closed = rows["state"] & (WAS_RESET | FINISHED) != 0
        closed |= rows["state"] & (A_FIN | B_FIN) == A_FIN | B_FIN
        held = np.zeros(self.gatherer.watched.used + 1, np.bool_)
        held[rows["watched"][~closed]] = True
        held[-1] = False  # where connections without events are
        found: NDArray[np.bool_] = held[self.gatherer.probers.filled["watched"]]
        return found

    def ends_of(self, watched: list[int]) -> EndedRows:
        """Return how connections, by their rows of WATCHED, have ended by now, as rows of ENDED.

        One that is no longer held ended before, and reads as open.
        """
        rows = self.tracker.rest()
        slots = np.flatnonzero(np.isin(rows["watched"], watched))
        found, seen = np.zeros(len(watched), ENDED), self.observations.of(slots)
        screen(seen, MANY_NS)
        place_of = {number: place for place, number in enumerate(rows["watched"][slots].tolist())}
        known = [place for place, number in enumerate(watched) if number in place_of]
        found[known] = ends(seen)[[place_of[watched[place]] for place in known]]
        return found

    def finish(self) -> Analysis:
        """The source has ended: close everything and return the analysis (its ``capture`` names no files yet)."""
        rest, now_ns = self.tracker.end(), self.tracker.now_ns
        self._end_runs(rest, now_ns)
        probing, probers = Probing(self.gatherer), self.gatherer.probers.filled
        about = probers["payload"], probers["path_ns"], self.options.system
        estimating = Estimating(self.gatherer.histories.filled, self.gatherer.steps.filled, *about)
        others = self._close(rest, self.observations.rest(len(rest)))
        del rest
        self.tracker.release()
        self.observations.release()
        analysis = self.analysis
        rows, ends_of_rows = self.past.joined(self.tracker.connections[:0])
        looked = self.past.looked(self.views)
        complete = partial(self._complete, looked)
        hosts, host = numbered(*probing.address(peer=False))  # the sockets of one kernel share its clock
        estimates = estimating.result(host)
        analysis.clocks = {address_text(*hosts[i]): rates for i, rates in estimates.clocks.items()}
        analysis.connections = connections = Connections(rows, ends_of_rows, self.views, estimates, complete)
        self._find(connections, looked, probing)
        analysis.unprobed.let_go = self.tracker.let_go
        self.tracker.clock.tell(analysis.capture)
        analysis.capture.skipped = {SkipReason(i).text: int(count) for i, count in enumerate(self.skipped) if count}
        if self.marks:
            marks = np.concatenate(self.marks)
            analysis.marks = marks[np.lexsort((marks["frame"], marks["file"], marks["time_ns"]))]
        if self.sink is not None:
            news = self._news(others)
            self._decide_held(news)
            news.episodes = self.withheld
            probed = Made(lambda: (c for c in connections.passing() if c.probers))
            news.others += [self.held.values(), probed, analysis.findings]
            self._tell(news)
        return analysis

    def _complete(self, looked: Looked, made: Connection, state: int, ended: tuple[int, ...]) -> None:
        """Fill in what no row holds; ``state`` is that of its row, ``ended`` its row of ENDED."""
        self._judge(made, state, EndedRow(*ended), looked.facts_of)

    def _judge(self, made: Connection, state: int, ended: EndedRow, facts_of: FactsOf) -> None:
        """Judge a connection, and say how it ended. One without a probe is judged until now if it stayed open."""
        is_open = not state & (A_FIN | B_FIN | WAS_RESET | FINISHED)
        judge_connection(made, self.expect(made), self.tracker.now_ns if is_open and not made.probers else None)
        conclude(made, ended, facts_of, self._watched_until(made, state))

    def _watched_until(self, made: Connection, state: int) -> int:
        """Return until when a connection was watched if neither FIN nor RST ended it, nanoseconds.

        One whose addresses and ports another connection uses ended unseen after its last segment.
        """
        return made.last_ns if state & FINISHED else self.tracker.now_ns

    def _find(self, connections: Connections, looked: Looked, probing: Probing) -> None:
        """Look for findings, on each connection that may hold one and over the capture."""
        analysis = self.analysis
        context = Context(probing, self.heard, dropped=self.dropped, expected=self.expect, limits=self.options.limits)
        context.timed_drops, context.last_ns = analysis.capture.timed_drops, analysis.capture.last_ns or 0
        analysis.findings, telling = findings(looked.each(connections), self.deaths, context)
        analysis.idle_deaths, analysis.silences = summed(telling), self.deaths.silences(context)

    def tell(self, records: list[object]) -> None:
        """Pass records that no row stands for to the sink."""
        self._tell(self._news([records]))

    def _tell(self, news: News) -> News:
        """Pass what is new to the sink."""
        if self.sink is not None:
            self.sink(news)
        return news

    def _news(self, others: list[Iterable[object]]) -> News:
        """Return what has changed since the last news; runs whose ending is not sure yet are withheld."""
        changes = self.gatherer.changed()
        withheld: list[int] = []
        if self.options.judges:
            ended = changes.rows["row"][changes.rows["what"] == _ENDED]
            gave_up = ended[self.gatherer.episodes.rows["ending"][ended] == _GAVE_UP]
            withheld = [row for row in gave_up.tolist() if self._may_have_timed_out(row)]
            self.withheld += withheld
        return News(self.views, changes, frozenset(withheld), [], others)

    def _may_have_timed_out(self, row: int) -> bool:
        """Return whether judging may yet find that a user timeout ended a run that was given up."""
        episode = self.gatherer.episodes.rows[row]
        watched = self.gatherer.watched.rows[self.gatherer.probers.rows["watched"][episode["prober"]]]
        return may_have_timed_out(self.expect(begun(watched)))

    def _end_runs(self, rows: ConnectionRows, now_ns: int | None) -> None:
        """End the runs of probes of connections that have ended, or are open at ``now_ns``."""
        finished, watched = rows["state"] & FINISHED != 0, rows["watched"].astype(np.int64)
        self.gatherer.close(watched[finished & (rows["state"] & CUT == 0) & (watched >= 0)], None)  # cut: it is closed
        self.gatherer.close(watched[~finished & (watched >= 0)], now_ns)

    def _close(self, rows: ConnectionRows, seen: Observed | None) -> list[Iterable[object]]:
        """Close connections whose runs have ended; return the records of those on which nobody probes.

        ``seen`` is what was observed of them; None: there are none.
        """
        if not len(rows) or seen is None:
            return []
        probers = probers_of(rows, self.views)
        probed = probers.any(axis=1)
        self._count_unprobed(rows.compress(~probed))
        found = self._look(rows, seen, probers)
        wanted = probed | self.options.keep_all | self.options.judges
        kept = (rows, found) if wanted.all() else (rows.compress(wanted), found.compress(wanted))  # all: no copy
        self.past.take(*kept)

        def records() -> Iterator[Connection]:
            """Yield them, once somebody asks: few do."""
            for some in in_parts(np.flatnonzero(~probed).tolist()):
                for row, one, ended in zip(some, unprobed(rows[some]), found[some].tolist(), strict=True):
                    facts_of = partial(ConnectionFacts, observed=seen, row=row)
                    self._judge(one, int(rows["state"][row]), EndedRow(*ended), facts_of)
                    yield one

        return [] if self.sink is None else [Made(records)]

    def _look(self, rows: ConnectionRows, seen: Observed, probers: NDArray[np.int64]) -> EndedRows:
        """Keep what findings may rest on of connections that have ended; ``probers`` are their rows of PROBER.

        Return their rows of ENDED.
        """
        telling = screen(seen, MANY_NS if not self.options.judges else FEW_NS)
        table = self.gatherer.probers.rows
        survived = np.maximum(seen.rows["survived_ns"], table["survived_ns"][probers].max(axis=1))
        self.heard.take(rows, seen.rows)
        self.deaths.take_rows(rows, survived)
        wanted = telling | self.options.judges | (probers.any(axis=1) & worth_a_look(rows, seen.rows))
        wanted |= has_more(table)[probers].any(axis=1)
        chosen, found = np.flatnonzero(wanted), ends(seen)
        if len(chosen):
            self.past.looked_at.append((rows.take(chosen), seen.picked(chosen)))
        return found

    def _count_unprobed(self, rows: ConnectionRows) -> None:
        """Add connections without probes to their summary."""
        if not len(rows):
            return
        longest = rows[rows["longest_silence_ns"] == rows["longest_silence_ns"].max()]
        (first,) = unprobed(longest[[longest["id"].argmin()]])
        probing, retransmitting = (int((rows[name] > 0).sum()) for name in ("window_probes", "retransmissions"))
        self.analysis.unprobed.take(first, len(rows), probing, retransmitting)

    def _decide_held(self, news: News) -> set[FrameRef]:
        """Forget the plain ACKs that proved to be something else; return the other segments that are decided now."""
        decided = news.changes.decided
        refs = set(map(FrameRef, decided["file"].tolist(), decided["frame"].tolist()))
        return {ref for ref in refs if self.held.pop(ref, None) is None}

    def _plain(self, tracked: Tracked, news: News) -> list[object]:
        """Return the records of segments without an event; those that may yet prove to be probes wait."""
        reported = self._decide_held(news)
        found: list[object] = []
        plain = np.flatnonzero((tracked.labels["event"] == 0) & (tracked.labels["slot"] >= 0))
        segments, labels = tracked.segments.take(plain), tracked.labels.take(plain)
        ends = [
            map(Endpoint, map(address_text, *(segments[f"{end}_{half}"].tolist() for half in ("hi", "lo"))), ports)
            for end in ("src", "dst")
            for ports in [segments[f"{end}_port"].tolist()]
        ]
        refs = map(FrameRef, segments["file"].tolist(), segments["frame"].tolist())
        told = (labels[name].tolist() for name in ("id", "kind", "grade", "why", "held"))
        rows = zip(refs, segments["time_ns"].tolist(), *ends, *told, strict=True)
        for ref, time_ns, source, target, number, kind, grade, why, held in rows:
            if ref in reported:
                continue
            words = KIND_WORDS[kind], GRADE_WORDS[grade], SENTENCES[why]
            record = SegmentRecord(ref, time_ns, number, source, target, *words)
            if held:
                self.held[ref] = record
            else:
                found.append(record)
        return found

    def _mark(self, tracked: Tracked) -> None:
        """Keep a row for each segment that a timeline shows; an ICMP error comes as an event, perhaps long after."""
        labels, events = tracked.labels, tracked.events
        shown = np.flatnonzero(~np.isin(labels["kind"], (Kind.ACK, Kind.UNREACHABLE)))
        errors = events[events["kind"] == int(Kind.UNREACHABLE)]
        marks = np.zeros(len(shown) + len(errors), MARK)
        for name in ("time_ns", "frame", "file", "payload_len"):
            marks[name] = np.concatenate([tracked.segments[name][shown], errors[name]])
        for name, source in (("connection", "id"), ("kind", "kind"), ("from_a", "from_a")):
            marks[name] = np.concatenate([labels[source][shown], errors[source]])
        self.marks.append(marks)
        if self.options.marks is None and sum(map(len, self.marks)) > FEW_MARKS:
            self.marks, self.keep_marks = [], False
