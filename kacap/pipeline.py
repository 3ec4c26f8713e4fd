"""Runs a source through an analyzer on two threads: columns one batch ahead, objects behind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable

from kacap.analyzer import Analyzer
from kacap.capture.frames import FrameBatch
from kacap.classify.tracker import Tracked

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
