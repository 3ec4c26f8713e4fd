"""Classic pcap to frames (draft-ietf-opsawg-pcap): either byte order, micro or nano, and Kuznetzov's variant.

Before version 2.3 a record's two lengths are in the other order; some writers of 2.3, too, had them so, and DG/UX's
tcpdump, whose version is 543.0 (libpcap, sf-pcap.c).
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from kacap.capture.blocks import Window
from kacap.capture.records import FRAME_LIMIT, RecordReader, u32
from kacap.clock import SECOND_NS
from kacap.errors import CaptureError
from kacap.kernels import Row, entry

# Magic as read little-endian: (nanoseconds per unit of the fraction, bytes of a record header).
MAGICS = {0xA1B2C3D4: (1000, 16), 0xA1B23C4D: (1, 16), 0xA1B2CD34: (1000, 24)}
HEADER_BYTES = 24

# Link types whose records libpcap lets grow to 128 MiB: D-Bus, USB, EBHSCR. A packet fits into FRAME_LIMIT in any case.
LARGE_LINK_TYPES = {189, 220, 231, 249, 266, 279}
LARGE_FRAME_LIMIT = 128 << 20

# The order of a record's lengths: captured first; the other way round; the other way round where only that makes sense.
CAPTURED_FIRST, WIRE_FIRST, EITHER_FIRST = 0, 1, 2
DG_UX = (543, 0)

# What stays the same for all records of a file.
LAYOUT = np.dtype(
    [
        ("fraction_ns", "<i8"),
        ("header", "<i8"),
        ("limit", "<i8"),
        ("kept", "<i8"),  # captured bytes of a frame that are looked at
        ("link_type", "<u2"),
        ("file", "<u2"),
        ("lengths", "u1"),  # their order
        ("big_endian", "?"),
    ],
    align=True,
)

TOO_LONG = 1
LAST_NS = np.int64(SECOND_NS << 32) - 1  # a fraction of more than a second leads no further: what is written can say it


@entry
def walk_pcap(
    data: NDArray[np.uint8],
    end: int,
    rows: Row,
    layout: Row,
    cursor: Row,
) -> int:
    """Fill ``rows`` (FRAME) with the whole records of ``data[position:end]``; return how many; move ``cursor``."""
    fixed, state = layout[0], cursor[0]
    big, header, fraction_ns, order = fixed.big_endian, fixed.header, fixed.fraction_ns, fixed.lengths
    at, frame, count, need = state.position, state.frame, 0, np.int64(0)
    while count < len(rows):
        need = header
        if end - at < need:
            break
        captured, wire = u32(data, at + 8, big), u32(data, at + 12, big)
        if order == WIRE_FIRST or (order == EITHER_FIRST and captured > wire):
            captured, wire = wire, captured
        if captured > fixed.limit:
            state.stop = TOO_LONG
            break
        need = header + captured
        if end - at + state.left_out < need:
            break
        row = rows[count]
        row.offset = at + header
        row.time_ns = min(u32(data, at, big) * SECOND_NS + u32(data, at + 4, big) * fraction_ns, LAST_NS)
        row.frame = frame + 1
        row.captured_len = min(captured, fixed.kept)
        row.wire_len = wire
        row.link_type = fixed.link_type
        row.file = fixed.file
        at, frame, count, need = at + need - state.left_out, frame + 1, count + 1, np.int64(0)
        state.left_out = 0
    state.position, state.frame, state.need = at, frame, need
    return count


class PcapReader(RecordReader):
    """A classic pcap file."""

    def __init__(self, window: Window, name: str, index: int, *, whole: bool):
        """Read the file header. Raises CaptureError when it is cut or of a version that nobody writes.

        Unless frames shall be ``whole``, they are captured as far as FRAME_LIMIT, whatever their records hold.
        """
        super().__init__(window, name, index)
        header = window.take(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            raise CaptureError(
                f"{name}: the pcap header is cut ({len(header)} of {HEADER_BYTES} bytes): nothing to read; "
                "capture again, or copy the file again"
            )
        big = struct.unpack("<I", header[:4])[0] not in MAGICS
        magic, major, minor, _, _, _, network = struct.unpack(">IHHiIII" if big else "<IHHiIII", header)
        if major != 2 and (major, minor) != DG_UX:
            raise CaptureError(f"{name}: pcap version {major}.{minor} is unknown; convert it with editcap")
        fraction_ns, record_header = MAGICS[magic]
        link_type = network & 0xFFFF  # the bits above tell the length of a frame check sequence
        limit = LARGE_FRAME_LIMIT if link_type in LARGE_LINK_TYPES else FRAME_LIMIT
        lengths = CAPTURED_FIRST if (2, 3) < (major, minor) < DG_UX else WIRE_FIRST
        lengths = EITHER_FIRST if (major, minor) == (2, 3) else lengths
        kept = limit if whole else FRAME_LIMIT
        window.wanted = record_header + kept
        self.layout = np.array([(fraction_ns, record_header, limit, kept, link_type, index, lengths, big)], LAYOUT)

    @property
    def link_types(self) -> list[int]:
        """The one link type of the file."""
        return [int(self.layout[0]["link_type"])]

    def walk(self, rows: NDArray[np.void]) -> int:
        """Fill ``rows`` with the next whole frames of the window."""
        return int(walk_pcap(self.window.buffer, self.window.end, rows, self.layout, self.cursor))

    def resolve(self, stop: int) -> bool:
        """A record that claims an impossible length ends the file."""
        at, fixed = self.window.start + 8, self.layout[0]
        lengths = self.window.buffer[at : at + 8].tobytes()
        captured, wire = struct.unpack(">II" if fixed["big_endian"] else "<II", lengths)
        swapped = fixed["lengths"] == WIRE_FIRST or (fixed["lengths"] == EITHER_FIRST and captured > wire)
        claimed = wire if swapped else captured
        return self.damaged(f"a record claims {claimed:,} captured bytes, more than any frame ({fixed['limit']:,})")
