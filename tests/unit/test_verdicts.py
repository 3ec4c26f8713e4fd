"""Verdicts on settings filled in by hand."""

import pytest
from analysing import spelled

from kacap.classify.kinds import Ending
from kacap.model import Connection, Endpoint, Episode, FrameRef, Probe, Prober, Setting
from kacap.timing.expectations import Expectation, parse
from kacap.timing.giving_up import longest_run, user_timeout
from kacap.timing.judging import band_ns, judge, judge_connection, never_probed
from kacap.timing.outcome import MET, NO_EVIDENCE, NOT_MET, Demand, Outcome
from kacap.timing.sides import parse_side

S = 1_000_000_000
A, B = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)
UNSEEN = Setting(why="no probe went unanswered")


def seen(*seconds: float, could_be: list[int] | None = None, n: int = 3) -> Setting:
    """Return a time setting that was observed between these seconds."""
    return Setting((round(min(seconds) * S), round(max(seconds) * S)), n, could_be)


def counted(*numbers: int) -> Setting:
    return Setting(observed=(min(numbers), max(numbers)), n=len(numbers), candidates=[max(numbers)])


def run(first_gap: float, *gaps: float, ending=Ending.GAVE_UP, probes: int | None = None) -> Episode:
    """Return an unanswered run; the last gap leads to the abort."""
    number = len(gaps) if probes is None else probes
    sent = [Probe(1, FrameRef(0, i + 1), i * S, A, B, "proven", 0) for i in range(number)]
    return Episode(1, A, sent, 0, round(first_gap * S), [round(gap * S) for gap in gaps], ending, None)


def prober(idle=None, interval=None, count=None, *episodes: Episode, side=A) -> Prober:
    made = Prober(side, B if side == A else A, probes=4, replies=4, ending=Ending.ANSWERED)
    made.idle, made.interval = idle or Setting(why="unseen"), interval or Setting(why=UNSEEN.why)
    made.count, made.episodes = count or Setting(why=UNSEEN.why), list(episodes)
    if episodes:
        made.ending = episodes[-1].ending
    return made


def connection(*probers: Prober, silence: float = 1.0, last: float = 700.0, **more) -> Connection:
    return Connection(1, A, B, 0, round(last * S), round(silence * S), probers=list(probers), **more)


def test_a_setting_that_is_a_candidate_is_ok_and_keeps_what_was_said_of_it():
    one = prober(seen(61.44, could_be=[60, 61]))
    one.idle.why = "HZ 250"
    judge(one, parse("idle=60"))
    assert (one.idle.expected, one.idle.source, one.idle.verdict, one.idle.why) == (60, "--expect", "ok", "HZ 250")


def test_a_setting_that_is_no_candidate_differs():
    one = prober(seen(61.44, could_be=[60, 61]))
    judge(one, parse("idle=59"))
    assert one.idle.verdict == "differs"


def test_the_tolerance_without_candidates_is_one_sided_and_as_wide_as_a_timer_is_late():
    low, high = band_ns(60)
    assert 59.9 * S < low < 60 * S
    assert 65.12 * S < high < 65.3 * S  # HZ=100: up to 5.12 s late
    for seconds, verdict in ((59.9, "differs"), (60.0, "ok"), (65.1, "ok"), (65.3, "differs")):
        one = prober(seen(seconds))
        judge(one, parse("idle=60"))
        assert one.idle.verdict == verdict, seconds


def test_gaps_of_which_only_some_fit_are_no_evidence_either_way():
    one = prober(seen(60.5, 180.0))
    judge(one, parse("idle=60"))
    assert one.idle.verdict == "not observable"
    assert "up to 180 s" in one.idle.why


@pytest.mark.parametrize(
    ("text", "idle", "interval", "words"),
    [
        ("idle=10", seen(10_100), None, "milliseconds taken as seconds: 10,000 s"),
        ("idle=5000", seen(5.1, could_be=[5]), None, "seconds taken as milliseconds: 5 s"),
        ("idle=60", seen(7208, could_be=list(range(7150, 7201))), None, "system's default of 7200: TCP_KEEPIDLE never"),
        ("idle=60,interval=10", seen(10.2, could_be=[10]), seen(61.4, could_be=[60, 61]), "idle and interval swapped"),
        ("idle=60,interval=10", seen(10.2, could_be=[10]), None, "idle and interval swapped"),
        ("idle=60", seen(15.1, could_be=[15]), None, r"Go's default 15/15/9 (a guess)"),
        ("idle=60", seen(15.1, could_be=[15]), seen(15.1, could_be=[15]), r"Go's default 15/15/9 (a guess)"),
        ("idle=120", seen(303), seen(102), r"Redis's default 300/100/3 (a guess)"),
        ("idle=120", seen(61.4), None, r"curl's default 60/60/- (a guess)"),
        ("idle=120", seen(30.7, could_be=[30]), seen(1.02, could_be=[1]), r"SQL Server client's default 30/1/-"),
    ],
)
def test_a_difference_says_what_it_looks_like_instead(text, idle, interval, words):
    one = prober(idle, interval)
    judge(one, parse(text))
    assert one.idle.verdict == "differs"
    assert words in one.idle.why


