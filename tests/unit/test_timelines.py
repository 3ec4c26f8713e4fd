"""The notation of timelines: what a line means, and what stays true when a timeline is varied."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from reference_decode import Segment, decode_frame
from timelines import BASE_NS, Timeline, checksum, parse

ENDS = "A 10.0.0.1:40000 isn 1000\nB 10.0.0.2:80 isn 5000\nR 10.0.9.9 ttl 250\n"
HANDSHAKE = "0 A > B S win 64240 <mss 1460>\n+0.01 B > A S.\n+0.01 A > B .\n"


def read(timeline: Timeline) -> list[Segment]:
    found = [decode_frame(frame, len(frame), 1) for _, frame in timeline.frames()]
    assert all(isinstance(segment, Segment) for segment in found)
    return [segment for segment in found if isinstance(segment, Segment)]


def lines(text: str) -> list[Segment]:
    return read(parse(ENDS + HANDSHAKE + text))


def test_numbers_follow_from_what_was_sent_unless_a_line_says_otherwise() -> None:
    data, probe, absolute, relative = lines(
        "+1 A > B P. len 5\n+1 A > B . seq nxt-1\n+1 B > A . seq =77 ack =88\n+1 B > A . seq 3 ack 4\n"
    )[3:]
    assert (data.seq, data.ack, data.payload_len, data.flags) == (1001, 5001, 5, 0x18)
    assert (probe.seq, probe.ack, probe.payload_len) == (1005, 5001, 0)
    assert (absolute.seq, absolute.ack) == (77, 88)
    assert (relative.seq, relative.ack) == (5003, 1004)


def test_times_are_absolute_or_after_the_line_before_in_exact_nanoseconds() -> None:
    timeline = parse(ENDS + "0.1 A > B .\n+0.000000001 B > A .\n+61.44 A > B .\n")
    assert [t - BASE_NS for t, _ in timeline.frames()] == [100_000_000, 100_000_001, 61_540_000_001]


def test_a_window_holds_on_and_a_bare_reset_has_none() -> None:
    first, second, reset = lines("+1 A > B . win 0\n+1 A > B .\n+1 A > B R\n")[3:]
    assert (first.window, second.window, reset.window, reset.ack) == (0, 0, 0, 0)


def test_a_line_of_truth_is_a_kind_with_or_without_grade_and_flags_speak_for_the_rest() -> None:
    text = "+1 A > B . seq nxt-1 ; probe proven\n+1 B > A . ; reply\n+1 A > B P. len 1\n+1 A > B F.\n+1 B > A R.\n"
    assert [(kind, grade) for _, kind, grade in parse(ENDS + HANDSHAKE + text).truth()] == [
        ("syn", None),
        ("syn", None),
        ("ack", None),
        ("probe", "proven"),
        ("reply", None),
        ("data", None),
        ("fin", None),
        ("rst", None),
    ]


def test_what_is_not_captured_moves_the_numbers_and_leaves_no_frame() -> None:
    found = lines("+1 A > B P. len 100 uncaptured\n+1 B > A .\n")
    assert len(found) == 4
    assert found[-1].ack == 1101


def test_a_frame_seen_again_has_the_same_bytes_or_another_ttl() -> None:
    frames = [frame for _, frame in parse(ENDS + HANDSHAKE + "+1 A > B .\n+0 again 4\n+0 again 4 ttl 63\n").frames()]
    assert frames[3] == frames[4]
    assert frames[3][22] == 64 and frames[5][22] == 63
    assert frames[3][26:] == frames[5][26:]


def test_an_icmp_error_quotes_the_frame_named() -> None:
    segment = lines("+1 A > B . seq nxt-1\n+0.1 R > A icmp host-unreachable quotes 4 bytes 8\n")[-1]
    assert (segment.is_quote, segment.icmp_type, segment.icmp_code, segment.ttl) == (True, 3, 1, 250)
    assert (segment.seq, segment.ack, segment.by) == (1000, 0, 0xFFFF0A000909)


def test_timestamps_echo_the_last_segment_in_window_and_not_a_probe() -> None:
    text = "timestamps\n" + HANDSHAKE + "+1 A > B P. len 1\n+1 B > A .\n+1 A > B . seq nxt-1\n+1 B > A .\n"
    found = read(parse(ENDS + text))
    assert [segment.timestamps for segment in found][3:] == [(1020, 10), (2020, 1020), (3020, 2020), (4020, 1020)]


def test_what_does_not_arrive_is_captured_and_echoed_by_nobody() -> None:
    text = "timestamps\n" + HANDSHAKE + "+1 B > A P. len 5 lost\n+1 A > B . ack 1\n+1 A > B . tsval 7 tsecr 8\n"
    found = read(parse(ENDS + text))
    assert [segment.timestamps for segment in found][3:] == [(1020, 20), (2020, 10), (7, 8)]
    assert [segment.ack for segment in found][4:] == [5001, 5006]


def test_what_rests_on_ip_ids_has_no_ipv6_variant() -> None:
    story = parse(ENDS + "ids\n" + HANDSHAKE)
    assert story.ipv6() is story
    assert parse(ENDS + HANDSHAKE).ipv6().version == 6


@pytest.mark.parametrize("name", ["as written", "ipv6", "swapped", "vlan"])
def test_all_checksums_are_right(name: str) -> None:
    timeline = parse(ENDS + HANDSHAKE + "+1 A > B P. len 5\n+1 R > A icmp time-exceeded quotes 4\n")
    varied = {
        "as written": timeline,
        "ipv6": timeline.ipv6(),
        "swapped": timeline.swapped(),
        "vlan": timeline.with_vlan(3),
    }
    for _, frame in varied[name].frames():
        packet = frame[18:] if name == "vlan" else frame[14:]
        if name == "ipv6":
            pseudo, body = packet[8:40] + struct.pack(">II", len(packet) - 40, packet[6]), packet[40:]
        else:
            assert checksum(packet[:20]) == 0
            pseudo, body = packet[12:20] + struct.pack(">II", len(packet) - 20, packet[9]), packet[20:]
            pseudo = b"" if packet[9] == 1 else pseudo
        assert checksum(pseudo + body) == 0


def test_swapping_exchanges_addresses_and_nothing_else() -> None:
    timeline = parse(ENDS + HANDSHAKE)
    for one, other in zip(read(timeline), read(timeline.swapped()), strict=True):
        assert (one.src, one.sport, one.dst, one.dport) == (other.dst, other.dport, other.src, other.sport)
        assert (one.seq, one.ack, one.window, one.ip_id) == (other.seq, other.ack, other.window, other.ip_id)


def test_shifting_moves_an_ends_numbers_and_what_acknowledges_them() -> None:
    timeline = parse(ENDS + HANDSHAKE + "+1 A > B P. byte 7\n+1 B > A . <sack nxt-1 nxt>\n")
    for one, other in zip(read(timeline), read(timeline.shifted("A", 2**32 - 1001)), strict=True):
        mine = one.src & 0xFF == 1
        assert other.seq == (one.seq - 1001) % 2**32 if mine else other.seq == one.seq
        assert other.ack == (one.ack if mine or not one.flags & 16 else one.ack - 1001)
    assert other.sack == (0, 1)


def test_every_number_of_each_end_is_put_on_the_wrap() -> None:
    timeline = parse(ENDS + HANDSHAKE + "+1 A > B P. len 5\n+1 B > A .\n")
    zeros = {
        (segment.src & 0xFF, n)
        for n, variant in enumerate(timeline.wraps())
        for segment in read(variant)
        if segment.seq == 0
    }
    assert {end for end, _ in zeros} == {1, 2}
    assert len(zeros) >= 4


@pytest.mark.parametrize(
    ("nanoseconds", "magic", "fraction"), [(True, 0xA1B23C4D, 123_456_789), (False, 0xA1B2C3D4, 123_456)]
)
def test_a_pcap_holds_the_frames_with_its_own_resolution(
    nanoseconds: bool, magic: int, fraction: int, tmp_path: Path
) -> None:
    timeline = parse(ENDS + "1.123456789 A > B .\n")
    timeline.write_pcap(tmp_path / "x.pcap", nanoseconds)
    data = (tmp_path / "x.pcap").read_bytes()
    assert struct.unpack("<I16xI", data[:24]) == (magic, 1)
    assert struct.unpack("<IIII", data[24:40]) == (BASE_NS // 10**9 + 1, fraction, 54, 54)
    assert data[40:] == timeline.frames()[0][1]


@pytest.mark.parametrize(
    "line", ["+1 A > B Q", "+1 A > C .", "+1 A > B . seq", "nonsense", "+1 A > B . seq x", "+1 again 9"]
)
def test_a_line_that_makes_no_sense_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 4"):
        parse(ENDS + line + "\n")
