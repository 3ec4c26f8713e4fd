"""Observed against expected: ``ok``, ``differs`` with what it looks like instead, or ``not observable`` and why.

``judge_connection`` is the way in. A timer is late, never early (``wheel``), so a tolerance is one-sided and computed.
"""

from __future__ import annotations

from kacap.classify.kinds import Ending
from kacap.clock import SECOND_NS
from kacap.model import Connection, Prober, Setting
from kacap.timing.assumes import sentence_of
from kacap.timing.decide import JITTER
from kacap.timing.defaults import RUNTIMES, SYSTEM, Default
from kacap.timing.expectations import Expectation
from kacap.timing.giving_up import has_holes, longest_run, timed_out, user_timeout, user_timeout_words
from kacap.timing.wheel import EARLY_NS, HZ_VALUES, SLACK_NS, latest_s
from kacap.units import duration

OK, DIFFERS, NOT_OBSERVABLE = "ok", "differs", "not observable"
TIMES = ("idle", "interval")
OPTIONS = {"idle": "TCP_KEEPIDLE", "interval": "TCP_KEEPINTVL", "count": "TCP_KEEPCNT"}
COARSEST = 5  # seconds between two looks at the clock, or on the way there and back
FEWEST = 3  # so many probes and more are judged by all their gaps


def judge_connection(connection: Connection, expectation: Expectation | None, until_ns: int | None = None) -> None:
    """Fill expected, source, verdict and why in the settings of every prober that the expectation is about.

    Where none of the expected ends probes, ``connection.unprobed`` says whether it should have. ``until_ns`` is how
    long an open connection was watched after its last segment (None: not longer). May be called again.
    """
    if expectation is None:
        return
    ends = expectation.ends(connection)
    probers = [prober for prober in connection.probers if prober.side in ends]
    for prober in probers:
        judge(prober, expectation)
    if ends and not probers:
        connection.unprobed = never_probed(connection, expectation, until_ns)


def judge(prober: Prober, expectation: Expectation) -> None:
    """Judge the settings of one prober; an ending that a user timeout explains becomes ``user-timeout``.

    The last episode's ending is changed with the prober's own.
    """
    for name in TIMES:
        expected: int | None = getattr(expectation, name)
        value: Setting = getattr(prober, name)
        _against(value, expected, expectation.source)
        if expected is not None:
            value.verdict, value.why = _judged_time(name, prober, expectation, expected)
    _judge_count(prober, expectation)
    _judge_user_timeout(prober, expectation)


def may_have_timed_out(expectation: Expectation | None) -> bool:
    """Return whether ``judge`` may yet find that a user timeout, if one is expected, ended a run that was given up."""
    return expectation is not None and bool(expectation.user_timeout_ns)


def never_probed(connection: Connection, expectation: Expectation, until_ns: int | None = None) -> Setting:
    """Return idle's verdict for a connection whose expected prober does not probe: differs if it was silent longer."""
    tail_ns = 0 if until_ns is None else until_ns - connection.last_ns
    silence_ns = max(connection.longest_silence_ns, tail_ns)
    setting = Setting(expected=expectation.idle, source=expectation.source)
    others = ", ".join(str(prober.side) for prober in connection.probers)
    only = f"; only {others} probes" if others else ""
    silent = f"silent for {duration(silence_ns)} at most"
    if expectation.idle is None:
        setting.why = f"nobody probes{only}" if not others else f"only {others} probes"
    elif silence_ns <= band_ns(expectation.idle)[1]:
        watched_ns = connection.last_ns - connection.first_ns + tail_ns
        setting.why = f"{silent} in {duration(watched_ns)}, too short for an idle of {expectation.idle} s{only}"
    elif connection.retransmissions or connection.window_probes:
        setting.why = f"{silent}, but with data unacknowledged, which suspends keepalive{only}"
    else:
        setting.verdict = DIFFERS
        silence = duration(silence_ns)
        setting.why = f"never probed although silent for {silence}, longer than idle with the timer's lateness{only}"
    return setting


def band_ns(setting: int) -> tuple[int, int]:
    """Return the earliest and latest firing of a timer for so many seconds, at whichever clock rate is worst."""
    late = max(latest_s(setting, hz) for hz in HZ_VALUES)
    return setting * SECOND_NS - EARLY_NS, setting * SECOND_NS + round(late * SECOND_NS) + SLACK_NS