@pytest.mark.parametrize(
    ("idle", "interval", "never"),
    [
        (seen(15.1, could_be=[15]), seen(5.1, could_be=[5]), "Go"),
        (seen(30.7, could_be=[30]), None, "SQL"),
        (seen(10.2, could_be=[10]), seen(20.5, could_be=[20]), "swapped"),
        (seen(7208.0, could_be=[7199, 7200]), None, "milliseconds"),
    ],
)
def test_a_guess_needs_everything_that_was_observed_to_fit(idle, interval, never):
    one = prober(idle, interval)
    judge(one, parse("idle=60,interval=10"))
    assert one.idle.verdict == "differs"
    assert never not in one.idle.why


def test_an_interval_and_a_count_are_guessed_at_as_well():
    one = prober(seen(61.4, could_be=[60]), seen(1.02, could_be=[1]), counted(10), run(61.4, *[1.02] * 10))
    judge(one, parse("idle=60,interval=10,count=6"))
    assert "Node.js or Windows's default -/1/10 (a guess)" in one.interval.why
    assert "Node.js or Windows" in one.count.why
    two = prober(seen(61.4, could_be=[60]), seen(75.8, could_be=[74, 75]), counted(9), run(61.4, *[75.8] * 9))
    judge(two, parse("idle=60,interval=10,count=6"))
    assert "75: TCP_KEEPINTVL never reached" in two.interval.why
    assert "9: TCP_KEEPCNT never reached" in two.count.why


def test_what_was_not_observed_keeps_its_reason():
    one = prober(seen(2.02, could_be=[2]))
    judge(one, parse("idle=2,interval=1,count=3"))
    for value in (one.interval, one.count):
        assert (value.verdict, value.why) == ("not observable", "no probe went unanswered")
        assert value.expected is not None


def test_nothing_is_judged_of_which_nothing_is_expected():
    one = prober(seen(2.02, could_be=[2]))
    judge(one, Expectation(interval=1))
    assert (one.idle.expected, one.idle.source, one.idle.verdict) == (None, None, "not observable")


def test_judging_twice_changes_nothing():
    one = prober(seen(3.0, could_be=[3]), seen(2.02, could_be=[2]), counted(1), run(3.0, 2.02))
    judge(one, parse("idle=3,interval=2,count=5"))
    first = spelled(one)
    judge(one, parse("idle=3,interval=2,count=5"))
    assert spelled(one) == first


def test_a_run_that_ended_early_keeps_both_readings_and_its_ending():
    one = prober(seen(3.0, could_be=[3]), seen(2.02, could_be=[2]), counted(1), run(3.0, 2.02))
    one.count.assumes = ["no-user-timeout"]
    judge(one, parse("idle=3,interval=2,count=5"))
    assert one.count.verdict == "not observable"
    assert "gave up early, after 1: count 1, or a TCP_USER_TIMEOUT of at most 5.02 s" in one.count.why
    assert one.ending == one.episodes[-1].ending == Ending.GAVE_UP


def test_a_count_differs_where_it_is_said_that_there_is_no_user_timeout():
    one = prober(seen(3.0, could_be=[3]), seen(2.02, could_be=[2]), counted(1), run(3.0, 2.02))
    one.count.assumes = ["no-user-timeout"]
    judge(one, Expectation(idle=3, interval=2, count=5, user_timeout_ns=0))
    assert one.count.verdict == "differs"


def test_a_probe_that_is_missing_makes_a_count_too_small_but_never_too_large():
    for expected, verdict in ((4, "not observable"), (2, "differs")):
        one = prober(seen(3.0, could_be=[3]), seen(2.02, could_be=[2]), counted(3), run(3.0, 2.02, 2.02, 2.02))
        one.count.assumes = ["no-frame-missing"]
        judge(one, Expectation(idle=3, interval=2, count=expected, user_timeout_ns=0))
        assert one.count.verdict == verdict


def assumed(seconds: float, could_be: list[int], *assumes: str, n: int = 3) -> Setting:
    return Setting((round(seconds * S), round(seconds * S)), n, could_be, assumes=list(assumes))


