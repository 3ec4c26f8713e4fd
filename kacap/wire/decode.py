"""Frames to segments: one walk over each frame's headers, and a counted reason for each frame left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from kacap.kernels import Row, entry, inlined, kernel
from kacap.segments import SEGMENT, SegmentRows
from kacap.wire import cursor as c
from kacap.wire.cursor import CURSOR, Bytes
from kacap.wire.icmp import icmp, icmpv6
from kacap.wire.internet import extension, ipv4, ipv6, protocol
from kacap.wire.link import ethernet, ethertype, first_layer, ip, llc, vlan
from kacap.wire.sequence import Int
from kacap.wire.skip_reasons import SkipReason
from kacap.wire.tcp import tcp
from kacap.wire.tunnels import gre, mpls, ppp, pppoe, udp
from kacap.wire.wireless import nflog, radiotap, wifi

if TYPE_CHECKING:
    from kacap.capture.frames import FrameBatch


T = TypeVar("T", bound=np.generic)


def decode(batch: FrameBatch, skipped: NDArray[np.int64], out: SegmentRows | None = None) -> SegmentRows:
    """Return the batch's segments in frame order: dtype ``SEGMENT``, freshly allocated, the caller's to keep.

    Or in ``out``, from its first row on, which has room for one of each frame.

    ``skipped`` (length ``len(SkipReason)``) grows by one for each frame without a segment, so that always
    frames = segments + growth of ``skipped``. Bytes outside a frame's captured length are never read.
    """
    out = np.empty(batch.frames.size, SEGMENT) if out is None else out
    count = int(decode_frames(constant(batch.buffer), constant(batch.frames), out, skipped, np.zeros(1, CURSOR)))
    return out[:count]


def constant(array: NDArray[T]) -> NDArray[T]:
    """Return a read-only view, so that kernels are compiled for one kind of array and not for two."""
    view = array.view()
    view.flags.writeable = False
    return view


@entry
def decode_frames(data: Bytes, frames: Row, out: Row, skipped: NDArray[np.int64], cursors: Row) -> Int:
    """Fill ``out`` from its start and return how many segments there are; ``cursors`` is one row to work in."""
    count = 0
    for i in range(len(frames)):
        state = walk(data, frames[i], cursors[0], out[count])
        if state == c.SEGMENT_DONE:
            count += 1
        else:
            skipped[state] += 1
    return count


@inlined
def walk(data: Bytes, frame: Row, cursor: Row, row: Row) -> Int:
    """Go from header to header until ``row`` holds a segment or a reason says why not."""
    begin(data, frame, cursor, row)
    state = first_layer(data, cursor, np.int64(frame.link_type))
    # Most frames have these headers, in this order: choosing each time which comes next takes longer than reading it.
    if state == c.ETHERNET:
        state, cursor.headers = ethernet(data, cursor, row), 1
    if state == c.ETHERTYPE:
        state = ethertype(data, cursor, row)
    if state == c.IPV4:
        state, cursor.headers = ipv4(data, cursor, row), cursor.headers + 1
    if state == c.PROTOCOL:
        state = protocol(data, cursor, row)
    if state == c.TCP:
        state = tcp(data, cursor, row)
    while state > c.SEGMENT_DONE:
        if state >= c.FIRST_HEADER:
            cursor.headers += 1
            if cursor.headers > c.MAX_HEADERS:
                return SkipReason.TOO_DEEP
        state = step(data, cursor, row, state)
    if cursor.quote and (state == SkipReason.NOT_TCP or state == SkipReason.NOT_IP):
        return SkipReason.OTHER_ICMP
    return state


@kernel
def begin(data: Bytes, frame: Row, cursor: Row, row: Row) -> None:
    """Put the cursor on the frame's first byte and clear the row."""
    size = np.int64(data.size)
    start = min(max(np.int64(frame.offset), np.int64(0)), size)
    cursor.pos = start
    cursor.end = min(start + np.int64(frame.captured_len), size)
    cursor.limit = start + np.int64(frame.wire_len)
    cursor.next, cursor.headers, cursor.quote, cursor.encapsulation = 0, 0, 0, np.uint64(0)
    row.time_ns, row.frame, row.file = frame.time_ns, frame.frame, frame.file
    row.by_hi, row.by_lo = np.uint64(0), np.uint64(0)
    row.ack, row.tsval, row.tsecr, row.sack_left, row.sack_right = 0, 0, 0, 0, 0
    row.window, row.flags, row.has, row.last_byte, row.icmp_type, row.icmp_code = 0, 0, 0, 0, 0, 0


@kernel
def step(data: Bytes, cursor: Row, row: Row, state: Int) -> Int:
    """Take one step."""
    if state == c.ETHERNET:
        return ethernet(data, cursor, row)
    if state == c.ETHERTYPE:
        return ethertype(data, cursor, row)
    if state == c.IPV4:
        return ipv4(data, cursor, row)
    if state == c.PROTOCOL:
        return protocol(data, cursor, row)
    if state == c.TCP:
        return tcp(data, cursor, row)
    if state == c.IPV6:
        return ipv6(data, cursor, row)
    if state == c.IP:
        return ip(data, cursor, row)
    if state == c.VLAN:
        return vlan(data, cursor, row)
    if state == c.EXTENSION:
        return extension(data, cursor, row)
    if state == c.LLC:
        return llc(data, cursor, row)
    if state == c.ICMP:
        return icmp(data, cursor, row)
    if state == c.ICMPV6:
        return icmpv6(data, cursor, row)
    return tunnel_step(data, cursor, row, state)


@kernel
def tunnel_step(data: Bytes, cursor: Row, row: Row, state: Int) -> Int:
    """Read one header of a tunnel, of UDP in search of one, or of what is not a wire."""
    if state == c.UDP:
        return udp(data, cursor, row)
    if state == c.MPLS:
        return mpls(data, cursor, row)
    if state == c.PPPOE:
        return pppoe(data, cursor, row)
    if state == c.PPP:
        return ppp(data, cursor, row)
    if state == c.GRE:
        return gre(data, cursor, row)
    if state == c.RADIOTAP:
        return radiotap(data, cursor, row)
    if state == c.WIFI:
        return wifi(data, cursor, row)
    return nflog(data, cursor, row)
