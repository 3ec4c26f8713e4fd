"""Runs a source through an analyzer on two threads: columns one batch ahead, objects behind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Protocol

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer
from kacap.capture.frames import FrameBatch
from kacap.classify.tracker import Tracked
from kacap.errors import Damage

AHEAD = 4  # batches between the two halves


def run(source: Iterable[FrameBatch], analyzer: Analyzer) -> None:
    """Feed every batch of a source to the analyzer, in order; an error of either half ends both and is raised.

    Kernels release the GIL, so reading, decoding and classifying overlap with the gathering of episodes.
    """
    pieces: queue.Queue[Tracked | BaseException | None] = queue.Queue(AHEAD)
    stop = threading.Event()

    def offer(piece: Tracked | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return pieces.put(piece, timeout=0.1)
            except queue.Full:
                continue

    def track() -> None:
        try:
            for batch in source:
                offer(analyzer.track(batch))
                if stop.is_set():
                    return
            offer(None)
        except BaseException as error:  # raised again below, in the caller's thread
            offer(error)

    worker = threading.Thread(target=track, name="kacap-track", daemon=True)
    worker.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            analyzer.gather(piece)
    finally:
        stop.set()
        worker.join()


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


def conclude(source: Counted, analyzer: Analyzer) -> Analysis:
    """Finish an analysis whose source has ended: its capture says what was read, and the sink hears of it last."""
    analyzer.dropped = (source.dropped_kernel or 0) + (source.dropped_interface or 0)
    analysis = analyzer.finish()
    summary = analysis.capture
    summary.files, summary.link_types, summary.frames = list(source.files), list(source.link_types), source.frames
    summary.dropped_kernel, summary.dropped_interface = source.dropped_kernel, source.dropped_interface
    if source.filtered_out:
        summary.skipped["excluded by the filter"] = source.filtered_out
    analysis.damages = list(source.damages)
    analyzer.sink(summary)
    return analysis
