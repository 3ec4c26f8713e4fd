"""A watch of weeks forgets connections that are over; nothing that is told of the others depends on it."""

from __future__ import annotations

import pytest
from analysing import POPULATION, frames_of, pieces, small_cases

from kacap import analyzer
from kacap.analyzer import Analyzer
from kacap.options import Options
from kacap.report.live_events import LiveTracker

CASES = [case for case in small_cases() if case.startswith(("lab/", "crafted/"))]
PIECE = 7


def watch(batch, *, forgets: bool, step: int = PIECE) -> tuple[list, Analyzer]:
    """Return what is told of a capture, and the analyzer, which forgets all that it may after each piece."""
    made = Analyzer(Options(segments="events", keep_episodes=10_000, marks=False), sink=lambda _: None)
    live, told = LiveTracker(None, made.ends_of), []
    for piece in pieces(batch, range(step, len(batch.frames), step)):
        now_ns = int(piece.frames["time_ns"][-1])
        events = live.take(made.feed(piece), made.advance(now_ns).tolist(), now_ns)
        told += [(one.time_ns, str(one.source), one.words, one.what, one.run, one.cause) for one in events]
        if forgets:
            made.drop_at = 0
            moved = made.forget()
            assert moved is not None
            live.renumber(moved)
    return told, made


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
    import bench_soak

    monkeypatch.setattr(analyzer, "OVER", 100)
    sizes = []
    soak = bench_soak.Watch()
    for second in range(900):  # a closed connection lingers for two minutes, in case that something is still on its way
        bench_soak.come_and_go(soak, 30, second)
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
