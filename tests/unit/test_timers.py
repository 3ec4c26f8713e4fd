"""Timers of many makes: a setting that is shown without an assumption is the prober's own."""

from __future__ import annotations

import pytest
import timers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("make", timers.MAKES)
def test_a_timer_of_any_make_brings_out_no_wrong_setting_and_no_clock_rate(make: str) -> None:
    for seed in range(25):
        tally, wrong = timers.judged(make, seed)
        assert tally["wrong"] == 0, wrong
        assert not tally["HZ claimed"] or make.startswith("Linux")
