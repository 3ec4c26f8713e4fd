"""How far a reading is, on a terminal: a line on stderr after two seconds, also while kernels are compiled."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from kacap.clock import SECOND_NS
from kacap.units import duration

if TYPE_CHECKING:
    from kacap.capture.source import Captures

AFTER_S, EVERY_S = 2.0, 0.5
ERASE = "\r\x1b[K"


class Progress:
    """Shows how much is read, how fast, and how long the rest will take; nothing where nobody watches.

    Use as a context manager; ``begun`` is told of the source, ``end`` takes the line away.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._source: Captures | None = None
        self._first_ns = 0  # when the first byte had been read
        self._over = threading.Event()
        watched = self._out.isatty() and os.environ.get("TERM") != "dumb"
        self._shower = threading.Thread(target=self._show, name="kacap-progress", daemon=True) if watched else None

    def __enter__(self) -> Progress:
        if self._shower is not None:
            self._shower.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def begun(self, source: Captures) -> None:
        """Take the source that is read from now on."""
        self._source = source

    @property
    def reading(self) -> bool:
        """Whether frames have been read."""
        return self._source is not None and self._source.frames > 0

    def end(self) -> None:
        """Take the line away."""
        self._over.set()
        if self._shower is not None and self._shower.is_alive():
            self._shower.join()

    def _show(self) -> None:
        """Draw the line until the end."""
        shown = False
        wait_s = AFTER_S
        while not self._over.wait(wait_s):
            self._out.write(f"{ERASE}kacap: {self.words(time.monotonic_ns())}")
            self._out.flush()
            shown, wait_s = True, EVERY_S
        if shown:
            self._out.write(ERASE)
            self._out.flush()

    def words(self, now_ns: int) -> str:
        """Return how far the reading is at a time of the monotonic clock, nanoseconds."""
        source = self._source
        if source is None or not source.frames:
            return "getting ready: kernels are compiled or loaded"
        self._first_ns = self._first_ns or now_ns
        done, whole, took_ns = source.bytes_read, source.bytes_in_all, now_ns - self._first_ns
        rate = done * SECOND_NS // took_ns if took_ns > 0 else 0
        speed = f", {rate / 1e6:,.0f} MB/s" if rate else ""
        if not whole:
            return f"{source.frames:,} frames, {done / 1e6:,.0f} MB{speed}"
        left = f", {duration((whole - done) * SECOND_NS // rate)} left" if rate and done < whole else ""
        return f"{min(100 * done // whole, 100)} % of {whole / 1e6:,.0f} MB{speed}{left}"
