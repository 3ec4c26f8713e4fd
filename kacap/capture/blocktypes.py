"""What the kernels that read pcapng share: block types, option codes, and the rows that they work on.

draft-ietf-opsawg-pcapng; section numbers in these modules are those of that document.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.capture.records import CURSOR_FIELDS

# Block types (section 11.1).
SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION, OBSOLETE_PACKET, SIMPLE_PACKET, INTERFACE_STATISTICS, ENHANCED_PACKET = 1, 2, 3, 5, 6

FRAMING = 12  # type, total length, and the total length again at the end
SECTION_BYTES, INTERFACE_BYTES, STATISTICS_BYTES = 28, 20, 24  # the shortest blocks of their kinds
PACKET_HEADER, SIMPLE_HEADER = 28, 12  # bytes before a packet's data
BLOCK_LIMIT = 16 << 20  # libpcap's and Wireshark's bound: a longer block is damage
INTERFACE_LIMIT = 65_536  # interfaces in a section; a bound for hostile files
LINKS = 64  # different link types of a file that are listed; nobody has met so many

# Option codes of interface descriptions, statistics and packets.
IF_NAME, IF_TSRESOL, IF_TSOFFSET = 2, 9, 14
ISB_STARTTIME, ISB_ENDTIME, ISB_IFDROP, ISB_OSDROP = 2, 3, 5, 7
EPB_DROPCOUNT = 4

# KindReason a walk stops: the interface table is full, or what follows makes no sense.
TABLE_FULL, SHORT, LONG, TRAILER, MAGIC, INTERFACE, OVERRUN, OPTIONS, TOO_MANY = 1, 2, 3, 4, 5, 6, 7, 8, 9

SECONDS_LIMIT = (1 << 32) - 1  # since 1970: what a pcap file can say, so that no two times are 137 years apart
BEYOND = np.iinfo(np.int64).min  # in place of a time: unknown, or beyond SECONDS_LIMIT
UNKNOWN = -1  # in place of a count
COUNT_LIMIT = (1 << 62) - 1  # counts above are cut down to this, so that two of them can be added
NAME_BYTES = 64  # kept of an interface's name

# One row for each interface of the section: its clock, from its description, and what it has lost so far.
INTERFACES = np.dtype(
    [
        ("per_second", "<u8"),  # units of a time stamp in a second; 0: more than 64 bits can count
        ("ns_per_unit", "<u8"),  # 0: a unit is shorter than a nanosecond
        ("units_per_ns", "<u8"),  # 0: more than 64 bits can count
        ("exponent", "<u8"),  # of 2, where ``binary``
        ("offset_s", "<i8"),
        ("snaplen", "<i8"),  # 0: unlimited
        ("last_ns", "<i8"),  # time of its last packet; BEYOND: none yet
        ("lost", "<i8"),  # frames lost, by packets and statistics together
        ("ahead", "<i8"),  # of these, what the last statistics added: packets before them may count it again
        ("by_interface", "<i8"),  # frames lost by the last statistics; UNKNOWN: they do not say
        ("by_system", "<i8"),
        ("counted_ns", "<i8"),  # time of the last statistics; BEYOND: none yet
        ("name_bytes", "<i8"),
        ("link_type", "<u2"),
        ("binary", "?"),
        ("name", "u1", (NAME_BYTES,)),
    ],
    align=True,
)
InterfaceRows = NDArray[np.void]  # of INTERFACES

# Where a walk over a file stands: what every format has, and the section at hand.
STATE = np.dtype(
    [
        *CURSOR_FIELDS,
        ("end", "<i8"),  # of the data at hand
        ("sections", "<i8"),  # begun so far
        ("interfaces", "<i8"),  # of this section
        ("links", "<i8"),  # link types seen in the file
        ("first_ns", "<i8"),  # time of the file's first frame; BEYOND: none yet
        ("beyond", "<i8"),  # frames whose time is BEYOND
        ("beyond_frame", "<i8"),  # number of the first of them
        ("beyond_offset", "<i8"),  # and where its block begins in the file
        ("base", "<i8"),  # offset in the file of the window's first byte
        ("losses", "<i8"),  # rows of LOSS filled by this walk
        ("kernel", "<i8"),  # frames lost in the sections before, by the system; UNKNOWN: they do not say
        ("interface", "<i8"),  # and by the interfaces
        ("file", "<u2"),
        ("big_endian", "?"),
    ],
    align=True,
)

# One row for each run of packets of one interface with frames lost before each of them, and for each statistics block
# that counts more lost frames than were known of.
LOSS = np.dtype(
    [("since_ns", "<i8"), ("until_ns", "<i8"), ("frames", "<i8"), ("interface", "<i8"), ("by_packets", "?")]
)
LossRows = NDArray[np.void]  # of LOSS
