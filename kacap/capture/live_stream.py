"""A capture that another program is writing, read while it grows: from a pipe, or from a program that kacap started."""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable

from kacap.capture.filters import Filter
from kacap.capture.formats import open_reader
from kacap.capture.frames import FrameBatch
from kacap.capture.live_source import WHOLE, LiveSource, copied, joined, no_frames
from kacap.capture.records import RecordReader
from kacap.capture.streams import open_stream
from kacap.errors import Damage
from kacap.summary import Drop

WAIT_MS = 100  # how soon a reader notices that it is to stop
AHEAD = 64  # batches between the thread that reads and the source


class WaitingStream:
    """The bytes of a descriptor as they come; the end when ``stop`` says so."""

    def __init__(self, descriptor: int, stop: threading.Event, close: Callable[[], None]):
        """Read ``descriptor``; ``close`` lets go of it."""
        self._descriptor, self._stop, self.close = descriptor, stop, close
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def readinto(self, view: memoryview) -> int:
        """Read some bytes into ``view``, waiting for them; 0 at the end."""
        while not self._poll.poll(WAIT_MS):
            if self._stop.is_set():
                return 0
        return os.readv(self._descriptor, [view])


class StreamInterface:
    """Batches that a thread of its own reads from a stream. What goes wrong in it is raised by ``drain``."""

    engine, counting = "stream", False

    def __init__(self, name: str, index: int, open: Callable[[threading.Event], WaitingStream]):
        """Read what ``open`` returns as a capture called ``name``, number ``index`` of the source."""
        self.name, self.ended = name, False
        self.fault: str | None = None
        self._reader: RecordReader | None = None
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._batches: queue.Queue[FrameBatch | None] = queue.Queue(AHEAD)
        self._bell, self._ring_bell = os.pipe()
        self._stream = open(self._stop)
        self._thread = threading.Thread(target=self._read, args=(index,), daemon=True)

    def begin(self) -> None:
        """Start to read, if that has not been done: a thread keeps the rights that this one has at its start."""
        if self._thread.ident is None:
            self._thread.start()

    def _read(self, index: int) -> None:
        """Read until the end; runs in the thread."""
        try:
            self._reader = open_reader(self.name, index, stream=self._stream, whole=True)
            self._reader.growing = self._stop.is_set()
            for batch in self._reader.batches():
                self._offer(copied(batch))
        except BaseException as error:  # raised again by drain
            self._error = error
        finally:
            self._stream.close()
            self._offer(None)

    def _offer(self, batch: FrameBatch | None) -> None:
        """Hand over a batch; nobody takes it any more once this is closed."""
        while True:
            try:
                self._batches.put(batch, timeout=WAIT_MS / 1000)
                os.write(self._ring_bell, b"!")
                return
            except queue.Full:
                if self._stop.is_set():
                    return
            except OSError:
                return

    @property
    def link_types(self) -> list[int]:
        """Link types declared so far."""
        return self._reader.link_types if self._reader else []

    @property
    def damages(self) -> list[Damage]:
        """Where the stream stopped making sense; an end while it was being written is not damage."""
        return self._reader.damages if self._reader and not self._stop.is_set() else []

    @property
    def drops(self) -> list[Drop]:
        """When frames were dropped, as far as the stream says."""
        return self._reader.drops if self._reader else []

    def fileno(self) -> int:
        """Return what becomes readable when a batch waits."""
        return self._bell

    def drain(self, limit: int) -> FrameBatch:
        """Return the batches that wait, as one."""
        self.begin()
        waiting = []
        while not self.ended:
            try:
                batch = self._batches.get_nowait()
            except queue.Empty:
                break
            os.read(self._bell, 1)
            if batch is None:
                self.ended = True
                if self._error is not None:
                    raise self._error
            else:
                waiting.append(batch)
        if not waiting:
            return no_frames()
        return waiting[0] if len(waiting) == 1 else joined(waiting)

    def counts(self) -> tuple[int | None, int | None, int | None]:
        """Return what the stream says of drops (pcapng does, at its end)."""
        reader = self._reader
        return None, reader.dropped_kernel if reader else None, reader.dropped_interface if reader else None

    def halt(self) -> None:
        """Read no further than what has arrived."""
        self._stop.set()
        self.begin()
        self._thread.join(2)

    def close(self) -> None:
        """Stop reading."""
        if self._bell >= 0:
            self.halt()
            os.close(self._bell)
            os.close(self._ring_bell)
            self._bell = self._ring_bell = -1
        self.ended = True


def open_growing(
    name: str, *, filter: str | None = None, limit: int | None = None, now: Callable[[], int] = time.time_ns
) -> LiveSource:
    """Return the capture called ``name`` (``-``: standard input) as a live source that ends where it ends.

    ``filter`` is a BPF expression; the source ends after ``limit`` frames. Time goes on from the newest frame's, as
    another host's clock may differ. Raises CaptureError if it cannot be opened; while reading, if it is not a capture.
    """

    def open_waiting(stop: threading.Event) -> WaitingStream:
        file = open_stream(name, False, stop.is_set)
        return WaitingStream(file.fileno(), stop, file.close)

    interface = StreamInterface(name, 0, open_waiting)
    return LiveSource([interface], limit, now, filter=Filter(filter) if filter else None, snaplen=WHOLE, theirs=True)
