"""pcap and pcapng in all their forms: exact times, lengths, link types and bytes, from files that others wrote."""

from __future__ import annotations

import gzip
import random
import struct
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_broken import BROKEN, FIRST_S, FRAME, block, interface, option, packet, section

from kacap.capture import Captures, open_captures
from kacap.capture.blocks import BLOCK_BYTES
from kacap.capture.formats import open_reader
from kacap.capture.records import FRAME_LIMIT

NS = 1_000_000_000


def rows(captures: Captures) -> list[dict[str, Any]]:
    """Return every frame with its bytes."""
    found = []
    for batch in captures:
        for row in batch.frames:
            frame = {name: int(row[name]) for name in row.dtype.names}
            frame["bytes"] = batch.buffer[frame["offset"] : frame.pop("offset") + frame["captured_len"]].tobytes()
            found.append(frame)
    return found


def read(tmp_path: Path, data: bytes) -> tuple[list[dict[str, Any]], Captures]:
    """Return the frames of a file with these bytes, and the source after it was read."""
    path = tmp_path / "capture"
    path.write_bytes(data)
    captures = open_captures([str(path)])
    return rows(captures), captures


def times(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["time_ns"] for frame in frames]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "fraction", "nanoseconds"), [(0xA1B2C3D4, 999_999, 999_999_000), (0xA1B23C4D, 999_999_999, 999_999_999)]
)
def test_pcap_of_either_byte_order_and_precision_gives_exact_nanoseconds(
    order: str, magic: int, fraction: int, nanoseconds: int, tmp_path: Path
) -> None:
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 96, 113)
    data += struct.pack(order + "IIII", 0xFFFFFFFF, fraction, 5, 1500) + b"abcde"
    frames, captures = read(tmp_path, data)
    assert captures.damages == []
    assert frames == [
        {
            "time_ns": 0xFFFFFFFF * NS + nanoseconds,
            "frame": 1,
            "captured_len": 5,
            "wire_len": 1500,
            "link_type": 113,
            "file": 0,
            "bytes": b"abcde",
        }
    ]


def test_pcap_with_kuznetzovs_longer_record_headers_is_read(tmp_path: Path) -> None:
    data = struct.pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 96, 1)
    for second in (1, 2):
        data += struct.pack("<IIIIIHBB", second, 7, 3, 60, 2, 0x0800, 4, 0) + b"xyz"
    frames, _ = read(tmp_path, data)
    assert [(f["time_ns"], f["bytes"]) for f in frames] == [(NS + 7000, b"xyz"), (2 * NS + 7000, b"xyz")]


