"""``Decoder`` stands in the place of ``wire.decode``: the frames go to tshark, its lines come back as rows."""

from __future__ import annotations

import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kacap.capture.frames import FrameRows
from kacap.capture.tshark.fields import FIELDS, command
from kacap.capture.tshark.program import Running, tell
from kacap.capture.tshark.rows import Values, row_of, table
from kacap.clock import SECOND_NS
from kacap.errors import CaptureError
from kacap.segments import SegmentRows
from kacap.wire.skip_reasons import SkipReason

if TYPE_CHECKING:
    from kacap.capture.frames import FrameBatch

# tshark hands on what it has read only when its own buffer is full: a frame of zeros behind each batch fills it, and
# another whenever nothing comes.
FILLER_BYTES = 1 << 16
PATIENCE_SECONDS = 0.05
# It keeps some 60 bytes for each frame for ever. It needs no memory of them here, so a new one takes over.
FRAMES_PER_PROCESS = 1_000_000
PROGRESS_SECONDS = 1.0


class Decoder:
    """Decodes frame batches as ``wire.decode`` does, by tshark: one process for each link type, one batch at a time.

    Raises NoTsharkError if tshark is missing, CaptureError where tshark gives up on the frames. Needs no event loop and
    works beside one, in any thread.
    """

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self._progress = Progress()

    def __call__(self, batch: FrameBatch, skipped: NDArray[np.int64]) -> SegmentRows:
        """Return the batch's segments in frame order; ``skipped`` grows by one for each frame without one."""
        rows: list[tuple[int, Values]] = []
        for link_type in np.unique(batch.frames["link_type"]).tolist():
            indices = np.flatnonzero(batch.frames["link_type"] == link_type)
            for index, row in zip(indices.tolist(), self._of(link_type, batch, indices), strict=True):
                if isinstance(row, SkipReason):
                    skipped[row] += 1
                else:
                    rows.append((index, row))
        rows.sort(key=lambda found: found[0])
        self._progress.add(len(batch.frames))
        return table([row for _, row in rows])

    def _of(self, link_type: int, batch: FrameBatch, indices: NDArray[np.intp]) -> Iterator[Values | SkipReason]:
        """Yield what tshark makes of the frames at ``indices``, all of one link type."""
        channel = self.channels.get(link_type)
        if channel is not None and channel.written > FRAMES_PER_PROCESS:
            channel.close()
            channel = None
        if channel is None:
            channel = self.channels[link_type] = Channel(link_type)
        return channel.dissect(batch, batch.frames[indices])

    def close(self) -> None:
        """End every tshark, and clear the line that shows progress."""
        for channel in self.channels.values():
            channel.close()
        self.channels.clear()
        self._progress.close()


class Channel:
    """One tshark: frames of one link type go in as a pcap, a line for each comes out."""

    def __init__(self, link_type: int) -> None:
        self.written = 0  # frames of any kind that tshark will number
        self.refused = ""  # why tshark does not know the link type
        self._begun = False
        self._link_type = link_type
        self.running = Running(command(), feed=True)
        self._head: bytes = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, link_type)

    def dissect(self, batch: FrameBatch, frames: FrameRows) -> Iterator[Values | SkipReason]:
        """Yield a row or a reason for each of ``frames`` (FRAME), in their order."""
        if self.refused:
            yield from [SkipReason.UNKNOWN_LINK_TYPE] * len(frames)
            return
        first, done = self.written + 1, threading.Event()
        self.written += len(frames)
        writer = threading.Thread(target=self._write, args=(packed(batch, frames), done), daemon=True)
        writer.start()
        columns = zip(frames["time_ns"].tolist(), frames["frame"].tolist(), frames["file"].tolist(), strict=True)
        try:
            for number, (time_ns, frame, file) in enumerate(columns, first):
                words = self._words(number)
                yield row_of(words, time_ns, frame, file) if words else SkipReason.UNKNOWN_LINK_TYPE
        finally:
            done.set()
            writer.join()

    def _words(self, wanted: int) -> list[str]:
        """Return the fields of the frame that tshark numbers ``wanted``, passing over those of fillers before it.

        Nothing where tshark has refused the link type.
        """
        while not self.refused:
            words = self.running.stdout.readline().decode(errors="replace").rstrip("\n").split("\t")
            if len(words) == len(FIELDS):
                self._begun = True
                if int(words[0]) == wanted:
                    return words
            elif self._begun:
                raise CaptureError(f"tshark gave up on link type {self._link_type}: {self.running.failure()}")
            else:
                self.refused = self.running.failure() or "it described no frame"
                tell(f"nor does tshark: {self.refused}")
        return []

    def _write(self, data: list[bytes], done: threading.Event) -> None:
        """Write the frames, then fillers until all lines have come."""
        filler = struct.pack("<IIII", 0, 0, FILLER_BYTES, FILLER_BYTES) + bytes(FILLER_BYTES)
        patience = PATIENCE_SECONDS
        try:
            self.running.stdin.write(self._head + b"".join(data))
            self._head = b""
            while not done.is_set():
                self.running.stdin.write(filler)
                self.running.stdin.flush()
                self.written += 1
                done.wait(patience)
                patience = min(2 * patience, 1.0)
        except OSError:  # tshark has ended: the reader says why
            pass

    def close(self) -> None:
        """End tshark."""
        self.running.close()


def packed(batch: FrameBatch, frames: FrameRows) -> list[bytes]:
    """Return each frame as a record of a pcap with nanoseconds; a time beyond its range is 0 (nobody reads it)."""
    data, records = batch.buffer, list[bytes]()
    columns = (frames[name].tolist() for name in ("offset", "time_ns", "captured_len", "wire_len"))
    for offset, time_ns, captured, length in zip(*columns, strict=True):
        second = time_ns // SECOND_NS
        head = struct.pack("<IIII", second if 0 <= second < 1 << 32 else 0, time_ns % SECOND_NS, captured, length)
        records += (head, data[offset : offset + captured].tobytes())
    return records


class Progress:
    """A line on a terminal's stderr that says how far tshark is: it takes its time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._frames, self._told, self._shown = 0, clock(), False

    def add(self, frames: int) -> None:
        """Count frames; once a second write how many there have been."""
        self._frames += frames
        if sys.stderr.isatty() and self._clock() - self._told >= PROGRESS_SECONDS:
            self._told, self._shown = self._clock(), True
            sys.stderr.write(f"\rkacap: tshark has read {self._frames:,} frames")
            sys.stderr.flush()

    def close(self) -> None:
        """Clear the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
