"""Runs a source through an analyzer on three threads: one decodes, one classifies, one gathers; each a bit ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Generic, Protocol, TypeVar

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer
from kacap.capture.frames import FrameBatch
from kacap.capture.records import BATCH_FRAMES
from kacap.errors import Damage
from kacap.rows import joined
from kacap.segments import SegmentRows
from kacap.summary import Break, Drop

AHEAD = 4  # pieces between one thread and the next, besides the one at work
MOST_JOINED = 16  # small items that are taken as one piece
LOOK_S = 0.05  # how often a thread that waits looks whether it still should
LEAVE_S = 1.0  # how long the end waits for a thread that may be waiting for its source

T = TypeVar("T")


def run(source: Iterable[FrameBatch], analyzer: Analyzer, enough: Callable[[], bool] | None = None) -> None:
    """Feed every batch of a source to the analyzer, in order; an error of any part ends all and is raised.

    When ``enough`` returns True it ends, too, once all that was read is done, even while the source is idle.

    Kernels release the interpreter's lock, so that the threads overlap. Frames are decoded where they were read: their
    bytes are still in that processor's cache.
    """
    stop = threading.Event()
    segments = ahead(map(analyzer.decode, source), stop, _batches_of, joined, enough)
    pieces = ahead(map(analyzer.track, segments), stop)
    try:
        for tracked in pieces:
            analyzer.gather(tracked)
    finally:
        stop.set()
        pieces.close()


def _batches_of(segments: SegmentRows) -> float:
    """Return which part of a batch some segments make; many small files must not make a piece of too many."""
    return max(len(segments) / BATCH_FRAMES, 1 / MOST_JOINED)


def _one(item: object) -> float:
    """Count an item as one piece."""
    return 1


class Handover(Generic[T]):
    """Items on their way from the thread that makes them to the one that wants them, a few pieces ahead.

    ``share`` tells how many pieces an item makes, or which part of one.
    """

    def __init__(self, stop: threading.Event, share: Callable[[T], float]) -> None:
        self._stop, self._share = stop, share
        self._items: deque[T] = deque()
        self._ready = 0.0  # how many pieces they make
        self._changed = threading.Condition()
        self.ended = False  # nothing more comes

    def put(self, item: T) -> None:
        """Hand an item on, and wait while there are enough."""
        with self._changed:
            self._items.append(item)
            self._ready += self._share(item)
            if self._ready >= 1:
                self._changed.notify()
            while self._ready >= AHEAD and not self._stop.is_set():
                self._changed.wait(LOOK_S)

    def end(self) -> None:
        """Say that nothing more comes."""
        with self._changed:
            self.ended = True
            self._changed.notify()

    def take(self) -> list[T]:
        """Return the items of the next piece once there is one; sooner, perhaps none, where the source is idle."""
        taken: list[T] = []
        with self._changed:
            if self._ready < 1 and not self.ended:
                self._changed.wait(LOOK_S)
            share = 0.0
            while self._items and share < 1:
                taken.append(self._items.popleft())
                share += self._share(taken[-1])
            self._ready -= share
            self._changed.notify()
        return taken


def ahead(
    items: Iterable[T],
    stop: threading.Event,
    share: Callable[[T], float] = _one,
    join: Callable[[list[T]], T] | None = None,
    enough: Callable[[], bool] | None = None,
) -> Generator[T, None, None]:
    """Yield items that a thread of their own makes, a few ahead; an error of it is raised here, in its place.

    Setting ``stop`` ends the generator and its thread, even while the source is idle. With ``join`` items whose
    ``share`` is small are taken as one, so that many small files cost what a large one does; the source being idle,
    they do not wait.
    """
    made, errors, idle = Handover[T](stop, share), [], 0

    def make() -> None:
        try:
            for item in items:
                made.put(item)
                if stop.is_set():
                    return
        except BaseException as error:  # raised again below, in the thread that wanted the item
            errors.append(error)
        made.end()

    maker = threading.Thread(target=make, name="kacap-ahead", daemon=True)
    maker.start()
    try:
        while not stop.is_set():
            ended = made.ended  # all that there will be is there
            if taken := made.take():
                idle = 0
                yield from taken if join is None else [join(taken)]
            elif ended:
                for error in errors:
                    raise error
                return
            elif enough is not None and not made.ended and enough() and (idle := idle + 1) * LOOK_S >= LEAVE_S:
                return
    finally:
        maker.join(LEAVE_S)


class Counted(Protocol):
    """What a source says of itself when it has ended; see ``capture.source.Captures``."""

    files: list[str]
    frames: int
    filtered_out: int

    @property
    def link_types(self) -> list[int]:
        """The link types of its frames."""

    @property
    def damages(self) -> list[Damage]:
        """Where it stopped making sense."""

    @property
    def dropped_kernel(self) -> int | None:
        """Frames that the kernel dropped; None: not known."""

    @property
    def dropped_interface(self) -> int | None:
        """Frames that the interfaces dropped; None: not known."""

    @property
    def drops(self) -> list[Drop]:
        """When they were dropped, as far as that is known."""

    @property
    def breaks(self) -> list[Break]:
        """Where its files do not follow on one another."""


def conclude(source: Counted, analyzer: Analyzer) -> Analysis:
    """Finish an analysis whose source has ended: its capture says what was read; the sink gets it last."""
    analyzer.dropped = (source.dropped_kernel or 0) + (source.dropped_interface or 0)
    analyzer.analysis.capture.drops = source.drops
    analyzer.analysis.capture.breaks = [*source.breaks, *analyzer.tracker.clock.breaks(source.files)]
    analysis = analyzer.finish()
    summary = analysis.capture
    summary.files, summary.link_types, summary.frames = list(source.files), list(source.link_types), source.frames
    summary.dropped_kernel, summary.dropped_interface = source.dropped_kernel, source.dropped_interface
    if source.filtered_out:
        summary.skipped["excluded by the filter"] = source.filtered_out
    analysis.damages = list(source.damages)
    analyzer.tell([summary])
    return analysis
