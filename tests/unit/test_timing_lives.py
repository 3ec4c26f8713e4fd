"""Simulated sockets of every clock rate: the settings that they really had are always in the estimated sets."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from linux_timer import SECOND_NS, Life, live

from kacap.analyzer import Analyzer
from kacap.model import Prober, Setting
from kacap.timing.estimate import fits
from kacap.timing.settings import NOT_LONGER, ONE_GAP
from kacap.timing.wheel import HZ_VALUES, granule, latest_s, steady_s

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
    # An interval that exceeds idle by no more than the timer's lateness gives the gaps of an idle of that length.
    assume(not idle < interval <= idle + 1 + max(latest_s(idle, hz) for hz in HZ_VALUES))
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


def prober_of(life: Life) -> Prober | None:
    """The simulated socket as kacap sees it; None: it had no turn to probe."""
    analyzer = Analyzer()
    analyzer.gather(analyzer.track(live(life)))
    probers = [prober for connection in analyzer.finish().connections for prober in connection.probers]
    return probers[0] if probers else None


def wrong(life: Life, prober: Prober, *, but: str = "") -> list[str]:
    """Which sets do not hold what the socket had; ``but`` idle where its why says so.

    An interval above idle, of which nothing shows but answered probes, is taken for idle, and that is said.
    """
    but = but or (NOT_LONGER if life.interval > life.idle else "")
    given_up = {"idle": life.idle, "interval": life.interval, "count": life.count}
    found = []
    for name, truth in given_up.items():
        value: Setting = getattr(prober, name)
        if value.candidates and truth not in value.candidates and not (name == "idle" and but and but in value.why):
            found.append(f"{name}: {truth} is not in {value.candidates}")
    return found


@MANY
@given(lives())
def test_what_a_socket_had_is_in_every_set(life: Life) -> None:
    prober = prober_of(life)
    if prober is not None:
        assert not wrong(life, prober)


@MANY
@given(lives())
def test_its_clock_rate_explains_it_and_idle_is_told(life: Life) -> None:
    prober = prober_of(life)
    if prober is not None:
        of_its_clock = fits(prober.history).get(life.hz)
        assert of_its_clock is not None and life.idle in of_its_clock.idle
        assert prober.idle.candidates


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


@MANY
@given(lives(), st.data())
def test_that_holds_when_keepalive_is_switched_on_late(life: Life, data: st.DataObject) -> None:
    life = dataclasses.replace(
        life, on_ns=data.draw(st.integers(1, life.until_ns // 3)), interval=min(life.interval, life.idle)
    )
    prober = prober_of(life)
    if prober is not None:
        # A single gap cannot tell a late start from a longer idle, and that is said.
        assert not wrong(life, prober, but=ONE_GAP if prober.idle.n == 1 else "")


@MANY
@given(lives(), st.sampled_from([0.1, 0.25, 0.45]))
def test_that_holds_for_a_capture_away_from_the_prober(life: Life, share: float) -> None:
    life = dataclasses.replace(life, away_ns=int(life.rtt_ns * share))
    prober = prober_of(life)
    if prober is not None:
        assert not wrong(life, prober)


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


@given(st.integers(1, 2**23))
def test_a_granule_is_less_than_an_eighth_of_its_delay_or_a_jiffy(delay: int) -> None:
    step = granule(delay)
    assert step == 1 or 7.8 * step <= delay
    assert delay < 64 * step or step == 8**8
