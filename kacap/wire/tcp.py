"""TCP: the fixed header, the two options that matter (timestamps, first SACK block), the payload's last byte."""

from __future__ import annotations

import numpy as np

from kacap.kernels import Row, inlined, kernel
from kacap.segments import HAS_LAST_BYTE, HAS_SACK, HAS_TCP_OPTIONS, HAS_TIMESTAMPS
from kacap.wire import fields as f
from kacap.wire.cursor import SEGMENT_DONE, Bytes, left, u8, u16, u32
from kacap.wire.sequence import Int
from kacap.wire.skip_reasons import SkipReason


@inlined
def tcp(data: Bytes, cursor: Row, row: Row) -> Int:
    """A segment (RFC 9293 section 3.1). A quoted one may end after its sequence number."""
    pos = cursor.pos
    quoted = cursor.quote != 0
    extent = np.int64(cursor.limit) - pos
    if left(cursor) < (f.TCP_QUOTED if quoted else f.TCP_NEEDED):
        if quoted:
            return SkipReason.CUT_ICMP
        return SkipReason.CUT_TCP if extent >= f.TCP_LEN else SkipReason.BAD_IP_LENGTH
    row.src_port = u16(data, pos + f.TCP_SOURCE_PORT)
    row.dst_port = u16(data, pos + f.TCP_DESTINATION_PORT)
    row.seq = u32(data, pos + f.TCP_SEQ)
    row.encapsulation = cursor.encapsulation
    if left(cursor) < f.TCP_NEEDED:
        row.payload_len = 0  # unknown: the header's length is not there
        return SEGMENT_DONE
    header = (u8(data, pos + f.TCP_DATA_OFFSET) >> 4) * 4
    if extent < f.TCP_LEN and not quoted:
        return SkipReason.BAD_IP_LENGTH
    if (header < f.TCP_LEN or header > extent) and not quoted:
        return SkipReason.BAD_DATA_OFFSET
    row.ack = u32(data, pos + f.TCP_ACK)
    row.flags = u8(data, pos + f.TCP_FLAGS)
    row.window = u16(data, pos + f.TCP_WINDOW)
    row.payload_len = max(0, extent - header)
    if header > f.TCP_LEN:
        row.has |= HAS_TCP_OPTIONS
        options(data, row, pos + f.TCP_OPTIONS, min(pos + header, np.int64(cursor.end)))
    if extent > header and np.int64(cursor.end) >= np.int64(cursor.limit):
        row.last_byte = data[pos + extent - 1]
        row.has |= HAS_LAST_BYTE
    return SEGMENT_DONE


@inlined
def options(data: Bytes, row: Row, pos: Int, end: Int) -> None:
    """Walk the options from ``pos`` to ``end``; one whose length makes no sense, or that is cut, ends the walk."""
    if end - pos >= 12 and u32(data, pos) == f.ALIGNED_TIMESTAMPS:
        timestamps(data, row, pos + 2)
        pos += 12
    while pos < end:
        kind = u8(data, pos)
        if kind == f.OPTION_END:
            return
        if kind == f.OPTION_NOP:
            pos += 1
            continue
        if end - pos < 2:
            return
        length = u8(data, pos + 1)
        if length < 2 or length > end - pos:
            return
        if kind == f.OPTION_TIMESTAMPS and length == f.OPTION_TIMESTAMPS_LEN:
            timestamps(data, row, pos)
        elif kind == f.OPTION_SACK and length >= f.OPTION_SACK_MIN:
            row.sack_left, row.sack_right = u32(data, pos + 2), u32(data, pos + 6)
            row.has |= HAS_SACK
        pos += length


@kernel
def timestamps(data: Bytes, row: Row, pos: Int) -> None:
    """Note TSval and TSecr of the option at ``pos`` (RFC 7323 section 3.2)."""
    row.tsval, row.tsecr = u32(data, pos + 2), u32(data, pos + 6)
    row.has |= HAS_TIMESTAMPS
