"""pcapng to frames (draft-ietf-opsawg-pcapng): sections, interfaces with their own clocks, packets, drops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kacap.capture.blocks import Window
from kacap.capture.blockwalk import (
    BEYOND,
    BLOCK_LIMIT,
    FRAMING,
    HEADER_BLOCK,
    INTERFACE,
    INTERFACE_DESCRIPTION,
    INTERFACES,
    LONG,
    LOSS,
    OPTIONS,
    OVERRUN,
    SECONDS_LIMIT,
    SECTION,
    SECTION_HEADER,
    SHORT,
    TIME,
    TRAILER,
    walk_pcapng,
)
from kacap.capture.records import RecordReader
from kacap.capture.tally import Tally
from kacap.errors import CaptureError
from kacap.model import Drop
from kacap.units import SECOND

SECTION_MAGIC = SECTION_HEADER.to_bytes(4, "big")
BYTE_ORDER_MAGIC = bytes.fromhex("1a2b3c4d")
SECTION_BYTES = 28  # the shortest section header

INTERFACE_LIMIT = 65_536  # in a section; a bound for hostile files

LOSSES = 1024  # packets with drops before them that one walk may tell of

IF_NAME, IF_TSRESOL, IF_TSOFFSET = 2, 9, 14
ISB_STARTTIME, ISB_ENDTIME, ISB_IFDROP, ISB_OSDROP = 2, 3, 5, 7
OPTION_BYTES = {IF_TSRESOL: 1, IF_TSOFFSET: 8}

FAULTS = {
    TRAILER: "the two lengths of a block differ",
    OVERRUN: "a packet claims more captured bytes than its block has",
    OPTIONS: "an option claims more bytes than its block has",
    INTERFACE: "a packet names an interface that was not described",
    TIME: "a packet's time is beyond what 64 bits of nanoseconds can say",
}


class PcapngReader(RecordReader):
    """A pcapng file."""

    def __init__(self, window: Window, name: str, index: int):
        """Read the first section header. Raises CaptureError when it is cut or makes no sense."""
        super().__init__(window, name, index)
        self.interfaces: NDArray[np.void] = np.zeros(4, INTERFACES)
        self.section: NDArray[np.void] = np.zeros(1, SECTION)
        self.section[0]["file"] = index
        self._links: dict[int, None] = {}
        self._tally = Tally()
        self._first_ns: int | None = None  # time of the first frame
        if not window.fill(SECTION_BYTES) or not self._begin_section():
            what = f"makes no sense: {self.damage.what}" if self.damage else "is cut"
            raise CaptureError(f"{name}: the pcapng header {what}; capture again, or copy the file again")

    @property
    def link_types(self) -> list[int]:
        """Link types of the interfaces described so far."""
        return list(self._links)

    def walk(self, rows: NDArray[np.void]) -> int:
        """Fill ``rows`` with the next whole frames of the window."""
        window, losses = self.window, np.empty(LOSSES, LOSS)
        self.section[0]["end"] = window.end
        count = int(walk_pcapng(window.buffer, rows, self.interfaces, self.section, self.cursor, losses))
        if count and self._first_ns is None:
            self._first_ns = int(rows["time_ns"][0])
        for loss in losses[: self.section[0]["losses"]].tolist():
            self._lost(*loss)
        return count

    def _lost(self, since_ns: int, until_ns: int, frames: int, interface: int) -> None:
        """Take a row of LOSS."""
        self._tally.packet(interface, Drop(None if since_ns == BEYOND else since_ns, until_ns, frames))

    @property
    def dropped_kernel(self) -> int | None:
        """Frames that the system lost while capturing; None: the file does not say."""
        return self._tally.kernel

    @property
    def dropped_interface(self) -> int | None:
        """Frames that the interfaces lost while capturing; None: the file does not say."""
        return self._tally.interface

    @property
    def drops(self) -> list[Drop]:
        """When frames were lost, as far as the file says."""
        return self._tally.spans

    def resolve(self, stop: int) -> bool:
        """Read the section header, interface description or statistics at hand; or name the damage."""
        if stop == HEADER_BLOCK:
            if self._number(0, 4) == SECTION_HEADER:
                return self._begin_section()
            block = {INTERFACE_DESCRIPTION: self._describe}.get(self._number(0, 4), self._statistics)
            total = self._number(4, 4)
            if not block(total):
                return False
            self.window.start += total
            return True
        if stop in (SHORT, LONG):
            return self._bad_length(self._number(4, 4))
        return self.damaged(FAULTS[stop])

    @property
    def _order(self) -> str:
        return "big" if self.section[0]["big_endian"] else "little"

    def _number(self, at: int, size: int, signed: bool = False) -> int:
        """Return the number ``at`` bytes into the block at hand."""
        return int.from_bytes(self._bytes(at, size), self._order, signed=signed)  # type: ignore[arg-type]

    def _bytes(self, at: int, size: int) -> bytes:
        """Return what lies ``at`` bytes into the block at hand."""
        start = self.window.start + at
        return self.window.buffer[start : start + size].tobytes()

    def _bad_length(self, total: int) -> bool:
        """Name an impossible block length."""
        if total > BLOCK_LIMIT:
            return self.damaged(f"a block claims {total:,} bytes, more than any block ({BLOCK_LIMIT:,})")
        return self.damaged(f"a block claims {total:,} bytes, too few for its kind or no multiple of 4")

    def _begin_section(self) -> bool:
        """Read the section header at the window's start: a new byte order, and no interfaces (section 4.1)."""
        if not self.window.fill(FRAMING):
            return self._cut(FRAMING)
        start = self.window.start + 8
        magic = self.window.buffer[start : start + 4].tobytes()
        if magic not in (BYTE_ORDER_MAGIC, BYTE_ORDER_MAGIC[::-1]):
            return self.damaged("a section's byte-order magic is wrong")
        self.section[0]["big_endian"] = magic == BYTE_ORDER_MAGIC
        total = self._number(4, 4)
        if total < SECTION_BYTES or total % 4 or total > BLOCK_LIMIT:
            return self._bad_length(total)
        if not self.window.fill(total):
            return self._cut(total)
        if self._number(total - 4, 4) != total:
            return self.damaged(FAULTS[TRAILER])
        self.section[0]["interfaces"] = 0
        self._tally.begin_section()
        self.window.start += total
        return True

    def _cut(self, need: int) -> bool:
        """Note that the stream ended within the block at hand."""
        self.end_within(need)
        return False

    def _describe(self, total: int) -> bool:
        """Add the interface that the block describes (section 4.2)."""
        if total < 20:
            return self._bad_length(total)
        resolution, offset_s, name = 6, 0, None
        for code, at, size in self._options(16, total):
            if size == OPTION_BYTES.get(code):
                if code == IF_TSRESOL:
                    resolution = self._number(at, 1)
                else:
                    offset_s = self._number(at, 8, signed=True)
            elif code == IF_NAME:
                name = self._bytes(at, size)
        if self.damage is not None:
            return False
        count = int(self.section[0]["interfaces"])
        if count == INTERFACE_LIMIT:
            return self.damaged(f"a section describes more than {INTERFACE_LIMIT:,} interfaces")
        if count == len(self.interfaces):
            self.interfaces = np.concatenate([self.interfaces, np.zeros(count, INTERFACES)])
        link_type = self._number(8, 2)
        self.interfaces[count] = _interface(resolution, offset_s, self._number(12, 4), link_type)
        self.section[0]["interfaces"] = count + 1
        self._links[link_type] = None
        self._tally.describe(name)
        return True

    def _statistics(self, total: int) -> bool:
        """Keep the drops that the statistics tell, and of when they are (section 4.6)."""
        if total < 24:
            return self._bad_length(total)
        interface = self._number(8, 4)
        found = {code: at for code, at, size in self._options(20, total) if size == 8}
        if self.damage is None and interface < self.section[0]["interfaces"]:
            drops = [self._number(found[c], 8) if c in found else None for c in (ISB_IFDROP, ISB_OSDROP)]
            since, *ends = (self._ticks(found[c]) if c in found else None for c in (ISB_STARTTIME, ISB_ENDTIME))
            ends.append(self._ticks(12))
            self._tally.statistics(interface, drops, *self._times(self.interfaces[interface], since, ends))
        return self.damage is None

    def _ticks(self, at: int) -> int:
        """Return the time stamp ``at`` bytes into the block at hand: its upper half comes first."""
        return self._number(at, 4) << 32 | self._number(at + 4, 4)

    def _times(self, clock: NDArray[np.void], began: int | None, taken: list[int | None]) -> tuple[int, int | None]:
        """Return the first of the times at which statistics were taken that can be one, and when they began.

        dumpcap writes these times in microseconds whatever the interface's clock: a time before the first frame is
        none. Without any the statistics are as old as the last frame before them.
        """
        for row in (clock, MICROSECONDS):
            for ticks in taken:
                at_ns = _exact_ns(ticks, row)
                if at_ns is not None and (self._first_ns is None or at_ns >= self._first_ns):
                    return at_ns, _exact_ns(began, row)
        return int(self.cursor[0]["time_ns"]), None

    def _options(self, at: int, total: int) -> Iterator[tuple[int, int, int]]:
        """Yield (code, where its value begins, bytes) of each option of the block at hand (section 3.5)."""
        end = total - 4
        while end - at >= 4 and (code := self._number(at, 2)) != 0:
            size = self._number(at + 2, 2)
            if at + 4 + size > end:
                self.damaged(FAULTS[OPTIONS])
                return
            yield code, at + 4, size
            at += 4 + (size + 3 & ~3)


