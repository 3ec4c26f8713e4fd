"""The estimator against timers that it knows nothing of, and against a plain search."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_timer import OTHERS, Prober, firings, steps_of, unexplained

from kacap import timing
from kacap.flows import NEVER
from kacap.kernels import Row, entry
from kacap.model import Setting
from kacap.timing.estimate import Estimates, Estimating
from kacap.timing.history import EXACT, FIRING, FIRINGS_KEPT, HISTORY, POOL, STEP, take_firings
from kacap.timing.search import FIT, GAP, IDLE, INTERVAL, PIECES, WALK, search
from kacap.timing.settings import settings_of
from kacap.timing.systems import LINUX, ROWS, TIMERS, possible

pytestmark = pytest.mark.slow

S = 10**9
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def estimated(rows: np.ndarray, *, began: bool = True, system: str = "auto") -> Estimates:
    histories, pool, steps = np.zeros(1, HISTORY), np.zeros(1, POOL), np.zeros(FIRINGS_KEPT, STEP)
    histories["began"] = began
    take_firings(histories, pool, steps, rows)
    zero = np.zeros(1, np.int64)
    return Estimating(histories, steps[: pool["used"][0]], zero.astype(np.uint8), zero + 500_000, system).result(zero)


@st.composite
def probers(draw: st.DrawFn) -> Prober:
    idle = draw(st.one_of(st.sampled_from([1, 2, 5, 15, 30, 45, 60, 75, 128, 300, 600, 7200]), st.integers(1, 7200)))
    unanswered = draw(st.sampled_from([0, 0, 1, 2, 5, 9]))
    return Prober(
        draw(st.sampled_from([*OTHERS])),
        idle,
        draw(st.integers(1, idle)),
        draw(st.integers(0, 12)),
        unanswered,
        draw(st.booleans()) and unanswered > 0,
        draw(st.sampled_from([0.0003, 0.004, 0.03, 0.12])),
        draw(st.booleans()),
        draw(st.integers(0, 10**6)),
    )


def settings_shown(found: Estimates) -> tuple[Setting, Setting, Setting]:
    """Return idle, interval and count of the first prober."""
    (three,) = settings_of(found, np.array([0]))
    return three


@MANY
@given(probers(), st.booleans())
def test_what_another_timer_was_set_to_is_in_every_set_and_no_clock_rate_is_told(prober: Prober, began: bool) -> None:
    rows = firings(prober)
    if not len(rows):
        return
    found = estimated(rows, began=began)
    idle, interval, _ = settings_shown(found)
    assert not found.clocks
    assert idle.candidates is None or prober.idle in idle.candidates
    assert interval.candidates is None or prober.interval in interval.candidates


@entry
def _search(timers: Row, m: Row, steps: Row, what: Row, found: Row) -> None:
    fits, walks, gaps = found
    walks[0].pieces = PIECES
    search((timers[m], 0.0), steps, what, fits[0], (walks[0], gaps[0]))


@MANY
@given(
    st.integers(0, len(LINUX) + 3),
    st.sampled_from([1, 3, 16, 61, 130, 310, 1000]),
    st.booleans(),
    st.lists(st.integers(-70, 70), min_size=1, max_size=9),
    st.sampled_from([0.001, 0.01, 0.1, 1.0]),
)
def test_going_from_piece_to_piece_finds_what_trying_every_second_finds(m, base, answered, jitter, scale) -> None:
    steps = steps_of([base + 0.4 + scale * part / 70 for part in jitter], answered=answered)
    fit, what = np.zeros(1, FIT), IDLE if answered else INTERVAL
    _search(ROWS, m, steps, what, (fit, np.zeros(1, WALK), np.zeros(1, GAP)))
    missed = {s: unexplained(ROWS[m], steps, s, interval=not answered) for s in range(1, base + 3)}
    least = min(missed.values())
    if least > len(jitter) // 8:
        assert fit["low"][0] == 0
    else:
        best = [s for s, n in missed.items() if n == least]
        assert (fit["low"][0], fit["high"][0]) == (best[0], best[-1])


def shown(
    *gaps: float, answered: int = 0, first: float | None = None, began: bool = True, exact: bool = True
) -> tuple[Setting, Setting]:
    """Idle and interval of a prober: so many answered gaps, the others unanswered; ``first`` is the gap before."""
    rows = np.zeros(len(gaps) + 1, FIRING)
    times = 10**18 + (np.array([0.0, *np.cumsum(gaps)]) * S).astype(np.int64)
    rows["time_ns"], rows["flags"] = times, EXACT if exact else 0
    rows["since_ns"] = NEVER if first is None else times[0] - round(first * S)
    for i in range(1, len(rows)):
        rows["heard_n"][i] = int(i <= answered)
        rows["since_ns"][i] = times[i - 1] + 200_000 if i <= answered else rows["since_ns"][i - 1]
        rows["heard_ns"][i][0] = rows["since_ns"][i]
    idle, interval, _ = settings_shown(estimated(rows, began=began))
    return idle, interval


def test_keepalive_that_was_switched_on_late_leaves_idle_and_interval_open() -> None:
    idle, interval = shown(5.02, 5.12, 5.12, answered=3, first=7.75)
    assert (idle.candidates, idle.assumes) == ([1, 2, 3, 4, 5], [])
    assert idle.why == "answered every 5.02 to 5.12 s: idle 1 to 5 s, or interval 5 s with a shorter idle"
    assert interval.candidates is None


def test_answered_gaps_show_idle_if_keepalive_was_on_at_connect_or_the_interval_is_below() -> None:
    idle, _ = shown(61.44, 61.44, 61.44, answered=3, first=61.0)
    assert set(idle.candidates or ()) >= {60, 61} and idle.assumes == ["enabled-at-connect"]
    idle, _ = shown(61.44, 61.44, 61.44, answered=3, began=False)
    assert set(idle.candidates or ()) >= {60, 61} and idle.assumes == ["interval<=idle"]


def test_an_interval_that_shows_below_idle_leaves_nothing_to_assume_of_it() -> None:
    idle, interval = shown(61.44, 61.44, 61.44, 10.24, 10.24, answered=3, began=False)
    assert set(idle.candidates or ()) >= {60, 61} and idle.assumes == []
    assert interval.candidates == [10] and interval.assumes == []


def test_without_timestamps_few_gaps_may_hold_frames_that_are_missing() -> None:
    idle, interval = shown(61.44, 61.44, 61.44, 10.24, 10.24, answered=3, began=False, exact=False)
    assert (idle.assumes, interval.assumes) == (["no-frame-missing"], ["no-frame-missing"])
    idle, _ = shown(61.44, 61.44, answered=2, began=False, exact=False)
    assert idle.assumes == ["interval<=idle", "no-frame-missing"]
    _, interval = shown(10.24, 20.48, 10.24, 10.24, 10.24, 10.24, 10.24, 10.24, 10.24, exact=False)
    assert interval.candidates == [10] and interval.assumes == ["no-frame-missing"]


@pytest.mark.parametrize(("gap", "truth", "not_linux"), [(45.0, 45, 43), (130.0, 130, 128), (30.0, 30, 28)])
def test_whole_seconds_are_those_seconds_and_no_multiple_of_a_granule_near_by(gap: float, truth: int, not_linux: int):
    _, interval = shown(gap, gap, gap, gap)
    assert truth in (interval.candidates or ()) and not_linux not in (interval.candidates or ())


def test_a_system_that_is_named_is_the_only_one_tried() -> None:
    rows = firings(Prober("500 ms, early", 30, 10, 5, 0, False))
    assert 30 in (settings_shown(estimated(rows))[0].candidates or ())
    assert settings_shown(estimated(rows, system="any"))[0].candidates is None
    assert 30 in (settings_shown(estimated(rows, system="macos"))[0].candidates or ())


def test_probes_that_carry_a_byte_are_not_linux() -> None:
    without, with_byte = possible("auto")
    assert [TIMERS[m].hz > 0 for m in range(len(TIMERS)) if without >> m & 1].count(True) == len(LINUX)
    assert not any(TIMERS[m].hz for m in range(len(TIMERS)) if with_byte >> m & 1)


@pytest.mark.parametrize("gap", [60, 7_200, 86_400, 604_800, 10 * 365 * 86_400])
def test_no_prober_costs_more_than_a_millisecond(gap: int) -> None:
    random, n = np.random.default_rng(gap), 50
    histories, pool, steps = np.zeros(n, HISTORY), np.zeros(1, POOL), np.zeros(FIRINGS_KEPT * n, STEP)
    gaps = (gap * S * (1 + random.random((100, n)) / 3)).astype(np.int64)
    rows = np.zeros((100, n), FIRING)
    rows["time_ns"], rows["prober"], rows["heard_n"] = 10**18 + gaps.cumsum(axis=0), np.arange(n), 1
    rows["since_ns"] = rows["time_ns"] - gaps + 200_000
    rows["heard_ns"][..., 0] = rows["since_ns"]
    take_firings(histories, pool, steps, rows.reshape(-1))
    zeros = np.zeros(n, np.int64)
    for _ in range(2):
        started = time.thread_time()
        Estimating(histories, steps[: pool["used"][0]], zeros.astype(np.uint8), zeros).result(zeros)
        cost = (time.thread_time() - started) / n
    assert cost < 0.001


def many(n: int) -> tuple[np.ndarray, np.ndarray]:
    """HISTORY and STEP rows of probers that are all different."""
    histories, pool, steps = np.zeros(n, HISTORY), np.zeros(1, POOL), np.zeros(FIRINGS_KEPT * n, STEP)
    rows = np.zeros((6, n), FIRING)
    gaps = np.arange(10, 10 + n) * S + 3_000_000
    rows["time_ns"], rows["prober"], rows["heard_n"] = 10**18 + np.arange(6)[:, None] * gaps, np.arange(n), 1
    rows["since_ns"] = rows["time_ns"] - gaps + 200_000
    rows["heard_ns"][..., 0] = rows["since_ns"]
    take_firings(histories, pool, steps, rows.reshape(-1))
    return histories, steps[: pool["used"][0]]


def test_estimates_do_not_depend_on_who_makes_which_part(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 25
    histories, steps = many(n)
    zeros, hosts = np.zeros(n, np.int64), np.arange(n) % 3
    alone = Estimating(histories, steps, zeros.astype(np.uint8), zeros + 500_000).result(hosts)
    monkeypatch.setattr(timing.estimate, "MANY_PROBERS", 10)
    monkeypatch.setattr(timing.estimate, "PART", 3)
    shared = Estimating(histories, steps, zeros.astype(np.uint8), zeros + 500_000).result(hosts)
    assert alone.rows["idle_low"].any(axis=1).all()
    assert shared.rows.tobytes() == alone.rows.tobytes()
    assert shared.clocks == alone.clocks


def test_an_interrupt_ends_what_both_threads_do(monkeypatch: pytest.MonkeyPatch) -> None:
    histories, steps = many(25)
    zeros, main, made = np.zeros(25, np.int64), threading.get_ident(), []
    monkeypatch.setattr(timing.estimate, "MANY_PROBERS", 10)
    monkeypatch.setattr(timing.estimate, "PART", 1)
    interrupted = threading.Event()

    def asked(*_: object) -> None:
        if threading.get_ident() == main:
            interrupted.set()
            raise KeyboardInterrupt
        made.append(interrupted.wait(10))
        time.sleep(0.02)  # in which the interrupt is noted

    monkeypatch.setattr(timing.estimate, "_estimate", asked)
    with pytest.raises(KeyboardInterrupt):
        Estimating(histories, steps, zeros.astype(np.uint8), zeros).result(zeros)
    assert len(made) < 5


def test_an_error_in_the_other_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    histories, steps = many(25)
    zeros, main = np.zeros(25, np.int64), threading.get_ident()
    monkeypatch.setattr(timing.estimate, "MANY_PROBERS", 10)
    monkeypatch.setattr(timing.estimate, "PART", 3)
    began = threading.Event()

    def failing(*_: object) -> None:
        if threading.get_ident() != main:
            began.set()
            raise MemoryError("no room")
        began.wait(10)

    monkeypatch.setattr(timing.estimate, "_estimate", failing)
    with pytest.raises(MemoryError, match="no room"):
        Estimating(histories, steps, zeros.astype(np.uint8), zeros).result(zeros)
