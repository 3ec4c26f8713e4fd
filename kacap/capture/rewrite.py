"""A capture file copied as pcapng, piece by piece: what is not asked to change is copied byte for byte.

A pcapng file keeps its blocks, sections, interfaces, clocks and byte orders; a classic pcap becomes a section of its
own with one interface. Memory is one window of the file, whatever its size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kacap.capture.blocktypes import (
    ENHANCED_PACKET,
    INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS,
    OBSOLETE_PACKET,
    PACKET_HEADER,
    SECTION_HEADER,
    SIMPLE_HEADER,
    SIMPLE_PACKET,
)
from kacap.capture.blockwalk import following, option, read_byte_order
from kacap.capture.frames import FRAME
from kacap.capture.pcap import HEADER_BYTES, PcapReader
from kacap.capture.records import BATCH_FRAMES, Number, RecordReader, u32
from kacap.kernels import Row, entry, kernel

# What to do with one frame.
PLAN = np.dtype(
    [
        ("keep", "?"),
        ("captured", "<i8"),  # bytes of it to keep
        ("text", "<i8"),  # where its comment begins in the texts
        ("text_len", "<i8"),  # 0: no comment
    ],
    align=True,
)
PlanRows = NDArray[np.void]  # of PLAN

# Where the copying stands. ``private``: only what cannot name anyone is kept beside the packets themselves.
JOB = np.dtype(
    [("at", "<i8"), ("to", "<i8"), ("end", "<i8"), ("tick_ns", "<i8"), ("big_endian", "?"), ("private", "?")],
    align=True,
)
JobRows = NDArray[np.void]  # of JOB

OPTION_COMMENT = 1
EXTRA = 16  # bytes that a comment adds beside its text, or a record header is shorter than a block's
# Options without names, addresses or comments (draft-ietf-opsawg-pcapng 4.2, 4.3, 4.6): flags, counts, clocks.
PACKET_PLAIN = (2, 4, 5, 6)
INTERFACE_PLAIN = (8, 9, 13, 14)
STATISTICS_PLAIN = (2, 3, 4, 5, 6, 7, 8)
SECTION_FIXED, INTERFACE_FIXED, STATISTICS_FIXED = 24, 16, 20  # bytes before the options


@dataclass(slots=True)
class Piece:
    """Some bytes of a file: a pcap's file header (``rows`` is None), or records with the rows (FRAME) of frames."""

    data: NDArray[np.uint8]
    rows: NDArray[np.void] | None


def pieces(reader: RecordReader) -> Iterator[Piece]:
    """Yield all of a file in order, each piece the caller's own, up to its end or its damage."""
    window = reader.window
    header = None if isinstance(reader, PcapReader) else np.empty(0, FRAME)
    yield Piece(window.buffer[: window.start].copy(), header)
    while True:
        rows, start = np.empty(BATCH_FRAMES, FRAME), window.start
        rows = rows[: reader.advance(rows)]
        rows["offset"] -= start
        yield Piece(window.buffer[start : window.start].copy(), rows)
        if not reader.go_on():
            return


class Rewriter:
    """Turns the pieces of one file into the bytes of its copy."""

    def __init__(self, reader: RecordReader, texts: NDArray[np.uint8], *, private: bool = False) -> None:
        """Copy what ``reader`` reads; comments are spans of ``texts``. ``private`` drops what may name somebody."""
        self._texts = texts
        self._job: NDArray[np.void] = np.zeros(1, JOB)
        self._job["private"] = private
        self._pcap = isinstance(reader, PcapReader)
        if isinstance(reader, PcapReader):
            self._job["tick_ns"] = reader.layout["fraction_ns"]

    def header(self, data: NDArray[np.uint8]) -> bytes:
        """Return the section and interface in place of a pcap's file header."""
        return _section_of(data.tobytes(), int(self._job["tick_ns"][0]))

    def frames(self, piece: Piece, plans: PlanRows) -> memoryview:
        """Return the copy of a piece with frames; ``plans`` has a row (PLAN) for each."""
        data, rows = piece.data, piece.rows
        assert rows is not None
        # A block whose options had no end gains one: it has at least 24 bytes then.
        size = len(data) + len(data) // 6 + int(plans["text_len"].sum()) + (PACKET_HEADER + EXTRA) * (len(rows) + 1)
        out = np.zeros(size, np.uint8)
        self._job["at"], self._job["to"], self._job["end"] = 0, 0, len(data)
        copy = write_records if self._pcap else copy_blocks
        copy(data, rows, plans, self._texts, out, self._job)
        return out[: int(self._job["to"][0])].data


