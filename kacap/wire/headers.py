"""Where each of a frame's headers begins and where the last one ends, by the walk that ``decode`` makes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.capture.frames import FrameRows
from kacap.kernels import Row, entry, kernel
from kacap.segments import IS_QUOTE, SEGMENT
from kacap.wire import cursor as c
from kacap.wire import fields as f
from kacap.wire.cursor import CURSOR, Bytes, u8
from kacap.wire.decode import begin, constant, step
from kacap.wire.link import first_layer
from kacap.wire.sequence import Int
from kacap.wire.skip_reasons import SkipReason

# One header of a frame: its state (``wire.cursor``) and where it begins. The row after the last says where the walk
# ended, with SEGMENT_DONE (at the TCP header) or a SkipReason.
HEADER = np.dtype([("state", "<i8"), ("pos", "<i8")], align=True)

# What a walk works in: one row each.
TRACE = np.dtype(
    [("cursor", CURSOR), ("row", SEGMENT), ("headers", HEADER, (c.MAX_HEADERS + 1,)), ("count", "<i8")], align=True
)


def new_trace() -> NDArray[np.void]:
    """Return a fresh TRACE."""
    return np.zeros(1, TRACE)


@kernel
def trace(data: Bytes, frame: Row, work: Row) -> Int:
    """Fill ``work["headers"]`` with the frame's headers and return how many; the end of the walk follows them."""
    cursor, row, headers = work.cursor, work.row, work.headers
    begin(data, frame, cursor, row)
    state = first_layer(data, cursor, np.int64(frame.link_type))
    count = 0
    while state > c.SEGMENT_DONE:
        if state >= c.FIRST_HEADER:
            if count == c.MAX_HEADERS:
                state = np.int64(SkipReason.TOO_DEEP)
                break
            headers[count].state, headers[count].pos = state, cursor.pos
            count += 1
        state = step(data, cursor, row, state)
    headers[count].state, headers[count].pos = state, cursor.pos
    return count


@kernel
def end_of_headers(data: Bytes, frame: Row, work: Row) -> Int:
    """Return how many bytes of a traced frame are headers that kacap understands; payload begins behind them.

    A frame that is cut inside a header is header to its end. ARP is a header; ICMP without a TCP segment in it counts
    with type, code and checksum.
    """
    cursor, last = work.cursor, work.headers[work.count]
    state, pos = np.int64(last.state), np.int64(last.pos)
    captured, end = np.int64(frame.captured_len), pos
    start = np.int64(frame.offset)
    if state == c.SEGMENT_DONE:
        end = pos + f.TCP_LEN
        if end <= start + captured:
            end = max(end, pos + (u8(data, pos + f.TCP_DATA_OFFSET) >> 4) * 4)
    elif state == SkipReason.NOT_IP and cursor.next == f.TYPE_ARP:
        end = pos + f.ARP_LEN
    elif state == SkipReason.OTHER_ICMP:
        end = pos + f.ICMP_PLAIN_LEN
    elif state >= SkipReason.CUT_LINK and state <= SkipReason.CUT_TUNNEL:
        end = start + captured
    return min(end - start, captured)


@entry
def header_lengths(
    data: Bytes, frames: Row, lengths: NDArray[np.int64], segments: NDArray[np.bool_], traces: Row
) -> None:
    """Fill in for each frame (FRAME) the bytes up to the end of its headers, and whether it is a TCP segment itself."""
    work = traces[0]
    for i in range(len(frames)):
        work.count = trace(data, frames[i], work)
        lengths[i] = end_of_headers(data, frames[i], work)
        done = work.headers[work.count].state == c.SEGMENT_DONE
        segments[i] = done and not work.row.has & IS_QUOTE


def headers_of(buffer: Bytes, frames: FrameRows) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return for each frame how many of its captured bytes are headers, and whether it is a TCP segment itself."""
    lengths, segments = np.zeros(len(frames), np.int64), np.zeros(len(frames), np.bool_)
    header_lengths(constant(buffer), constant(frames), lengths, segments, new_trace())
    return lengths, segments
