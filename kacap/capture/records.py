"""What the readers of record formats share: a kernel walks the records in a window, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kacap.capture.blocks import Window
from kacap.capture.frames import FRAME, FrameBatch
from kacap.errors import Damage
from kacap.kernels import kernel
from kacap.rows import copied
from kacap.summary import Drop
from kacap.wire.cursor import u8

Number: TypeAlias = Any  # inside a kernel: a NumPy integer of whatever width the value needs

BATCH_FRAMES = 8192  # so that a batch and the segments made of it stay in the processor's cache

# libpcap's MAXIMUM_SNAPLEN: a record that claims more than this is damage, not a frame.
FRAME_LIMIT = 262_144

# How a walk over the records of a window left off. ``need``: bytes from ``position`` on that must be in the window
# before the walk can go on; 0: it can go on at once.
CURSOR_FIELDS = [
    ("position", "<i8"),
    ("need", "<i8"),
    ("frame", "<i8"),  # number of the last whole frame
    ("time_ns", "<i8"),  # its time
    ("untimed", "<i8"),  # frames whose record carries no time
    ("left_out", "<i8"),  # bytes of the first record that are not in the window
    ("stop", "<i8"),  # 0, or why the walk cannot go on by itself: a value of the format's own
]
CURSOR = np.dtype(CURSOR_FIELDS, align=True)


@kernel
def u32(data: NDArray[np.uint8], at: Number, big_endian: Number) -> Number:
    """Return the unsigned 32-bit number at ``at`` as int64."""
    a, b, c, d = u8(data, at), u8(data, at + 1), u8(data, at + 2), u8(data, at + 3)
    if big_endian:
        return a << 24 | b << 16 | c << 8 | d
    return d << 24 | c << 16 | b << 8 | a


@kernel
def u16(data: NDArray[np.uint8], at: Number, big_endian: Number) -> Number:
    """Return the unsigned 16-bit number at ``at`` as int64."""
    a, b = u8(data, at), u8(data, at + 1)
    return a << 8 | b if big_endian else b << 8 | a


class RecordReader:
    """The frames of one file, batch by batch. Formats say how to ``walk`` and what to do when the walk stops."""

    state = CURSOR  # dtype of the one row that says where a walk stands; a format may add to CURSOR

    def __init__(self, window: Window, name: str, index: int):
        """Read the file called ``name``, number ``index`` of the capture, through ``window``."""
        self.window, self.name, self.index = window, name, index
        self.cursor: NDArray[np.void] = np.zeros(1, self.state)
        self.growing = False  # a cut tail is not damage: the file is still being written
        self._damages: list[Damage] = []
        self.taken: Callable[[], int] = lambda: 0  # bytes of the file that have been read

    def walk(self, rows: NDArray[np.void]) -> int:
        """Fill ``rows`` with the next whole frames of the window, move the cursor, return how many."""
        raise NotImplementedError

    def resolve(self, stop: int) -> bool:
        """Deal with what stopped the walk; return False at damage."""
        raise NotImplementedError

    @property
    def link_types(self) -> list[int]:
        """Link types that the file has declared so far."""
        raise NotImplementedError

    @property
    def dropped_kernel(self) -> int | None:
        """Frames that the system lost while capturing; None: the file does not say."""
        return None

    @property
    def dropped_interface(self) -> int | None:
        """Frames that the interfaces lost while capturing; None: the file does not say."""
        return None

    @property
    def drops(self) -> list[Drop]:
        """When frames were lost, as far as the file says."""
        return []

    @property
    def damages(self) -> list[Damage]:
        """What of the file makes no sense, where reading ended last."""
        return list(self._damages)

    def batches(self) -> Iterator[FrameBatch]:
        """Yield the frames up to the end of the file or its damage."""
        rows = np.empty(BATCH_FRAMES, FRAME)
        while True:
            if count := self.advance(rows):
                # A batch may wait for a while: few frames do not hold the memory of many.
                few = count < BATCH_FRAMES // 2
                yield FrameBatch(self.window.buffer, copied(rows[:count]) if few else rows[:count])
                rows = rows if few else np.empty(BATCH_FRAMES, FRAME)
            if not self.go_on():
                return

    def first_ns(self) -> int | None:
        """Read the first frame and return its time, nanoseconds; None: there is none."""
        rows = np.empty(1, FRAME)
        while not self.advance(rows):
            if not self.go_on():
                return None
        return int(rows[0]["time_ns"])

    def advance(self, rows: NDArray[np.void]) -> int:
        """Walk once through what the window holds; return how many of ``rows`` (FRAME) were filled."""
        cursor = self.cursor[0]
        cursor["position"], cursor["stop"], cursor["need"] = self.window.start, 0, 0
        cursor["left_out"] = self.window.left_out
        count = self.walk(rows)
        self.window.consume(int(cursor["position"]), int(cursor["left_out"]))
        return count

    def go_on(self) -> bool:
        """Deal with what ended the last walk; return False at the end of the file or at damage."""
        stop, need = int(self.cursor[0]["stop"]), int(self.cursor[0]["need"])
        if stop and not self.resolve(stop):
            return False
        if need and not self.window.fill(need):
            self._end_within(need)
            return False
        return True

    def damaged(self, what: str) -> bool:
        """Note that the record at the window's start makes no sense; return False for ``resolve``."""
        self._damages.append(Damage(self.name, self.window.offset, int(self.cursor[0]["frame"]), what))
        return False

    def _end_within(self, need: int) -> None:
        """Judge the end of the stream where ``need`` bytes were asked for: clean between records, damage within one."""
        if self.window.fault is not None:
            self.damaged(self.window.fault)
        elif self.window.unread and not self.growing:
            self.damaged(f"the file ends within a record: {self.window.unread:,} of {need:,} bytes are there")

    def close(self) -> None:
        """Close the file and release its buffer; what was learned about it stays."""
        self.window.close()
