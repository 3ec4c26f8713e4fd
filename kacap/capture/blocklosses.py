"""Frames that a pcapng file says were lost, each counted once.

A packet counts the frames lost before it (epb_dropcount); statistics count all that were lost since the capture on
their interface began (isb_ifdrop, isb_osdrop): the same frames again, so that only what no packet counted is added.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.capture.blocktimes import micros_to_ns, stamp, to_ns
from kacap.capture.blocktypes import BEYOND, COUNT_LIMIT, UNKNOWN
from kacap.capture.records import Number, u32
from kacap.kernels import Row, kernel


@kernel
def count(data: NDArray[np.uint8], at: Number, big_endian: Number) -> Number:
    """Return the unsigned 64-bit number at ``at`` as int64, at most COUNT_LIMIT."""
    first, second = u32(data, at, big_endian), u32(data, at + 4, big_endian)
    high, low = (first, second) if big_endian else (second, first)
    return min(high, np.int64(COUNT_LIMIT >> 32)) << 32 | low


@kernel
def packet_lost(interface: Row, number: Number, lost: Number, state: Row, losses: Row) -> None:
    """Add ``lost`` frames before the packet at hand, of interface ``number``, to its row and to ``losses`` (LOSS).

    Frames that the last statistics have counted already are left out, where they may lie before these.
    """
    since_ns, until_ns = interface.last_ns, state.time_ns
    if interface.counted_ns != BEYOND and (since_ns == BEYOND or since_ns < interface.counted_ns):
        known = min(lost, interface.ahead)
        interface.ahead -= known
        lost -= known
    if lost == 0:
        return
    interface.lost = min(interface.lost + lost, COUNT_LIMIT)
    at = state.losses
    if at > 0 and since_ns <= until_ns and losses[at - 1].by_packets:
        before = losses[at - 1]
        if before.interface == number and before.until_ns == since_ns:
            before.until_ns = until_ns
            before.frames = min(before.frames + lost, COUNT_LIMIT)
            return
    if since_ns > until_ns:  # the clock was set back between the two packets
        since_ns, until_ns = until_ns, since_ns
    add_loss(losses, state, number, lost, since_ns, until_ns)
    losses[at].by_packets = True


@kernel
def add_loss(losses: Row, state: Row, number: Number, lost: Number, since_ns: Number, until_ns: Number) -> None:
    """Append a row to ``losses`` (LOSS)."""
    loss = losses[state.losses]
    loss.since_ns, loss.until_ns, loss.frames, loss.interface = since_ns, until_ns, lost, number
    loss.by_packets = False
    state.losses += 1


@kernel
def statistics_time(
    data: NDArray[np.uint8], times_at: tuple[Number, Number, Number], interface: Row, state: Row
) -> tuple[Number, Number]:
    """Return when statistics were taken and when their counting began (BEYOND: unknown), in nanoseconds.

    ``times_at``: where isb_starttime, isb_endtime (0: absent) and the block's own time stamp are. dumpcap writes these
    times in microseconds whatever the interface's clock: a time before the file's first frame is not one. Without any
    the statistics are as old as the last frame before them.
    """
    began_at, ended_at, stamp_at = times_at
    big = state.big_endian
    for micros in (False, True):
        for at in (ended_at, stamp_at):
            if at > 0:
                ticks = stamp(data, at, big)
                at_ns = micros_to_ns(ticks) if micros else to_ns(ticks, interface)
                if at_ns != BEYOND and (state.first_ns == BEYOND or at_ns >= state.first_ns):
                    if began_at == 0:
                        return at_ns, np.int64(BEYOND)
                    ticks = stamp(data, began_at, big)
                    return at_ns, micros_to_ns(ticks) if micros else to_ns(ticks, interface)
    return np.int64(state.time_ns), np.int64(BEYOND)


@kernel
def statistics_lost(interface: Row, number: Number, at_ns: Number, since_ns: Number, state: Row, losses: Row) -> None:
    """Add the frames that statistics count beyond those known of, lost since the statistics before them."""
    counted = min(max(interface.by_interface, 0) + max(interface.by_system, 0), COUNT_LIMIT)
    interface.ahead = max(counted - interface.lost, 0)
    if interface.ahead > 0:
        interface.lost = counted
        began_ns = since_ns if interface.counted_ns == BEYOND else interface.counted_ns
        add_loss(losses, state, number, interface.ahead, began_ns if began_ns <= at_ns else BEYOND, at_ns)
    interface.counted_ns = at_ns


@kernel
def lost_by_system(interface: Row) -> Number:
    """Return the frames that the system lost, or nobody says who; UNKNOWN where nothing is said of them."""
    lost = max(interface.lost - max(interface.by_interface, 0), max(interface.by_system, 0))
    return lost if lost > 0 else min(interface.by_system, np.int64(0))


@kernel
def add_count(total: Number, more: Number) -> Number:
    """Return the sum of two counts, each of which may be UNKNOWN."""
    if more == UNKNOWN:
        return total
    return min(max(total, 0) + more, COUNT_LIMIT)


@kernel
def close_section(interfaces: Row, state: Row) -> None:
    """Add what the interfaces of the section at hand have lost to the sums in ``state``, and forget them."""
    for number in range(state.interfaces):
        state.kernel = add_count(state.kernel, lost_by_system(interfaces[number]))
        state.interface = add_count(state.interface, interfaces[number].by_interface)
    state.interfaces = 0
