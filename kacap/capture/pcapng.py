"""pcapng to frames (draft-ietf-opsawg-pcapng): sections, interfaces with their own clocks, packets, drops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.capture.blocks import Window
from kacap.capture.blocktypes import (
    BEYOND,
    BLOCK_LIMIT,
    INTERFACE,
    INTERFACE_LIMIT,
    INTERFACES,
    LINKS,
    LONG,
    LOSS,
    MAGIC,
    OPTIONS,
    OVERRUN,
    SECTION_BYTES,
    SECTION_HEADER,
    SHORT,
    STATE,
    TABLE_FULL,
    TOO_MANY,
    TRAILER,
    UNKNOWN,
    InterfaceRows,
)
from kacap.capture.blockwalk import walk_pcapng
from kacap.capture.drops import Drops, total
from kacap.capture.frames import FRAME
from kacap.capture.records import RecordReader
from kacap.errors import CaptureError, Damage
from kacap.summary import Drop

SECTION_MAGIC = SECTION_HEADER.to_bytes(4, "big")
LOSSES = 1024  # rows for one walk

FAULTS = {
    MAGIC: "a section's byte-order magic is wrong",
    TRAILER: "the two lengths of a block differ",
    OVERRUN: "a packet claims more captured bytes than its block has",
    OPTIONS: "an option claims more bytes than its block has",
    INTERFACE: "a packet names an interface that was not described",
    TOO_MANY: f"a section describes more than {INTERFACE_LIMIT:,} interfaces",
}


class PcapngReader(RecordReader):
    """A pcapng file."""

    state = STATE

    def __init__(self, window: Window, name: str, index: int):
        """Read the first section header. Raises CaptureError when it is cut or makes no sense."""
        super().__init__(window, name, index)
        self.interfaces: InterfaceRows = np.zeros(4, INTERFACES)
        self._links = np.zeros(LINKS, np.uint16)
        self._losses = np.zeros(LOSSES, LOSS)
        self._drops = Drops()
        at_hand = self.cursor[0]
        at_hand["file"], at_hand["first_ns"] = index, BEYOND
        at_hand["kernel"] = at_hand["interface"] = UNKNOWN
        if not window.fill(SECTION_BYTES) or not self._begin():
            what = f"makes no sense: {self.damages[0].what}" if self.damages else "is cut"
            raise CaptureError(f"{name}: the pcapng header {what}; capture again, or copy the file again")

    def _begin(self) -> bool:
        """Read the first section header; return False where it makes no sense or is cut."""
        frames = self.advance(np.empty(1, FRAME))
        at_hand = self.cursor[0]
        while not at_hand["sections"]:
            if not self.go_on():
                return False
            frames = self.advance(np.empty(1, FRAME))
        assert frames == 0  # a walk ends with the first section header
        return True

    @property
    def link_types(self) -> list[int]:
        """Link types of the interfaces described so far."""
        listed: list[int] = self._links[: self.cursor[0]["links"]].tolist()
        return listed

    def walk(self, rows: NDArray[np.void]) -> int:
        """Fill ``rows`` with the next whole frames of the window."""
        window, at_hand = self.window, self.cursor[0]
        at_hand["end"], at_hand["base"] = window.end, window.base
        filled = int(walk_pcapng(window.buffer, rows, self.interfaces, self._links, self.cursor, self._losses))
        self._lost(self._losses[: at_hand["losses"]])
        return filled

    def _lost(self, losses: NDArray[np.void]) -> None:
        """Take rows of LOSS."""
        names: dict[int, str | None] = {}
        for interface in sorted(set(losses["interface"].tolist())):
            row = self.interfaces[interface]
            names[interface] = row["name"][: row["name_bytes"]].tobytes().decode(errors="replace") or None
        for since_ns, until_ns, frames, interface, by_packets in losses.tolist():
            drop = Drop(None if since_ns == BEYOND else since_ns, until_ns, frames, names[interface])
            (self._drops.go_on if by_packets else self._drops.add)(drop)

    @property
    def dropped_kernel(self) -> int | None:
        """Frames that the system lost while capturing; None: the file does not say."""
        rows = self.interfaces[: self.cursor[0]["interfaces"]]
        by_system = rows["by_system"]
        lost = np.maximum(rows["lost"] - np.maximum(rows["by_interface"], 0), np.maximum(by_system, 0))
        return total(_known([int(self.cursor[0]["kernel"]), *lost[(lost > 0) | (by_system != UNKNOWN)].tolist()]))

    @property
    def dropped_interface(self) -> int | None:
        """Frames that the interfaces lost while capturing; None: the file does not say."""
        rows = self.interfaces[: self.cursor[0]["interfaces"]]
        return total(_known([int(self.cursor[0]["interface"]), *rows["by_interface"].tolist()]))

    @property
    def drops(self) -> list[Drop]:
        """When frames were lost, as far as the file says."""
        return self._drops.spans()

    @property
    def damages(self) -> list[Damage]:
        """What of the file makes no sense: times that no clock has, and where reading ended."""
        at_hand = self.cursor[0]
        if not at_hand["beyond"]:
            return super().damages
        frame, frames = int(at_hand["beyond_frame"]), int(at_hand["beyond"])
        what = (
            f"the time of frame {frame} is beyond the years 1970 to 2106, all that a pcap file could say"
            f"{f'; so are {frames - 1:,} more' if frames > 1 else ''}: each has the time of the frame before it"
        )
        return [Damage(self.name, int(at_hand["beyond_offset"]), frame - 1, what), *super().damages]

    def resolve(self, stop: int) -> bool:
        """Make room for more interfaces, or name the damage."""
        if stop == TABLE_FULL:
            self.interfaces = np.concatenate([self.interfaces, np.zeros(len(self.interfaces), INTERFACES)])
            return True
        if stop not in (SHORT, LONG):
            return self.damaged(FAULTS[stop])
        start, order = self.window.start + 4, "big" if self.cursor[0]["big_endian"] else "little"
        size = int.from_bytes(self.window.buffer[start : start + 4].tobytes(), order)  # type: ignore[arg-type]
        if size > BLOCK_LIMIT:
            return self.damaged(f"a block claims {size:,} bytes, more than any block ({BLOCK_LIMIT:,})")
        return self.damaged(f"a block claims {size:,} bytes, too few for its kind or no multiple of 4")


def _known(counts: list[int]) -> list[int | None]:
    """Return counts with None in place of UNKNOWN."""
    return [None if value == UNKNOWN else value for value in counts]
