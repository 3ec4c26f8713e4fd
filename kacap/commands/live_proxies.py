"""What ``kacap live`` tells of proxies on this host: which two connections are one conversation, and how they fare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kacap.clock import SECOND_NS
from kacap.commands.live_sockets import Sockets
from kacap.compare import proxies
from kacap.connections import made_of
from kacap.facts.ended import EndedRow, ended_of
from kacap.facts.legs import Joined, client_of, join
from kacap.model import Connection
from kacap.report.live_events import LiveTracker
from kacap.report.live_rows import LiveEvent
from kacap.report.records import written

LOOK_NS = SECOND_NS  # how often it is looked how two legs fare
TRY_NS = 5 * SECOND_NS  # how often connections are held against each other
MOST_KEPT = 100  # pairs of legs; the oldest go first


class Proxies:
    """Joins legs as their messages come; the process of their sockets is asked for where that can be."""

    def __init__(self, live: LiveTracker, sockets: Sockets | None) -> None:
        self._live, self._sockets = live, sockets
        self._pairs: dict[tuple[int, int], Joined] = {}  # by serial numbers
        self._told: dict[tuple[int, int], tuple[str, str]] = {}
        self._looked_ns = self._tried_ns = 0

    def look(self, now_ns: int) -> list[LiveEvent]:
        """Return what is new about proxies: two legs that belong together, who probes on them, which ended first."""
        if 0 <= now_ns - self._looked_ns < LOOK_NS:
            return []
        self._looked_ns = now_ns
        self.update(now_ns)
        if not 0 <= now_ns - self._tried_ns < TRY_NS:
            self._tried_ns = now_ns
            self._try(now_ns)
        return [event for key in self._pairs if (event := self._event(key, now_ns)) is not None]

    def update(self, now_ns: int) -> None:
        """Learn how the legs that are known fare."""
        now = self._connections([number for key in self._pairs for number in key], now_ns)
        for key, one in self._pairs.items():
            front, rear = now.get(key[0], one.front), now.get(key[1], one.rear)
            self._pairs[key] = replace(one, front=front, rear=rear)

    def _try(self, now_ns: int) -> None:
        """Hold the connections against each other that belong to no pair yet."""
        messages, taken = self._live.messages, {number for key in self._pairs for number in key}
        now = self._connections(messages.numbers, now_ns)
        messages.drop(set(messages.numbers) - now.keys())
        legs = [messages.leg(one) for number, one in now.items() if number not in taken]
        for one in join(legs, self._sockets.holder_of if self._sockets is not None else None):
            self._pairs[one.front.connection, one.rear.connection] = one
        messages.give_up(messages.numbers)
        for key in list(self._pairs)[:-MOST_KEPT]:
            del self._pairs[key]
            self._told.pop(key, None)

    def _connections(self, numbers: list[int], now_ns: int) -> dict[int, Connection]:
        """Return the connections of these serial numbers that are still held, as they are now."""
        analyzer = self._live.analyzer
        rows = analyzer.tracker.rest()
        rows = rows[np.isin(rows["id"], numbers)] if numbers else rows[:0]
        watched = rows["watched"][rows["watched"] >= 0].tolist()
        ends = dict(zip(watched, map(EndedRow._make, analyzer.ends_of(watched).tolist()), strict=True))
        found = {}
        made = zip(made_of(rows, analyzer.views), rows["watched"].tolist(), strict=True)
        for one, number in made:
            found[one.connection] = one
            one.observed_until_ns = now_ns
            if number in ends:
                one.ended = ended_of(ends[number], one)
        return found

    def _event(self, key: tuple[int, int], now_ns: int) -> LiveEvent | None:
        """Return what to tell of a pair, None where nothing has changed."""
        one, before = self._pairs[key], self._told.get(key)
        self._told[key] = now = (proxies.probing_words(one), _ending(one))
        if now == before:
            return None
        parts = [] if before else [f"proxy: {proxies.joining_words(one)}"]
        parts += [words for words, old in zip(now, before or ("", ""), strict=True) if words and words != old]
        if before:
            parts[0] = f"proxy, goes on as {client_of(one.rear)} > {one.rear.destination}: {parts[0]}"
        return LiveEvent(now_ns, client_of(one.front), one.front.destination, "; ".join(parts), "doubt")

    def lines(self) -> Iterator[str]:
        """Yield two lines for each conversation, for the summary."""
        return proxies.lines(list(self._pairs.values()))

    def records(self) -> Iterator[str]:
        """Yield a ``proxy`` record for each conversation."""
        return (written("proxy", fields) for fields in proxies.records(list(self._pairs.values())))


def _ending(one: Joined) -> str:
    """Return which leg ended first, without a time that runs."""
    both = None not in (one.front.ended.time_ns, one.rear.ended.time_ns)
    words = proxies.death_words(one)
    return words if both or not words else f"{words.partition(',')[0]}, the other is open"