def _section_of(header: bytes, tick_ns: int) -> bytes:
    """Return a little-endian section header and interface for a pcap file header (24 bytes)."""
    order = "<" if header[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1", b"\x34\xcd\xb2\xa1") else ">"
    assert len(header) == HEADER_BYTES
    snaplen, network = struct.unpack(f"{order}II", header[16:24])
    options = b"" if tick_ns == 1000 else struct.pack("<HHB3x", 9, 1, 9)  # if_tsresol: nanoseconds
    if network & 1 << 26:  # the length of a frame check sequence is known, in 16-bit words
        options += struct.pack("<HHB3x", 13, 1, (network >> 28) * 2)
    section = struct.pack("<IIIHHqI", SECTION_HEADER, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    options += bytes(4) if options else b""
    total = 20 + len(options)
    interface = struct.pack("<IIHHI", INTERFACE_DESCRIPTION, total, network & 0xFFFF, 0, snaplen)
    return section + interface + options + struct.pack("<I", total)


@kernel
def put(out: NDArray[np.uint8], to: Number, data: NDArray[np.uint8], at: Number, size: Number) -> None:
    """Copy ``size`` bytes from ``data[at]`` on to ``out[to]`` and those behind it."""
    for i in range(size):
        out[to + i] = data[at + i]


@kernel
def put32(out: NDArray[np.uint8], at: Number, value: Number, big: Number) -> None:
    """Write an unsigned 32-bit number."""
    for i in range(4):
        out[at + (3 - i if big else i)] = value >> (8 * i) & 0xFF


@kernel
def padded(size: Number) -> Number:
    """Return ``size`` rounded up to a multiple of 4."""
    return (size + 3) & ~np.int64(3)


@entry
def copy_blocks(
    data: NDArray[np.uint8],
    rows: Row,
    plans: Row,
    texts: NDArray[np.uint8],
    out: NDArray[np.uint8],
    jobs: Row,
) -> None:
    """Copy the blocks of ``data``, the packets among them as their plans say."""
    job, i = jobs[0], 0
    while job.at < job.end:
        at, to = np.int64(job.at), np.int64(job.to)
        kind = u32(data, at, job.big_endian)
        if kind == SECTION_HEADER:
            read_byte_order(data, at, job)
        total = u32(data, at + 4, job.big_endian)
        if kind in (SECTION_HEADER, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS):
            copy_header(data, kind, out, job)
        elif kind not in (ENHANCED_PACKET, SIMPLE_PACKET, OBSOLETE_PACKET):
            if not job.private:
                put(out, to, data, at, total)
                job.to = to + total
        else:
            plan, was = plans[i], np.int64(rows[i].captured_len)
            i += 1
            if not plan.keep:
                pass
            elif kind == SIMPLE_PACKET:
                put(out, to, data, at, total)
                for rest in range(to + SIMPLE_HEADER + np.int64(plan.captured), to + SIMPLE_HEADER + was):
                    out[rest] = 0  # it cannot be shortened
                job.to = to + total
            elif plan.captured == was and plan.text_len == 0 and not job.private:
                put(out, to, data, at, total)
                job.to = to + total
            else:
                edit_block(data, was, plan, texts, out, job)
        job.at = at + total


@kernel
def names_nobody(kind: Number, code: Number) -> Number:
    """Return whether an option of a block cannot hold names, addresses or comments."""
    if kind == INTERFACE_DESCRIPTION:
        return code in INTERFACE_PLAIN
    if kind == INTERFACE_STATISTICS:
        return code in STATISTICS_PLAIN
    return kind != SECTION_HEADER and code in PACKET_PLAIN


@kernel
def copy_options(
    data: NDArray[np.uint8], at: Number, end: Number, kind: Number, out: NDArray[np.uint8], job: Row
) -> None:
    """Copy the options of a block in ``data[at:end]`` without their end, in private those alone that name nobody."""
    while True:
        code, size = option(data, at, end, job.big_endian)
        if code <= 0:
            return
        after = following(at, size)
        if not job.private or names_nobody(kind, code):
            put(out, job.to, data, at, after - at)
            job.to += after - at
        at = after


@kernel
def copy_header(data: NDArray[np.uint8], kind: Number, out: NDArray[np.uint8], job: Row) -> None:
    """Copy the section header, interface description or statistics at hand; in private without names and comments."""
    at, start, big = np.int64(job.at), np.int64(job.to), job.big_endian
    total = u32(data, at + 4, big)
    if not job.private:
        put(out, start, data, at, total)
        job.to = start + total
    else:
        fixed = SECTION_FIXED if kind == SECTION_HEADER else INTERFACE_FIXED
        fixed = STATISTICS_FIXED if kind == INTERFACE_STATISTICS else fixed
        put(out, start, data, at, fixed)
        job.to = start + fixed
        copy_options(data, at + fixed, at + total - 4, kind, out, job)
        to = np.int64(job.to)
        if to > start + fixed:
            to += 4  # opt_endofopt is zeros
        put32(out, start + 4, to + 4 - start, big)
        put32(out, to, to + 4 - start, big)
        job.to = to + 4
    if kind == SECTION_HEADER:
        for i in range(8):
            out[start + 16 + i] = 0xFF  # the section's length: unknown from here on


@kernel
def edit_block(
    data: NDArray[np.uint8], was: Number, plan: Row, texts: NDArray[np.uint8], out: NDArray[np.uint8], job: Row
) -> None:
    """Copy the packet block at hand with its plan's length and comment, and the options it had (section 4.3)."""
    big, at, start = job.big_endian, np.int64(job.at), np.int64(job.to)
    kind, captured = u32(data, at, big), np.int64(plan.captured)
    put(out, start, data, at, PACKET_HEADER + captured)
    put32(out, start + 20, captured, big)
    job.to = start + PACKET_HEADER + padded(captured)
    bare = job.to
    copy_options(data, at + PACKET_HEADER + padded(was), at + u32(data, at + 4, big) - 4, kind, out, job)
    finish_block(plan, texts, out, job, start, job.to > bare)


@kernel
def finish_block(
    plan: Row, texts: NDArray[np.uint8], out: NDArray[np.uint8], job: Row, start: Number, has_options: Number
) -> None:
    """Write the comment, the end of the options and both lengths of the packet block that began at ``start``."""
    to, big, size = np.int64(job.to), job.big_endian, np.int64(plan.text_len)
    if size:
        out[to + (1 if big else 0)] = OPTION_COMMENT
        out[to + (2 if big else 3)], out[to + (3 if big else 2)] = size >> 8, size & 0xFF
        put(out, to + 4, texts, plan.text, size)
        to += 4 + padded(size)
    if size or has_options:
        to += 4  # opt_endofopt is zeros
    put32(out, start + 4, to + 4 - start, big)
    put32(out, to, to + 4 - start, big)
    job.to = to + 4


@entry
def write_records(
    data: NDArray[np.uint8],
    rows: Row,
    plans: Row,
    texts: NDArray[np.uint8],
    out: NDArray[np.uint8],
    jobs: Row,
) -> None:
    """Write each frame of a pcap as a little-endian Enhanced Packet Block of interface 0."""
    job = jobs[0]
    for i in range(len(rows)):
        row, plan = rows[i], plans[i]
        if not plan.keep:
            continue
        start, captured = np.int64(job.to), np.int64(plan.captured)
        ticks = np.int64(row.time_ns) // np.int64(job.tick_ns)
        put32(out, start, ENHANCED_PACKET, False)
        put32(out, start + 12, ticks >> 32, False)
        put32(out, start + 16, ticks & 0xFFFFFFFF, False)
        put32(out, start + 20, captured, False)
        put32(out, start + 24, np.int64(row.wire_len), False)
        offset = np.int64(row.offset)
        put(out, start + PACKET_HEADER, data, offset, captured)
        job.to = start + PACKET_HEADER + padded(captured)
        finish_block(plan, texts, out, job, start, False)
