"""A watch of weeks forgets connections that are over; nothing that is told of the others depends on it."""

from __future__ import annotations

import bench_soak
import pytest
from analysing import POPULATION, frames_of, pieces, small_cases

from kacap import analyzer
from kacap.analyzer import Analyzer
from kacap.classify import tracker
from kacap.options import Options
from kacap.report.live_events import LiveTracker
from kacap.report.live_rows import LiveEvent
from kacap.watching import Watch

pytestmark = pytest.mark.slow

CASES = [case for case in small_cases() if case.startswith(("lab/", "crafted/"))]
PIECE = 7


def watch(batch, *, forgets: bool, step: int = PIECE) -> tuple[list, Analyzer]:
    """Return what is told of a capture, and the analyzer, which forgets all that it may after each piece."""
    made = Analyzer(Options(segments="events", keep_episodes=10_000, marks=False), sink=lambda _: None)
    live, told = LiveTracker(made), []
    for piece in pieces(batch, range(step, len(batch.frames), step)):
        now_ns = int(piece.frames["time_ns"][-1])
        made.drop_at = 0 if forgets else 1 << 30
        told += [as_told(one) for one in live.feed(piece, now_ns)]
        assert not forgets or made.drop_at > 0  # it has forgotten
    return told, made


def as_told(event: LiveEvent) -> tuple:
    """Return what is told of an event, and whose it is."""
    whose = event.prober and (str(event.prober.prober), event.prober.probes, event.prober.missed)
    return event.time_ns, str(event.source), event.words, event.what, event.run, event.cause, whose


@pytest.mark.parametrize("case", CASES)
def test_what_is_told_does_not_depend_on_what_was_forgotten(case, monkeypatch):
    monkeypatch.setattr(analyzer, "OVER", 1)
    batch = frames_of(case)
    told, whole = watch(batch, forgets=False)
    told_again, short = watch(batch, forgets=True)
    assert told == told_again
    expected = {c.connection: c for c in whole.finish().connections}
    for found in short.finish().connections:
        one = expected[found.connection]
        assert (found.a, found.b, found.ended, found.verdict) == (one.a, one.b, one.ended, one.verdict)
        assert _alike(found, one)


def _alike(found, one) -> bool:
    """Return whether two connections are equal but for the rows that their probers have."""
    names = ("side", "probes", "replies", "missed", "ending", "frames", "longest_run", "idle", "interval", "count")
    pairs = zip(found.probers, one.probers, strict=True)
    return all(getattr(a, name) == getattr(b, name) for a, b in pairs for name in names)


def test_connections_that_come_and_go_leave_nothing_behind(monkeypatch):
    """The tables of ten thousand connections that were probed and closed are no larger than those of a thousand."""
    monkeypatch.setattr(analyzer, "OVER", 100)
    sizes = []
    soak = bench_soak.Watch()
    for second in range(900):  # a closed connection lingers for two minutes, in case that something is still on its way
        for columns in bench_soak.come_and_go(30, second):
            soak.feed(columns)
        if second in (450, 899):
            sizes.append(soak.sizes())
    for name, size in sizes[1].items():
        assert size <= 1.5 * sizes[0][name] + 300, (name, sizes)
    assert soak.analyzer.past.forgotten > 5000


def test_a_population_is_told_the_same_whatever_is_forgotten(monkeypatch):
    monkeypatch.setattr(analyzer, "OVER", 1)
    monkeypatch.setattr(analyzer, "EPISODES", 1 << 30)
    batch = frames_of(POPULATION)
    step = max(len(batch.frames) // 20, 1)
    told, _ = watch(batch, forgets=False, step=step)
    assert told == watch(batch, forgets=True, step=step)[0]


class Source:
    """Frames that somebody else cut into batches, as ``LiveSource`` hands them out."""

    dropped, dropped_kernel, dropped_interface, now_ns, frames = 0, 0, 0, 0, 0

    def __init__(self, batches) -> None:
        self._batches = batches
        self.files, self.link_types, self.damages, self.drops, self.breaks = ["x"], [1], [], [], []
        self.filtered_out = 0

    def __iter__(self):
        for batch in self._batches:
            self.now_ns = int(batch.frames["time_ns"][-1])
            yield batch

    def stop(self) -> None:
        """Do nothing: it ends by itself."""


def test_the_librarys_watch_tells_the_same_whatever_it_forgot(monkeypatch):
    monkeypatch.setattr(analyzer, "OVER", 50)
    monkeypatch.setattr(tracker, "FIRST_ROWS", 256)
    batches = [bench_soak.batch_of(columns) for second in range(400) for columns in bench_soak.come_and_go(4, second)]
    whole = [as_told(one) for one in Watch(Source(batches), Options())]
    forget, asked = analyzer.Analyzer.forget, []
    monkeypatch.setattr(analyzer.Analyzer, "forget", lambda self: asked.append(self) or forget(self))
    assert [as_told(one) for one in Watch(Source(batches), Options(keep_episodes=10))] == whole
    assert asked[-1].past.forgotten > 500
