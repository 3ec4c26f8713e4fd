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
        ("last_ns", "<i8"),  # time of its last packet; BEYOND: none yet
        ("link_type", "<u2"),
        ("binary", "?"),
    ],
    align=True,
)

SECTION = np.dtype(
    [
        ("interfaces", "<i8"),
        ("end", "<i8"),  # of the data at hand
        ("lost", "<i8"),  # frames, before the last packet, on its interface, after that one's packet of ``since_ns``
        ("interface", "<i8"),
        ("since_ns", "<i8"),  # BEYOND: there was none
        ("losses", "<i8"),  # rows of LOSS filled by the walk
        ("file", "<u2"),
        ("big_endian", "?"),
    ],
    align=True,
)

# One row for each run of packets of one interface before each of which frames were lost.
LOSS = np.dtype([("since_ns", "<i8"), ("until_ns", "<i8"), ("frames", "<i8"), ("interface", "<i8")])
EPB_DROPCOUNT = 4
MANY = 1 << 40  # frames lost: to so many another count can be added in 64 bits


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
def dropcount(data: NDArray[np.uint8], at: Number, end: Number, big: Number) -> Number:
    """Return the epb_dropcount among the options in ``data[at:end]``, 0 without one, -1 if one runs beyond ``end``."""
    lost = np.int64(0)
    while end - at >= 4:
        code, size = u16(data, at, big), u16(data, at + 2, big)
        if code == 0:
            return lost
        if code == EPB_DROPCOUNT and size == 8 and end - at >= 12:
            first, second = u32(data, at + 4, big), u32(data, at + 8, big)
            high, low = (first, second) if big else (second, first)
            lost = min(high, np.int64(0x3FFFFFFF)) << 32 | low
        at += 4 + ((size + 3) & ~3)
    return lost if at <= end else np.int64(-1)


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
        if room > padded:
            lost = dropcount(data, at + header + padded, at + total - 4, big)
            if lost < 0:
                return OPTIONS
            if lost > 0 and kind == ENHANCED_PACKET:
                section["lost"], section["interface"], section["since_ns"] = lost, number, interface["last_ns"]
        ticks = np.uint64(u32(data, at + 12, big)) << np.uint64(32) | np.uint64(u32(data, at + 16, big))
        time_ns = to_ns(ticks, interface)
        if time_ns == BEYOND:
            return TIME
        state["time_ns"] = time_ns
    else:
        state["untimed"] += 1
    interface["last_ns"] = state["time_ns"]
    row["offset"] = at + header
    row["time_ns"] = state["time_ns"]
    row["captured_len"] = captured
    row["wire_len"] = wire
    row["link_type"] = interface["link_type"]
    row["file"] = section["file"]
    return 0


@kernel
def note_loss(losses: NDArray[np.void], section: Row, time_ns: Number) -> None:
    """Add to ``losses`` (LOSS) what was lost before the packet of ``time_ns``, as ``section`` says."""
    place, since_ns, go_on = section["losses"], section["since_ns"], False
    if place > 0 and since_ns <= time_ns:
        last = losses[place - 1]
        go_on = last["interface"] == section["interface"] and last["until_ns"] == since_ns and last["frames"] < MANY
    if go_on:
        losses[place - 1]["until_ns"] = time_ns
        losses[place - 1]["frames"] += section["lost"]
    else:  # a clock that was set back between the two packets turns no span round
        loss = losses[place]
        loss["since_ns"], loss["until_ns"] = min(since_ns, time_ns), max(since_ns, time_ns)
        loss["frames"], loss["interface"] = section["lost"], section["interface"]
        section["losses"] = place + 1
    section["lost"] = 0


@entry
def walk_pcapng(
    data: NDArray[np.uint8],
    rows: NDArray[np.void],
    interfaces: NDArray[np.void],
    section: NDArray[np.void],
    cursor: NDArray[np.void],
    losses: NDArray[np.void],
) -> int:
    """Fill ``rows`` (FRAME) with the packets of ``data[position:end]``; return how many; move ``cursor``.

    Stops at the blocks that change how packets are read, with ``stop`` = HEADER_BLOCK, and skips unknown ones; and
    when ``losses`` (LOSS), which tell before which packets frames were lost, are full.
    """
    state, big, end = cursor[0], section[0]["big_endian"], section[0]["end"]
    section[0]["losses"] = 0
    at, count, stop, need = state["position"], 0, np.int64(0), np.int64(0)
    while count < len(rows) and section[0]["losses"] < len(losses):
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
                if section[0]["lost"] != 0:
                    note_loss(losses, section[0], state["time_ns"])
                count += 1
        if stop != 0:
            break
        at, need = at + total, np.int64(0)
    state["position"], state["stop"], state["need"] = at, stop, (np.int64(0) if stop != 0 else need)
    return count