@pytest.mark.parametrize(
    ("version", "lengths", "expected"),
    [
        ((2, 0), (60, 3), (3, 60)),
        ((2, 2), (60, 3), (3, 60)),
        ((2, 3), (60, 3), (3, 60)),
        ((2, 3), (3, 60), (3, 60)),
        ((2, 3), (3, 3), (3, 3)),
        ((2, 4), (3, 60), (3, 60)),
        ((543, 0), (60, 3), (3, 60)),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_old_versions_have_the_two_lengths_in_the_other_order(
    version: tuple[int, int], lengths: tuple[int, int], expected: tuple[int, int], order: str, tmp_path: Path
) -> None:
    data = struct.pack(order + "IHHiIII", 0xA1B2C3D4, *version, 0, 0, 96, 1)
    for second in (1, 2):
        data += struct.pack(order + "IIII", second, 7, *lengths) + b"xyz"
    frames, captures = read(tmp_path, data)
    assert not captures.damages
    assert [(f["captured_len"], f["wire_len"], f["bytes"]) for f in frames] == [(*expected, b"xyz")] * 2


@pytest.mark.tool("tcpdump")
@pytest.mark.parametrize("name", ["version-2.2.pcap", "version-2.3.pcap", "version-543.0.pcap"])
def test_tcpdump_takes_the_lengths_of_old_versions_for_the_same(name: str, tmp_path: Path) -> None:
    subprocess.run(["tcpdump", "-r", BROKEN / name, "-w", tmp_path / "now.pcap"], check=True, stderr=subprocess.DEVNULL)
    assert rows(open_captures([str(BROKEN / name)])) == rows(open_captures([str(tmp_path / "now.pcap")]))


USB = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 128 << 20, 220)
SIZES = (10, FRAME_LIMIT - 1, FRAME_LIMIT, FRAME_LIMIT + 1, 300_000, 20, 5_000_001, 9_000_000, 9_000_000, 0, 30)


def usb(sizes: tuple[int, ...] = SIZES) -> tuple[bytes, list[bytes]]:
    """Return a pcap of frames of these sizes, as USB may have them, and the bytes of each."""
    frames = [random.Random(n).randbytes(size) for n, size in enumerate(sizes)]
    records = (struct.pack("<IIII", n, 0, len(frame), len(frame)) for n, frame in enumerate(frames))
    return USB + b"".join(head + frame for head, frame in zip(records, frames, strict=True)), frames


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("size", [1 << 12, 1 << 16, FRAME_LIMIT + 16, BLOCK_BYTES])
def test_of_a_frame_longer_than_any_packet_the_beginning_is_read(size: int, whole: bool, tmp_path: Path) -> None:
    data, frames = usb()
    (tmp_path / "usb.pcap").write_bytes(data)
    reader = open_reader(str(tmp_path / "usb.pcap"), 0, size=size, whole=whole)
    found = [
        (
            int(row["frame"]),
            int(row["wire_len"]),
            batch.buffer[row["offset"] : row["offset"] + row["captured_len"]].tobytes(),
        )
        for batch in reader.batches()
        for row in batch.frames
    ]
    assert not reader.damages
    kept = None if whole else FRAME_LIMIT
    assert found == [(n, len(frame), frame[:kept]) for n, frame in enumerate(frames, 1)]


@pytest.mark.parametrize("lost", [1, 9, 8_999_000, 9_000_000, 9_000_010, 17_000_000])
def test_a_cut_within_a_long_frame_is_told_the_same_however_much_of_it_is_kept(lost: int, tmp_path: Path) -> None:
    data, frames = usb(SIZES[:-2])
    (tmp_path / "cut.pcap").write_bytes(data[:-lost])
    told = set()
    for size in (1 << 12, BLOCK_BYTES):
        for whole in (False, True):
            reader = open_reader(str(tmp_path / "cut.pcap"), 0, size=size, whole=whole)
            count = sum(len(batch.frames) for batch in reader.batches())
            (damage,) = reader.damages
            told.add((count, damage.offset, damage.frame, damage.what))
            reader.close()
    assert len(told) == 1
    ((count, offset, _, what),) = told
    assert offset == len(USB) + sum(16 + len(frame) for frame in frames[:count])
    assert f": {len(data) - lost - offset:,} of " in what


def test_what_is_written_of_a_long_frame_is_all_of_it(tmp_path: Path) -> None:
    data, _ = usb((10, 300_000, 5_000_001, 30))
    (tmp_path / "usb.pcap").write_bytes(data)
    command = [sys.executable, "-m", "kacap", "read", "-w", str(tmp_path / "copy.pcap"), str(tmp_path / "usb.pcap")]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "copy.pcap").read_bytes()[24:] == data[24:]


def test_a_frame_of_100_megabytes_takes_the_memory_of_a_few_blocks(tmp_path: Path) -> None:
    head = struct.pack("<IIII", 1, 0, 100 << 20, 100 << 20)
    (tmp_path / "usb.pcap.gz").write_bytes(gzip.compress(USB + (head + bytes(100 << 20)) * 2, 1))
    tracemalloc.start()
    try:
        assert [len(batch.frames) for batch in open_captures([str(tmp_path / "usb.pcap.gz")])] == [1, 1]
        assert tracemalloc.get_traced_memory()[1] < 6 * BLOCK_BYTES
    finally:
        tracemalloc.stop()


def test_bits_about_the_frame_check_sequence_are_no_part_of_the_link_type(tmp_path: Path) -> None:
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 96, 0x4400_0001) + struct.pack("<IIII", 1, 0, 1, 1) + b"x"
    _, captures = read(tmp_path, data)
    assert captures.link_types == [1]


