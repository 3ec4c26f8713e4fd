"""Addresses in headers: where each stands, and replacing it together with the checksums that cover it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kacap.capture.frames import FrameRows
from kacap.kernels import Row, entry, kernel
from kacap.wire import cursor as c
from kacap.wire import fields as f
from kacap.wire.cursor import Bytes, u8, u16
from kacap.wire.decode import constant
from kacap.wire.headers import new_trace, trace
from kacap.wire.sequence import Int
from kacap.wire.skip_reasons import SkipReason

MAC, IPV4, IPV6 = 6, 4, 16  # an address's kind is its size in bytes
OPTION = 1  # a byte of an option that may hold an address: it becomes a NOP

# One address, or byte of an option, and the checksums that change with it (0: none; no checksum is a frame's first
# byte): of its own header, of the payload whose pseudo-header it is part of, of the innermost enclosing packet.
EDIT = np.dtype(
    [
        ("pos", "<i8"),
        ("header_sum", "<i8"),
        ("payload_sum", "<i8"),
        ("cover", "<i8"),
        ("hi", "<u8"),  # the address, later the one that replaces it; as a number, big-endian
        ("lo", "<u8"),
        ("size", "<i8"),
        ("udp", "?"),  # the payload's checksum is UDP's: 0 stands for none
        ("cover_udp", "?"),
    ],
    align=True,
)
EditRows = NDArray[np.void]  # of EDIT
EDITS = 1 << 15  # done at a time
MOST_EDITS = 48 * c.MAX_HEADERS  # in one frame: of each header two addresses and at most 40 bytes of options

Mapping = Callable[[Bytes], Bytes]  # addresses of one size to others, a row of bytes each


def replace_addresses(buffer: Bytes, frames: FrameRows, mapping: Mapping) -> None:
    """Replace in place every MAC and IP address in the headers of ``frames``, ICMP quotes and ARP included.

    ``mapping`` is given the different addresses of these frames in order, those of one size at a time. Options that may
    hold addresses (all of IPv4's, TCP's but for the common ones) become NOPs. Checksums are adjusted as RFC 1624
    section 3 has it, so that a wrong one stays wrong. What follows the headers is not touched.
    """
    edits, work = np.zeros(min(len(frames) * 4, EDITS) + MOST_EDITS, EDIT), np.zeros(1, WORK)
    start = 0
    while start < len(frames):
        work["count"] = 0
        start += int(find_addresses(constant(buffer), constant(frames[start:]), edits, new_trace(), work))
        used = edits[: int(work["count"][0])]
        for size in (MAC, IPV4, IPV6):
            _map(used, size, mapping)
        used["lo"][used["size"] == OPTION] = f.OPTION_NOP
        write_addresses(buffer, used)


def _map(edits: NDArray[np.void], size: int, mapping: Mapping) -> None:
    """Put what replaces them in the place of all addresses of ``size`` bytes."""
    at = np.flatnonzero(edits["size"] == size)
    if not len(at):
        return
    at = at[np.lexsort((edits["lo"][at], edits["hi"][at]))]
    hi, lo = edits["hi"][at], edits["lo"][at]
    fresh = np.ones(len(at), np.bool_)  # unlike the one before it
    fresh[1:] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
    old = np.column_stack([hi[fresh], lo[fresh]]).astype(">u8").view(np.uint8)
    new = np.zeros_like(old)
    new[:, -size:] = mapping(old[:, -size:])
    edits["hi"][at], edits["lo"][at] = new.view(">u8")[np.cumsum(fresh) - 1].T


# What is known while the headers of a frame are gone through.
WORK = np.dtype([("count", "<i8"), ("cover", "<i8"), ("end", "<i8"), ("cover_udp", "?")], align=True)


@entry
def find_addresses(data: Bytes, frames: Row, edits: Row, traces: Row, work: Row) -> Int:
    """Append the addresses of the frames to ``edits``; return how many frames there was room for."""
    traced, state = traces[0], work[0]
    for i in range(len(frames)):
        if state.count + MOST_EDITS > len(edits):
            return i
        traced.count = trace(data, frames[i], traced)
        start = np.int64(frames[i].offset)
        state.end, state.cover = start + np.int64(frames[i].captured_len), 0
        link_addresses(data, frames[i], edits, state)
        for j in range(traced.count):
            addresses_of(data, traced, j, edits, state)
        last = traced.headers[traced.count]
        if last.state == SkipReason.NOT_IP and traced.cursor.next == f.TYPE_ARP:
            arp_addresses(data, np.int64(last.pos), edits, state)
    return len(frames)


@kernel
def link_addresses(data: Bytes, frame: Row, edits: Row, work: Row) -> None:
    """The sender's address in LINUX_SLL and LINUX_SLL2, where it is a MAC."""
    start, link_type, pos = np.int64(frame.offset), frame.link_type, np.int64(0)
    if link_type == f.LINK_SLL and start + f.SLL_LEN <= work.end:
        pos = start + f.SLL_ADDRESS if u16(data, start + f.SLL_ADDRESS_LENGTH) == MAC else pos
    elif link_type == f.LINK_SLL2 and start + f.SLL2_LEN <= work.end:
        pos = start + f.SLL2_ADDRESS if u8(data, start + f.SLL2_ADDRESS_LENGTH) == MAC else pos
    if pos:
        add(data, pos, MAC, edits, work)