def fits(name: str, value: Setting, number: int) -> bool:
    """Return whether a setting of ``number`` (seconds, or probes for count) explains what was observed."""
    if value.candidates:
        return number in value.candidates
    if value.observed_ns is None:
        return False
    low, high = band_ns(number)
    return low <= value.observed_ns[0] and value.observed_ns[1] <= high


def _against(value: Setting, expected: int | None, source: str) -> None:
    """Write what was expected, if anything was."""
    value.expected = expected
    value.source = None if expected is None else source


def _judged_time(name: str, prober: Prober, expectation: Expectation, expected: int) -> tuple[str, str]:
    """Return verdict and why of idle or interval."""
    value: Setting = getattr(prober, name)
    if not _shows(value):
        return NOT_OBSERVABLE, value.why or "no gap of this timer was seen"
    if name == "idle" and _too_far_apart(prober, expectation):
        shortest = duration((prober.gaps_ns or (0, 0))[0])
        return DIFFERS, looks_like(name, prober, expectation, expected) or f"probes at least {shortest} apart"
    if fits(name, value, expected):
        return OK, value.why
    if value.assumes and value.candidates and _possible(value, expected):
        return NOT_OBSERVABLE, f"{sentence_of(value.assumes)}; else {expected} s would show the same"
    low, high = band_ns(expected)
    if not value.candidates and value.observed_ns and low <= value.observed_ns[0] <= high:
        later = duration(value.observed_ns[1])
        return NOT_OBSERVABLE, f"some gaps are as expected, others (up to {later}) later than a timer may be"
    return DIFFERS, looks_like(name, prober, expectation, expected) or _misses(value, expected)


def _too_far_apart(prober: Prober, expectation: Expectation) -> bool:
    """Return whether there are several gaps between probes, all longer than idle and interval allow."""
    if expectation.idle is None or expectation.interval is None or prober.gaps_ns is None or prober.probes < FEWEST:
        return False
    latest_ns = band_ns(max(expectation.idle, expectation.interval))[1]
    return prober.gaps_ns[0] > latest_ns + (prober.reply_after_ns or (0, 0))[1]


def _possible(value: Setting, expected: int) -> bool:
    """Return whether a time outside of the candidates may be set if the candidates' assumptions are wrong.

    Keepalive that came late, an interval above idle and missing frames all make gaps longer, never shorter; a
    clock rate shifts them within the timer's lateness, a coarse timer within its grid, jitter within its share, a long
    path between capture and prober within few seconds.
    """
    others = set(value.assumes) - {"linux-timer", "fine-timer", "steady-timer", "near-prober"}
    above = min(value.candidates or [0]) - expected
    if above > 0 and (others or (above <= COARSEST and {"fine-timer", "near-prober"} & set(value.assumes))):
        return True
    if value.observed_ns is None:
        return False
    low, high = band_ns(expected)
    late = expected * SECOND_NS <= value.observed_ns[0] and value.observed_ns[1] <= (1 + JITTER) * expected * SECOND_NS
    return ("steady-timer" in value.assumes and late) or (
        "linux-timer" in value.assumes and low <= value.observed_ns[0] <= high
    )


def _misses(value: Setting, expected: int) -> str:
    """Return the direction in which a setting misses its expectation, if no candidates show it."""
    if value.candidates or value.observed_ns is None:
        return ""
    first = duration(value.observed_ns[0])
    sooner = value.observed_ns[0] < band_ns(expected)[0]
    return f"{first} is {'sooner than' if sooner else 'later than a timer is that was armed for'} {expected} s"