@pytest.mark.parametrize("word", ["enabled-at-connect", "interval<=idle", "no-frame-missing"])
def test_a_smaller_idle_is_not_excluded_by_what_is_assumed_and_the_assumption_is_named(word):
    one = prober(assumed(5.12, [5], word))
    judge(one, parse("idle=1"))
    assert one.idle.verdict == "not observable"
    assert one.idle.why.startswith("assumes ") and "1 s would show the same" in one.idle.why
    larger = prober(assumed(5.12, [5], word))
    judge(larger, parse("idle=6"))
    assert larger.idle.verdict == "differs"


def test_probes_further_apart_than_idle_and_interval_differ_whatever_is_assumed():
    one = prober(assumed(7209, list(range(6335, 7209)), "interval<=idle"))
    one.gaps_ns = (7208 * S, 7210 * S)
    judge(one, parse("idle=60,interval=10"))
    assert one.idle.verdict == "differs"
    assert "system's default of 7200" in one.idle.why
    other = prober(assumed(5.12, [5], "interval<=idle"))
    other.gaps_ns = (round(5.11 * S), round(5.13 * S))
    judge(other, parse("idle=1,interval=5"))
    assert other.idle.verdict == "not observable"


def test_another_clock_rate_may_explain_what_is_no_candidate():
    one = prober(assumed(61.44, [60, 61], "linux-timer"))
    judge(one, parse("idle=58"))
    assert one.idle.verdict == "not observable"
    judge(one, parse("idle=45"))
    assert one.idle.verdict == "differs"


def test_a_timer_with_jitter_may_be_late_by_a_tenth_but_not_early() -> None:
    one = prober(assumed(62.9, [61, 62], "steady-timer"))
    judge(one, parse("idle=60"))
    assert one.idle.verdict == "not observable"
    for expected in (55, 65):
        judge(one, parse(f"idle={expected}"))
        assert one.idle.verdict == "differs"


def test_a_run_that_ended_late_is_told_with_the_bracket_but_may_be_its_count():
    one = prober(seen(2.0, could_be=[2]), seen(1.02, could_be=[1]), counted(5), run(2.0, *[1.02] * 5))
    judge(one, parse("idle=2,interval=1,count=2"))
    assert (
        "gave up late, after 5: count 5, or a TCP_USER_TIMEOUT of 5.98 to 7.10 s (if the prober is within 100 ms"
        in one.count.why
    )
    assert one.ending == Ending.GAVE_UP


def test_a_count_is_no_user_timeout_where_the_other_settings_never_arrived():
    one = prober(seen(20.5, could_be=[20]), seen(5.1, could_be=[5]), counted(3), run(20.5, 5.1, 5.1, 5.1))
    judge(one, parse("idle=60,interval=10,count=6"))
    assert one.count.verdict == "differs"
    assert one.ending == Ending.GAVE_UP


def test_an_expected_user_timeout_within_the_bracket_explains_the_ending_and_overrides_the_count():
    one = prober(seen(2.0, could_be=[2]), seen(1.02, could_be=[1]), counted(5), run(2.0, *[1.02] * 5))
    judge(one, parse("idle=2,interval=1,count=2,user_timeout=7s"))
    assert (one.user_timeout.verdict, one.user_timeout.expected) == ("ok", 7000)
    assert (one.count.verdict, one.ending) == ("not observable", Ending.USER_TIMEOUT)


@pytest.mark.parametrize("text", ["count=3,user_timeout=30s", "user_timeout=5s,count=3"])
def test_an_expected_user_timeout_outside_the_bracket_differs(text):
    one = prober(seen(2.0, could_be=[2]), seen(1.02, could_be=[1]), counted(3), run(2.0, *[1.02] * 3))
    judge(one, parse(text))
    expected = "ok" if "=5s" in text else "differs"
    assert (one.user_timeout.verdict, one.count.verdict) == (expected, "ok")
    assert one.ending == Ending.GAVE_UP


def test_the_bracket_of_a_user_timeout_is_open_below_after_a_single_probe():
    assert user_timeout(prober(None, None, None, run(3.0, 2.0))) == (0, 5 * S)
    assert user_timeout(prober(None, None, None, run(3.0, 2.0, 2.0))) == (
        4.9 * S,
        7 * S,
    )  # the prober may be 0.1 s away
    assert user_timeout(prober(None, None, None, run(3.0, 2.0, probes=2, ending=Ending.OPEN))) is None


def test_a_longer_run_that_went_on_contradicts_the_count():
    one = prober(seen(2.0), seen(1.02), None, run(2.0, *[1.02] * 6, probes=7, ending=Ending.OPEN))
    assert longest_run(one) == 7
    judge(one, parse("idle=2,count=6"))
    assert one.count.verdict == "differs"
    assert "7 probes in a row went unanswered" in one.count.why
    judge(one, parse("idle=2,count=7"))
    assert one.count.verdict == "not observable"


