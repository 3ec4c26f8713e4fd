"""Frames that a capture lost: each counted once, with the span in which they were, however many blocks tell of it."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_broken import FIRST_S, FRAME

from kacap.capture import Captures, open_captures
from kacap.capture.drops import MOST, Drops, shortened
from kacap.summary import Drop

NS = 1_000_000_000


class Pcapng:
    """Writes pcapng blocks in either byte order, interfaces counting nanoseconds; times are seconds after FIRST_S."""

    def __init__(self, order: str = "<") -> None:
        self.order, self.data = order, b""
        self._block(0x0A0D0D0A, self.pack("IHHq", 0x1A2B3C4D, 1, 0, -1))

    def pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self.order + form, *values)

    def option(self, code: int, value: bytes) -> bytes:
        return self.pack("HH", code, len(value)) + value + bytes(-len(value) % 4)

    def _block(self, kind: int, body: bytes) -> Pcapng:
        length = self.pack("I", 12 + len(body))
        self.data += self.pack("I", kind) + length + body + length
        return self

    def stamp(self, seconds: float, per_second: int = NS) -> tuple[int, int]:
        return divmod(FIRST_S * per_second + round(seconds * per_second), 1 << 32)

    def interface(self, name: str = "") -> Pcapng:
        names = self.option(2, name.encode()) if name else b""
        return self._block(1, self.pack("HHI", 1, 0, 0) + names + self.option(9, b"\x09") + self.option(0, b""))

    def packet(self, seconds: float, lost: int | None = None, interface: int = 0, before: bytes = b"") -> Pcapng:
        options = before + (b"" if lost is None else self.option(4, self.pack("Q", lost)))
        head = self.pack("IIIII", interface, *self.stamp(seconds), len(FRAME), len(FRAME))
        return self._block(6, head + FRAME + bytes(-len(FRAME) % 4) + options)

    def statistics(self, seconds: float, interface: int = 0, per_second: int = NS, **given: float) -> Pcapng:
        options = b""
        for name, code in (("begun", 2), ("ended", 3)):
            if name in given:
                options += self.option(code, self.pack("II", *self.stamp(given[name], per_second)))
        for name, code in (("received", 4), ("by_interface", 5), ("by_system", 7)):
            if name in given:
                options += self.option(code, self.pack("Q", int(given[name])))
        return self._block(5, self.pack("III", interface, *self.stamp(seconds, per_second)) + options)


def read(tmp_path: Path, *files: Pcapng) -> Captures:
    """Return the source of these files after it was read."""
    paths = [tmp_path / f"{number}.pcapng" for number in range(len(files))]
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(file.data)
    captures = open_captures([str(path) for path in paths])
    frames = sum(len(batch.frames) for batch in captures)
    assert not captures.damages
    assert frames == sum(file.data.count(FRAME) for file in files)
    return captures


def spans(captures: Captures) -> list[tuple[float | None, float, int, str | None]]:
    """Return the spans with their times in seconds after FIRST_S."""

    def since(time_ns: int) -> float:
        return (time_ns - FIRST_S * NS) / NS

    return [(None if s is None else since(s), since(u), n, name) for s, u, n, name in captures.drops]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_packet_tells_what_its_interface_lost_since_its_packet_before(order: str, tmp_path: Path) -> None:
    file = Pcapng(order).interface("eth0").interface()
    file.packet(0).packet(1, 0, 1).packet(2, 3).packet(2.5, 1, 1).packet(3, 0).packet(9, (1 << 32) + 5)
    captures = read(tmp_path, file)
    assert spans(captures) == [(0, 2, 3, "eth0"), (1, 2.5, 1, None), (3, 9, (1 << 32) + 5, "eth0")]
    assert (captures.dropped_kernel, captures.dropped_interface) == ((1 << 32) + 9, None)


def test_before_the_first_packet_of_an_interface_drops_began_at_an_unknown_time(tmp_path: Path) -> None:
    assert spans(read(tmp_path, Pcapng().interface().packet(4, 2).packet(5, 1))) == [(None, 5, 3, None)]


def test_drops_before_packet_after_packet_are_one_span(tmp_path: Path) -> None:
    file = Pcapng().interface()
    for n in range(5):
        file.packet(n, int(n > 0))
    assert spans(read(tmp_path, file.packet(5).packet(6, 7))) == [(0, 4, 4, None), (5, 6, 7, None)]


def test_other_options_are_no_drop_count(tmp_path: Path) -> None:
    file = Pcapng()
    comment, short = file.option(1, b"\4\0\x08\0 none"), file.option(4, b"\1\0\0\0")
    file.interface().packet(0).packet(1, before=comment).packet(2, before=short)
    file.packet(3, 9, before=file.option(0, b"")).packet(4, 6, before=comment)
    assert spans(read(tmp_path, file)) == [(3, 4, 6, None)]


def test_a_clock_that_is_set_back_turns_no_span_round(tmp_path: Path) -> None:
    file = Pcapng().interface().packet(7).packet(5, 1)
    assert spans(read(tmp_path, file)) == [(5, 7, 1, None)]
    assert spans(read(tmp_path, file.packet(6, 1).packet(4, 1))) == [(4, 6, 1, None), (5, 6, 1, None), (5, 7, 1, None)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_statistics_add_was_lost_since_the_statistics_before(order: str, tmp_path: Path) -> None:
    file = Pcapng(order).interface("lo").packet(0).statistics(10, by_interface=0, by_system=0)
    file.packet(11).statistics(20, by_interface=0, by_system=4).statistics(30, by_interface=1, by_system=4)
    captures = read(tmp_path, file.statistics(40, by_interface=1, by_system=4))
    assert spans(captures) == [(10, 20, 4, "lo"), (20, 30, 1, "lo")]
    assert (captures.dropped_kernel, captures.dropped_interface) == (4, 1)


def test_the_first_statistics_count_from_the_start_that_they_tell(tmp_path: Path) -> None:
    told = Pcapng().interface().packet(0).statistics(9.5, begun=-1, ended=9, by_interface=3)
    assert spans(read(tmp_path, told)) == [(-1, 9, 3, None)]
    silent = Pcapng().interface().packet(0).statistics(9.5, by_interface=3)
    assert spans(read(tmp_path, silent)) == [(None, 9.5, 3, None)]


def test_a_frame_that_packets_and_statistics_tell_of_is_counted_once(tmp_path: Path) -> None:
    file = Pcapng().interface().packet(0).packet(1, 5).statistics(10, by_interface=2, by_system=3)
    captures = read(tmp_path, file)
    assert spans(captures) == [(0, 1, 5, None)]
    assert (captures.dropped_kernel, captures.dropped_interface) == (3, 2)
    captures = read(tmp_path, file.packet(12, 4).statistics(20, by_interface=2, by_system=10).packet(21, 1))
    # What the last packet tells of began before the statistics: they have counted it.
    assert spans(captures) == [(0, 12, 9, None), (10, 20, 3, None)]
    assert (captures.dropped_kernel, captures.dropped_interface) == (10, 2)


def test_a_packet_after_the_statistics_counts_frames_that_they_had_counted(tmp_path: Path) -> None:
    file = Pcapng().interface("eth0").packet(10).statistics(20, begun=0, by_system=5).packet(30, 5)
    captures = read(tmp_path, file)
    assert (captures.dropped_kernel, sum(span.frames for span in captures.drops)) == (5, 5)
    captures = read(tmp_path, file.packet(40, 2).statistics(50, begun=0, by_system=8))
    assert (captures.dropped_kernel, sum(span.frames for span in captures.drops)) == (8, 8)


def test_counts_near_the_end_of_64_bits_do_not_wrap(tmp_path: Path) -> None:
    most = (1 << 64) - 1
    file = Pcapng().interface().packet(0).packet(1, most).packet(2, most).packet(3).packet(4, most)
    captures = read(tmp_path, file.statistics(5, begun=0, by_interface=most, by_system=most))
    assert captures.dropped_kernel is not None and captures.dropped_kernel > 1 << 61
    assert all(span.frames > 1 << 61 for span in captures.drops)


def test_sections_and_files_add_up_each_with_interfaces_of_its_own(tmp_path: Path) -> None:
    first, second = Pcapng().interface("a").packet(0), Pcapng(">").interface("b").packet(5, 2)
    first.statistics(1, begun=0, by_interface=4).data += second.data
    third = Pcapng().interface().packet(3).packet(4, 1)
    captures = read(tmp_path, first, third)
    assert spans(captures) == [(0, 1, 4, "a"), (3, 4, 1, None), (None, 5, 2, "b")]
    assert (captures.dropped_kernel, captures.dropped_interface) == (3, 4)


def test_without_a_word_of_drops_nothing_is_known_and_a_count_of_none_is_none(tmp_path: Path) -> None:
    captures = read(tmp_path, Pcapng().interface().packet(0).statistics(1, received=1))
    assert (captures.drops, captures.dropped_kernel, captures.dropped_interface) == ([], None, None)
    captures = read(tmp_path, Pcapng().interface().packet(0).statistics(1, by_interface=0, by_system=0))
    assert (captures.drops, captures.dropped_kernel, captures.dropped_interface) == ([], 0, 0)


def test_statistics_in_microseconds_are_understood_as_dumpcap_writes_them_on_a_clock_of_nanoseconds(
    tmp_path: Path,
) -> None:
    file = Pcapng().interface().packet(0).packet(5)
    captures = read(tmp_path, file.statistics(6, per_second=1_000_000, begun=-2, ended=5.5, by_interface=7))
    assert spans(captures) == [(-2, 5.5, 7, None)]


def test_statistics_without_a_possible_time_are_as_old_as_the_frame_before_them(tmp_path: Path) -> None:
    file = Pcapng().interface().packet(0).packet(5).statistics(-FIRST_S, by_interface=7)
    assert spans(read(tmp_path, file)) == [(None, 5, 7, None)]


# dumpcap 4.0.17 wrote these on lo while its ring was too small: section and interface, the first packet, statistics.
DUMPCAP = bytes.fromhex(
    "0a0d0d0aa40000004d3c2b1a01000000ffffffffffffffff02001600414d44204550594320287769746820535345342e32290000"
    "030015004c696e757820362e31382e34342d66632d763636390000000400450044756d70636170202857697265736861726b2920"
    "342e302e313720284769742076342e302e3137207061636b6167656420617320342e302e31372d302b6465623132753329000000"
    "00000000a400000001000000500000000100000040000000020002006c6f0000030008004c6f6f706261636b0900010009000000"
    "0c0015004c696e757820362e31382e34342d66632d763636390000000000000050000000"
    "06000000600000000000000003c7e918c7695aec40000000a2050000000000000000000000000000080045000594776f40004011"
    "bfe77f0000017f000001867f0009058003947878787878787878787878787878787878787878787860000000"
    "050000006c00000000000000b660060051643d0501001c00436f756e746572732070726f76696465642062792064756d70636170"
    "02000800b66006000c1b0c0503000800b6600600ef633d0504000800086501000000000005000800dc8304000000000000000000"
    "6c000000"
)


def test_the_statistics_of_dumpcap_span_its_whole_capture(tmp_path: Path) -> None:
    path = tmp_path / "dumpcap.pcapng"
    path.write_bytes(DUMPCAP)
    captures = open_captures([str(path)])
    assert [len(batch.frames) for batch in captures] == [1]
    assert captures.drops == [Drop(1_795_184_745_257_740_000, 1_795_184_748_487_663_000, 295_900, "lo")]
    assert (captures.dropped_kernel, captures.dropped_interface) == (None, 295_900)


@pytest.mark.slow
@pytest.mark.tool("tshark")
@pytest.mark.parametrize("order", ["<", ">"])
def test_tshark_reads_the_same_drop_counts(order: str, tmp_path: Path) -> None:
    file = Pcapng(order).interface().packet(0)
    comment = file.option(1, b"five bytes more")
    file.packet(1, 3, before=comment).packet(2, 0).packet(3, (1 << 40) + 1)
    captures = read(tmp_path, file)
    assert sum(drop.frames for drop in captures.drops) == (1 << 40) + 4
    command = ["tshark", "-r", str(tmp_path / "0.pcapng"), "-T", "fields", "-e", "frame.drop_count"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == ["", "3", "0", str((1 << 40) + 1)]


@pytest.mark.slow
def test_however_many_packets_tell_of_drops_a_short_list_keeps_every_frame(tmp_path: Path) -> None:
    file = Pcapng().interface()
    for n in range(3000):
        file.packet(n, n % 2)
    file.data *= 3  # sections of their own
    captures = read(tmp_path, file)
    assert MOST // 2 < len(captures.drops) <= MOST
    assert sum(drop.frames for drop in captures.drops) == captures.dropped_kernel == 4500


SPAN = st.builds(
    Drop, st.none() | st.integers(0, 99), st.integers(100, 200), st.integers(1, 9), st.sampled_from(["a", "b", None])
)


@pytest.mark.slow
@given(st.lists(SPAN, max_size=40), st.integers(0, 300))
def test_joining_spans_loses_no_frame_and_covers_every_moment(few: list[Drop], many: int) -> None:
    given_ = few + [Drop(3 * n, 3 * n + 1, 1, "a") for n in range(many * 3)]
    found, kept = shortened(given_), Drops()
    for drop in given_:
        kept.add(drop)
    for result in (found, kept.spans()):
        assert len(result) <= MOST
        assert sum(drop.frames for drop in result) == sum(drop.frames for drop in given_)
        assert [drop.until_ns for drop in result] == sorted(drop.until_ns for drop in result)
        starts = np.array([-1 if drop.since_ns is None else drop.since_ns for drop in result])
        ends = np.array([drop.until_ns for drop in result])
        for since_ns, until_ns, _, _ in given_:
            assert ((starts <= (-1 if since_ns is None else since_ns)) & (ends >= until_ns)).any()


def test_what_lies_apart_stays_apart_when_spans_are_joined() -> None:
    close = [Drop(10 * n, 10 * n + 1, 1) for n in range(3 * MOST)]
    alone = Drop(10**9, 10**9 + 5, 1, "eth0")
    found = shortened([*close, alone])
    assert len(found) == MOST and found[-1] == alone
    assert max(drop.frames for drop in found) <= 4
