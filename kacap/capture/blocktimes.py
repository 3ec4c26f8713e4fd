"""Time stamps of pcapng to exact nanoseconds, whatever the resolution of the interface's clock (section 4.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.capture.blocktypes import BEYOND, SECONDS_LIMIT
from kacap.capture.records import Number, u32
from kacap.clock import SECOND_NS
from kacap.kernels import Row, kernel

OFFSET_LIMIT_S = 1 << 40  # beyond this offset no time fits, whatever is added
MICROSECONDS = 1_000_000  # a second


@kernel
def set_clock(interface: Row, resolution: Number, offset_s: Number) -> None:
    """Fill the clock's fields of an INTERFACES row from the value of if_tsresol and if_tsoffset in seconds."""
    exponent, binary = resolution & 0x7F, resolution > 0x7F
    interface.per_second = interface.ns_per_unit = interface.units_per_ns = np.uint64(0)
    if not binary and exponent <= 19:
        interface.per_second = power_of_ten(exponent)
    if not binary and exponent <= 9:
        interface.ns_per_unit = power_of_ten(9 - exponent)
    if not binary and 9 < exponent <= 28:
        interface.units_per_ns = power_of_ten(exponent - 9)
    interface.binary, interface.exponent = binary, np.uint64(exponent)
    interface.offset_s = max(-OFFSET_LIMIT_S, min(OFFSET_LIMIT_S, offset_s))


@kernel
def power_of_ten(exponent: Number) -> Number:
    """Return 10^exponent as uint64, for an exponent up to 19."""
    value = np.uint64(1)
    for _ in range(exponent):
        value *= np.uint64(10)
    return value


@kernel
def stamp(data: NDArray[np.uint8], at: Number, big_endian: Number) -> Number:
    """Return the time stamp at ``at`` as uint64: its upper half comes first, in either byte order."""
    return np.uint64(u32(data, at, big_endian)) << np.uint64(32) | np.uint64(u32(data, at + 4, big_endian))


@kernel
def binary_fraction(rest: Number, exponent: Number) -> Number:
    """Return floor(rest * 10^9 / 2^exponent) for rest < 2^exponent, in uint64 without overflow."""
    billion, half = np.uint64(SECOND_NS), np.uint64(32)
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
    if clock.binary:
        exponent = clock.exponent
        if exponent < np.uint64(64):
            seconds = ticks >> exponent
            rest = ticks - (seconds << exponent)
        fraction = binary_fraction(rest, exponent)
    else:
        if clock.per_second > np.uint64(0):
            seconds = ticks // clock.per_second
            rest = ticks - seconds * clock.per_second
        if clock.ns_per_unit > np.uint64(0):
            fraction = rest * clock.ns_per_unit
        else:
            fraction = rest // clock.units_per_ns if clock.units_per_ns > np.uint64(0) else np.uint64(0)
    return joined(seconds, clock.offset_s, fraction)


@kernel
def micros_to_ns(ticks: Number) -> Number:
    """Return the time of ``ticks`` (uint64) microseconds in nanoseconds; or BEYOND."""
    seconds = ticks // np.uint64(MICROSECONDS)
    rest = ticks - seconds * np.uint64(MICROSECONDS)
    return joined(seconds, np.int64(0), rest * np.uint64(SECOND_NS // MICROSECONDS))


@kernel
def joined(seconds: Number, offset_s: Number, fraction_ns: Number) -> Number:
    """Return seconds (uint64), an offset and a fraction (uint64) as one time in nanoseconds; or BEYOND."""
    if seconds > np.uint64(OFFSET_LIMIT_S):
        return np.int64(BEYOND)
    whole = np.int64(seconds) + offset_s
    if whole > SECONDS_LIMIT or whole < 0:
        return np.int64(BEYOND)
    return whole * np.int64(SECOND_NS) + np.int64(fraction_ns)