def test_firings_that_are_missing_from_the_capture_make_the_count_unobservable():
    one = prober(seen(2.0), seen(1.02, 3.08), counted(2), run(2.0, 3.08, 1.02))
    judge(one, parse("idle=2,interval=1,count=4"))
    assert (one.interval.verdict, one.count.verdict) == ("not observable", "not observable")
    assert "may be missing from the capture" in one.count.why
    assert one.ending == Ending.GAVE_UP


def test_silence_beyond_idle_and_its_lateness_without_a_probe_differs():
    setting = never_probed(connection(silence=611), parse("idle=60"))
    assert (setting.verdict, setting.expected) == ("differs", 60)
    assert "never probed although silent for 611 s" in setting.why


@pytest.mark.parametrize("silence", [59.0, 60.5, 65.1])
def test_silence_that_a_late_timer_explains_is_no_evidence(silence):
    setting = never_probed(connection(silence=silence), parse("idle=60"))
    assert setting.verdict == "not observable"
    assert "in 700 s, too short for an idle of 60 s" in setting.why


def test_silence_while_data_was_unacknowledged_is_no_evidence():
    for more in ({"retransmissions": 2}, {"window_probes": 3}):
        assert never_probed(connection(silence=611, **more), parse("idle=60")).verdict == "not observable"


def test_silence_after_the_last_segment_counts_as_long_as_the_capture_watched():
    quiet = connection(silence=5, last=10)
    assert never_probed(quiet, parse("idle=60")).verdict == "not observable"
    assert never_probed(quiet, parse("idle=60"), 90 * S).verdict == "differs"


def test_only_the_side_that_was_named_is_judged():
    both = connection(prober(seen(2.02, could_be=[2])), prober(seen(3.02, could_be=[3]), side=B))
    judge_connection(both, Expectation(idle=3, side=parse_side("5432")))
    assert [one.idle.expected for one in both.probers] == [None, 3]
    assert both.unprobed is None
    other = connection(prober(seen(2.02, could_be=[2])), silence=2.02)
    judge_connection(other, Expectation(idle=1, side=parse_side("b")))
    assert other.unprobed.verdict == "differs"
    assert "only 10.0.0.1:40000 probes" in other.unprobed.why
    judge_connection(other, Expectation(idle=1, side=parse_side("10.9.9.9")))
    assert other.probers[0].idle.expected is None


def outcome(*connections: Connection, expect="idle=2,interval=1", **demand) -> Outcome:
    found = Outcome(Demand(**demand))
    for one in connections:
        judge_connection(one, parse(expect))
        found.take(one)
    return found


def test_one_setting_as_expected_is_met_and_none_is_not_enough_evidence():
    assert outcome(connection(prober(seen(2.02, could_be=[2])))).answer == MET
    assert outcome(connection(prober())).answer == NO_EVIDENCE
    assert outcome(connection()).answer == NO_EVIDENCE
    assert outcome().answer == NO_EVIDENCE


def test_one_connection_that_differs_decides():
    good, bad = prober(seen(2.02, could_be=[2])), prober(seen(5.1, could_be=[5]))
    assert outcome(connection(good), connection(bad)).answer == NOT_MET
    assert outcome(connection(good), connection(silence=10)).answer == NOT_MET


def test_a_required_setting_that_is_not_observable_fails():
    one = connection(prober(seen(2.02, could_be=[2])))
    assert outcome(one, required=frozenset({"interval"})).answer == NOT_MET
    assert outcome(one, required=frozenset({"idle"})).answer == MET


def test_fewer_probes_than_asked_for_are_no_evidence_but_a_difference_still_counts():
    assert outcome(connection(prober(seen(2.02, could_be=[2]))), min_probes=5).answer == NO_EVIDENCE
    assert outcome(connection(prober(seen(2.02, could_be=[2]))), min_probes=4).answer == MET
    assert outcome(connection(prober(seen(5.1, could_be=[5]))), min_probes=5).answer == NOT_MET


def test_where_both_ends_probe_the_one_that_fits_is_judged():
    both = connection(prober(seen(5.1, could_be=[5])), prober(seen(2.02, could_be=[2]), side=B))
    found = outcome(both)
    assert (found.answer, found.checked[0].prober.side) == (MET, B)


def test_quiet_connections_are_counted_not_listed():
    found = outcome(connection(silence=1.5), connection(silence=1.0), connection(prober(seen(2.02, could_be=[2]))))
    assert (found.quiet, found.longest_quiet_ns, len(found.checked)) == (2, 1.5 * S, 1)
