"""Where each field sits: every offset and number of the wire, each written once, with its source.

Offsets are in bytes from the start of the header named; ``_LEN`` is a header's fixed length in bytes.
"""

from __future__ import annotations

# Link types: https://www.tcpdump.org/linktypes.html
LINK_NULL = 0
LINK_ETHERNET = 1
LINK_PPP = 9
LINK_RAW_BSD = 12
LINK_RAW_OPENBSD = 14
LINK_PPP_HDLC = 50
LINK_RAW = 101
LINK_80211 = 105
LINK_LOOP = 108
LINK_SLL = 113
LINK_RADIOTAP = 127
LINK_IPV4 = 228
LINK_IPV6 = 229
LINK_NFLOG = 239
LINK_SLL2 = 276

# Ethernet, IEEE 802.3 clause 3; below 1536 the type field is a length and LLC follows.
ETHERNET_TYPE = 12
ETHERNET_LEN = 14
FIRST_ETHERTYPE = 1536
# LINKTYPE_LINUX_SLL and _SLL2: protocol type; values below 1536 are Linux's own (4: LLC follows).
SLL_PROTOCOL = 14
SLL_LEN = 16
SLL2_PROTOCOL = 0
SLL2_LEN = 20
SLL_LLC = 4
# LINKTYPE_NULL and _LOOP: a 4-byte address family, in the capturing host's order (NULL) or big-endian (LOOP).
FAMILY_LEN = 4
FAMILY_IPV4 = 2
FAMILY_IPV6_LINUX, FAMILY_IPV6_WINDOWS, FAMILY_IPV6_BSD, FAMILY_IPV6_FREEBSD, FAMILY_IPV6_DARWIN = 10, 23, 24, 28, 30
# LLC with SNAP, IEEE 802.2 and RFC 1042: aa aa 03, a 3-byte OUI (0, or 0000f8 for bridged 802.1H), a type.
LLC_SNAP = 0xAAAA03
LLC_OUI = 3
LLC_OUI_BRIDGED = 0x0000F8
LLC_TYPE = 6
LLC_LEN = 8

# EtherTypes: IANA "IEEE 802 Numbers".
TYPE_IPV4 = 0x0800
TYPE_IPV6 = 0x86DD
TYPE_VLAN = 0x8100
TYPE_VLAN_AD = 0x88A8
TYPE_VLAN_9100 = 0x9100
TYPE_VLAN_9200 = 0x9200
TYPE_ETHERNET = 0x6558
TYPE_PPP = 0x880B
TYPE_MPLS = 0x8847
TYPE_MPLS_UPSTREAM = 0x8848
TYPE_PPPOE = 0x8864
TYPE_ERSPAN = 0x88BE
TYPE_ERSPAN3 = 0x22EB
# 802.1Q tag: 3 bits priority, 1 bit drop eligible, 12 bits VLAN; then the next EtherType.
VLAN_TAG = 0
VLAN_ID_MASK = 0x0FFF
VLAN_TYPE = 2
VLAN_LEN = 4

# IPv4, RFC 791 section 3.1.
IPV4_TOTAL_LENGTH = 2
IPV4_ID = 4
IPV4_FRAGMENT = 6
IPV4_FRAGMENT_OFFSET = 0x1FFF
IPV4_MORE_FRAGMENTS = 0x2000
IPV4_TTL = 8
IPV4_PROTOCOL = 9
IPV4_SOURCE = 12
IPV4_DESTINATION = 16
IPV4_LEN = 20
# IPv6, RFC 8200 sections 3 and 4; AH, RFC 4302 section 2.
IPV6_PAYLOAD_LENGTH = 4
IPV6_NEXT_HEADER = 6
IPV6_HOP_LIMIT = 7
IPV6_SOURCE = 8
IPV6_DESTINATION = 24
IPV6_LEN = 40
EXTENSION_NEXT = 0
EXTENSION_LENGTH = 1
EXTENSION_MIN = 8
FRAGMENT_OFFSET = 2
FRAGMENT_OFFSET_MASK = 0xFFF8
FRAGMENT_MORE = 1
# IPv4 addresses stand as ::ffff:a.b.c.d, RFC 4291 section 2.5.5.2.
MAPPED = 0xFFFF00000000

# Protocol numbers: IANA "Assigned Internet Protocol Numbers".
PROTOCOL_HOP_BY_HOP = 0
PROTOCOL_ICMP = 1
PROTOCOL_IPV4 = 4
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
PROTOCOL_IPV6 = 41
PROTOCOL_ROUTING = 43
PROTOCOL_FRAGMENT = 44
PROTOCOL_GRE = 47
PROTOCOL_ESP = 50
PROTOCOL_AH = 51
PROTOCOL_ICMPV6 = 58
PROTOCOL_DESTINATION = 60
PROTOCOL_MPLS = 137

# ICMP, RFC 792, and ICMPv6, RFC 4443: errors that quote the packet they are about.
ICMP_TYPE = 0
ICMP_CODE = 1
ICMP_LEN = 8
ICMP_UNREACHABLE = 3
ICMP_TIME_EXCEEDED = 11
ICMP_PARAMETER_PROBLEM = 12
ICMPV6_FIRST_ERROR = 1  # destination unreachable, then packet too big, time exceeded,
ICMPV6_LAST_ERROR = 4  # parameter problem

# TCP, RFC 9293 section 3.1.
TCP_SOURCE_PORT = 0
TCP_DESTINATION_PORT = 2
TCP_SEQ = 4
TCP_ACK = 8
TCP_DATA_OFFSET = 12
TCP_FLAGS = 13
TCP_WINDOW = 14
TCP_OPTIONS = 20
TCP_LEN = 20
TCP_NEEDED = 16  # bytes that must be captured: all up to the window
TCP_QUOTED = 8  # bytes that an ICMP error must quote (RFC 792): ports and sequence number
OPTION_END = 0
OPTION_NOP = 1
OPTION_SACK = 5  # RFC 2018 section 3: pairs of 4-byte edges
OPTION_TIMESTAMPS = 8  # RFC 7323 section 3.2: TSval, TSecr
OPTION_TIMESTAMPS_LEN = 10
OPTION_SACK_MIN = 10
ALIGNED_TIMESTAMPS = 0x0101080A  # NOP NOP TIMESTAMPS 10: RFC 7323 appendix A, what nearly all segments carry
