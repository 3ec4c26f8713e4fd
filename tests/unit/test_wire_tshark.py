"""The decoder and tshark read alike what scapy has built: every link type and encapsulation."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from timelines import write_pcap

from kacap.capture.frames import FRAME, FrameBatch
from kacap.segments import HAS_SACK, HAS_TIMESTAMPS, IS_FRAGMENT, IS_IPV6, IS_QUOTE
from kacap.wire import SkipReason, decode

pytestmark = [pytest.mark.tool("tshark"), pytest.mark.slow]

FIELDS = (
    "frame.number", "tcp.srcport", "tcp.dstport", "tcp.seq", "tcp.ack", "tcp.len", "tcp.flags",
    "tcp.window_size_value", "tcp.options.timestamp.tsval", "tcp.options.timestamp.tsecr", "tcp.options.sack_le",
    "tcp.options.sack_re",
)  # fmt: skip


def built_by_scapy() -> dict[str, tuple[int, Any]]:
    """Name, then link type and frame; each carries the connection 10.1.1.1:40001 to 10.1.1.2:443 or fd00::1 to ::2."""
    from scapy.all import Dot3, Ether, Raw
    from scapy.contrib.geneve import GENEVE
    from scapy.contrib.gtp import GTP_U_Header, GTPPDUSessionContainer
    from scapy.contrib.mpls import MPLS
    from scapy.layers.dot11 import Dot11, Dot11QoS, RadioTap
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6PacketTooBig,
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
    )
    from scapy.layers.ipsec import AH
    from scapy.layers.l2 import GRE, LLC, SNAP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Loopback
    from scapy.layers.ppp import HDLC, PPP, PPPoE
    from scapy.layers.vxlan import VXLAN

    options = [("NOP", None), ("NOP", None), ("Timestamp", (3647732682, 81120))]
    sack = [*options, ("NOP", None), ("NOP", None), ("SAck", (4001, 4002))]
    tcp = TCP(sport=40001, dport=443, seq=4294967295, ack=123456789, flags="A", window=501, options=options)
    data = TCP(sport=40001, dport=443, seq=77, ack=88, flags="PA", window=0, options=sack) / Raw(b"abc")
    four = IP(src="10.1.1.1", dst="10.1.1.2", id=4660, ttl=63) / tcp
    four_data = IP(src="10.1.1.1", dst="10.1.1.2", id=4661, ttl=63, flags="DF") / data
    six = IPv6(src="fd00::1", dst="fd00::2", hlim=61) / tcp
    outer = IP(src="192.0.2.1", dst="192.0.2.2", ttl=9)
    outer6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    intel = Ether(src="00:1b:21:00:00:01", dst="00:1b:21:00:00:02")
    wifi = Dot11(type=2, subtype=0, FCfield=1) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x800)
    qos = Dot11(type=2, subtype=8, FCfield=2) / Dot11QoS() / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x86DD)
    erspan2 = struct.pack(">II", 0x10010005, 0)  # version 1, VLAN 1, session 5
    quoted_short = IP(src="192.0.2.9", dst="10.1.1.1") / ICMP(type=11) / Raw(bytes(four)[:28])

    def nflog(packet: Any, order: str) -> bytes:
        header = b"\x02\0\0\x05" + struct.pack(f"{order}HH", 8, 1) + b"\x08\0\0\0"
        prefix = struct.pack(f"{order}HH", 6, 10) + b"x\0\0\0"
        return header + prefix + struct.pack(f"{order}HH", len(bytes(packet)) + 4, 9) + bytes(packet)

    return {
        "Ethernet, IPv4": (1, ether / four),
        "Ethernet, IPv4, data and SACK": (1, ether / four_data),
        "Ethernet, IPv6": (1, ether / six),
        "Ethernet with padding": (1, Raw(bytes(ether / four).ljust(90, b"\x77"))),
        "802.3 with SNAP": (
            1,
            Dot3(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / LLC() / SNAP(code=0x800) / four,
        ),
        "802.1Q": (1, ether / Dot1Q(vlan=7, prio=5) / four),
        "802.1ad and 802.1Q": (1, ether / Dot1AD(vlan=100) / Dot1Q(vlan=7) / six),
        "four tags": (1, ether / Dot1AD(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / Dot1Q(vlan=4) / four),
        "IPv4 options": (
            1,
            ether / IP(src="10.1.1.1", dst="10.1.1.2", options=[IPOption_Router_Alert(), IPOption_NOP()]) / data,
        ),
        "IPv4 first fragment": (1, ether / IP(src="10.1.1.1", dst="10.1.1.2", flags="MF") / data),
        "IPv6 hop-by-hop": (1, ether / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrHopByHop() / tcp),
        "IPv6 four extensions": (
            1,
            ether
            / IPv6(src="fd00::1", dst="fd00::2")
            / IPv6ExtHdrHopByHop()
            / IPv6ExtHdrDestOpt()
            / IPv6ExtHdrRouting()
            / IPv6ExtHdrDestOpt()
            / data,
        ),
        "IPv6 first fragment": (
            1,
            ether / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(m=1, offset=0) / tcp,
        ),
        "IPv4 AH": (1, ether / IP(src="10.1.1.1", dst="10.1.1.2") / AH(nh=6, payloadlen=4, icv=b"\0" * 12) / tcp),
        "ICMP quotes all": (1, ether / IP(src="192.0.2.9", dst="10.1.1.1") / ICMP(type=3, code=1) / four_data),
        "ICMP quotes eight bytes": (1, ether / quoted_short),
        "ICMPv6 unreachable": (1, ether / IPv6(src="2001:db8::9", dst="fd00::1") / ICMPv6DestUnreach(code=1) / six),
        "ICMPv6 too big": (1, ether / IPv6(src="2001:db8::9", dst="fd00::1") / ICMPv6PacketTooBig() / six),
        "MPLS one label": (1, ether / MPLS(label=16, s=1) / four),
        "MPLS three labels, IPv6": (1, ether / MPLS(label=16, s=0) / MPLS(label=17, s=0) / MPLS(label=18, s=1) / six),
        "Ethernet over MPLS": (1, ether / MPLS(label=16, s=1) / Raw(b"\0\0\0\0" + bytes(intel / four))),
        "Ethernet over MPLS, no control word": (1, ether / MPLS(label=16, s=1) / Raw(bytes(intel / four))),
        "PPPoE": (1, ether / PPPoE(sessionid=0x1234) / PPP() / four),
        "PPPoE, IPv6": (1, ether / PPPoE(sessionid=0x1234) / PPP() / six),
        "GRE": (1, ether / outer / GRE() / four),
        "GRE with key, checksum and number": (
            1,
            ether / outer / GRE(chksum_present=1, key_present=1, key=99, seqnum_present=1, sequence_number=3) / six,
        ),
        "GRE with Ethernet": (1, ether / outer / GRE(proto=0x6558, key_present=1, key=0x99AA00) / ether / four),
        "ERSPAN I": (1, ether / outer / GRE(proto=0x88BE) / Raw(bytes(ether / four))),
        "ERSPAN II": (
            1,
            ether / outer / GRE(proto=0x88BE, seqnum_present=1) / Raw(erspan2 + bytes(ether / Dot1Q(vlan=3) / six)),
        ),
        "IP in IP": (1, ether / outer / four_data),
        "6in4": (1, ether / outer / six),
        "4in6": (1, ether / outer6 / four),
        "VXLAN": (1, ether / outer / UDP(sport=50000, dport=4789) / VXLAN(vni=5001, flags="Instance") / ether / four),
        "VXLAN over IPv6": (
            1,
            ether
            / outer6
            / UDP(sport=50000, dport=4789)
            / VXLAN(vni=7, flags="Instance")
            / ether
            / Dot1Q(vlan=2)
            / six,
        ),
        "GENEVE": (1, ether / outer / UDP(sport=50000, dport=6081) / GENEVE(vni=9) / ether / four),
        "GENEVE with IP and options": (
            1,
            ether
            / outer
            / UDP(sport=50000, dport=6081)
            / Raw(struct.pack(">BBHI", 2, 0, 0x0800, 9 << 8) + b"\1\2\3\1\0\0\0\0" + bytes(four_data)),
        ),
        "GTP-U": (1, ether / outer / UDP(sport=2152, dport=2152) / GTP_U_Header(teid=0xDEAD) / four),
        "GTP-U with number": (1, ether / outer / UDP(sport=2152, dport=2152) / GTP_U_Header(teid=1, S=1, seq=5) / six),
        "GTP-U with extension": (
            1,
            ether
            / outer
            / UDP(sport=2152, dport=2152)
            / GTP_U_Header(teid=1, E=1, next_ex=0x85)
            / GTPPDUSessionContainer(type=1, QFI=9)
            / four,
        ),
        "GRE in VXLAN": (
            1,
            ether
            / outer
            / UDP(sport=50000, dport=4789)
            / VXLAN(vni=1, flags="Instance")
            / ether
            / outer
            / GRE()
            / four,
        ),
        "NULL, little-endian": (0, Raw(struct.pack("<I", 2) + bytes(four))),
        "NULL, big-endian": (0, Loopback(type=2) / four),
        "NULL, IPv6 of macOS": (0, Raw(struct.pack("<I", 30) + bytes(six))),
        "LOOP": (108, Raw(struct.pack(">I", 24) + bytes(six))),
        "raw IPv4": (101, four),
        "raw IPv6": (101, six),
        "IPV4": (228, four),
        "IPV6": (229, six),
        "SLL": (113, CookedLinux(proto=0x800) / four),
        "SLL, VLAN": (113, CookedLinux(proto=0x8100) / Dot1Q(vlan=3) / six),
        "SLL2": (276, CookedLinuxV2(proto=0x86DD) / six),
        "PPP": (9, HDLC() / PPP() / four),
        "PPP, HDLC": (50, HDLC() / PPP() / six),
        "Cisco HDLC": (50, Raw(b"\x0f\0\x08\0" + bytes(four))),
        "802.11": (105, wifi / four),
        "802.11 QoS with radiotap": (127, RadioTap() / qos / six),
        "802.11 with radiotap flags": (
            127,
            RadioTap(present="TSFT+Flags", mac_timestamp=1, Flags=0) / wifi / four_data,
        ),
        "NFLOG, little-endian": (239, Raw(nflog(four, "<"))),
        "NFLOG, big-endian": (239, Raw(nflog(four_data, ">"))),
    }


@pytest.fixture(scope="module")
def frames() -> dict[str, tuple[int, bytes]]:
    return {name: (link_type, bytes(packet)) for name, (link_type, packet) in built_by_scapy().items()}


def segment_of(link_type: int, data: bytes) -> np.void:
    row = np.zeros(1, FRAME)
    row["captured_len"] = row["wire_len"] = len(data)
    row["link_type"], row["frame"] = link_type, 1
    skipped = np.zeros(len(SkipReason), np.int64)
    segments = decode(FrameBatch(np.frombuffer(data, np.uint8), row), skipped)
    assert len(segments) == 1, [SkipReason(i).name for i in np.flatnonzero(skipped)]
    return segments[0]


def read_by_tshark(path: Path) -> list[list[str]]:
    command = ["tshark", "-r", str(path), "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"]
    command += ["-o", "tcp.relative_sequence_numbers:FALSE", "-T", "fields"]
    command += ["-E", "separator=/t", "-E", "occurrence=l"] + [part for name in FIELDS for part in ("-e", name)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in run.stdout.splitlines()]


def as_tshark(row: np.void) -> list[str]:
    """What tshark prints for such a segment; a quote of eight bytes has ports and sequence number only."""
    has = int(row["has"])
    stamps = [str(row["tsval"]), str(row["tsecr"])] if has & HAS_TIMESTAMPS else ["", ""]
    sack = [str(row["sack_left"]), str(row["sack_right"])] if has & HAS_SACK else ["", ""]
    numbers = [str(row[name]) for name in ("src_port", "dst_port", "seq", "ack", "payload_len")]
    return [*numbers, f"0x{row['flags']:04x}", str(row["window"]), *stamps, *sack]


def test_decoder_and_tshark_agree_on_every_encapsulation(frames: dict[str, tuple[int, bytes]], tmp_path: Path) -> None:
    wrong = []
    order = {name: ">" if name.endswith("big-endian") else "<" for name in frames}  # tshark takes NFLOG's from the file
    for link_type, file_order in sorted({(frames[name][0], order[name]) for name in frames}):
        names = [name for name in frames if frames[name][0] == link_type and order[name] == file_order]
        path = tmp_path / f"{link_type}.pcap"
        write_pcap(path, [(1_000_000_000, frames[name][1]) for name in names], link_type, order=file_order)
        for name, (_, *others) in zip(names, read_by_tshark(path), strict=True):
            mine = as_tshark(segment_of(*frames[name]))
            if name == "ICMP quotes eight bytes":
                mine, others = mine[:3], others[:3]
            elif "fragment" in name:
                mine.pop(4), others.pop(4)  # tshark gives up on a fragment's length
            elif "quotes" in name or "ICMPv6" in name:
                mine.pop(4), others.pop(4)  # and on a quote's
            if mine != others:
                wrong.append((name, mine, others))
    assert not wrong, "\n".join(map(str, wrong))


def test_addresses_are_those_of_the_inner_packet(frames: dict[str, tuple[int, bytes]]) -> None:
    for name, (link_type, data) in frames.items():
        row = segment_of(link_type, data)
        six = bool(row["has"] & IS_IPV6)
        source = int(row["src_hi"]) << 64 | int(row["src_lo"])
        assert source == ((0xFD00 << 112) + 1 if six else 0xFFFF0A010101), name
        assert bool(row["has"] & IS_QUOTE) == ("ICMP" in name), name
        assert bool(row["has"] & IS_FRAGMENT) == ("fragment" in name), name


def test_payload_length_is_that_of_the_ip_header_also_where_tshark_gives_none(
    frames: dict[str, tuple[int, bytes]],
) -> None:
    lengths = {"IPv4 first fragment": 3, "IPv6 first fragment": 0, "ICMP quotes all": 3, "ICMP quotes eight bytes": 0}
    assert {name: int(segment_of(*frames[name])["payload_len"]) for name in lengths} == lengths


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ethernet, IPv4", "raw IPv4", True),
        ("Ethernet, IPv4", "802.1Q", False),
        ("Ethernet, IPv4", "MPLS one label", True),
        ("MPLS one label", "MPLS three labels, IPv6", True),
        ("Ethernet, IPv4", "GTP-U", False),
        ("GTP-U", "GTP-U with number", True),
        ("PPPoE", "PPPoE, IPv6", True),
        ("PPPoE", "Ethernet, IPv4", False),
        ("VXLAN", "GENEVE", False),
        ("VXLAN", "GRE in VXLAN", False),
        ("IP in IP", "4in6", True),
        ("IP in IP", "6in4", False),
        ("NFLOG, little-endian", "raw IPv4", True),
    ],
)
def test_lane_holds_what_both_directions_of_a_tunnel_have_in_common(
    frames: dict[str, tuple[int, bytes]], one: str, other: str, same: bool
) -> None:
    assert (segment_of(*frames[one])["encapsulation"] == segment_of(*frames[other])["encapsulation"]) == same
