"""Runs a source through an analyzer on three threads: decoding, classifying, gathering; each some batches ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer
from kacap.capture.frames import FrameBatch
from kacap.capture.records import BATCH_FRAMES
from kacap.errors import Damage
from kacap.summary import Break, Drop

AHEAD = 4  # pieces between one thread and the next
LOOK_S = 0.1  # how often a thread that waits looks whether it still should
LEAVE_S = 1.0  # how long the end waits for a thread that may be waiting for its source

T = TypeVar("T")


def run(source: Iterable[FrameBatch], analyzer: Analyzer, enough: Callable[[], bool] | None = None) -> None:
    """Feed every batch of a source to the analyzer, in order; an error of any part ends all and is raised.

    When ``enough`` returns True and nothing waits, it ends too, even while the source is idle.

    Kernels release the interpreter's lock, so that decoding, classifying and the gathering of episodes overlap.
    """
    stop = threading.Event()
    segments = ahead(map(analyzer.decode, source), stop, together)
    pieces = ahead(map(analyzer.track, segments), stop, enough=enough)
    try:
        for tracked in pieces:
            analyzer.gather(tracked)
    finally:
        stop.set()
        pieces.close()


def together(rows: list[NDArray[np.void]]) -> NDArray[np.void]:
    """Return rows of several batches as those of one: many small files cost what a large one does."""
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def ahead(
    items: Iterable[T],
    stop: threading.Event,
    join: Callable[[list[T]], T] | None = None,
    enough: Callable[[], bool] | None = None,
) -> Generator[T, None, None]:
    """Yield items that a thread of their own makes, a few ahead; an error of it is raised here, in its place.

    Setting ``stop`` ends the generator and its thread, even while the source is idle. With ``join`` small items that
    wait are taken as one; none waits for another.
    """
    made: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(AHEAD)

    def offer(piece: tuple[T] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return made.put(piece, timeout=LOOK_S)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                offer((item,))
                if stop.is_set():
                    return
            offer(None)
        except BaseException as error:  # raised again below, in the thread that wanted the item
            offer(error)

    maker = threading.Thread(target=make, name="kacap-ahead", daemon=True)
    maker.start()
    try:
        while not stop.is_set():
            try:
                piece = made.get(timeout=LOOK_S)
            except queue.Empty:
                if enough is not None and enough():
                    return
                continue
            taken: list[T] = []
            while isinstance(piece, tuple):
                taken.append(piece[0])
                if join is None or made.empty() or sum(map(len, taken)) >= BATCH_FRAMES:  # type: ignore[arg-type]
                    break
                piece = made.get_nowait()
            if taken:
                yield taken[0] if join is None else join(taken)
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
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
