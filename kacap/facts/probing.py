"""Facts over all probers of a capture, by array: how often each probes, when addresses answered, what was missed."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_halves
from kacap.classify.kinds import ENDINGS, Ending, Grade
from kacap.classify.tables import Outcome
from kacap.rows import by_group, chains, numbered
from kacap.timing.gathering import Gatherer

_ANSWERED, _AMBIGUOUS = ENDINGS.index(Ending.ANSWERED), int(Grade.AMBIGUOUS)


class Probing:
    """The probers of a gatherer; arrays are by row of PROBER, whose row 0 is nobody."""

    def __init__(self, gatherer: Gatherer) -> None:
        self.gatherer = gatherer
        self.probers = gatherer.probers.filled

    def address(self, *, peer: bool) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the address of each prober, or of its peer: its two halves."""
        watched, of_b = self.gatherer.watched.rows, (self.probers["side"] == 1) != peer
        of = self.probers["watched"]
        hi, lo = (np.where(of_b, watched[f"b_{half}"][of], watched[f"a_{half}"][of]) for half in ("hi", "lo"))
        return hi, lo

    def one_each(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return some rows without those whose addresses and ports a later one of them has: their time is over."""
        watched = self.gatherer.watched.rows[self.probers["watched"][numbers]]
        swapped = self.probers["side"][numbers] == 1
        columns = [
            np.where(swapped == (end == "a"), watched[f"b_{part}"], watched[f"a_{part}"]).astype(np.uint64)
            for end in ("a", "b")
            for part in ("hi", "lo", "port")
        ]
        _, last = np.unique(np.column_stack(columns)[::-1], axis=0, return_index=True)
        found: NDArray[np.int64] = numbers[np.sort(len(numbers) - 1 - last)]
        return found

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
        """When probes were answered, by the address that answered, and the span of each address."""
        probes = self.gatherer.probes.filled
        answered = probes["reply_frame"] != 0
        addresses, number = numbered(*self.address(peer=True))
        order, bounds = by_group(number[probes["prober"][answered]], len(addresses))
        times = (probes["time_ns"][answered] + probes["reply_after_ns"][answered])[order]
        return times, dict(zip(addresses, pairwise(bounds.tolist()), strict=True))

    @cached_property
    def _replied(self) -> dict[str, NDArray[np.int64]]:
        """When each address that was asked for answered probes, in order."""
        return {}

    def replied_within(self, address: str, low_ns: int, high_ns: int) -> bool:
        """Return whether an address answered a probe, on any connection, within a span."""
        if address not in self._replied:
            times, spans = self._replies
            self._replied[address] = np.sort(times[slice(*spans.get(address_halves(address), (0, 0)))])
        own = self._replied[address]
        first = int(np.searchsorted(own, low_ns))
        return first < len(own) and int(own[first]) <= high_ns

    def pace_ns(self, limit_ns: int) -> NDArray[np.int64]:
        """Return how often each prober probes while it is answered, nanoseconds; 0: not shown, or not below a limit.

        Runs that nothing answers are fast, and end: where probes were missed it is the median time between probes that
        were answered at once. So it is where the clock went back: what lies between first and last is no time that
        passed. Ambiguous probes, and those that all have the same time, make no rate.
        """
        probers = self.probers
        shown = (probers["replies"] >= 2) & (probers["probes"] > 1) & (probers["grade"] != _AMBIGUOUS)
        pace = np.zeros(len(probers), np.int64)
        span = probers["last_ns"] - probers["first_ns"]
        even = shown & (probers["missed"] == 0) & (probers["gap_least_ns"] >= 0)
        pace[even] = span[even] // (probers["probes"][even] - 1)
        uneven = np.flatnonzero(shown & ~even & (probers["gap_least_ns"] < limit_ns))
        pace[uneven] = self._medians_ns(uneven)
        pace[pace >= limit_ns] = 0
        return pace

    def _medians_ns(self, numbers: NDArray[np.int64]) -> list[int]:
        """Return the median time between each prober's probes that were answered at once; 0: misses outnumber them."""
        table, episodes = self.probers, self.gatherer.episodes.rows
        of_each = table["episodes"][numbers]
        own = episodes.take(chains(episodes["previous"], table["last_episode"][numbers], of_each))
        lone = (own["probes"] == 1) & (own["ending"] == _ANSWERED)
        times = self.gatherer.probes.rows["time_ns"][own["last"][lone]]
        lasts, found = np.cumsum(of_each), np.cumsum(np.append(0, lone))
        bounds = zip(found[lasts - of_each].tolist(), found[lasts].tolist(), strict=True)
        return [
            _median_ns(times[start:end]) if end - start > max(missed, 1) else 0
            for (start, end), missed in zip(bounds, table["missed"][numbers].tolist(), strict=True)
        ]


def _median_ns(times: NDArray[np.int64]) -> int:
    """Return the median time between some moments, nanoseconds; 0 where the clock went back."""
    gaps = np.sort(np.diff(times))
    return max(int(gaps[len(gaps) // 2]), 0)
