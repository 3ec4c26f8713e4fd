"""From probers' histories to the settings that could have produced them: arrays in, arrays out.

Every timer that a prober may run (``systems``) is tried (``search``). A setting's candidates are those of every timer
that explains the firings (``decide``); which clock the sockets of a host share may narrow them.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from kacap.kernels import Row, entry, fetch, kernel
from kacap.rows import by_group
from kacap.timing.assumes import Assumes
from kacap.timing.decide import BELOW, ESTIMATE, SHOWN, EstimateRows, SettingReason, decide, fit_below, look
from kacap.timing.history import FIRINGS_KEPT, STEP, HistoryRows, StepRows
from kacap.timing.search import FIT, GAP, IDLE, PIECES, REVERSED, WALK, search
from kacap.timing.systems import LINUX, LINUX_BITS, ROWS, TIMERS, possible

PATH_NS = 100_000_000.0  # there and back between the capture and the prober, where nothing shows it
PATH_SLACK_NS = 5_000_000.0
GAPS = 3  # of one prober that show its host's clock
FEW = 16  # among so many probers of a host one may be unlike the others

MANY = 1 << 30
AHEAD = 2  # probers whose steps, which lie where their time came, are asked for before
MANY_PROBERS = 10_000  # from here on a second thread pays
PART = 2048  # probers that a thread takes at a time

_STEADY, _NEAR = np.uint16(Assumes.STEADY_TIMER), np.uint16(Assumes.NEAR_PROBER)
_LINUX_TIMER = np.uint16(Assumes.LINUX_TIMER)
_LINUX = range(len(LINUX))
_NO_GAP, _TOO_MANY = int(SettingReason.NO_GAP), int(SettingReason.TOO_MANY)


@dataclass(frozen=True, slots=True)
class Estimates:
    """The estimates of some probers; ``clocks`` holds the jiffies per second that each host's sockets show, by host."""

    histories: HistoryRows
    rows: EstimateRows
    clocks: dict[int, set[int]]


