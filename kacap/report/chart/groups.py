"""Firings by the setting that governs them: how late each was, and how late it may be by the timer wheel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.clock import SECOND_NS
from kacap.model import Prober
from kacap.report.chart.expected import Term, terms_of
from kacap.report.chart.firings import IDLE, INTERVAL, TIMERS, UNKNOWN_NS, FiringRows, firings_of
from kacap.timing.wheel import EARLY_NS, latest_s
from kacap.units import between, duration

MARKERS = {IDLE: "o", INTERVAL: "^"}


@dataclass(slots=True)
class Group:
    """The firings that one setting governs, of one prober or of several with the same: columns."""

    timer: int
    term: Term
    hz: tuple[int, ...]
    time_ns: NDArray[np.int64]
    late_ns: NDArray[np.int64]
    missed: NDArray[np.bool_]

    @property
    def most_ns(self) -> int:
        """How late a timer for this setting may be, by the timer wheel; 0 where no model says it."""
        return max(round(latest_s(self.term.value, hz) * SECOND_NS) for hz in self.hz) if self.term.modelled else 0

    @property
    def name(self) -> str:
        """``idle 60 s``, a guess with a question mark, of one prober with all that it may be."""
        return f"{TIMERS[self.timer]} {self.term}" + (f" ({self.term.span})" if self.term.span else "")

    def said(self) -> str:
        """Return how late the firings were: ``idle 60 s: 0.1 to 1.4 s late (n=6)``."""
        early = int((self.late_ns < -EARLY_NS).sum())
        words = f"{self.name}: {_signed(int(self.late_ns.min()), int(self.late_ns.max()))} (n={len(self.late_ns):,})"
        return words + (f", {early:,} early" if 0 < early < len(self.late_ns) else "")


def _signed(low_ns: int, high_ns: int) -> str:
    """Return a range of lateness in words."""
    if high_ns < 0:
        return f"{between(-high_ns, -low_ns)} early"
    if low_ns < -EARLY_NS:
        return f"{duration(-low_ns)} early to {duration(max(high_ns, 0))} late"
    return f"{between(max(low_ns, 0), max(high_ns, 0))} late"


def groups_of(analysis: Analysis, probers: list[Prober]) -> list[Group]:
    """Return the firings of some probers by setting, the stated ones first."""
    by: dict[tuple[bool, int, Term, tuple[int, ...]], list[FiringRows]] = {}
    for prober in probers:
        terms = terms_of(analysis, prober)
        found = firings_of(prober, terms)
        for timer, term in ((IDLE, terms.idle), (INTERVAL, terms.interval)):
            rows = found[(found["timer"] == timer) & (found["due_ns"] != UNKNOWN_NS)]
            if term is not None and len(rows):
                by.setdefault((not term.stated, timer, term, terms.hz), []).append(rows)
    keys = sorted(by, key=lambda key: (key[0], key[1], key[2].value, key[2].modelled, key[3]))
    return [_group(key[1], key[2], key[3], by[key]) for key in keys]


def _group(timer: int, term: Term, hz: tuple[int, ...], parts: list[FiringRows]) -> Group:
    """Return one group from the rows of each of its probers."""
    rows = np.concatenate(parts)
    term = term if len(parts) == 1 else replace(term, span="")
    rows = rows[np.argsort(rows["time_ns"], kind="stable")]
    return Group(timer, term, hz, rows["time_ns"], rows["time_ns"] - rows["due_ns"], rows["missed"])