def looks_like(name: str, prober: Prober, expectation: Expectation, expected: int) -> str:
    """Return what a setting that differs looks like instead, or nothing."""
    value: Setting = getattr(prober, name)
    for number in SYSTEM[name]:
        if fits(name, value, number):
            return f"looks like the system's default of {number}: {OPTIONS[name]} never reached this socket"
    if name in TIMES:
        if fits(name, value, expected * 1000):
            return f"looks like milliseconds taken as seconds: {expected * 1000:,} s"
        if expected >= 1000 and fits(name, value, expected // 1000):
            return f"looks like seconds taken as milliseconds: {expected // 1000:,} s"
        if _swapped(prober, expectation):
            return "looks like idle and interval swapped"
    known = next((row for row in RUNTIMES if _is_like(prober, row, name)), None)
    return f"looks like {known} (a guess)" if known else ""


def _shows(value: Setting) -> bool:
    """Return whether anything is known of a setting: seen on the wire, or read from the socket."""
    return bool(value.observed_ns or value.observed or value.candidates)


def _swapped(prober: Prober, expectation: Expectation) -> bool:
    """Return whether idle is as the interval was expected, and the interval, where it shows, as idle was."""
    idle, interval = expectation.idle, expectation.interval
    if idle is None or interval is None or idle == interval:
        return False
    pairs = (("idle", prober.idle, interval), ("interval", prober.interval, idle))
    shown = [(name, value, number) for name, value, number in pairs if _shows(value)]
    return bool(shown) and all(fits(name, value, number) for name, value, number in shown)


def _is_like(prober: Prober, known: Default, judged: str) -> bool:
    """Return whether all that was observed is as in a known default, the judged setting among it."""
    numbers = dict(zip(OPTIONS, known.settings, strict=True))
    shown = [(name, getattr(prober, name), number) for name, number in numbers.items() if number is not None]
    shown = [(name, value, number) for name, value, number in shown if _shows(value)]
    same = all(fits(name, value, number) for name, value, number in shown)
    return same and len(shown) >= known.needs and judged in [name for name, _, _ in shown]


def _judge_count(prober: Prober, expectation: Expectation) -> None:
    """Judge the count by the run that was given up, or by one that went on for longer."""
    value, expected = prober.count, expectation.count
    _against(value, expected, expectation.source)
    if expected is None:
        return
    value.verdict = NOT_OBSERVABLE
    longest, timeout_ns = longest_run(prober), expectation.user_timeout_ns
    if timeout_ns and timed_out(prober, timeout_ns) and not fits("count", value, expected):
        value.why = f"the user timeout of {duration(timeout_ns)} ended it: it overrides the count"
    elif has_holes(prober) and value.observed is not None:
        gaps = " to ".join(map(duration, prober.interval.observed_ns or ()))
        value.why = f"gaps of {gaps}: firings may be missing from the capture, so that the run may be longer than seen"
    elif longest > expected and not timeout_ns:
        value.verdict = DIFFERS
        value.why = f"{longest} probes in a row went unanswered, and the prober had not given up"
    elif value.candidates:
        value.verdict = OK
        if expected not in value.candidates:
            value.verdict = NOT_OBSERVABLE if _may_not_be_the_count(value, expectation) else DIFFERS
            value.why = _given_up(prober, expectation, max(value.candidates))
    elif not value.why:
        value.why = "no run of unanswered probes was given up"


def _may_not_be_the_count(value: Setting, expectation: Expectation) -> bool:
    """Return whether the count may be as expected though another number of probes was given up."""
    if "no-user-timeout" in value.assumes and expectation.user_timeout_ns is None:
        return True
    return "no-frame-missing" in value.assumes and (expectation.count or 0) > max(value.candidates or [0])


def _given_up(prober: Prober, expectation: Expectation, run: int) -> str:
    """Return why a run of ``run`` probes may have been given up before or after the count that was expected."""
    span = user_timeout_words(prober)
    guess = looks_like("count", prober, expectation, expectation.count or 0)
    if not span or (guess and prober.count.verdict == DIFFERS):
        return guess
    early = expectation.count is not None and run < expectation.count
    return f"gave up {'early' if early else 'late'}, after {run}: count {run}, or a TCP_USER_TIMEOUT of {span}"


def _judge_user_timeout(prober: Prober, expectation: Expectation) -> None:
    """Judge the user timeout, in milliseconds as the socket counts, by when the prober gave up."""
    value, expected_ns = prober.user_timeout, expectation.user_timeout_ns
    if not expected_ns:
        return
    _against(value, expected_ns // 1_000_000, expectation.source)
    if value.candidates:
        value.verdict = OK if value.expected in value.candidates else DIFFERS
        return
    bracket = user_timeout(prober)
    if bracket is None:
        value.verdict, value.why = NOT_OBSERVABLE, "no run of unanswered probes was given up"
        return
    value.observed_ns, value.n = bracket, 1
    if timed_out(prober, expected_ns):
        value.verdict, value.why = OK, ""
        if not fits("count", prober.count, expectation.count or 0):
            _end_by_user_timeout(prober)
        return
    value.verdict = DIFFERS
    by_count = prober.count.verdict == OK
    value.why = "given up by the count: TCP_USER_TIMEOUT never reached this socket" if by_count else ""


def _end_by_user_timeout(prober: Prober) -> None:
    """Change the ending of the run that was given up."""
    if prober.ending == Ending.GAVE_UP:
        prober.end(Ending.USER_TIMEOUT)
