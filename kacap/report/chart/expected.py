"""What a chart compares with: when each probe was due, by the configured settings or, marked as such, by guesses.

A setting that somebody stated is a ``Term`` with a source; one that nobody stated but the gaps suggest is a guess, the
roundest of its candidates. How late a timer may be comes from the model of the Linux timer wheel (``timing.wheel``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from kacap.analysis import Analysis
from kacap.clock import MILLISECOND_NS, SECOND_NS
from kacap.model import Episode, Prober, Setting
from kacap.timing.wheel import HZ_VALUES, latest_s
from kacap.units import duration, roundest

NAMES = ("idle", "interval", "count")


@dataclass(frozen=True, slots=True)
class Term:
    """One setting: seconds, or probes for count. ``stated``: somebody configured it; else it is a guess."""

    value: int
    stated: bool
    source: str = ""
    modelled: bool = True  # a Linux timer explains what was seen, or nothing was
    span: str = field(default="", compare=False)  # of a guess all that it may be, ``55 to 59``; empty: one value

    @property
    def ns(self) -> int:
        """The setting in nanoseconds."""
        return self.value * SECOND_NS

    def __str__(self) -> str:
        """Return ``60 s``; a guess with a question mark."""
        return f"{self.value} s" + ("" if self.stated else "?")


@dataclass(frozen=True, slots=True)
class Terms:
    """What is known of one prober's settings, and the clock rates that its host may have."""

    idle: Term | None
    interval: Term | None
    count: Term | None
    user_timeout_ns: int | None
    hz: tuple[int, ...]

    def late_ns(self, term: Term) -> int:
        """Return how late a timer for so many seconds may fire at most, 0 where no model says it."""
        if not term.modelled:
            return 0
        return max(round(latest_s(term.value, hz) * SECOND_NS) for hz in self.hz)

    def deadline_ns(self, episode: Episode) -> tuple[int, bool] | None:
        """Return when a run is given up by the count, and whether that is stated (else a guess)."""
        if self.interval is None or self.count is None:
            return None
        left = self.interval.ns * self.count.value
        parts = [self.interval, self.count]
        if self.idle is not None and episode.silent_since_ns is not None:
            start, parts = episode.silent_since_ns + self.idle.ns, [*parts, self.idle]
        else:
            start = episode.probes[0].time_ns
        return start + left, all(part.stated for part in parts)

    def said(self, *, spans: bool = True) -> str:
        """Return the settings in words: where they come from, which are guesses, and when nothing is known."""
        named = [(name, term) for name in NAMES if (term := getattr(self, name)) is not None]
        sources = sorted({term.source for _, term in named if term.stated and term.source})
        stated = [_named(name, term, spans) for name, term in named if term.stated]
        if self.user_timeout_ns:
            stated.append(f"user timeout {duration(self.user_timeout_ns)}")
        guessed = [_named(name, term, spans) for name, term in named if not term.stated]
        words = []
        if stated:
            words.append(f"configured: {', '.join(stated)}" + (f" ({', '.join(sources)})" if sources else ""))
        if guessed:
            none = "" if stated else "nothing configured is known; "
            words.append(f"{none}guessed from the gaps: {', '.join(guessed)}")
        return "; ".join(words) or "nothing configured is known, and the gaps suggest nothing"


def _named(name: str, term: Term, spans: bool) -> str:
    """Return ``idle 60 s`` or ``count 9``; of a guess all that it may be: ``idle 60 s (55 to 60)``."""
    unit = "" if name == "count" else " s"
    return f"{name} {term.value}{unit}" + (f" ({term.span})" if spans and term.span else "")


def term_of(value: Setting) -> Term | None:
    """Return what is known of a setting: as stated, else as guessed, else None."""
    modelled = bool(value.candidates) or not (value.observed_ns or value.observed)
    if value.expected is not None:
        return Term(value.expected, True, value.source or "", modelled)
    return _guessed(tuple(value.candidates)) if value.candidates else None


@lru_cache
def _guessed(candidates: tuple[int, ...]) -> Term:
    """Return the setting that is guessed of several: those of many probers are the same."""
    low, high = min(candidates), max(candidates)
    several = "" if low == high else f"{low} to {high}" if high - low > 1 else f"{low} or {high}"
    return Term(roundest(list(candidates)), False, span=several)


def terms_of(analysis: Analysis, prober: Prober) -> Terms:
    """Return what is known of a prober's settings."""
    ends_after = prober.user_timeout.expected
    return Terms(
        term_of(prober.idle),
        term_of(prober.interval),
        term_of(prober.count),
        ends_after * MILLISECOND_NS if ends_after else None,
        clock_rates(analysis, prober.side.address),
    )


def clock_rates(analysis: Analysis, address: str) -> tuple[int, ...]:
    """Return the jiffies per second that a host may have: all that Linux is built with where nothing shows them."""
    return tuple(sorted(analysis.clocks.get(address) or HZ_VALUES))


def hz_words(rates: Iterable[int]) -> str:
    """Return clock rates in words: ``HZ=250``, ``HZ=100, 250 or 300``; all of them: ``any HZ``."""
    known = sorted(rates)
    if known == sorted(HZ_VALUES):
        return "any HZ"
    *first, last = map(str, known)
    return f"HZ={', '.join(first)} or {last}" if first else f"HZ={last}"