def _interface(resolution: int, offset_s: int, snaplen: int, link_type: int) -> NDArray[np.void]:
    """Return the INTERFACES row for an if_tsresol byte, an if_tsoffset in seconds, and the rest."""
    exponent, binary = resolution & 0x7F, resolution > 0x7F
    row: NDArray[np.void] = np.zeros(1, INTERFACES)[0]
    if not binary:
        row["per_second"] = 10**exponent if exponent <= 19 else 0
        row["ns_per_unit"] = 10 ** (9 - exponent) if exponent <= 9 else 0
        row["units_per_ns"] = 10 ** (exponent - 9) if 9 < exponent <= 28 else 0
    row["binary"], row["exponent"] = binary, exponent
    row["offset_s"] = max(-(1 << 40), min(1 << 40, offset_s))  # beyond these no time fits, whatever is added
    row["snaplen"], row["link_type"], row["last_ns"] = snaplen, link_type, BEYOND
    return row


MICROSECONDS = _interface(6, 0, 0, 0)


def _exact_ns(ticks: int | None, clock: NDArray[np.void]) -> int | None:
    """Return what ``blockwalk.to_ns`` does, for the few times that need no kernel; None: beyond 64 bits, or no time."""
    if ticks is None:
        return None
    per_second = (2 if clock["binary"] else 10) ** int(clock["exponent"])
    seconds, rest = divmod(ticks, per_second)
    seconds += int(clock["offset_s"])
    return seconds * SECOND + rest * SECOND // per_second if abs(seconds) <= SECONDS_LIMIT else None
