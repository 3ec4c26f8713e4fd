"""Simulated sockets of every clock rate: the settings that they really had are always in the estimated sets."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from linux_timer import CLIENT, SECOND_NS, Life, live

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer
from kacap.model import Prober, Setting
from kacap.timing.wheel import HZ_VALUES, granule, steady_s

CHOSEN = (1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 75, 90, 100, 120, 180, 240, 300, 350, 600, 900, 1800, 3600, 7200)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FOREVER_NS = 10**18


def seconds(most: int) -> st.SearchStrategy[int]:
    """Settings as people choose them, and any others."""
    return st.one_of(st.sampled_from([value for value in CHOSEN if value <= most]), st.integers(1, most))


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """A socket's life, watched at the socket from the opening of its connection; keepalive is on from then."""
    most = draw(st.sampled_from([3, 10, 60, 300, 300, 7200]))
    idle, interval = draw(seconds(most)), draw(seconds(most))
    count = draw(st.integers(1, 9))
    until_ns = max(idle, interval) * SECOND_NS * draw(st.sampled_from([2, 3, 6, 12])) + 3 * SECOND_NS
    moments = st.integers(1, until_ns)
    heard = draw(st.lists(moments, max_size=2 if most > 300 else 8))
    burst = draw(st.integers(0, 60))
    heard += [start + i * 20_000_000 for start in heard[:1] for i in range(burst)]
    sent = draw(st.lists(moments, max_size=2))
    lost = []
    if draw(st.booleans()):
        start = draw(moments)
        lasts_ns = draw(st.sampled_from([FOREVER_NS, interval * SECOND_NS * 3 // 2, interval * SECOND_NS * 4]))
        lost = [(start, start + lasts_ns)]
        until_ns += (count + 2) * 2 * interval * SECOND_NS + 2 * idle * SECOND_NS
    return Life(
        draw(st.sampled_from(HZ_VALUES)), idle, interval, count,
        rtt_ns=draw(st.sampled_from([30_000, 200_000, 5_000_000, 40_000_000])),
        heard_ns=tuple(heard), sent_ns=tuple(sent), lost_ns=tuple(lost), until_ns=until_ns,
        probes=draw(st.sampled_from([4, 20, 400])), seed=draw(st.integers(0, 10**6)),
    )  # fmt: skip


def analysed(life: Life) -> Analysis:
    """What kacap makes of a simulated socket."""
    analyzer = Analyzer()
    analyzer.gather(analyzer.track(live(life)))
    return analyzer.finish()


def prober_of(life: Life) -> Prober | None:
    """The simulated socket as kacap sees it; None: it had no turn to probe."""
    probers = [prober for connection in analysed(life).connections for prober in connection.probers]
    return probers[0] if probers else None


def wrong(life: Life, prober: Prober, *, missing: bool = False) -> list[str]:
    """Which sets do not hold what the socket had, though what they assume is so; ``missing``: frames are."""
    false = {"enabled-at-connect"} if life.on_ns else set()
    false |= {"no-frame-missing"} if missing else set()
    false |= {"interval<=idle"} if life.interval > life.idle else set()
    given_up = {"idle": life.idle, "interval": life.interval, "count": life.count}
    found = []
    for name, truth in given_up.items():
        value: Setting = getattr(prober, name)
        if value.candidates and truth not in value.candidates and not false & set(value.assumes):
            found.append(f"{name}: {truth} is not in {value}")
    return found


@pytest.mark.slow
@MANY
@given(lives())
def test_what_a_socket_had_is_in_every_set(life: Life) -> None:
    prober = prober_of(life)
    if prober is not None:
        assert not wrong(life, prober)


@pytest.mark.slow
@MANY
@given(lives())
def test_idle_is_told_and_no_other_clock_rate(life: Life) -> None:
    analysis = analysed(life)
    for connection in analysis.connections:
        assert all(prober.idle.candidates for prober in connection.probers)
    assert all(life.hz in rates for rates in analysis.clocks.values())


@pytest.mark.slow
@MANY
@given(lives(), st.data())
def test_that_holds_from_wherever_the_capture_begins(life: Life, data: st.DataObject) -> None:
    life = dataclasses.replace(life, shown_from_ns=data.draw(st.integers(1, life.until_ns // 2)))
    prober = prober_of(life)
    if prober is not None:
        assert not wrong(life, prober)


@pytest.mark.parametrize("interval", [5243, 32_000])
def test_a_clock_rate_with_more_settings_than_can_be_tried_is_not_left_out(interval: int) -> None:
    life = Life(
        hz=100, idle=interval // 2, interval=interval, count=1, rtt_ns=30_000, on_ns=0, heard_ns=(), sent_ns=(20_001,),
        lost_ns=(), until_ns=2 * interval * SECOND_NS + 3 * SECOND_NS, probes=4, shown_from_ns=1, away_ns=0, seed=0,
    )  # fmt: skip
    prober = prober_of(life)
    assert prober is not None
    assert not wrong(life, prober)


@pytest.mark.slow
@MANY
@given(lives(), st.data())
def test_that_holds_when_keepalive_is_switched_on_late(life: Life, data: st.DataObject) -> None:
    life = dataclasses.replace(life, on_ns=data.draw(st.integers(1, life.until_ns // 3)))
    prober = prober_of(life)
    if prober is not None:
        assert not wrong(life, prober)


@pytest.mark.slow
@MANY
@given(lives(), st.sampled_from([0.1, 0.25, 0.45]))
def test_that_holds_for_a_capture_away_from_the_prober(life: Life, share: float) -> None:
    life = dataclasses.replace(life, away_ns=int(life.rtt_ns * share))
    prober = prober_of(life)
    if prober is not None:
        assert not wrong(life, prober)


@pytest.mark.slow
@MANY
@given(lives(), st.sampled_from([0.02, 0.1, 0.2]))
def test_that_holds_where_frames_are_missing(life: Life, share: float) -> None:
    segments, random, analyzer = live(life), Random(life.seed), Analyzer()
    analyzer.gather(analyzer.track(segments[[i < 3 or random.random() >= share for i in range(len(segments))]]))
    for connection in analyzer.finish().connections:
        for prober in connection.probers:
            if prober.side.port == CLIENT[1]:
                assert not wrong(life, prober, missing=True)


# Measured on HZ 250, computed for the others: periods of an unanswered run, by interval and clock rate.
PERIODS = {
    1: (1.04, 1.024, 1.0133, 1.024),
    5: (5.04, 5.12, 5.12, 5.12),
    15: (15.36, 15.104, 15.36, 15.36),
    60: (61.44, 61.44, 61.44, 61.44),
    75: (76.8, 75.776, 75.0933, 77.824),
    120: (122.88, 120.832, 122.88, 122.88),
    300: (302.08, 311.296, 300.3733, 327.68),
}


@pytest.mark.parametrize("interval", PERIODS)
def test_an_unanswered_run_has_the_period_of_the_timer_wheel(interval: int) -> None:
    for hz, period in zip(HZ_VALUES, PERIODS[interval], strict=True):
        assert steady_s(interval, hz) == pytest.approx(period, abs=0.0005)
        life = Life(hz, interval, interval, 9, lost_ns=((1, FOREVER_NS),), until_ns=10**6 * SECOND_NS, seed=hz)
        prober = prober_of(life)
        assert prober is not None and prober.episodes[0].ending == "gave-up"
        gaps = prober.episodes[0].gaps_ns
        assert len(gaps) == 9
        assert all(gap == pytest.approx(period * SECOND_NS, abs=1.1 * SECOND_NS / hz) for gap in gaps[1:])


@pytest.mark.slow
@given(st.integers(1, 2**23))
def test_a_granule_is_less_than_an_eighth_of_its_delay_or_a_jiffy(delay: int) -> None:
    step = granule(delay)
    assert step == 1 or 7.8 * step <= delay
    assert delay < 64 * step or step == 8**8
