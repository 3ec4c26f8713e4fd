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
ETHERNET_DESTINATION = 0
ETHERNET_SOURCE = 6
ETHERNET_TYPE = 12
ETHERNET_LEN = 14
FIRST_ETHERTYPE = 1536
# LINKTYPE_LINUX_SLL and _SLL2: protocol type; values below 1536 are Linux's own (4: LLC follows).
SLL_ADDRESS_LENGTH, SLL_ADDRESS = 4, 6
SLL_PROTOCOL = 14
SLL_LEN = 16
SLL2_ADDRESS_LENGTH, SLL2_ADDRESS = 11, 12
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
TYPE_ARP = 0x0806
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

# ARP, RFC 826, for Ethernet and IPv4 (address lengths 6 and 4 in one number).
ARP_LENGTHS = 4
ARP_ETHERNET_IPV4 = 0x0604
ARP_SENDER_MAC, ARP_SENDER, ARP_TARGET_MAC, ARP_TARGET = 8, 14, 18, 24
ARP_LEN = 28

# IPv4, RFC 791 section 3.1.
IPV4_TOTAL_LENGTH = 2
IPV4_ID = 4
IPV4_FRAGMENT = 6
IPV4_FRAGMENT_OFFSET = 0x1FFF
IPV4_MORE_FRAGMENTS = 0x2000
IPV4_TTL = 8
IPV4_PROTOCOL = 9
IPV4_CHECKSUM = 10
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
ROUTING_ADDRESSES = 8  # RFC 8200 section 4.4, RFC 8754 section 2
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
ICMP_CHECKSUM = 2
ICMP_PLAIN_LEN = 4  # up to the checksum: what follows may be an address
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
TCP_CHECKSUM = 16
TCP_OPTIONS = 20
TCP_LEN = 20
TCP_NEEDED = 16  # bytes that must be captured: all up to the window
TCP_QUOTED = 8  # bytes that an ICMP error must quote (RFC 792): ports and sequence number
OPTION_END = 0
OPTION_NOP = 1
OPTION_SACK = 5  # RFC 2018 section 3: pairs of 4-byte edges
OPTION_TIMESTAMPS = 8  # RFC 7323 section 3.2: TSval, TSecr
OPTION_TIMESTAMPS_LEN = 10
OPTION_FAST_OPEN = 34  # RFC 7413 section 2
OPTION_SACK_MIN = 10
ALIGNED_TIMESTAMPS = 0x0101080A  # NOP NOP TIMESTAMPS 10: RFC 7323 appendix A, what nearly all segments carry

# MPLS label stack entry, RFC 3032 section 2.1: label 20, traffic class 3, bottom of stack 1, TTL 8 bits.
MPLS_BOTTOM = 0x100
MPLS_LEN = 4  # also the length of a pseudowire's control word, RFC 4385 section 3
# PPPoE session stage, RFC 2516 section 4.
PPPOE_VERSION_TYPE = 0
PPPOE_11 = 0x11
PPPOE_SESSION = 2
PPPOE_LEN = 6
# PPP, RFC 1661 section 2 and RFC 1662 section 3.1: ff 03 may stand in front; an odd first byte is a whole protocol.
PPP_ADDRESS_CONTROL = 0xFF03
PPP_IPV4 = 0x0021
PPP_IPV6 = 0x0057
PPP_MPLS = 0x0281
CISCO_HDLC_UNICAST = 0x0F00
CISCO_HDLC_MULTICAST = 0x8F00
CISCO_HDLC_LEN = 4
# GRE, RFC 2784 section 2 and RFC 2890 section 2.
GRE_FLAGS = 0
GRE_TYPE = 2
GRE_LEN = 4
GRE_CHECKSUM, GRE_ROUTING, GRE_KEY, GRE_SEQUENCE, GRE_VERSION = 0x8000, 0x4000, 0x2000, 0x1000, 0x0007
GRE_FIELD = 4
NVGRE_FLOW_BITS = 8  # RFC 7637 section 3.2: the key's low byte is a flow's hash
ERSPAN2_LEN = 8  # draft-foschiano-erspan section 4.2; type I has no header, and no GRE sequence number
# UDP, RFC 768, and the destination ports of tunnels (IANA; 8472: Linux's VXLAN before the assignment).
UDP_DESTINATION_PORT = 2
UDP_CHECKSUM = 6
UDP_LEN = 8
PORT_GTPU = 2152
PORT_VXLAN = 4789
PORT_VXLAN_LINUX = 8472
PORT_GENEVE = 6081
# VXLAN, RFC 7348 section 5.
VXLAN_FLAGS = 0
VXLAN_HAS_VNI = 0x08
VXLAN_VNI = 4
VXLAN_LEN = 8
# GENEVE, RFC 8926 section 3.4: version 2 bits, option length 6 bits in 4-byte units.
GENEVE_VERSION = 0
GENEVE_TYPE = 2
GENEVE_VNI = 4
GENEVE_LEN = 8
# GTP-U, 3GPP TS 29.281 section 5: version 1, protocol type 1; any of E, S and PN adds four bytes.
GTPU_FLAGS = 0
GTPU_TYPE = 1
GTPU_GPDU = 255
GTPU_VERSION_MASK, GTPU_VERSION_1 = 0xF0, 0x30
GTPU_OPTIONAL = 0x07
GTPU_EXTENSION = 0x04
GTPU_LEN = 8
GTPU_OPTIONAL_LEN = 4
GTPU_NEXT = 3  # of the optional four bytes; an extension header ends with the type of the next as well

# Radiotap, https://www.radiotap.org: little-endian; bit 31 of a presence word announces another word.
RADIOTAP_VERSION = 0
RADIOTAP_LENGTH = 2
RADIOTAP_PRESENT = 4
RADIOTAP_LEN = 8
RADIOTAP_MORE = 0x80  # in the last byte of a presence word
RADIOTAP_HAS_TSFT = 0x01
RADIOTAP_HAS_FLAGS = 0x02
RADIOTAP_TSFT_LEN = 8
RADIOTAP_DATA_PAD = 0x20  # the 802.11 header is padded to a multiple of four bytes
# 802.11, IEEE 802.11-2020 section 9.2.4.
WIFI_CONTROL = 0
WIFI_TYPE_MASK, WIFI_DATA = 0x0C, 0x08
WIFI_NO_DATA, WIFI_QOS = 0x40, 0x80
WIFI_CONTROL_FLAGS = 1
WIFI_TO_AND_FROM_DS, WIFI_PROTECTED, WIFI_ORDER = 0x03, 0x40, 0x80
WIFI_ADDRESSES = (4, 10, 16)  # and a fourth, between distribution systems
WIFI_ADDRESS_4 = 24
WIFI_SEQUENCE = 22
WIFI_FRAGMENT_MASK = 0x0F
WIFI_LEN = 24
WIFI_ADDRESS_LEN = 6
WIFI_QOS_LEN = 2
WIFI_QOS_AMSDU = 0x80
WIFI_HT_LEN = 4

# LINKTYPE_NFLOG: family, version, group; then attributes, length and type in the capturing host's byte order.
NFLOG_LEN = 4
NFLOG_ATTRIBUTE_LEN = 4
NFLOG_TYPE = 2
NFLOG_PAYLOAD = 9
NFLOG_TYPE_MASK = 0x7FFF
