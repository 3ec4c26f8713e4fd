"""The three settings of a prober, from the estimates of all: what was observed, and what could have produced it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kacap.model import Setting
from kacap.timing.assumes import Assumes, words_of
from kacap.timing.decide import EstimateRow, SettingReason
from kacap.timing.estimate import Estimates
from kacap.timing.history import HistoryRow
from kacap.units import between, duration

MOST = 10_000  # candidates that are listed


class Settings:
    """The settings of some probers of ``estimates``: all are made when those of one are first asked for."""

    def __init__(self, estimates: Estimates, probers: NDArray[np.int64]) -> None:
        self._estimates, self._probers = estimates, probers
        self._made: list[tuple[Setting, Setting, Setting]] = []

    def of(self, place: int) -> tuple[Setting, Setting, Setting]:
        """Return idle, interval and count of one of them."""
        if not self._made:
            self._made = list(settings_of(self._estimates, self._probers))
        return self._made[place]


def settings_of(estimates: Estimates, probers: NDArray[np.int64]) -> Iterator[tuple[Setting, Setting, Setting]]:
    """Yield idle, interval and count of some probers of ``estimates``."""
    rows = map(EstimateRow._make, estimates.rows[probers].tolist())
    histories = map(HistoryRow._make, estimates.histories[probers].tolist())
    for row, history in zip(rows, histories, strict=True):
        yield _idle(row, history), _interval(row, history), _count(row, history)


def _idle(row: EstimateRow, history: HistoryRow) -> Setting:
    """Return idle as the gaps after something was heard show it."""
    why = SettingReason(row.idle_why)
    if why == SettingReason.NO_GAP:
        lacks = "the capture lacks what the prober had last heard before it probed"
        began = "the capture began after the prober had last heard from its peer"
        return Setting(why=lacks if history.began else began)
    setting = Setting(
        (history.idle_min_ns, history.idle_max_ns) if history.idle_n else None,
        history.idle_n,
        assumes=words_of(row.idle_assumes),
    )
    _list(setting, row.idle_low, row.idle_high, why)
    if why == SettingReason.EITHER and setting.candidates:
        idle = spelled(setting.candidates[0], setting.candidates[-1])
        interval = spelled(row.either_low, row.either_high)
        gap = between(history.gap_min_ns, history.gap_max_ns)
        setting.why = f"answered every {gap}: idle {idle}, or interval {interval} with a shorter idle"
    return setting


def _interval(row: EstimateRow, history: HistoryRow) -> Setting:
    """Return the interval as gaps in unanswered runs show it, or the answered ones where it exceeds idle."""
    why = SettingReason(row.interval_why)
    if why == SettingReason.NO_GAP or (why == SettingReason.NOTHING and not history.interval_n):
        return Setting(why=_unanswered(history))
    setting = Setting(assumes=words_of(row.interval_assumes))
    if why == SettingReason.GOVERNS:
        setting.observed_ns = history.gap_min_ns, history.gap_max_ns
        setting.n, setting.why = history.firings - 1, "longer than idle, so that it governs answered probes too"
    elif history.interval_n:
        setting.observed_ns = history.interval_min_ns, history.interval_max_ns
        setting.n = history.interval_n
    _list(setting, row.interval_low, row.interval_high, why)
    return setting


def _list(setting: Setting, low: NDArray[np.int32], high: NDArray[np.int32], why: SettingReason) -> None:
    """Write the candidates of all timers, or why no setting is a candidate."""
    spans = frozenset((a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True) if a)
    candidates = None if why == SettingReason.TOO_MANY else _union(spans)
    if candidates is None:
        setting.assumes, setting.why = [], "so many settings would explain the gaps that only their range is shown"
    elif candidates:
        setting.candidates = list(candidates)
    else:
        setting.assumes, setting.why = [], "matches no known timer; observed range only"


@lru_cache(maxsize=64)  # the same few timers explain thousands of sockets
def _union(spans: frozenset[tuple[int, int]]) -> tuple[int, ...] | None:
    """Return what spans hold, in order; None: more than can be listed."""
    if sum(b - a + 1 for a, b in spans) > MOST:
        return None
    return tuple(sorted(set[int]().union(*(range(a, b + 1) for a, b in spans))))


def spelled(low: int, high: int) -> str:
    """Return ``5 s`` or ``1 to 5 s``."""
    return f"{low} s" if low == high else f"{low} to {high} s"


def _unanswered(history: HistoryRow) -> str:
    """Return why interval and count do not show."""
    if not history.longest_run and not history.exhausted_n:
        return "no probe went unanswered"
    if history.longest_run > 1:
        return "the gaps between unanswered probes are not certain: the capture lacks frames"
    return "only one probe of a run went unanswered"


def _count(row: EstimateRow, history: HistoryRow) -> Setting:
    """Return the count as exhausted runs show it; other runs only say what it is not below.

    tcp_keepalive_timer gives up at the count or, where TCP_USER_TIMEOUT is set, by that alone.
    """
    longest, n = history.longest_run, history.exhausted_n
    if not n:
        return Setting(
            why=f"the prober was not seen to give up; count is at least {longest}" if longest else _unanswered(history)
        )
    least, most = history.exhausted_min, history.exhausted_max
    setting = Setting(observed=(least, most), n=n)
    if row.interval_why == SettingReason.NO_TIMER or history.holes or _has_hole(history):
        setting.why = "probes may be missing from the capture: the run may be longer than observed"
    elif least < most:
        setting.why = "the prober gave up after different numbers of probes: not all by the count"
    elif longest > most:
        setting.why = "the prober went on for longer in another run: it gave up by something other than the count"
    else:
        setting.candidates = [most]
        missing = 0 if n > 1 or not history.inexact else Assumes.NO_FRAME_MISSING
        setting.assumes = words_of(missing | Assumes.NO_USER_TIMEOUT)
        setting.why = _readings(most, history.timeout_min_ns, history.timeout_max_ns)
    return setting


def _readings(count: int, above_ns: int, up_to_ns: int) -> str:
    """Return both readings of a run that was given up, or nothing where its beginning is not known.

    tcp_keepalive_timer gives up at the first firing, once a probe is out, at which the user timeout has passed since
    something was heard: at the abort it had, at the firing before it had not.
    """
    if not up_to_ns:
        return ""
    span = f"between {duration(above_ns)} and {duration(up_to_ns)}" if above_ns else f"of at most {duration(up_to_ns)}"
    return f"count {count}, or TCP_USER_TIMEOUT {span}"


def _has_hole(history: HistoryRow) -> bool:
    """Return whether a gap of the interval is so much longer than another that firings are missing in it."""
    return bool(history.interval_n and history.interval_max_ns > 1.5 * history.interval_min_ns)
