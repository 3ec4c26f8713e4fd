"""Timers of many makes: a setting that is shown without an assumption is the prober's own."""

from __future__ import annotations

import pytest
import timers

# A share of jitter in a single gap leaves nothing that would show it: there are others for these.
JITTER = tuple(make for make in timers.MAKES if "%" in make)


@pytest.mark.parametrize("make", [make for make in timers.MAKES if make not in JITTER])
def test_a_timer_of_a_known_make_brings_out_no_wrong_setting(make: str) -> None:
    for seed in range(25):
        tally, wrong = timers.judged(make, seed)
        assert tally["wrong"] == 0, wrong
        assert not tally["HZ claimed"] or make.startswith("Linux")


@pytest.mark.parametrize("make", JITTER)
def test_no_clock_rate_is_claimed_of_a_timer_with_jitter(make: str) -> None:
    assert not sum(timers.judged(make, seed)[0]["HZ claimed"] for seed in range(25))
