"""Writes frames as pcap, in files that are rotated as tcpdump's -G, -C and -W rotate them.

pcap (draft-ietf-opsawg-pcap), nanoseconds unless microseconds are asked for: what is written reads back the same.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from typing import IO

import numpy as np
from numpy.typing import NDArray

from kacap.capture.frames import FrameBatch, FrameRows
from kacap.capture.pcap import HEADER_BYTES
from kacap.capture.rotation import Rotation
from kacap.clock import SECOND_NS
from kacap.errors import CaptureError, UsageError
from kacap.kernels import Row, entry
from kacap.outputs import create

RECORD_BYTES = 16


@entry
def pack(buffer: NDArray[np.uint8], frames: Row, heads: NDArray[np.uint8], out: NDArray[np.uint8]) -> Row:
    """Copy each frame (FRAME) behind its 16-byte head in ``heads`` to ``out``; return the bytes written."""
    at: Row = np.int64(0)
    for i in range(len(frames)):
        for j in range(RECORD_BYTES):
            out[at + j] = heads[i * RECORD_BYTES + j]
        at += RECORD_BYTES
        start, length = frames[i].offset, np.int64(frames[i].captured_len)
        for j in range(length):
            out[at + j] = buffer[start + j]
        at += length
    return at


class Savefile:
    """One -w: a file, a rotated series of them, or ``-`` for standard output."""

    def __init__(
        self, path: str, snaplen: int, rotation: Rotation | None = None, *, micro: bool = False, flush: bool = False
    ):
        """Write to ``path``; ``flush`` hands on every batch at once (-U). The first file is opened by ``open``."""
        self.path, self.snaplen, self.rotation = path, snaplen, rotation or Rotation()
        self.full = False  # -W files have been written: tcpdump ends then
        self._micro, self._flush = micro, flush
        self._file: IO[bytes] | None = None
        self._written = self._count = self._periods = 0
        self._opened_ns = 0
        self._link_type: int | None = None
        if path == "-" and self.rotation.rotates:
            raise UsageError("-w -: standard output cannot be rotated (-G, -C)")

    @property
    def begun(self) -> bool:
        """Whether the file, or the first of them, has been opened."""
        return self._file is not None or self.full

    def open(self, link_type: int | None, now_ns: int) -> None:
        """Open the first file, for frames of one link type (None: not known yet). Raises CaptureError."""
        self._link_type, self._opened_ns = link_type, now_ns
        self._next()

    def write(self, batch: FrameBatch) -> None:
        """Append frames, beginning new files where it is time. Raises CaptureError."""
        frames = batch.frames
        while len(frames) and not self.full:
            if self._file is None:
                self.open(int(frames["link_type"][0]), int(frames["time_ns"][0]))
            if self._link_type is None:
                self._link_type, self._opened_ns = int(frames["link_type"][0]), int(frames["time_ns"][0])
                self._head()
            if self._due(int(frames["time_ns"][0])):
                continue
            count = self._fit(frames)
            self._append(batch.buffer, frames[:count])
            frames = frames[count:]
        if self._flush and self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.flush()
            if self.path != "-":
                self._file.close()
            self._file = None

    def _due(self, time_ns: int) -> bool:
        """Begin another file if it is time before a frame of ``time_ns``; return whether nothing may be written."""
        rotation = self.rotation
        if rotation.every_s and time_ns // SECOND_NS - self._opened_ns // SECOND_NS >= rotation.every_s:
            self._opened_ns, self._count = time_ns, 0
            self._periods += 1
            if rotation.files and not rotation.size and self._periods >= rotation.files:
                self.close()
                self.full = True
                return True
            self._next()
        if rotation.size and self._written > rotation.size:
            self._count += 1
            if rotation.files and self._count >= rotation.files:
                self._count = 0
            self._next()
        return False

    def _fit(self, frames: FrameRows) -> int:
        """Return how many frames go into the file at hand: at least one."""
        fit = len(frames)
        if self.rotation.every_s:
            seconds = frames["time_ns"] // SECOND_NS - self._opened_ns // SECOND_NS
            fit = min(fit, _first(seconds >= self.rotation.every_s))
        if self.rotation.size:
            sizes = np.cumsum(frames["captured_len"] + np.int64(RECORD_BYTES)) + self._written
            fit = min(fit, _first(sizes > self.rotation.size) + 1)
        return max(fit, 1)

    def _append(self, buffer: NDArray[np.uint8], frames: FrameRows) -> None:
        """Write frames of the one link type into the open file."""
        if bool((frames["link_type"] != self._link_type).any()):
            raise UsageError(f"-w {self.path}: one link type fits a pcap: one kind of interface, or any")
        heads = np.empty((len(frames), 4), "<u4")
        heads[:, 0] = frames["time_ns"] // SECOND_NS
        heads[:, 1] = frames["time_ns"] % SECOND_NS // (1000 if self._micro else 1)
        heads[:, 2], heads[:, 3] = frames["captured_len"], frames["wire_len"]
        out = np.empty(heads.nbytes + int(frames["captured_len"].sum(dtype=np.int64)), np.uint8)
        size = int(pack(buffer, np.ascontiguousarray(frames), heads.view(np.uint8).reshape(-1), out))
        self._put(out[:size].tobytes())

    def _next(self) -> None:
        """Open the file whose turn it is, and write its header."""
        self.close()
        name = self.rotation.name(self.path, self._count, self._opened_ns)
        self._written = 0
        try:
            self._file = sys.stdout.buffer if name == "-" else os.fdopen(create(name), "wb", buffering=0)
        except UsageError as error:
            raise CaptureError(f"-w {error}") from None
        except OSError as error:
            raise CaptureError(f"-w {name}: cannot be written: {error.strerror}") from None
        if self._link_type is not None:
            self._head()

    def _head(self) -> None:
        """Begin the open file."""
        magic = 0xA1B2C3D4 if self._micro else 0xA1B23C4D
        header = struct.pack("<IHHiIII", magic, 2, 4, 0, 0, self.snaplen, self._link_type)
        assert len(header) == HEADER_BYTES
        self._put(header)
        if self._flush and self._file is not None:
            self._file.flush()

    def _put(self, data: bytes) -> None:
        """Write whole records into the open file; where not all of them fit, none is left behind."""
        if self._file is None:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._written)
            raise CaptureError(f"-w {self.path}: cannot be written: {error.strerror}") from None
        self._written += len(data)


def _first(where: NDArray[np.bool_]) -> int:
    """Return the index of the first True, or the length."""
    return int(np.argmax(where)) if bool(where.any()) else len(where)
