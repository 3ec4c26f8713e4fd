"""What every source yields: frames in batches, one buffer and one row of columns per frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAME = np.dtype(
    [
        ("offset", "<i8"),  # where the captured bytes begin in the batch's buffer
        ("time_ns", "<i8"),  # capture time, nanoseconds since 1970-01-01 UTC
        ("frame", "<i8"),  # number within its file, from 1
        ("captured_len", "<u4"),  # bytes present in the buffer
        ("wire_len", "<u4"),  # bytes the frame had on the wire
        ("link_type", "<u2"),  # LINKTYPE_ value of the tcpdump.org registry
        ("file", "<u2"),  # index into the capture's files
    ],
    align=True,
)
FrameRows = NDArray[np.void]  # of FRAME


@dataclass(slots=True)
class FrameBatch:
    """Some consecutive frames in time order.

    ``frames`` has dtype ``FRAME``; ``buffer`` is uint8 and valid only until the source is asked for its next batch.
    """

    buffer: NDArray[np.uint8]
    frames: FrameRows
