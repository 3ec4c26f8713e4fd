"""ICMP and ICMPv6 errors: the segment they quote becomes a row, marked with who sent the error and why."""

from __future__ import annotations

from kacap.kernels import Row, kernel
from kacap.segments import IS_QUOTE
from kacap.wire import cursor as c
from kacap.wire import fields as f
from kacap.wire.cursor import Bytes, advance, left, u8
from kacap.wire.sequence import Int
from kacap.wire.skip_reasons import SkipReason


@kernel
def icmp(data: Bytes, cursor: Row, row: Row) -> Int:
    """ICMP (RFC 792): unreachable, time exceeded and parameter problem quote a packet."""
    if left(cursor) < f.ICMP_LEN:
        return SkipReason.CUT_ICMP
    number = u8(data, cursor.pos + f.ICMP_TYPE)
    if number == f.ICMP_UNREACHABLE or number == f.ICMP_TIME_EXCEEDED or number == f.ICMP_PARAMETER_PROBLEM:
        return quote(data, cursor, row, c.IPV4)
    return SkipReason.OTHER_ICMP


@kernel
def icmpv6(data: Bytes, cursor: Row, row: Row) -> Int:
    """ICMPv6 (RFC 4443 section 2.1): of the errors, types 1 to 4 are assigned."""
    if left(cursor) < f.ICMP_LEN:
        return SkipReason.CUT_ICMP
    number = u8(data, cursor.pos + f.ICMP_TYPE)
    if number < f.ICMPV6_FIRST_ERROR or number > f.ICMPV6_LAST_ERROR:
        return SkipReason.OTHER_ICMP
    return quote(data, cursor, row, c.IPV6)


@kernel
def quote(data: Bytes, cursor: Row, row: Row, layer: Int) -> Int:
    """Go on with the quoted packet; its source becomes the row's, the error's own source ``by``."""
    row.icmp_type = u8(data, cursor.pos + f.ICMP_TYPE)
    row.icmp_code = u8(data, cursor.pos + f.ICMP_CODE)
    row.by_hi, row.by_lo = row.src_hi, row.src_lo
    row.has |= IS_QUOTE
    cursor.quote = 1
    advance(cursor, f.ICMP_LEN)
    return layer