@kernel
def arp_addresses(data: Bytes, pos: Int, edits: Row, work: Row) -> None:
    """The four addresses of ARP over Ethernet (RFC 826)."""
    if pos + f.ARP_LEN <= work.end and u16(data, pos + f.ARP_LENGTHS) == f.ARP_ETHERNET_IPV4:
        add(data, pos + f.ARP_SENDER_MAC, MAC, edits, work)
        add(data, pos + f.ARP_SENDER, IPV4, edits, work)
        add(data, pos + f.ARP_TARGET_MAC, MAC, edits, work)
        add(data, pos + f.ARP_TARGET, IPV4, edits, work)


@kernel
def addresses_of(data: Bytes, traced: Row, j: Int, edits: Row, work: Row) -> None:
    """The addresses of header ``j`` of a traced frame; or, of UDP and ICMP, that it covers what follows."""
    header = traced.headers[j]
    state, pos = np.int64(header.state), np.int64(header.pos)
    if state == c.ETHERNET and pos + f.ETHERNET_LEN <= work.end:
        add(data, pos + f.ETHERNET_DESTINATION, MAC, edits, work)
        add(data, pos + f.ETHERNET_SOURCE, MAC, edits, work)
    elif state == c.IPV4 and pos + f.IPV4_LEN <= work.end:
        first = work.count
        add(data, pos + f.IPV4_SOURCE, IPV4, edits, work)
        add(data, pos + f.IPV4_DESTINATION, IPV4, edits, work)
        checksums(traced, j, edits[first : work.count], pos + f.IPV4_CHECKSUM, work)
        end = min(pos + (u8(data, pos) & 0x0F) * 4, np.int64(work.end))
        add_option(data, pos + f.IPV4_LEN, end, pos + f.IPV4_CHECKSUM, edits, work)
    elif state == c.TCP and pos + f.TCP_LEN <= work.end:
        tcp_options(data, pos, edits, work)
    elif state == c.IPV6 and pos + f.IPV6_LEN <= work.end:
        first = work.count
        add(data, pos + f.IPV6_SOURCE, IPV6, edits, work)
        add(data, pos + f.IPV6_DESTINATION, IPV6, edits, work)
        checksums(traced, j, edits[first : work.count], np.int64(0), work)
    elif state == c.WIFI:
        wifi_addresses(data, pos, edits, work)
    elif (state == c.ICMP or state == c.ICMPV6) and pos + f.ICMP_LEN <= work.end:
        work.cover, work.cover_udp = pos + f.ICMP_CHECKSUM, False
    elif state == c.UDP and pos + f.UDP_LEN <= work.end:
        work.cover, work.cover_udp = pos + f.UDP_CHECKSUM, True


@kernel
def wifi_addresses(data: Bytes, pos: Int, edits: Row, work: Row) -> None:
    """The three or four addresses of an 802.11 data frame (IEEE 802.11-2020 section 9.3.2.1)."""
    if pos + f.WIFI_LEN > work.end:
        return
    for at in f.WIFI_ADDRESSES:
        add(data, pos + at, MAC, edits, work)
    both = u8(data, pos + f.WIFI_CONTROL_FLAGS) & f.WIFI_TO_AND_FROM_DS == f.WIFI_TO_AND_FROM_DS
    if both and pos + f.WIFI_ADDRESS_4 + MAC <= work.end:
        add(data, pos + f.WIFI_ADDRESS_4, MAC, edits, work)


@kernel
def tcp_options(data: Bytes, pos: Int, edits: Row, work: Row) -> None:
    """The TCP options that are not known to hold no address, MPTCP's and vendors' among them."""
    end = min(pos + (u8(data, pos + f.TCP_DATA_OFFSET) >> 4) * 4, np.int64(work.end))
    at = pos + f.TCP_OPTIONS
    while at < end:
        kind = u8(data, at)
        if kind == f.OPTION_END:
            return
        length: Int = np.int64(1)
        if kind != f.OPTION_NOP and at + 1 < end:
            length = min(max(u8(data, at + 1), 2), end - at)
        if kind > f.OPTION_SACK and kind != f.OPTION_TIMESTAMPS and kind != f.OPTION_FAST_OPEN:
            add_option(data, at, at + length, pos + f.TCP_CHECKSUM, edits, work)
        at += length


