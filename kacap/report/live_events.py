"""What happens on the connections that probe, as it happens: the live lines and the live screen are made of this.

``LiveTracker`` feeds an analyzer, and turns the rows that are new after each batch (``kacap.news``), and the probers
whose answer is overdue, into ``LiveEvent``: when, between whom, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from kacap.analyzer import Analyzer
from kacap.capture.frames import FrameBatch
from kacap.classify.kinds import ENDINGS, Ending, Kind
from kacap.classify.states import State
from kacap.classify.tables import Change
from kacap.clock import SECOND_NS
from kacap.facts.ended import BOX, OPEN, UNKNOWN_CONNECTION, B
from kacap.facts.legs import Messages
from kacap.model import Endpoint, Episode
from kacap.news import News
from kacap.report.live_rows import OUTCOMES, Cause, EndpointPair, LiveEvent, ProbingConnection, What
from kacap.timing.dropping import Moved
from kacap.timing.episodes import ANSWER_WAIT_NS
from kacap.timing.expectations import Expectation
from kacap.timing.giving_up import timed_out
from kacap.timing.judging import band_ns
from kacap.units import counted, duration
from kacap.views import Views, begun, endpoints, seen_ns

# As integers: an enum's member is looked up anew wherever it is named, and most changes are passed over.
_ANSWERED, _WINDOW_PROBE = ENDINGS.index(Ending.ANSWERED), int(Kind.WINDOW_PROBE)
_RESETS = {int(Kind.RST), int(Kind.RESET)}
_OF_ENDING = {Ending.GAVE_UP: Cause.GAVE_UP, Ending.UNREACHABLE: Cause.UNREACHABLE}


KEPT_OVER = 1000  # probers whose connections are over
MOST_TALKING = 60  # connections whose messages are followed at a time: the legs of a proxy are among them


class LiveTracker:
    """Follows what one analyzer finds; ``expected`` returns what a prober (given with its peer) is set to, or None."""

    def __init__(
        self,
        analyzer: Analyzer,
        expected: Callable[[Endpoint, Endpoint], Expectation | None] | None = None,
    ) -> None:
        self.rows: dict[int, ProbingConnection] = {}  # by row of PROBER
        self._forgotten, self._sweep_at = 0, 2 * KEPT_OVER  # probes with an outcome on rows that are gone
        self.suspects: list[ProbingConnection] = []  # runs that nobody answers: probably probes, not sure yet
        self.word = "missed"  # with drops: "missed or not captured"
        self.analyzer, self._expected = analyzer, expected
        self.messages = Messages(MOST_TALKING)
        self._events: list[LiveEvent] = []
        self._resets: dict[int, tuple[int, LiveEvent | None]] = {}  # by row of WATCHED: when, and the death told
        self._suspected_ns: dict[int, int] = {}  # by row of WATCHED_SIDE: until when what is not sure was reported
        self._handlers: dict[int, Callable[[News, np.void], None]] = {
            int(Change.SENT): self._sent,
            int(Change.ANSWERED): self._answered,
            int(Change.ENDED): self._ended,
            int(Change.REFUSED): self._refused,
            int(Change.SUSPECTED): self._suspected,
            int(Change.DOUBTED): self._doubted,
            int(Change.SEGMENT): self._segment,
        }

    def feed(self, batch: FrameBatch, now_ns: int, dropped: int = 0) -> list[LiveEvent]:
        """Feed frames, none perhaps, to the analyzer; return what has happened since the last call, in order.

        ``now_ns`` is what time it is, ``dropped`` how many frames the capture has lost so far. What the analyzer may
        forget by then is forgotten here as well.
        """
        if dropped:
            self.word, self.analyzer.dropped = "missed or not captured", dropped
        tracked = self.analyzer.track(self.analyzer.decode(batch))
        self.messages.take(tracked.segments, tracked.labels)
        news = self.analyzer.gather(tracked)
        now_ns = self.analyzer.tracker.clock.now_ns(now_ns)
        events = self.take(news, self.analyzer.advance(now_ns).tolist(), now_ns)
        for watched in tracked.cut.tolist():
            numbers = self.analyzer.gatherer.sides.rows["prober"][2 * watched : 2 * watched + 2].tolist()
            self._forget(number for number in numbers if number in self.rows)
        if (moved := self.analyzer.forget()) is not None:
            self._renumber(moved)
        if len(self.rows) >= self._sweep_at:
            self._sweep()
        return events

    def take(self, news: News, overdue: Iterable[int], now_ns: int) -> list[LiveEvent]:
        """Return what is new, up to ``now_ns``, in order; ``overdue`` are rows of PROBER (``Analyzer.advance``)."""
        self._events = []
        for change in news.changes.rows:
            self._handlers[int(change["what"])](news, change)
        for number in overdue:
            self._missed(news.views, number, int(news.views.gatherer.probers.rows[number]["last_probe"]), now_ns)
        self._judge_resets(news.views)
        self._note_suspects(news.views, now_ns)
        return self._events

    def _renumber(self, moved: Moved) -> None:
        """Take the new rows of probers and connections; those that are forgotten go here too."""
        self._forget([old for old in self.rows if not moved.probers[old]])
        self.rows = {int(moved.probers[old]): row for old, row in self.rows.items()}
        sides = {2 * int(moved.watched[side // 2]) + side % 2: time_ns for side, time_ns in self._suspected_ns.items()}
        self._suspected_ns = {side: time_ns for side, time_ns in sides.items() if side >= 0}

    def _sweep(self) -> None:
        """Forget the probers of connections that are over, but for the newest."""
        is_open = self.analyzer.open_probers()
        self._forget([number for number in self.rows if not is_open[number]][:-KEPT_OVER])
        self._sweep_at = 2 * len(self.rows) + KEPT_OVER

    def _forget(self, numbers: Iterable[int]) -> None:
        self._forgotten += sum(self.rows.pop(number).decided for number in numbers)

    @property
    def decided(self) -> int:
        """How many probes have been answered or missed."""
        return self._forgotten + sum(row.decided for row in [*self.rows.values(), *self.suspects])

    def open_rows(self) -> list[ProbingConnection]:
        """Return the probers of connections that are still open, and the suspects."""
        is_open = self.analyzer.open_probers()
        rows = [row for number, row in self.rows.items() if row.ending is None and is_open[number]]
        return [*rows, *self.suspects]

    def update_heard(self) -> None:
        """Take when each prober last heard its peer."""
        heard_ns = self.analyzer.heard_ns()
        for number, row in self.rows.items():
            row.heard_ns = seen_ns(heard_ns[number]) or row.heard_ns

    def _tell(self, time_ns: int, ends: EndpointPair, words: str, mood: str = "", what: What = What.NOTE,
              row: ProbingConnection | None = None, after_ns: int | None = None) -> LiveEvent:  # fmt: skip
        event = LiveEvent(time_ns, *ends, words, mood, what, row, row.run if row is not None else 0, after_ns)
        self._events.append(event)
        return event

    def _row(self, views: Views, number: int) -> ProbingConnection:
        """Return the row of a prober, made when it is first seen."""
        if number not in self.rows:
            watched = views.gatherer.watched.rows[views.gatherer.probers.rows[number]["watched"]]
            known = begun(watched)
            self.rows[number] = ProbingConnection(
                *views.connection_of(number), service=known.destination, whole=known.began_in_capture
            )
        row = self.rows[number]
        if self._expected is not None:
            row.expected = self._expected(row.prober, row.peer)
        return row

    def _probe(self, views: Views, change: np.void) -> tuple[ProbingConnection, np.void, int]:
        """Return the prober of the probe that a change names, the row of PROBE, and that of PROBER."""
        probe = views.gatherer.probes.rows[change["row"]]
        number = int(probe["prober"])
        return self._row(views, number), probe, number

    def _sent(self, news: News, change: np.void) -> None:
        """A probe was sent: its number in the run, the gap, and how that compares."""
        row, probe, number = self._probe(news.views, change)
        nth, gap, time_ns = int(change["number"]), int(change["gap_ns"]), int(change["time_ns"])
        wanted = row.expected.interval if row.expected is not None else None
        due = (wanted, time_ns - gap) if wanted else None
        if nth > 1:
            self._missed(news.views, number, int(probe["previous"]), time_ns)
            what, row.interval_gap_ns = f"probe {nth} of the run", gap
        else:
            what, due = "probe", row.first_due(time_ns - gap)
            row.reported_missed.clear()
            row.idle_gap_ns = gap or row.idle_gap_ns
            row.heard_ns = time_ns - gap if gap else None
        words = f"{what} after {duration(gap)}{'' if nth > 1 else ' of silence'}" if gap else what
        against, mood, late_ns = _against(due, time_ns, gap, row.expected)
        row.probes, row.run, row.probe_ns = row.probes + 1, nth, time_ns
        words = "" if self._was_told(news.views, number, time_ns) else words + against
        self._tell(time_ns, (row.prober, row.peer), words, mood, What.PROBE, row, late_ns)

    def _was_told(self, views: Views, number: int, time_ns: int) -> bool:
        """Return whether a prober's probe of this time was told before it was sure that it is one."""
        prober = views.gatherer.probers.rows[number]
        return time_ns <= self._suspected_ns.get(2 * int(prober["watched"]) + int(prober["side"]), -1)

    def _answered(self, news: News, change: np.void) -> None:
        """A probe has its answer: how fast, and when the next probe is due."""
        row, probe, _ = self._probe(news.views, change)
        kind = Kind(int(probe["answer"]))
        how = "answered" if kind == Kind.REPLY else f"answered by {'data' if kind == Kind.DATA else kind.word}"
        late = int(probe["time_ns"]) in row.reported_missed
        after_ns, time_ns = int(change["gap_ns"]), int(change["time_ns"])
        row.run, row.answered = 0, row.answered + 1
        row.heard_ns, row.answer_after_ns = time_ns, after_ns
        words = f"{how} after {duration(max(after_ns, 0))}{' after all' if late else ''}"
        row.missed -= late
        row.note_outcome(True, late=late)
        row.reported_missed.discard(int(probe["time_ns"]))
        words, mood = words + _next(row, time_ns), "doubt" if late else "good"
        self._tell(time_ns, (row.peer, row.prober), words, mood, What.ANSWERED, row, max(after_ns, 0))

    def _segment(self, news: News, change: np.void) -> None:
        """A zero-window probe looks like a keepalive, so it gets a line that says what it is; an RST may be a death."""
        found = news.changes.decided[change["row"]]
        kind = int(found["kind"])
        if kind in _RESETS:
            self._resets.setdefault(int(found["watched"]), (int(found["time_ns"]), None))
        if kind != _WINDOW_PROBE:
            return
        side = 2 * int(found["watched"]) + 1 - int(found["from_a"])
        if int(found["time_ns"]) > self._suspected_ns.get(side, -1):
            self._tell(int(found["time_ns"]), self._ends(news.views, side), "zero-window probe, not a keepalive", "dim")

    def _judge_resets(self, views: Views) -> None:
        """Say who reset the connections that an RST ended in this batch: a peer, a box or an application."""
        if not self._resets:
            return
        ends = self.analyzer.ends_of([*self._resets])
        for (watched, (time_ns, death)), end in zip(self._resets.items(), ends, strict=True):
            by_box, gone = end["by"] == BOX, end["cause"] == UNKNOWN_CONNECTION
            if death is not None:
                death.cause = Cause.RESET_BY_BOX if by_box else death.cause
                continue
            numbers = views.gatherer.sides.rows["prober"][2 * watched : 2 * watched + 2].tolist()
            row = next((self.rows[number] for number in numbers if number in self.rows), None)
            if row is None or row.ending or end["how"] == OPEN:
                continue
            row.ending, row.run, row.died_ns, row.death = str(Ending.RESET), 0, time_ns, "an application reset it (RST)"
            named, other = self._ends(views, 2 * watched + int(end["named"] == B))
            if by_box or gone:
                words = "RST of a box in between in its name" if by_box else "RST: it does not know the connection"
                row.death = words
                self._tell(time_ns, (named, other), words, "bad", What.DEAD, row).cause = (
                    Cause.RESET_BY_BOX if by_box else Cause.RESET_BY_PEER
                )
            else:
                self._tell(time_ns, (named, other), "", "", What.RESET, row)
        self._resets.clear()

    def _refused(self, news: News, change: np.void) -> None:
        """An ICMP error quotes a probe."""
        row, _, _ = self._probe(news.views, change)
        self._tell(int(change["time_ns"]), (row.prober, row.peer), "ICMP: an ICMP error quotes a probe", "doubt")

    def _missed(self, views: Views, number: int, probe: int, now_ns: int) -> None:
        """Nothing answered a probe in time; reported once."""
        row, found = self._row(views, number), views.gatherer.probes.rows[probe]
        if int(found["time_ns"]) in row.reported_missed or found["reply_frame"]:
            return
        row.reported_missed.add(int(found["time_ns"]))
        row.missed += 1
        row.note_outcome(False)
        words = f"{self.word}: no answer for {duration(now_ns - int(found['time_ns']))}{_next(row, now_ns)}"
        words = "" if self._was_told(views, number, int(found["time_ns"])) else words
        self._tell(now_ns, (row.prober, row.peer), words, "bad", What.MISSING, row)

    def _ended(self, news: News, change: np.void) -> None:
        """A run is over: what ended it, and who sent that."""
        found = news.views.gatherer.episodes.rows[change["row"]]
        number = int(found["prober"])
        row = self._row(news.views, number)
        lives = seen_ns(found["closed_ns"]) is None
        if lives and found["probes"] == 1 and found["ending"] == _ANSWERED and not row.reported_missed:
            return  # its answer was told
        episode = news.views.episode(int(change["row"]))
        time_ns = seen_ns(found["ending_ns"]) or int(change["time_ns"])
        if not lives:
            self._missed(news.views, number, int(found["last"]), time_ns)
        lost = sum(probe.reply_frame is None for probe in episode.probes)
        for probe in episode.probes:  # what was over too soon to be told
            if probe.outcome == "missed" and probe.time_ns not in row.reported_missed:
                row.reported_missed.add(probe.time_ns)
                row.missed += 1
                row.note_outcome(False)
                self._tell(time_ns, (row.prober, row.peer), "", "bad", What.MISSING, row)
        if episode.ending == Ending.RESET:
            words = f"RST from {row.peer} in answer to {_nth(len(episode.probes))}"
            death = self._die(row, "reset", time_ns, (row.peer, row.prober), words)
            death.cause = Cause.RESET_BY_PEER
            self._resets[int(news.views.gatherer.probers.rows[number]["watched"])] = (time_ns, death)
        elif not lives:
            silent = f" in {duration(time_ns - episode.silent_since_ns)} of silence" if episode.silent_since_ns else ""
            why = counted(lost, "unanswered probe") if lost else "answers that did not reach it"
            words = f"RST from {row.prober}: gave up after {why}{silent}"
            death = self._die(row, episode.ending, time_ns, (row.prober, row.peer), words)
            timeout_ns = row.expected.user_timeout_ns if row.expected is not None else None
            (prober,) = news.views.probers(np.array([number]))
            by_timeout = bool(timeout_ns) and timed_out(prober, timeout_ns or 0)
            death.cause = Cause.USER_TIMEOUT if by_timeout else _OF_ENDING.get(Ending(episode.ending), Cause.GAVE_UP)
        else:
            self._outlive(row, episode, time_ns, lost)

    def _outlive(self, row: ProbingConnection, episode: Episode, time_ns: int, lost: int) -> None:
        """A run is over and its prober lives; ``lost``: so many of its probes have no reply."""
        words, resumed = "", episode.ending == Ending.RESUMED
        if (resumed or episode.ending == Ending.CLOSED) and episode.probes[-1].reply_frame is None:
            words = "spoke again" if resumed else "the connection was closed"
            words = f"{words} after {counted(lost, 'unanswered probe')}"
        survived = bool(row.reported_missed) and (resumed or episode.ending == Ending.ANSWERED)
        if words or survived:
            what = What.SURVIVED if survived else What.NOTE
            self._tell(time_ns, (row.peer, row.prober), words, "doubt", what, row)
        row.reported_missed.clear()
        if episode.ending in (Ending.RESUMED, Ending.CLOSED):
            row.run, row.heard_ns = 0, time_ns

    def _die(self, row: ProbingConnection, ending: str, time_ns: int, ends: EndpointPair, words: str) -> LiveEvent:
        """The connection is over because of, or during, its keepalives."""
        death = self._tell(time_ns, ends, words, "bad", What.DEAD, row)
        row.ending, row.run, row.died_ns = str(ending), 0, time_ns
        row.death = words.removeprefix(f"RST from {row.prober}: ").replace(f" from {row.peer}", "")
        row.reported_missed.clear()
        return death

    def _suspected(self, news: News, change: np.void) -> None:
        """An ACK repeats as probes do, though it may take long until it is sure: nobody answers."""
        side, time_ns = int(change["row"]), int(change["time_ns"])
        self._suspected_ns[side] = time_ns
        gap = duration(int(change["gap_ns"]))
        words = f"probably probe {change['number']} of a run, {gap} after the one before; nothing answers"
        self._tell(time_ns, self._ends(news.views, side), words, "doubt")

    def _doubted(self, news: News, change: np.void) -> None:
        """The gaps of probes in front of a closed window have not shown in time what they are."""
        side, time_ns = int(change["row"]), int(change["time_ns"])
        self._suspected_ns[side] = time_ns
        ends = self._ends(news.views, side)
        words = f"keepalive or zero-window probe: the window of {ends[1]} is 0, and the gaps do not tell yet"
        self._tell(time_ns, ends, words, "doubt")

    @staticmethod
    def _ends(views: Views, side: int) -> EndpointPair:
        """Return (side, its peer) of a row of WATCHED_SIDE."""
        ((a, b),) = endpoints(views.gatherer.watched.rows[[side // 2]])
        return (b, a) if side % 2 else (a, b)

    def _note_suspects(self, views: Views, now_ns: int) -> None:
        """Make a row of each run of equal ACKs that is not decided."""
        sides = views.gatherer.sides.filled
        self.suspects = []
        for side in np.flatnonzero((sides["state"] == State.REPEATED) & (sides["run_n"] > 1)).tolist():
            found, ends = sides[side], self._ends(views, side)
            run, newest_ns = int(found["run_n"]), int(found["run_last_ns"])
            number = int(views.gatherer.watched.rows[side // 2]["id"])
            row = ProbingConnection(number, *ends, probes=run, run=run, probe_ns=newest_ns)
            row.missed = run if now_ns - newest_ns >= ANSWER_WAIT_NS else run - 1
            row.outcomes = "-" * min(row.missed, OUTCOMES)
            row.interval_gap_ns, row.unsure = int(found["run_gap_ns"]), True
            row.service = begun(views.gatherer.watched.rows[side // 2]).destination
            row.expected = self._expected(*ends) if self._expected is not None else None
            self.suspects.append(row)


def _nth(run: int) -> str:
    """Return which probe of a run was meant."""
    return f"probe {run} of the run" if run > 1 else "the probe"


def _next(row: ProbingConnection, now_ns: int) -> str:
    """Return when the next probe is due, in words."""
    due_ns = row.due_ns()
    return f"; next probe due in {duration(due_ns - now_ns)}" if due_ns is not None and due_ns > now_ns else ""


def _against(
    due: tuple[int, int] | None, time_ns: int, gap_ns: int, expected: Expectation | None
) -> tuple[str, str, int | None]:
    """Return how a probe compares with the setting that it waited for (seconds, since when), the mood, how late it is.

    Nothing where nothing is configured, or the gap is not known.
    """
    if expected is None or due is None or not gap_ns:
        return "", "", None
    seconds, since_ns = due
    waited_ns = time_ns - since_ns
    late_ns = waited_ns - seconds * SECOND_NS
    earliest_ns, latest_ns = band_ns(seconds)
    since = "" if waited_ns == gap_ns else " after the last probe"
    words = f"{duration(abs(late_ns))} {'late' if late_ns >= 0 else 'early'}"
    mood = "" if earliest_ns <= waited_ns <= latest_ns else "doubt"
    return f" (expected {seconds} s{since}, {expected.source}: {words})", mood, late_ns
