"""Each layer by hand-written bytes: what is read, what is refused, and why."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from kacap.capture.frames import FRAME, FrameBatch
from kacap.segments import (
    ACK,
    HAS_LAST_BYTE,
    HAS_SACK,
    HAS_TCP_OPTIONS,
    HAS_TIMESTAMPS,
    IS_FRAGMENT,
    IS_IPV6,
    IS_QUOTE,
    PSH,
    SEGMENT,
)
from kacap.wire import SkipReason, cursor, decode

# 10.0.0.1:40000 to 10.0.0.2:80, seq 0xfffffffe, ack 0x01020304, window 501.
TCP = bytes.fromhex("9c40 0050 fffffffe 01020304 5010 01f5 0000 0000")
TCP_TS = bytes.fromhex("9c40 0050 fffffffe 01020304 8018 01f5 0000 0000 0101080a 0a0b0c0d 01000002")
IPV4 = bytes.fromhex("4500 0028 1234 4000 3f06 0000 0a000001 0a000002")
IPV6 = bytes.fromhex("60000000 0014 06 3d fd000000000000000000000000000001 fd000000000000000000000000000002")
ETHERNET = bytes.fromhex("020000000002 020000000001")
MAPPED = 0xFFFF << 32


def ipv4(payload: bytes, protocol: int = 6, total: int | None = None) -> bytes:
    header = bytearray(IPV4)
    header[2:4] = struct.pack(">H", 20 + len(payload) if total is None else total)
    header[9] = protocol
    return bytes(header) + payload


def outcome(data: bytes, link_type: int = 1, wire_len: int | None = None) -> np.void | str:
    """The segment, or the name of the reason why there is none."""
    frames = np.zeros(1, FRAME)
    frames["captured_len"], frames["wire_len"] = len(data), len(data) if wire_len is None else wire_len
    frames["link_type"], frames["frame"], frames["time_ns"], frames["file"] = link_type, 9, 5, 3
    skipped = np.zeros(len(SkipReason), np.int64)
    segments = decode(FrameBatch(np.frombuffer(data, np.uint8), frames), skipped)
    assert segments.dtype == SEGMENT
    assert len(segments) + skipped.sum() == 1
    return segments[0] if len(segments) else SkipReason(int(np.argmax(skipped))).name


def segment(data: bytes, link_type: int = 1, wire_len: int | None = None) -> np.void:
    found = outcome(data, link_type, wire_len)
    assert not isinstance(found, str), found
    return found


def test_every_field_of_a_plain_segment_is_read() -> None:
    row = segment(ETHERNET + b"\x08\0" + IPV4 + TCP)
    expected = {
        "time_ns": 5, "frame": 9, "file": 3, "src_hi": 0, "src_lo": MAPPED | 0x0A000001, "dst_hi": 0,
        "dst_lo": MAPPED | 0x0A000002, "by_hi": 0, "by_lo": 0, "encapsulation": 0, "seq": 0xFFFFFFFE, "ack": 0x01020304,
        "payload_len": 0, "tsval": 0, "tsecr": 0, "sack_left": 0, "sack_right": 0, "src_port": 40000, "dst_port": 80,
        "window": 501, "ip_id": 0x1234, "flags": ACK, "ttl": 63, "has": 0, "last_byte": 0, "icmp_type": 0,
        "icmp_code": 0,
    }  # fmt: skip
    assert {name: int(row[name]) for name in SEGMENT.names or ()} == expected


def test_ipv6_addresses_are_128_bits_and_there_is_no_ip_id() -> None:
    row = segment(IPV6 + TCP, 101)
    assert (int(row["src_hi"]), int(row["src_lo"])) == (0xFD00 << 48, 1)
    assert (int(row["dst_hi"]), int(row["dst_lo"])) == (0xFD00 << 48, 2)
    assert (row["ttl"], row["ip_id"], row["has"]) == (61, 0, IS_IPV6)


def test_timestamps_sack_and_the_last_byte_are_read() -> None:
    options = bytes.fromhex("080a 0a0b0c0d 01000002 0101 050a 00000003 00000004")[:22] + b"\0\0"
    header = bytearray(TCP)
    header[12:14] = bytes([(5 + len(options) // 4) << 4, ACK | PSH])
    row = segment(ipv4(bytes(header) + options + b"xyz"), 101)
    assert (row["tsval"], row["tsecr"], row["sack_left"], row["sack_right"]) == (0x0A0B0C0D, 0x01000002, 3, 4)
    assert (row["payload_len"], row["last_byte"], row["flags"]) == (3, ord("z"), ACK | PSH)
    assert row["has"] == HAS_TIMESTAMPS | HAS_SACK | HAS_LAST_BYTE | HAS_TCP_OPTIONS


@pytest.mark.parametrize(
    "options",
    ["0801ffff", "0800ffff", "08ff0000", "0808ffff ffffffff", "01010108", "00080a00 00000100 00000200", "050200", "0a"],
)
def test_an_option_of_senseless_length_ends_the_options_and_nothing_else(options: str) -> None:
    raw = bytes.fromhex(options)
    raw += b"\0" * (-len(raw) % 4)
    header = bytearray(TCP)
    header[12] = (5 + len(raw) // 4) << 4
    row = segment(ipv4(bytes(header) + raw), 101)
    assert row["has"] == HAS_TCP_OPTIONS and row["seq"] == 0xFFFFFFFE


def test_ethernet_padding_is_no_payload() -> None:
    row = segment((ETHERNET + b"\x08\0" + IPV4 + TCP).ljust(60, b"\x55"))
    assert (row["payload_len"], row["has"]) == (0, 0)


def test_payload_length_comes_from_ip_where_the_snaplen_cut_the_payload() -> None:
    row = segment(ipv4(TCP_TS + b"p" * 1000)[:60], 101, wire_len=1052)
    assert (row["payload_len"], row["has"]) == (1000, HAS_TIMESTAMPS | HAS_TCP_OPTIONS)


def test_total_length_zero_is_offload_and_the_wire_length_holds() -> None:
    packet = ETHERNET + b"\x08\0" + ipv4(TCP_TS + b"p" * 40, total=0)
    assert segment(packet, wire_len=14 + 20 + 32 + 60000)["payload_len"] == 60000
    assert segment(packet)["payload_len"] == 40
    six = IPV6[:4] + b"\0\0" + IPV6[6:]
    assert segment(six + TCP, 101, wire_len=60 + 70000)["payload_len"] == 70000


@pytest.mark.parametrize("kept", [16, 17, 19, 20, 25, 31])
def test_a_cut_in_the_tcp_header_costs_options_only_once_the_window_is_there(kept: int) -> None:
    row = segment(ipv4(TCP_TS)[: 20 + kept], 101, wire_len=52)
    assert (row["seq"], row["ack"], row["flags"], row["window"]) == (0xFFFFFFFE, 0x01020304, ACK | PSH, 501)
    assert (row["payload_len"], row["has"]) == (0, HAS_TCP_OPTIONS)


VLAN7, VLAN8, PRIORITY = bytes.fromhex("81000007"), bytes.fromhex("88a82008"), bytes.fromhex("8100e000")


def encapsulation(tags: bytes) -> int:
    return int(segment(ETHERNET + tags + b"\x08\0" + IPV4 + TCP)["encapsulation"])


def test_vlan_tags_make_the_lane_in_their_order_and_a_priority_tag_does_not() -> None:
    stacks = [b"", VLAN7, VLAN8, VLAN7 + VLAN8, VLAN8 + VLAN7, VLAN7 + VLAN7]
    encapsulations = [encapsulation(tags) for tags in stacks]
    assert encapsulations[0] == 0
    assert len(set(encapsulations)) == len(encapsulations)
    assert encapsulation(PRIORITY) == 0
    assert encapsulation(bytes.fromhex("8100a007")) == encapsulation(VLAN7), "priority bits are no part of the VLAN"
    assert encapsulation(VLAN7 * 4) not in encapsulations


def test_no_two_pairs_of_vlans_share_a_lane() -> None:
    tags = [struct.pack(">HHHH", 0x88A8, a, 0x8100, b) for a in range(1, 4095, 37) for b in range(1, 4095, 41)]
    data = b"".join(ETHERNET + tag + b"\x08\0" + IPV4 + TCP for tag in tags)
    frames = np.zeros(len(tags), FRAME)
    frames["captured_len"] = frames["wire_len"] = 62
    frames["offset"], frames["link_type"] = np.arange(len(tags)) * 62, 1
    rows = decode(FrameBatch(np.frombuffer(data, np.uint8), frames), np.zeros(len(SkipReason), np.int64))
    assert len(set(rows["encapsulation"].tolist())) == len(tags)


ICMP = bytes.fromhex("0301 0000 00000000")


def test_an_icmp_error_tells_who_sent_it_and_quotes_the_segment() -> None:
    outer = bytearray(ipv4(ICMP + IPV4 + TCP, protocol=1))
    outer[8], outer[12:16] = 250, bytes([192, 0, 2, 9])
    row = segment(ETHERNET + VLAN7 + b"\x08\0" + bytes(outer))
    assert (row["icmp_type"], row["icmp_code"], row["ttl"]) == (3, 1, 250)
    assert (int(row["by_lo"]), int(row["src_lo"])) == (MAPPED | 0xC0000209, MAPPED | 0x0A000001)
    assert (row["src_port"], row["dst_port"], row["seq"]) == (40000, 80, 0xFFFFFFFE)
    assert (row["flags"], row["has"], int(row["encapsulation"])) == (ACK, IS_QUOTE, encapsulation(VLAN7))


@pytest.mark.parametrize("kept", [8, 11, 15])
def test_eight_quoted_bytes_suffice_and_the_rest_is_unknown(kept: int) -> None:
    row = segment(ipv4(ICMP + ipv4(TCP_TS)[: 20 + kept], protocol=1), 101)
    assert (row["seq"], row["ack"], row["flags"], row["payload_len"], row["has"]) == (0xFFFFFFFE, 0, 0, 0, IS_QUOTE)


@pytest.mark.parametrize(
    ("reason", "data", "link_type"),
    [
        ("UNKNOWN_LINK_TYPE", IPV4 + TCP, 147),
        ("NOT_IP", ETHERNET + b"\x08\x06" + b"\0" * 46, 1),
        ("NOT_IP", ETHERNET + b"\0\x20" + bytes.fromhex("424203") + b"\0" * 40, 1),
        ("NOT_IP", struct.pack("<I", 7) + IPV4 + TCP, 0),
        ("NOT_TCP", ipv4(b"\0" * 20, protocol=17), 101),
        ("NOT_TCP", ipv4(b"\0" * 20, protocol=89), 101),
        ("NOT_TCP", IPV6[:6] + b"\x3b" + IPV6[7:] + TCP, 101),
        ("OTHER_ICMP", ipv4(bytes.fromhex("0800 0000 00000000") + IPV4 + TCP, protocol=1), 101),
        ("OTHER_ICMP", ipv4(bytes.fromhex("0501 0000 00000000") + IPV4 + TCP, protocol=1), 101),
        ("OTHER_ICMP", ipv4(ICMP + ipv4(b"\0" * 8, protocol=17), protocol=1), 101),
        ("OTHER_ICMP", ipv4(ICMP + ipv4(ICMP + IPV4 + TCP, protocol=1), protocol=1), 101),
        ("CUT_ICMP", ipv4(ICMP[:7], protocol=1), 101),
        ("CUT_ICMP", ipv4(ICMP + (IPV4 + TCP)[:27], protocol=1), 101),
        ("LATER_FRAGMENT", IPV4[:6] + b"\0\1" + IPV4[8:] + TCP, 101),
        ("CUT_LINK", ETHERNET, 1),
        ("CUT_LINK", ETHERNET + b"\x81\0\0", 1),
        ("CUT_IP", ETHERNET + b"\x08\0" + IPV4[:19], 1),
        ("CUT_IP", IPV6[:39], 229),
        ("CUT_TCP", IPV4 + TCP[:15], 101),
        ("BAD_IP_VERSION", b"\x55" + IPV4[1:] + TCP, 101),
        ("BAD_IP_VERSION", ETHERNET + b"\x86\xdd" + IPV4 + TCP, 1),
        ("BAD_IP_LENGTH", b"\x44" + IPV4[1:] + TCP, 101),
        ("BAD_IP_LENGTH", ipv4(TCP, total=19), 101),
        ("BAD_IP_LENGTH", ipv4(TCP, total=39), 101),
        ("BAD_DATA_OFFSET", ipv4(TCP[:12] + b"\x40" + TCP[13:]), 101),
        ("BAD_DATA_OFFSET", ipv4(TCP[:12] + b"\x60" + TCP[13:]), 101),
        ("TOO_DEEP", ETHERNET + VLAN7 * 30 + b"\x08\0" + IPV4 + TCP, 1),
        ("TOO_DEEP", ipv4(b"", protocol=4, total=65535) * 40, 101),
        ("ENCRYPTED", ipv4(b"\0" * 40, protocol=50), 101),
        ("ENCRYPTED", bytes.fromhex("0841") + b"\0" * 60, 105),
        ("AGGREGATED", bytes.fromhex("8801") + b"\0" * 22 + b"\x80\0" + b"\0" * 40, 105),
        ("NOT_IP", bytes.fromhex("8000") + b"\0" * 60, 105),
        ("BAD_TUNNEL", ipv4(bytes.fromhex("00010800") + IPV4 + TCP, protocol=47), 101),
        ("CUT_TUNNEL", ipv4(bytes.fromhex("2000 0800 0000"), protocol=47), 101),
    ],
)
def test_a_frame_left_out_has_its_reason(reason: str, data: bytes, link_type: int) -> None:
    assert outcome(data, link_type) == reason


def test_first_fragments_count_their_own_share() -> None:
    row = segment(IPV4[:6] + b"\x20\0" + IPV4[8:] + TCP, 101)
    assert (row["has"], row["payload_len"]) == (IS_FRAGMENT, 0)


def test_as_many_headers_are_followed_as_the_limit_says() -> None:
    tags = cursor.MAX_HEADERS - 3  # besides Ethernet, IPv4 and TCP
    assert not isinstance(outcome(ETHERNET + VLAN7 * tags + b"\x08\0" + IPV4 + TCP), str)
    assert outcome(ETHERNET + VLAN7 * (tags + 1) + b"\x08\0" + IPV4 + TCP) == "TOO_DEEP"


def test_a_frame_that_claims_more_than_the_buffer_holds_is_read_to_the_buffers_end() -> None:
    data = np.frombuffer(IPV4 + TCP, np.uint8)
    frames = np.zeros(3, FRAME)
    frames["offset"], frames["captured_len"], frames["link_type"] = [0, 20, 1 << 40], 2**32 - 1, 101
    skipped = np.zeros(len(SkipReason), np.int64)
    assert len(decode(FrameBatch(data, frames), skipped)) == 1
    assert skipped.sum() == 2


def test_segments_of_one_batch_outlive_the_next() -> None:
    data = np.frombuffer(IPV4 + TCP, np.uint8).copy()
    frames = np.zeros(1, FRAME)
    frames["captured_len"], frames["link_type"] = len(data), 101
    skipped = np.zeros(len(SkipReason), np.int64)
    first = decode(FrameBatch(data, frames), skipped)
    data[24:28] = 0
    second = decode(FrameBatch(data, frames), skipped)
    assert (first["seq"][0], second["seq"][0]) == (0xFFFFFFFE, 0)


def test_reasons_are_indices_and_each_says_what_it_is() -> None:
    assert [int(reason) for reason in SkipReason] == list(range(len(SkipReason)))
    assert len({reason.text for reason in SkipReason}) == len(SkipReason) < cursor.SEGMENT_DONE
