"""The kernels under the pcapng reader: block framing, packet blocks, and time stamps to exact nanoseconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.capture.records import Number, Row, u16, u32
from kacap.kernels import entry, kernel

# Block types (draft-ietf-opsawg-pcapng, section 11.1).
SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION, OBSOLETE_PACKET, SIMPLE_PACKET, INTERFACE_STATISTICS, ENHANCED_PACKET = 1, 2, 3, 5, 6

# libpcap's and Wireshark's bound: a longer block is damage.
BLOCK_LIMIT = 16 << 20
FRAMING = 12  # type, total length, and the total length again at the end

# Seconds that still fit an int64 of nanoseconds, and what stands for a time beyond them.
SECONDS_LIMIT = 9_223_372_035
BEYOND = np.iinfo(np.int64).min

# Why a walk stops.
HEADER_BLOCK, SHORT, LONG, TRAILER, INTERFACE, OVERRUN, OPTIONS, TIME = 1, 2, 3, 4, 5, 6, 7, 8

# One row for each interface of the section, from its description.
INTERFACES = np.dtype(
    [
        ("per_second", "<u8"),  # units of a time stamp in a second; 0: more than 64 bits can count
        ("ns_per_unit", "<u8"),  # 0: a unit is shorter than a nanosecond
        ("units_per_ns", "<u8"),  # 0: more than 64 bits can count
        ("exponent", "<u8"),  # of 2, where ``binary``
        ("offset_s", "<i8"),
        ("snaplen", "<i8"),  # 0: unlimited
        ("link_type", "<u2"),
        ("binary", "?"),
    ],
    align=True,
)

SECTION = np.dtype([("interfaces", "<i8"), ("file", "<u2"), ("big_endian", "?")], align=True)


@kernel
def binary_fraction(rest: Number, exponent: Number) -> Number:
    """Return floor(rest * 10^9 / 2^exponent) for rest < 2^exponent, in uint64 without overflow."""
    billion, half = np.uint64(1_000_000_000), np.uint64(32)
    if exponent <= half:
        return (rest * billion) >> exponent
    # The low half's product adds its carry to the high half's; what is below 2^32 cannot change the floor.
    high = (rest >> half) * billion + (((rest & np.uint64(0xFFFFFFFF)) * billion) >> half)
    shift = exponent - half
    return high >> shift if shift < np.uint64(64) else np.uint64(0)


@kernel
def to_ns(ticks: Number, clock: Row) -> Number:
    """Return the time of ``ticks`` (uint64) of an interface's clock in nanoseconds, rounded down; or BEYOND."""
    seconds, rest = np.uint64(0), ticks
    if clock["binary"]:
        exponent = clock["exponent"]
        if exponent < np.uint64(64):
            seconds = ticks >> exponent
            rest = ticks - (seconds << exponent)
        fraction = binary_fraction(rest, exponent)
    else:
        if clock["per_second"] > np.uint64(0):
            seconds = ticks // clock["per_second"]
            rest = ticks - seconds * clock["per_second"]
        if clock["ns_per_unit"] > np.uint64(0):
            fraction = rest * clock["ns_per_unit"]
        else:
            fraction = rest // clock["units_per_ns"] if clock["units_per_ns"] > np.uint64(0) else np.uint64(0)
    if seconds > np.uint64(1 << 40):
        return np.int64(BEYOND)
    whole = np.int64(seconds) + clock["offset_s"]
    if whole > SECONDS_LIMIT or whole < -SECONDS_LIMIT:
        return np.int64(BEYOND)
    return whole * np.int64(1_000_000_000) + np.int64(fraction)


@kernel
def options_overrun(data: NDArray[np.uint8], at: Number, end: Number, big: Number) -> Number:
    """Return whether an option of the list in ``data[at:end]`` claims bytes beyond ``end``."""
    while end - at >= 4:
        if u16(data, at, big) == 0:
            return False
        at += 4 + ((u16(data, at + 2, big) + 3) & ~3)
    return at > end


@kernel
def read_packet(
    data: NDArray[np.uint8],
    at: Number,
    row: Row,
    interfaces: NDArray[np.void],
    section: Row,
    state: Row,
) -> Number:
    """Fill ``row`` from the packet block at ``at``; return 0, or why it makes no sense (section 4.3, 4.4, A)."""
    big = section["big_endian"]
    kind, total = u32(data, at, big), u32(data, at + 4, big)
    simple = kind == SIMPLE_PACKET
    header = np.int64(12 if simple else 28)
    room = total - 4 - header
    if room < 0:
        return SHORT
    number = np.int64(0)
    if not simple:
        number = u16(data, at + 8, big) if kind == OBSOLETE_PACKET else u32(data, at + 8, big)
    if number >= section["interfaces"]:
        return INTERFACE
    interface = interfaces[number]
    wire = u32(data, at + header - 4, big)
    captured = wire if simple else u32(data, at + 20, big)
    if simple and interface["snaplen"] > 0:
        captured = min(captured, interface["snaplen"])
    padded = (captured + 3) & ~3
    if padded > room:
        return OVERRUN
    if not simple:
        if options_overrun(data, at + header + padded, at + total - 4, big):
            return OPTIONS
        ticks = np.uint64(u32(data, at + 12, big)) << np.uint64(32) | np.uint64(u32(data, at + 16, big))
        time_ns = to_ns(ticks, interface)
        if time_ns == BEYOND:
            return TIME
        state["time_ns"] = time_ns
    else:
        state["untimed"] += 1
    row["offset"] = at + header
    row["time_ns"] = state["time_ns"]
    row["captured_len"] = captured
    row["wire_len"] = wire
    row["link_type"] = interface["link_type"]
    row["file"] = section["file"]
    return 0


@entry
def walk_pcapng(
    data: NDArray[np.uint8],
    end: int,
    rows: NDArray[np.void],
    interfaces: NDArray[np.void],
    section: NDArray[np.void],
    cursor: NDArray[np.void],
) -> int:
    """Fill ``rows`` (FRAME) with the packets of ``data[position:end]``; return how many; move ``cursor``.

    Stops at the blocks that change how packets are read, with ``stop`` = HEADER_BLOCK, and skips unknown ones.
    """
    state, big = cursor[0], section[0]["big_endian"]
    at, count, stop, need = state["position"], 0, np.int64(0), np.int64(0)
    while count < len(rows):
        need = np.int64(FRAMING)
        if end - at < need:
            break
        kind, total = u32(data, at, big), u32(data, at + 4, big)
        if kind == SECTION_HEADER:  # its length is in a byte order that it has yet to tell
            stop = np.int64(HEADER_BLOCK)
        elif total < FRAMING or total % 4 != 0:
            stop = np.int64(SHORT)
        elif total > BLOCK_LIMIT:
            stop = np.int64(LONG)
        if stop != 0:
            break
        need = total
        if end - at < need:
            break
        if u32(data, at + total - 4, big) != total:
            stop = np.int64(TRAILER)
        elif kind in (INTERFACE_DESCRIPTION, INTERFACE_STATISTICS):
            stop = np.int64(HEADER_BLOCK)
        elif kind in (ENHANCED_PACKET, SIMPLE_PACKET, OBSOLETE_PACKET):
            stop = np.int64(read_packet(data, at, rows[count], interfaces, section[0], state))
            if stop == 0:
                state["frame"] += 1
                rows[count]["frame"] = state["frame"]
                count += 1
        if stop != 0:
            break
        at, need = at + total, np.int64(0)
    state["position"], state["stop"], state["need"] = at, stop, (np.int64(0) if stop != 0 else need)
    return count