@kernel
def add_option(data: Bytes, start: Int, end: Int, checksum: Int, edits: Row, work: Row) -> None:
    """Append the bytes of an option that the checksum at ``checksum`` covers."""
    for at in range(start, end):
        add(data, at, OPTION, edits, work)
        edits[work.count - 1].header_sum = checksum


@kernel
def checksums(traced: Row, j: Int, edits: Row, header_sum: Int, work: Row) -> None:
    """Note the checksums of IP header ``j``: its own (0: IPv6 has none), and that of what it carries."""
    following = j + 1
    while following < traced.count and traced.headers[following].state == c.EXTENSION:
        following += 1
    below = traced.headers[following]
    state, checksum_at = np.int64(below.state), np.int64(0)
    if state == c.TCP or state == c.SEGMENT_DONE:
        checksum_at = np.int64(below.pos) + f.TCP_CHECKSUM
    elif state == c.UDP:
        checksum_at = np.int64(below.pos) + f.UDP_CHECKSUM
    elif state == c.ICMPV6:
        checksum_at = np.int64(below.pos) + f.ICMP_CHECKSUM
    for k in range(len(edits)):
        edits[k].header_sum = header_sum
        edits[k].payload_sum = checksum_at if checksum_at + 2 <= work.end else 0
        edits[k].udp = state == c.UDP


@kernel
def add(data: Bytes, pos: Int, size: int, edits: Row, work: Row) -> None:
    """Append the address of ``size`` bytes at ``pos``; enclosing checksums that were captured come along."""
    edit = edits[work.count]
    hi, lo = np.uint64(0), np.uint64(0)
    for i in range(size):
        hi = hi << np.uint64(8) | lo >> np.uint64(56)
        lo = lo << np.uint64(8) | np.uint64(data[pos + i])
    edit.pos, edit.size, edit.hi, edit.lo = pos, size, hi, lo
    edit.header_sum, edit.payload_sum, edit.udp = 0, 0, False
    edit.cover, edit.cover_udp = work.cover, work.cover_udp
    work.count += 1


@entry
def write_addresses(data: Bytes, edits: Row) -> None:
    """Write each new address and carry the change into the checksums that cover it."""
    for i in range(len(edits)):
        edit = edits[i]
        pos, cover = np.int64(edit.pos), np.int64(edit.cover)
        change = write(data, edit)
        inside = aligned(change, pos - cover)
        at = np.int64(edit.header_sum)
        if at:
            inside += aligned(adjust(data, at, aligned(change, pos - at), False), at - cover)
        at = np.int64(edit.payload_sum)
        if at:
            inside += aligned(adjust(data, at, aligned(change, pos - at), edit.udp), at - cover)
        if cover:
            adjust(data, cover, inside, edit.cover_udp)


@kernel
def write(data: Bytes, edit: Row) -> Int:
    """Write one address; return what it adds to a one's complement sum in which its first byte is a high one."""
    pos, size, total = np.int64(edit.pos), np.int64(edit.size), np.int64(0)
    if size == OPTION:
        total = ((np.int64(data[pos]) << 8) ^ 0xFFFF) + (np.int64(edit.lo) << 8)
        data[pos] = edit.lo
    for at in range(0, size - 1, 2):
        shift = np.uint64(8 * (size - 2 - at))
        word = edit.hi >> (shift - np.uint64(64)) if shift >= np.uint64(64) else edit.lo >> shift
        total += change16(data, pos + at, np.int64(word & np.uint64(0xFFFF)))
    return total


@kernel
def aligned(change: Int, distance: Int) -> Int:
    """Return a change as a sum sees it whose words begin at an odd ``distance``: bytes swapped (RFC 1071 section 2)."""
    total = folded(change)
    return (total & 0xFF) << 8 | total >> 8 if distance & 1 else total


@kernel
def change16(data: Bytes, pos: Int, value: Int) -> Int:
    """Write a 16-bit number; return what it adds to a one's complement sum over it: new minus old."""
    old = u16(data, pos)
    data[pos], data[pos + 1] = value >> 8, value & 0xFF
    return (old ^ 0xFFFF) + value


@kernel
def folded(total: Int) -> Int:
    """Return a sum of 16-bit words with its carries added in (RFC 1071 section 1)."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@kernel
def adjust(data: Bytes, pos: Int, change: Int, udp: Int) -> Int:
    """Carry a change of the words it covers into the checksum at ``pos``; return its own (RFC 1624 section 3)."""
    old = u16(data, pos)
    if udp and old == 0:
        return np.int64(0)
    new = folded((old ^ 0xFFFF) + change) ^ 0xFFFF
    return change16(data, pos, np.int64(0xFFFF) if udp and new == 0 else new)
