"""The columns that every later stage reads: one row per TCP segment, or per segment that an ICMP error quotes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# TCP flags, RFC 9293 section 3.1.
FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

# Bits of SEGMENT["has"]: what the frame held.
HAS_TIMESTAMPS = 1  # tsval and tsecr (RFC 7323)
HAS_SACK = 2  # sack_left and sack_right: the first block (RFC 2018; a D-SACK is RFC 2883)
HAS_LAST_BYTE = 4  # last_byte: the payload's last byte was captured
IS_IPV6 = 8
IS_FRAGMENT = 16  # first fragment of several: payload_len is this fragment's share
IS_QUOTE = 32  # an ICMP error quotes this segment: icmp_* and by_* are set, ack and later fields may be absent
HAS_TCP_OPTIONS = 64  # the TCP header is longer than 20 bytes

SEGMENT = np.dtype(
    [
        ("time_ns", "<i8"),
        ("frame", "<i8"),  # number within its file, from 1
        ("src_hi", "<u8"),  # addresses as 128-bit numbers; IPv4 as ::ffff:a.b.c.d
        ("src_lo", "<u8"),
        ("dst_hi", "<u8"),
        ("dst_lo", "<u8"),
        ("by_hi", "<u8"),  # who sent the ICMP error
        ("by_lo", "<u8"),
        ("encapsulation", "<u8"),  # VLAN tags and tunnel identifiers, hashed; 0: none. Part of the connection's key
        ("seq", "<u4"),
        ("ack", "<u4"),
        ("payload_len", "<u4"),  # from the IP lengths, never from the frame
        ("tsval", "<u4"),
        ("tsecr", "<u4"),
        ("sack_left", "<u4"),
        ("sack_right", "<u4"),
        ("src_port", "<u2"),
        ("dst_port", "<u2"),
        ("window", "<u2"),  # the raw 16-bit field
        ("ip_id", "<u2"),  # 0 for IPv6
        ("file", "<u2"),
        ("flags", "u1"),
        ("ttl", "u1"),  # TTL or hop limit
        ("has", "u1"),
        ("last_byte", "u1"),
        ("icmp_type", "u1"),
        ("icmp_code", "u1"),
    ],
    align=True,
)
SegmentRows = NDArray[np.void]  # of SEGMENT
