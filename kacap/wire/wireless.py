"""802.11 with or without radiotap, and NFLOG: captures that are not taken on a wire. Both are little-endian."""

from __future__ import annotations

import numpy as np

from kacap.kernels import Row, kernel
from kacap.wire import fields as f
from kacap.wire.cursor import IP, LLC, WIFI, Bytes, advance, left, u8, u16
from kacap.wire.sequence import Int
from kacap.wire.skip_reasons import SkipReason


@kernel
def swapped16(data: Bytes, pos: Int) -> Int:
    """Return the little-endian 16-bit number at ``pos``."""
    return u8(data, pos) | u8(data, pos + 1) << 8


@kernel
def radiotap(data: Bytes, cursor: Row, row: Row) -> Int:
    """Radiotap's length, and whether the 802.11 header after it is padded (left in ``cursor["next"]``)."""
    pos = np.int64(cursor.pos)
    if left(cursor) < f.RADIOTAP_LEN:
        return SkipReason.CUT_LINK
    length = swapped16(data, pos + f.RADIOTAP_LENGTH)
    if u8(data, pos + f.RADIOTAP_VERSION) != 0 or length < f.RADIOTAP_LEN:
        return SkipReason.BAD_TUNNEL
    if left(cursor) < length:
        return SkipReason.CUT_LINK
    present = u8(data, pos + f.RADIOTAP_PRESENT)
    at = np.int64(f.RADIOTAP_PRESENT)
    while at + 4 <= length and u8(data, pos + at + 3) & f.RADIOTAP_MORE:
        at += 4
    at += 4
    if present & f.RADIOTAP_HAS_TSFT:
        at = (at + 7) // 8 * 8 + f.RADIOTAP_TSFT_LEN
    if present & f.RADIOTAP_HAS_FLAGS and at < length:
        cursor.next = u8(data, pos + at) & f.RADIOTAP_DATA_PAD
    advance(cursor, length)
    return WIFI


@kernel
def wifi(data: Bytes, cursor: Row, row: Row) -> Int:
    """An 802.11 data frame (IEEE 802.11-2020 section 9.3.2.1), then LLC."""
    pos = cursor.pos
    if left(cursor) < f.WIFI_LEN:
        return SkipReason.CUT_LINK
    control, flags = u8(data, pos + f.WIFI_CONTROL), u8(data, pos + f.WIFI_CONTROL_FLAGS)
    if control & f.WIFI_TYPE_MASK != f.WIFI_DATA or control & f.WIFI_NO_DATA:
        return SkipReason.NOT_IP
    if flags & f.WIFI_PROTECTED:
        return SkipReason.ENCRYPTED
    if u8(data, pos + f.WIFI_SEQUENCE) & f.WIFI_FRAGMENT_MASK:
        return SkipReason.AGGREGATED
    length = np.int64(f.WIFI_LEN)
    if flags & f.WIFI_TO_AND_FROM_DS == f.WIFI_TO_AND_FROM_DS:
        length += f.WIFI_ADDRESS_LEN
    if control & f.WIFI_QOS:
        if left(cursor) < length + f.WIFI_QOS_LEN:
            return SkipReason.CUT_LINK
        if u8(data, pos + length) & f.WIFI_QOS_AMSDU:
            return SkipReason.AGGREGATED
        length += f.WIFI_QOS_LEN + (f.WIFI_HT_LEN if flags & f.WIFI_ORDER else 0)
    if cursor.next:
        length = (length + 3) // 4 * 4
    advance(cursor, length)
    return LLC


@kernel
def nflog(data: Bytes, cursor: Row, row: Row) -> Int:
    """NFLOG's attributes up to the packet. Types are below 256, so the place of their zero byte tells the order."""
    advance(cursor, f.NFLOG_LEN)
    while left(cursor) >= f.NFLOG_ATTRIBUTE_LEN:
        pos = cursor.pos
        number, length = swapped16(data, pos + f.NFLOG_TYPE) & f.NFLOG_TYPE_MASK, swapped16(data, pos)
        if number > 0xFF:
            number, length = u16(data, pos + f.NFLOG_TYPE) & f.NFLOG_TYPE_MASK, u16(data, pos)
        if length < f.NFLOG_ATTRIBUTE_LEN:
            return SkipReason.BAD_TUNNEL
        if number == f.NFLOG_PAYLOAD:
            advance(cursor, f.NFLOG_ATTRIBUTE_LEN)
            return IP
        advance(cursor, (length + 3) // 4 * 4)
    return SkipReason.CUT_LINK