def test_each_interface_of_a_section_has_its_own_link_type_clock_and_offset(tmp_path: Path) -> None:
    nano, binary = option(9, b"\x09"), option(9, b"\x94")
    shifted = option(14, struct.pack("<q", -3600))
    ticks = (FIRST_S << 20) + 3
    data = (
        section()
        + interface(nano + option(0, b""), 276)
        + interface(binary + option(2, b"eth0"), 1)
        + interface(shifted, 101)
        + packet(0, 0, micros=FIRST_S * NS + 123_456_789)
        + packet(0, 1, micros=ticks)
        + packet(0, 2)
    )
    frames, captures = read(tmp_path, data)
    assert captures.link_types == [276, 1, 101]
    assert [frame["link_type"] for frame in frames] == [276, 1, 101]
    assert times(frames) == [FIRST_S * NS + 123_456_789, FIRST_S * NS + 3 * NS // 2**20, (FIRST_S - 3600) * NS]
    assert all(frame["bytes"] == FRAME for frame in frames)


@pytest.mark.slow
@given(
    resolution=st.integers(0, 255),
    ticks=st.integers(0, 2**64 - 1) | st.integers(0, 2**40),
    offset=st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**6), 10**6),
)
def test_any_clock_gives_the_floor_of_the_exact_time_or_says_that_it_cannot(
    resolution: int, ticks: int, offset: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = 2 if resolution > 127 else 10
    exact = Fraction(ticks * NS, base ** (resolution & 127)) + offset * NS
    options = option(9, bytes([resolution])) + option(14, struct.pack("<q", offset))
    body = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, 0, 60)
    frames, captures = read(tmp_path_factory.getbasetemp(), section() + interface(options) + block(6, body))
    if not 0 <= exact // NS < 1 << 32:
        assert times(frames) == [0]
        assert "the time of frame 1 is beyond" in captures.damages[0].what
    else:
        assert times(frames) == [exact.numerator // exact.denominator]


def test_a_new_section_may_have_the_other_byte_order_and_forgets_the_interfaces(tmp_path: Path) -> None:
    big = struct.pack(">IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    big += struct.pack(">IIHHII", 1, 20, 101, 0, 0, 20)
    ticks = FIRST_S * 1_000_000 + 1
    big += struct.pack(">IIIIIII", 6, 36, 0, ticks >> 32, ticks & 0xFFFFFFFF, 2, 40) + b"hi\0\0" + struct.pack(">I", 36)
    frames, captures = read(
        tmp_path, section() + interface() + interface() + packet(0, 1) + big + section() + packet(5)
    )
    assert [(f["time_ns"], f["link_type"], f["frame"]) for f in frames] == [
        (FIRST_S * NS, 1, 1),
        (FIRST_S * NS + 1000, 101, 2),
    ]
    assert frames[1]["bytes"] == b"hi"
    assert "not described" in captures.damages[0].what


def test_simple_packets_take_the_time_before_them_and_that_is_said(tmp_path: Path) -> None:
    snap = block(1, struct.pack("<HHI", 1, 0, 20))
    simple = block(3, struct.pack("<I", 500) + FRAME[:20])
    short = block(3, struct.pack("<I", 3) + b"abc")
    frames, captures = read(tmp_path, section() + snap + packet(7) + simple + short)
    assert times(frames) == [(FIRST_S + 7) * NS] * 3
    assert [(f["captured_len"], f["wire_len"]) for f in frames] == [(54, 54), (20, 500), (3, 3)]
    assert frames[1]["bytes"] == FRAME[:20]
    assert captures.notes == [
        f"{captures.files[0]}: 2 frames in Simple Packet Blocks carry no time; each has its predecessor's"
    ]


def test_obsolete_packet_blocks_are_read(tmp_path: Path) -> None:
    ticks = FIRST_S * 1_000_000
    old = block(
        2, struct.pack("<HHIIII", 1, 9, ticks >> 32, ticks & 0xFFFFFFFF, 4, 60) + b"abcd" + option(2, b"\1\0\0\0")
    )
    frames, _ = read(tmp_path, section() + interface() + interface(link_type=12) + old)
    assert [(f["time_ns"], f["link_type"], f["bytes"], f["wire_len"]) for f in frames] == [
        (FIRST_S * NS, 12, b"abcd", 60)
    ]


def test_unknown_blocks_and_options_are_skipped(tmp_path: Path) -> None:
    names = block(4, struct.pack("<HH", 1, 8) + b"\x0a\0\0\1abc\0" + bytes(4))
    secrets = block(10, bytes(3000))
    custom = block(0x40000BAD, b"\0\0\x7d\x7chello!!!")
    commented = packet(1, options=option(1, b"a comment") + option(0, b""))
    frames, captures = read(tmp_path, section() + names + interface() + secrets + packet(0) + custom + commented)
    assert (times(frames), captures.damages) == ([FIRST_S * NS, (FIRST_S + 1) * NS], [])


def test_interface_statistics_are_the_last_of_each_interface_summed(tmp_path: Path) -> None:
    def statistics(number: int, interface_drops: int, kernel_drops: int) -> bytes:
        values = option(5, struct.pack("<Q", interface_drops)) + option(7, struct.pack("<Q", kernel_drops))
        return block(5, struct.pack("<III", number, 0, 0) + values)

    data = section() + interface() + interface() + packet(0)
    _, captures = read(tmp_path, data)
    assert (captures.dropped_interface, captures.dropped_kernel) == (None, None)
    data += statistics(0, 1, 10) + statistics(1, 2, 20) + statistics(0, 4, 40)
    _, captures = read(tmp_path, data)
    assert (captures.dropped_interface, captures.dropped_kernel) == (6, 60)


@pytest.mark.slow
def test_a_frame_larger_than_the_block_buffer_is_read_whole(tmp_path: Path) -> None:
    large = bytes(range(256)) * 1024
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0, 1)
    data += (struct.pack("<IIII", 1, 0, len(large), len(large)) + large) * 9
    frames, _ = read(tmp_path, data)
    assert len(frames) == 9
    assert all(frame["bytes"] == large for frame in frames)
    body = struct.pack("<IIIII", 0, 0, 9, 8 << 20, 8 << 20) + bytes(8 << 20)
    frames, _ = read(tmp_path, section() + interface() + block(6, body) + packet(1))
    assert [frame["captured_len"] for frame in frames] == [8 << 20, 54]


def scapy_packets() -> list[Any]:
    """Return packets of odd sizes at odd times, made by scapy."""
    from scapy.layers.l2 import Ether

    start = bytes(Ether(type=0x88B5))  # for local experiments: scapy need not look further
    packets = [Ether(start + struct.pack(">I", i) + b"x" * (40 + i % 1400)) for i in range(9000)]
    for i, made in enumerate(packets):
        made.time = FIRST_S + i * 0.25
    return packets


@pytest.mark.slow
def test_files_that_scapy_wrote_are_read_as_scapy_wrote_them(tmp_path: Path) -> None:
    from scapy.utils import PcapNgWriter, PcapWriter, wrpcap

    packets = scapy_packets()
    expected = [((4 * FIRST_S + i) * NS // 4, bytes(made)) for i, made in enumerate(packets)]
    wrpcap(str(tmp_path / "micro.pcap"), packets)
    with PcapWriter(str(tmp_path / "nano.pcap"), nano=True, endianness=">", linktype=1) as writer:
        writer.write(packets)
    with PcapNgWriter(str(tmp_path / "scapy.pcapng")) as writer:
        writer.write(packets)
    for name in ("micro.pcap", "nano.pcap", "scapy.pcapng"):
        frames = rows(open_captures([str(tmp_path / name)]))
        assert [(frame["time_ns"], frame["bytes"]) for frame in frames] == expected
        assert [frame["frame"] for frame in frames] == list(range(1, 9001))


@pytest.mark.tool("editcap")
@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "modpcap", "pcapng"])
def test_files_that_editcap_converts_keep_their_frames(form: str, tmp_path: Path) -> None:
    source = tmp_path / "source.pcapng"
    source.write_bytes(section() + interface() + b"".join(packet(second) for second in range(5)))
    target = tmp_path / "target"
    subprocess.run(["editcap", "-F", form, "-s", "40", source, target], check=True)
    frames = rows(open_captures([str(target)]))
    assert times(frames) == [(FIRST_S + second) * NS for second in range(5)]
    assert {(f["captured_len"], f["wire_len"], f["link_type"], f["bytes"]) for f in frames} == {(40, 54, 1, FRAME[:40])}


@pytest.mark.slow
def test_generated_captures_hold_the_same_frames_in_either_format_and_keep_to_the_snaplen(tmp_path: Path) -> None:
    from bench.generate import generate

    found = []
    for form in ("pcap", "pcapng"):
        path = tmp_path / form
        generate(path, 70_000, 50, 300, 96, block=form == "pcapng")
        captures = open_captures([str(path)])
        frames = rows(captures)
        assert captures.damages == []
        assert (max(f["captured_len"] for f in frames), max(f["wire_len"] for f in frames)) == (96, 300)
        found.append([(f["time_ns"] // 1000, f["wire_len"], f["bytes"]) for f in frames])
    assert len(found[0]) == 70_000
    assert found[0] == found[1]
