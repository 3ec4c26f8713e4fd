"""What a plan promises, held against a socket's timer as the kernel runs it: jiffy by jiffy, at every HZ and phase."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacap.errors import UsageError
from kacap.timing.planning import FEWEST, ROUND, Request, idle_that_beats, plan, worst
from kacap.timing.wheel import HZ_VALUES, SLACK_NS, granule

SECOND = 1_000_000_000


def fires(now: int, delay: int) -> int:
    """When a timer fires that is armed ``now``, in jiffies (kernel/time/timer.c, calc_index)."""
    step = granule(delay)
    return ((now + delay) // step + 1) * step


def dies(settings, hz: int, phase: int, heard: list[int], timeout: int = 0) -> tuple[int, int, int]:
    """Run tcp_keepalive_timer() until it gives up; all in jiffies.

    Returns the silence before the first of the unanswered probes, the silence at the end, and the probes of that run.
    ``heard``: gaps between the peer's words; the peer answers every probe as long as it lives.
    """
    idle, interval = settings.idle * hz, settings.interval * hz
    words = [phase]
    for gap in heard:
        words.append(words[-1] + gap)
    due, probes, first = fires(phase, idle), 0, 0
    while True:
        last = max(word for word in words if word <= due)
        silence = due - last
        if silence < idle:
            due = fires(due, idle - silence)
            continue
        if (timeout and silence >= timeout and probes) or (not timeout and probes >= settings.count):
            return first, silence, probes
        if due < words[-1]:
            words = sorted([*words, due + 1])  # still alive: it answers within a jiffy
        else:
            probes += 1
            first = first or silence
        due = fires(due, interval)


rates = st.sampled_from([HZ_VALUES, *((hz,) for hz in HZ_VALUES)])
requests = st.one_of(
    st.builds(Request, limit=st.one_of(st.none(), st.integers(2, 8000)), within=st.integers(5, 4000), hz=rates),
    st.builds(Request, limit=st.integers(2, 30_000), hz=rates),
)


def phases(idle: int):
    """Any moment for the first arming, and above all those at which its timer is as late as can be."""
    step = granule(idle)
    return st.one_of(st.integers(0, 10**8), st.integers(idle // step + 1, 10**6).map(lambda n: n * step - idle))


@pytest.mark.slow
@given(requests, st.data())
def test_the_simulated_timer_never_exceeds_the_worst_case_at_any_hz(request, data):
    best = plan(request)
    hz = data.draw(st.sampled_from(request.hz))
    phase = data.draw(phases(best.idle * hz))
    heard = data.draw(st.lists(st.integers(1, 3 * best.idle * hz), max_size=6))
    first, silence, probes = dies(best, hz, phase, heard)
    assert best.idle * hz <= first <= (best.first_ns - SLACK_NS) * hz / SECOND
    assert silence <= (best.found_ns - SLACK_NS) * hz / SECOND
    assert probes == best.count
    assert request.within is None or best.found_ns <= request.within * SECOND
    assert request.limit is None or best.first_ns < request.limit * SECOND


@pytest.mark.slow
@given(requests, st.data())
def test_the_recommended_user_timeout_neither_delays_nor_trusts_a_single_probe(request, data):
    best = plan(request)
    hz = data.draw(st.sampled_from(request.hz))
    phase = data.draw(phases(best.idle * hz))
    timeout = best.user_timeout_ns * hz // SECOND
    _, silence, probes = dies(
        best, hz, phase, data.draw(st.lists(st.integers(1, 2 * best.idle * hz), max_size=3)), timeout
    )
    assert silence <= best.found_ns * hz / SECOND
    assert probes >= FEWEST - 1


@pytest.mark.parametrize("hz", HZ_VALUES)
@pytest.mark.parametrize("idle", [1, 10, 60, 300, 7200])
def test_the_worst_case_is_no_worse_than_what_happens(hz, idle):
    expected = worst(idle, 1, 3, Request(hz=(hz,)))
    seen = max(dies(expected, hz, random.Random(seed).randrange(10**9), [])[0] for seed in range(400))
    late, most = seen / hz - idle, (expected.first_ns - SLACK_NS) / SECOND - idle
    assert 0.9 * most <= late <= most


@pytest.mark.slow
@given(st.integers(2, 100_000))
def test_every_limit_from_two_seconds_on_can_be_beaten(limit):
    best = plan(Request(limit=limit))
    assert best.first_ns < limit * SECOND
    assert best.idle in ROUND
    assert best.count >= FEWEST


@pytest.mark.slow
@given(st.integers(10, 50_000))
def test_a_probe_may_be_lost_on_the_way_to_a_limit(limit):
    assert plan(Request(limit=limit)).second_ns < limit * SECOND


def test_a_box_of_350_seconds_is_beaten_by_300_and_not_by_340():
    assert plan(Request(limit=350)).idle == 300
    assert worst(340, 10, 3, Request(hz=(250,))).first_ns > 350 * SECOND
    assert idle_that_beats(350) == 300
    assert idle_that_beats(1) is None


def test_the_example_of_a_limit_and_a_budget_gives_what_people_choose():
    best = plan(Request(limit=350, within=90, rtt_ns=200_000_000))
    assert (best.idle, best.interval, best.count) == (50, 10, 3)
    assert best.user_timeout_ns == 80 * SECOND
    assert best.per_day == 1728


def test_a_round_trip_delays_the_probe_and_is_shorter_than_the_interval():
    slow = plan(Request(limit=60, within=60, rtt_ns=7 * SECOND))
    assert slow.interval > 7
    assert slow.first_ns == worst(slow.idle, slow.interval, slow.count, Request()).first_ns + 7 * SECOND


def test_a_product_that_fixes_interval_and_count_gets_an_idle_of_its_own():
    asked = Request(limit=350, within=90)
    third = plan(asked, lambda idle: (max(1, idle // 3), 3))
    assert (third.idle, third.interval, third.count) == (40, 13, 3)
    assert third.found_ns <= 90 * SECOND
    with pytest.raises(UsageError):
        plan(Request(within=11), lambda _: (1, 10))


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(limit=1), "no idle beats a limit of 1 s"),
        (Request(within=3), "no settings find a dead peer within 3 s by 3 probes: the least that always holds is 4"),
        (Request(limit=2, within=4), "within 4 s"),
        (Request(limit=30, rtt_ns=20 * SECOND), "no idle beats a limit of 30 s"),
        (Request(limit=30, rtt_ns=40_000 * SECOND), "longer than any interval"),
    ],
)
def test_what_no_settings_do_is_refused_with_the_least_that_they_do(request_, says):
    with pytest.raises(UsageError, match=says):
        plan(request_)
