"""Facts over all probers of a capture, by array: how often each probes, when addresses answered, what was missed."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_halves
from kacap.classify.kinds import ENDINGS, Ending, Grade
from kacap.classify.tables import Outcome
from kacap.timing.gathering import Gatherer

_ANSWERED, _AMBIGUOUS = ENDINGS.index(Ending.ANSWERED), int(Grade.AMBIGUOUS)


class Probing:
    """The probers of a gatherer; arrays are by row of PROBER, whose row 0 is nobody."""

    def __init__(self, gatherer: Gatherer) -> None:
        self.gatherer = gatherer
        self.probers = gatherer.probers.filled

    def address(self, *, peer: bool) -> NDArray[np.uint64]:
        """Return the address of each prober, or of its peer: its two halves, shape (probers, 2)."""
        ends, of_b = self.gatherer.watched.rows[self.probers["watched"]], (self.probers["side"] == 1) != peer
        return np.column_stack([np.where(of_b, ends[f"b_{half}"], ends[f"a_{half}"]) for half in ("hi", "lo")])

    @property
    def missed(self) -> int:
        """How many probes were missed in all."""
        return int(self.probers["missed"].sum())

    @property
    def missed_ns(self) -> NDArray[np.int64]:
        """When the missed probes were sent, nanoseconds since 1970."""
        probes = self.gatherer.probes.filled
        times: NDArray[np.int64] = probes["time_ns"][probes["outcome"] == Outcome.MISSED]
        return times

    @property
    def slowest_reply_ns(self) -> int:
        """How long the slowest reply took, 0 without one."""
        return int(self.probers["reply_most_ns"].max(initial=0))

    @cached_property
    def _replies(self) -> tuple[NDArray[np.int64], dict[tuple[int, int], tuple[int, int]]]:
        """When probes were answered, by the address that answered and then by time, and the span of each address."""
        probes = self.gatherer.probes.filled
        answered = probes["reply_frame"] != 0
        addresses, number = np.unique(self.address(peer=True), axis=0, return_inverse=True)
        of = number.reshape(-1).astype(np.int32)[probes["prober"][answered]]
        times = probes["time_ns"][answered] + probes["reply_after_ns"][answered]
        order = np.lexsort((times, of))
        times, of = times[order], of[order]
        bounds = np.searchsorted(of, np.arange(len(addresses) + 1))
        keys = map(tuple, addresses.tolist())
        return times, dict(zip(keys, zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True), strict=True))

    def replied_within(self, address: str, low_ns: int, high_ns: int) -> bool:
        """Return whether an address answered a probe, on any connection, within a span."""
        times, spans = self._replies
        start, end = spans.get(address_halves(address), (0, 0))
        first = start + int(np.searchsorted(times[start:end], low_ns))
        return first < end and int(times[first]) <= high_ns

    def pace_ns(self, limit_ns: int) -> NDArray[np.int64]:
        """Return how often each prober probes while it is answered, nanoseconds; 0: not shown, or not below a limit.

        Runs that nothing answers are fast, and end: where probes were missed it is the median time between probes that
        were answered at once. Ambiguous probes make no rate.
        """
        probers = self.probers
        shown = (probers["replies"] >= 2) & (probers["probes"] > 1) & (probers["grade"] != _AMBIGUOUS)
        pace = np.zeros(len(probers), np.int64)
        span = probers["last_ns"] - probers["first_ns"]
        even = shown & (probers["missed"] == 0)
        pace[even] = np.maximum(span[even] // (probers["probes"][even] - 1), 1)
        for number in np.flatnonzero(shown & ~even & (probers["gap_least_ns"] < limit_ns)).tolist():
            pace[number] = self._median_ns(number)
        pace[pace >= limit_ns] = 0
        return pace

    @cached_property
    def _at_once(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The times of probes that were answered at once, by prober, and where those of each begin."""
        episodes = self.gatherer.episodes.filled
        lone = (episodes["probes"] == 1) & (episodes["ending"] == _ANSWERED) & (episodes["prober"] > 0)
        of, last = episodes["prober"][lone], episodes["last"][lone]
        order = np.argsort(of, kind="stable")
        times = self.gatherer.probes.rows["time_ns"][last[order]]
        return times, np.searchsorted(of[order], np.arange(len(self.probers) + 1))

    def _median_ns(self, number: int) -> int:
        """Return the median time between a prober's probes that were answered at once; 0: misses outnumber them."""
        times, bounds = self._at_once
        own = times[bounds[number] : bounds[number + 1]]
        if len(own) <= max(int(self.probers["missed"][number]), 1):
            return 0
        gaps = np.sort(np.diff(own))
        return max(int(gaps[len(gaps) // 2]), 1)
