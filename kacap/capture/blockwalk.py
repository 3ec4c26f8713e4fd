"""The kernel under the pcapng reader: walks over blocks, reads packets, and takes what headers and options say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.capture.blocklosses import close_section, count, packet_lost, statistics_lost, statistics_time
from kacap.capture.blocktimes import set_clock, stamp, to_ns
from kacap.capture.blocktypes import (
    BEYOND,
    BLOCK_LIMIT,
    ENHANCED_PACKET,
    EPB_DROPCOUNT,
    FRAMING,
    IF_NAME,
    IF_TSOFFSET,
    IF_TSRESOL,
    INTERFACE,
    INTERFACE_BYTES,
    INTERFACE_DESCRIPTION,
    INTERFACE_LIMIT,
    INTERFACE_STATISTICS,
    ISB_ENDTIME,
    ISB_IFDROP,
    ISB_OSDROP,
    ISB_STARTTIME,
    LONG,
    MAGIC,
    NAME_BYTES,
    OBSOLETE_PACKET,
    OPTIONS,
    OVERRUN,
    PACKET_HEADER,
    SECTION_BYTES,
    SECTION_HEADER,
    SHORT,
    SIMPLE_HEADER,
    SIMPLE_PACKET,
    STATISTICS_BYTES,
    TABLE_FULL,
    TOO_MANY,
    TRAILER,
    UNKNOWN,
)
from kacap.capture.records import Number, u16, u32
from kacap.kernels import Row, entry, kernel

MAGIC_NUMBER = 0x1A2B3C4D  # of a section, in its own byte order (section 4.1)


@kernel
def option(data: NDArray[np.uint8], at: Number, end: Number, big_endian: Number) -> tuple[Number, Number]:
    """Return code and size of the option at ``at``: (0, 0) at the end, (-1, 0) if it runs beyond ``end``."""
    if end - at < 4:
        return np.int64(0), np.int64(0)
    code, size = u16(data, at, big_endian), u16(data, at + 2, big_endian)
    if code == 0:
        return np.int64(0), np.int64(0)
    if at + 4 + size > end:
        return np.int64(-1), np.int64(0)
    return code, size


@kernel
def following(at: Number, size: Number) -> Number:
    """Return where the option after the one at ``at`` begins, whose value has ``size`` bytes."""
    return at + 4 + ((size + 3) & ~np.int64(3))


@kernel
def dropcount(data: NDArray[np.uint8], at: Number, end: Number, big_endian: Number) -> Number:
    """Return the epb_dropcount among the options in ``data[at:end]``, 0 without one, -1 if one runs beyond ``end``."""
    lost = np.int64(0)
    while True:
        code, size = option(data, at, end, big_endian)
        if code <= 0:
            return lost if code == 0 else np.int64(-1)
        if code == EPB_DROPCOUNT and size == 8:
            lost = count(data, at + 4, big_endian)
        at = following(at, size)


@kernel
def read_packet(
    data: NDArray[np.uint8],
    at: Number,
    row: Row,
    interfaces: Row,
    state: Row,
    losses: Row,
) -> Number:
    """Fill ``row`` from the packet block at ``at``; return 0, or why it makes no sense (section 4.3, 4.4, A)."""
    big = state.big_endian
    kind, total = u32(data, at, big), u32(data, at + 4, big)
    simple = kind == SIMPLE_PACKET
    header = np.int64(SIMPLE_HEADER if simple else PACKET_HEADER)
    room = total - 4 - header
    if room < 0:
        return SHORT
    number = np.int64(0)
    if not simple:
        number = u16(data, at + 8, big) if kind == OBSOLETE_PACKET else u32(data, at + 8, big)
    if number >= state.interfaces:
        return INTERFACE
    interface = interfaces[number]
    wire = u32(data, at + header - 4, big)
    captured = wire if simple else u32(data, at + 20, big)
    if simple and interface.snaplen > 0:
        captured = min(captured, interface.snaplen)
    padded = (captured + 3) & ~3
    if padded > room:
        return OVERRUN
    lost = np.int64(0)
    if not simple and room > padded:
        lost = dropcount(data, at + header + padded, at + total - 4, big)
        if lost < 0:
            return OPTIONS
    if simple:
        state.untimed += 1
    else:
        set_time(to_ns(stamp(data, at + 12, big), interface), at, state)
    if state.first_ns == BEYOND:
        state.first_ns = state.time_ns
    if lost > 0 and kind == ENHANCED_PACKET:
        packet_lost(interface, number, lost, state, losses)
    interface.last_ns = state.time_ns
    state.frame += 1
    row.offset = at + header
    row.time_ns = state.time_ns
    row.frame = state.frame
    row.captured_len = captured
    row.wire_len = wire
    row.link_type = interface.link_type
    row.file = state.file
    return 0


@kernel
def set_time(time_ns: Number, at: Number, state: Row) -> None:
    """Make ``time_ns`` the time at hand; where it is BEYOND, that of the packet before stays, and this one is noted."""
    if time_ns != BEYOND:
        state.time_ns = time_ns
        return
    if state.beyond == 0:
        state.beyond_frame, state.beyond_offset = state.frame + 1, state.base + at
    state.beyond += 1


@kernel
def read_interface(
    data: NDArray[np.uint8], at: Number, interfaces: Row, links: NDArray[np.uint16], state: Row
) -> Number:
    """Add the interface that the block at ``at`` describes; return 0, or why not (section 4.2)."""
    big = state.big_endian
    total = u32(data, at + 4, big)
    if total < INTERFACE_BYTES:
        return SHORT
    if state.interfaces == INTERFACE_LIMIT:
        return TOO_MANY
    if state.interfaces == len(interfaces):
        return TABLE_FULL
    interface = interfaces[state.interfaces]
    link_type = u16(data, at + 8, big)
    resolution, offset_s = np.int64(6), np.int64(0)
    interface.name_bytes = 0
    at_option, end = at + 16, at + total - 4
    while True:
        code, size = option(data, at_option, end, big)
        if code <= 0:
            break
        if code == IF_TSRESOL and size == 1:
            resolution = np.int64(data[at_option + 4])
        elif code == IF_TSOFFSET and size == 8:
            first, second = u32(data, at_option + 4, big), u32(data, at_option + 8, big)
            offset_s = first << 32 | second if big else second << 32 | first
        elif code == IF_NAME:
            interface.name_bytes = min(size, np.int64(NAME_BYTES))
            for i in range(interface.name_bytes):
                interface.name[i] = data[at_option + 4 + i]
        at_option = following(at_option, size)
    if code < 0:
        return OPTIONS
    set_clock(interface, resolution, offset_s)
    interface.snaplen, interface.link_type = u32(data, at + 12, big), link_type
    interface.lost = interface.ahead = 0
    interface.by_interface = interface.by_system = UNKNOWN
    interface.last_ns = interface.counted_ns = BEYOND
    state.interfaces += 1
    add_link(link_type, links, state)
    return 0


@kernel
def add_link(link_type: Number, links: NDArray[np.uint16], state: Row) -> None:
    """List a link type, once, while there is room."""
    for i in range(state.links):
        if links[i] == link_type:
            return
    if state.links < len(links):
        links[state.links] = link_type
        state.links += 1


@kernel
def read_statistics(data: NDArray[np.uint8], at: Number, interfaces: Row, state: Row, losses: Row) -> Number:
    """Take the drops that the statistics at ``at`` count; return 0, or why they make no sense (section 4.6)."""
    big = state.big_endian
    total = u32(data, at + 4, big)
    if total < STATISTICS_BYTES:
        return SHORT
    by_interface, by_system = np.int64(UNKNOWN), np.int64(UNKNOWN)
    began_at, ended_at = np.int64(0), np.int64(0)
    at_option, end = at + 20, at + total - 4
    while True:
        code, size = option(data, at_option, end, big)
        if code <= 0:
            break
        if size == 8:
            if code == ISB_STARTTIME:
                began_at = at_option + 4
            elif code == ISB_ENDTIME:
                ended_at = at_option + 4
            elif code == ISB_IFDROP:
                by_interface = count(data, at_option + 4, big)
            elif code == ISB_OSDROP:
                by_system = count(data, at_option + 4, big)
        at_option = following(at_option, size)
    if code < 0:
        return OPTIONS
    number = u32(data, at + 8, big)
    if number < state.interfaces:
        interface = interfaces[number]
        if by_interface != UNKNOWN:
            interface.by_interface = by_interface
        if by_system != UNKNOWN:
            interface.by_system = by_system
        at_ns, since_ns = statistics_time(data, (began_at, ended_at, at + 12), interface, state)
        statistics_lost(interface, number, at_ns, since_ns, state, losses)
    return 0


@kernel
def read_byte_order(data: NDArray[np.uint8], at: Number, state: Row) -> Number:
    """Take the byte order of the section header at ``at``; return 0, or MAGIC (section 4.1)."""
    if u32(data, at + 8, True) == MAGIC_NUMBER:
        state.big_endian = True
    elif u32(data, at + 8, False) == MAGIC_NUMBER:
        state.big_endian = False
    else:
        return MAGIC
    return 0


@kernel
def bad_length(kind: Number, total: Number) -> Number:
    """Return why a block cannot have ``total`` bytes, or 0."""
    if total > BLOCK_LIMIT:
        return LONG
    if total < (SECTION_BYTES if kind == SECTION_HEADER else FRAMING) or total % 4 != 0:
        return SHORT
    return 0


@entry
def walk_pcapng(
    data: NDArray[np.uint8],
    rows: Row,
    interfaces: Row,
    links: NDArray[np.uint16],
    states: Row,
    losses: Row,
) -> int:
    """Fill ``rows`` (FRAME) with the packets of ``data[position:end]``; return how many; update ``states[0]`` (STATE).

    ``interfaces`` and ``losses`` (LOSS) are filled on the way, and ``links`` with the link types in the order
    of appearance. Unknown blocks are skipped. A walk also ends after the first
    section header, where ``losses`` are full, and before a section that would forget the interfaces that they name.
    """
    state = states[0]
    state.losses = 0
    at, end, filled, need, stop = state.position, state.end, 0, np.int64(0), np.int64(0)
    while filled < len(rows) and state.losses < len(losses):
        need = np.int64(FRAMING)
        if end - at < need:
            break
        kind = u32(data, at, state.big_endian)
        if kind == SECTION_HEADER:
            if state.losses > 0:
                need = np.int64(0)
                break
            stop = np.int64(read_byte_order(data, at, state))
        total = u32(data, at + 4, state.big_endian)
        if stop == 0:
            stop = np.int64(bad_length(kind, total))
        if stop != 0:
            break
        need = total
        if end - at < need:
            break
        if u32(data, at + total - 4, state.big_endian) != total:
            stop = np.int64(TRAILER)
        elif kind in (ENHANCED_PACKET, SIMPLE_PACKET, OBSOLETE_PACKET):
            stop = np.int64(read_packet(data, at, rows[filled], interfaces, state, losses))
            filled += 1 if stop == 0 else 0
        elif kind == INTERFACE_DESCRIPTION:
            stop = np.int64(read_interface(data, at, interfaces, links, state))
        elif kind == INTERFACE_STATISTICS:
            stop = np.int64(read_statistics(data, at, interfaces, state, losses))
        elif kind == SECTION_HEADER:
            close_section(interfaces, state)
            state.sections += 1
        if stop != 0:
            break
        at, need = at + total, np.int64(0)
        if kind == SECTION_HEADER and state.sections == 1:
            break
    state.position, state.stop, state.need = at, stop, (np.int64(0) if stop != 0 else need)
    return filled
