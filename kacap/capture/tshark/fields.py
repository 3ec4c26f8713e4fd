"""What tshark is asked for: the fields of one line, in order, and the options that make it read as ``wire`` does."""

from __future__ import annotations

FIELDS = (
    "frame.number", "frame.protocols",
    "ip.src", "ip.dst", "ip.ttl", "ip.id", "ip.flags.mf", "ip.frag_offset", "ip.proto",
    "ip.len", "ip.hdr_len", "ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.plen",
    "ipv6.fraghdr.more", "ipv6.fraghdr.offset",
    "icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code",
    "vlan.id", "ieee8021ad.id", "pppoe.session_id", "gre.flags.key", "gre.key", "gre.proto", "vxlan.vni", "geneve.vni",
    "tcp.srcport", "tcp.dstport", "tcp.seq", "tcp.ack", "tcp.len", "tcp.hdr_len", "tcp.flags",
    "tcp.window_size_value", "tcp.options.timestamp.tsval", "tcp.options.timestamp.tsecr", "tcp.options.sack_le",
    "tcp.options.sack_re", "tcp.payload",
)  # fmt: skip
AT = {name: index for index, name in enumerate(FIELDS)}

# Fragments and streams are not put together, numbers are as on the wire, nothing is looked up, and what TCP carries is
# not dissected. What the user has set for link types and tunnels stays as it is.
OPTIONS = (
    "-n", "-l", "-Q",
    "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "ip.tso_support:TRUE",
    "-o", "ip.check_checksum:FALSE", "-o", "tcp.check_checksum:FALSE",
    "-o", "tcp.relative_sequence_numbers:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE",
    "-o", "tcp.desegment_tcp_streams:FALSE", "-d", "tcp.port==0-65535,data", "-d", "udp.port==8472,vxlan",
)  # fmt: skip


def command() -> list[str]:
    """Return tshark's words: read a capture from standard input, write a line of tab-separated fields per frame."""
    words = [*OPTIONS, "-r", "-", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,"]
    return words + [word for name in FIELDS for word in ("-e", name)]