def farthest_ns(path_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how long a segment takes from the capture to the prober and back at most; 0: that is not known."""
    return np.where(path_ns > 0, path_ns * 1.5 + PATH_SLACK_NS, PATH_NS)


class Estimating:
    """Estimates under way: begun when made, on a thread of its own where there are many; ``result`` lends a hand."""

    def __init__(
        self,
        histories: HistoryRows,
        steps: StepRows,
        payload_bytes: NDArray[np.uint8],
        path_ns: NDArray[np.int64],
        system: str = "auto",
    ) -> None:
        """Begin to explain each prober of ``histories``; STEP rows name their prober, those of one in order of time.

        ``path_ns`` is how long a segment takes from the capture to the prober and back (0: not known). ``system`` is
        one of ``systems.NAMES``; ``auto`` leaves open what the gaps leave open. Nothing of it may change before
        ``result`` has returned.
        """
        self._histories, self._steps, self._path_ns, self._system = histories, steps, path_ns, system
        self._with_bytes = np.array(possible(system), np.int64)[(payload_bytes > 0).astype(np.int64)]
        self._rows = np.zeros(len(histories), ESTIMATE)
        self._parts = iter(range(0, len(histories), PART))  # whoever is free takes the next
        self._other = Thread(target=self._work, daemon=True)  # where nobody asks for the result, nobody waits
        self._errors: list[BaseException] = []
        self._order, self._firsts = by_group(steps["prober"], len(histories))
        self._paths = farthest_ns(path_ns)
        if len(histories) >= MANY_PROBERS:
            self._other.start()

    def _work(self) -> None:
        """Estimate one part after another; the kernel leaves the interpreter to others meanwhile."""
        try:
            scratch = (
                np.zeros((len(TIMERS), BELOW + 1), FIT),
                np.zeros(1, WALK),
                np.zeros(1, GAP),
                np.zeros(1, SHOWN),
                np.zeros(FIRINGS_KEPT, STEP),
            )
            for start in self._parts:
                if self._errors:
                    return
                some = slice(start, start + PART)
                kept = self._steps, self._order, self._firsts[start : start + PART + 1]
                about = self._with_bytes[some], self._paths[some]
                _estimate(self._rows[some], self._histories[some], kept, about, ROWS, scratch)
        except BaseException as error:  # raised by ``result``, in the thread that wants the estimates
            self._errors.append(error)

    def result(self, hosts: NDArray[np.int64]) -> Estimates:
        """Return the estimates; ``hosts`` tells whose sockets share a kernel, by prober."""
        self._work()
        if self._other.ident is not None:
            self._other.join()
        for error in self._errors:
            raise error
        rows, path_ns = self._rows, self._path_ns
        sure = (self._histories["firings"] > GAPS) & ((path_ns > 0) | (self._histories["idle_n"] == 0))
        names, of_host = np.unique(hosts, return_inverse=True)
        clocks = _clocks(rows, names, of_host, sure) if self._system == "auto" else {}
        _narrow(rows, names, of_host, clocks)
        if self._system != "auto":  # what a user names is known
            rows["idle_assumes"] &= ~_STEADY
            rows["interval_assumes"] &= ~_STEADY
        least = np.where(rows["idle_low"] > 0, rows["idle_low"], MANY).min(axis=1, initial=MANY)
        rows["idle_assumes"] |= np.where((path_ns <= 0) & (least > 1) & (least < MANY), _NEAR, np.uint16(0))
        return Estimates(self._histories, rows, clocks)


@entry
def _estimate(rows: Row, histories: Row, kept: Row, about: Row, timers: Row, scratch: Row) -> None:
    """Fill an ESTIMATE row for each history; ``kept`` is (steps, their order by prober, first of each).

    ``about`` is (bits of the timers that each may run, round trips from the capture).
    """
    steps, order, firsts = kept
    bits, paths = about
    fits, walks, gaps, shown, room = scratch
    for i in range(len(rows)):
        own, later = room[: min(firsts[i + 1] - firsts[i], len(room))], min(i + AHEAD, len(rows) - 1)
        for k in range(firsts[later], firsts[later + 1]):
            fetch(steps[order[k]])
        for k in range(len(own)):
            own[k] = steps[order[firsts[i] + k]]
        if len(own) == 0:
            rows[i].idle_why = rows[i].interval_why = _NO_GAP
            continue
        walks[0].pieces = PIECES
        look(shown[0], histories[i], own)
        for m in range(len(timers)):
            for what in range(BELOW + 1):
                fits[m, what].low = fits[m, what].high = fits[m, what].n = 0
            if not bits[i] >> m & 1:
                continue
            for what in range(BELOW):
                if what != REVERSED or fits[m, IDLE].n:
                    search((timers[m], paths[i]), own, what, fits[m, what], (walks[0], gaps[0]))
            fit_below(timers[m], paths[i], own, fits[m, REVERSED], fits[m, BELOW])
        if walks[0].pieces < 0:
            rows[i].idle_why = rows[i].interval_why = _TOO_MANY
        else:
            decide(rows[i], histories[i], shown[0], fits)


def _clocks(
    rows: EstimateRows, names: NDArray[np.int64], of_host: NDArray[np.intp], sure: NDArray[np.bool_]
) -> dict[int, set[int]]:
    """Return the clock rates of the hosts that run Linux: where no other timer explains a socket, and it explains all.

    One socket in ``FEW`` may be unlike the others. Only ``sure`` ones show that it is Linux: those with enough gaps, of
    which it is known that they do not hold the path to the capture. Hosts that leave every rate open are left out.
    """
    explains = rows["explains"]
    gaps = explains.astype(bool) | rows["idle_why"].astype(bool) | rows["interval_why"].astype(bool)
    total = np.bincount(of_host[gaps], minlength=len(names))
    unlike = np.array([np.bincount(of_host[gaps & (explains >> m & 1 == 0)], minlength=len(names)) for m in _LINUX])
    fewest = unlike.min(axis=0)
    no_other = sure & (explains > 0) & (explains & LINUX_BITS == explains)
    shown = np.bincount(of_host[no_other], minlength=len(names)) > 0
    agreed = shown & (fewest * FEW <= total) & (unlike.max(axis=0) > fewest)
    return {
        int(names[host]): {LINUX[m].hz for m in _LINUX if unlike[m, host] == fewest[host]}
        for host in np.flatnonzero(agreed).tolist()
    }


def _narrow(
    rows: EstimateRows, names: NDArray[np.int64], of_host: NDArray[np.intp], clocks: dict[int, set[int]]
) -> None:
    """Leave those candidates that the clock rate of a prober's host explains, where it explains that prober."""
    agreed = {host: sum(1 << m for m in _LINUX if LINUX[m].hz in rates) for host, rates in clocks.items()}
    _leave(rows, np.array([agreed.get(name, 0) for name in names.tolist()], np.int64)[of_host])


@entry
def _leave(rows: Row, bits: Row) -> None:
    """Leave in each ESTIMATE row the candidates of the timers in ``bits``, where these explain it."""
    for i in range(len(rows)):
        row = rows[i]
        if row.explains & bits[i]:
            fewer = _leave_of(row.idle_low, row.idle_high, bits[i])
            row.idle_assumes = row.idle_assumes & ~_STEADY | (_LINUX_TIMER if fewer else np.uint16(0))
            fewer = _leave_of(row.interval_low, row.interval_high, bits[i])
            row.interval_assumes = row.interval_assumes & ~_STEADY | (_LINUX_TIMER if fewer else np.uint16(0))


@kernel
def _leave_of(low: Row, high: Row, bits: Row) -> Row:
    """Leave the candidates of the timers in ``bits`` if there are any; return whether they span less than all did."""
    least, kept_least, most, kept_most = np.int64(MANY), np.int64(MANY), np.int64(0), np.int64(0)
    for m in range(len(low)):
        own = bits >> m & 1
        most, kept_most = max(most, np.int64(high[m])), max(kept_most, np.int64(high[m]) * own)
        if low[m] > 0:
            least = min(least, np.int64(low[m]))
            kept_least = min(kept_least, np.int64(low[m])) if own else kept_least
    if kept_most == 0:
        return False
    for m in range(len(low)):
        if not bits >> m & 1:
            low[m] = high[m] = 0
    return least < kept_least or most > kept_most
