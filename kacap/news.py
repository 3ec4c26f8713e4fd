"""What is new after a batch: rows that were added or changed, in order, and the records they stand for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np

from kacap.classify.kinds import Kind
from kacap.classify.tables import Change
from kacap.model import Episode, SegmentRecord
from kacap.timing.gathering import Changes
from kacap.views import Views

T = TypeVar("T", covariant=True)

_SEGMENT, _ENDED = int(Change.SEGMENT), int(Change.ENDED)


class Made(Iterable[T]):
    """Things that are made each time somebody goes through them."""

    def __init__(self, make: Callable[[], Iterator[T]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[T]:
        return self._make()


@dataclass(slots=True)
class News:
    """``changes`` in order, then ``others``: records that no row stands for (``kacap.model``), made when asked for.

    ``withheld`` are rows of EPISODE whose ending is not sure yet; they come in a later ``episodes``.
    """

    views: Views
    changes: Changes
    withheld: frozenset[int] = frozenset()
    episodes: list[int] = field(default_factory=list)  # rows of EPISODE that were withheld before
    others: list[Iterable[object]] = field(default_factory=list)

    def records(self) -> Iterator[object]:
        """Yield the records that are final: segments; probes and their episode when a run is over; the others."""
        what, rows = self.changes.rows["what"], self.changes.rows["row"]
        told, over = what == _SEGMENT, (what == _ENDED) & ~np.isin(rows, list(self.withheld))
        segments = iter(self.views.segments(self.changes.decided[rows[told]]))
        runs = self.views.passing(rows[over])
        for is_segment in told[told | over].tolist():
            if is_segment:
                yield next(segments)
            else:
                yield from _run(next(runs))
        yield from self.late()

    def segments(self, kinds: Collection[Kind] = tuple(Kind)) -> Iterator[SegmentRecord]:
        """Yield the records of the segments of this batch that have events and are of these kinds, in order."""
        rows = self.changes.rows["row"][self.changes.rows["what"] == _SEGMENT]
        decided = self.changes.decided[rows]
        yield from self.views.segments(decided[np.isin(decided["kind"], list(map(int, kinds)))])

    def late(self) -> Iterator[object]:
        """Yield the records that stand for no change of this batch: episodes that were withheld, and the others."""
        for run in self.views.passing(np.array(self.episodes, np.int64)):
            yield from _run(run)
        yield from chain.from_iterable(self.others)


def _run(episode: Episode) -> Iterator[object]:
    """Yield the probes of an episode, then the episode."""
    yield from episode.probes
    yield episode


Sink = Callable[[News], None]


def passed_over(news: News) -> None:
    """Take what is new and do nothing: a sink for those who use what ``Analyzer.feed`` returns."""


def each(take: Callable[[object], None]) -> Sink:
    """Return a sink that calls ``take`` with every record (``kacap.model``) as soon as it is final."""

    def sink(news: News) -> None:
        for record in news.records():
            take(record)

    return sink


def together(sinks: Sequence[Sink]) -> Sink | None:
    """Return a sink that hands its news on to several; None without any."""
    if not sinks:
        return None

    def sink(news: News) -> None:
        for take in sinks:
            take(news)

    return sink
