"""Compressed, piped, growing and several files: one capture in time order, with memory that does not grow."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from make_broken import FIRST_S, TWO, interface, packet, pcap_header, record, section

from kacap.capture import Captures, open_captures
from kacap.capture.blocks import BLOCK_BYTES
from kacap.capture.live_stream import open_growing
from kacap.errors import CaptureError

NS = 1_000_000_000


def seconds(captures: Captures) -> list[int]:
    """Return the frames' times in seconds after the first."""
    return [int(t) // NS - FIRST_S for batch in captures for t in batch.frames["time_ns"]]


def places(captures: Captures) -> list[tuple[int, int, int]]:
    """Return (second, file, frame) for each frame."""
    return [
        (int(row["time_ns"]) // NS - FIRST_S, int(row["file"]), int(row["frame"]))
        for batch in captures
        for row in batch.frames
    ]


def write(path: Path, *times: int, link_type: int = 1) -> str:
    """Write a pcap with a frame at each of these seconds, each holding its second; return its name."""
    frames = (record(t, 4, 60, t.to_bytes(4, "big", signed=True)) for t in times)
    path.write_bytes(pcap_header(link_type) + b"".join(frames))
    return str(path)


MANY = pcap_header() + b"".join(record(t) for t in range(20_000))
SPLIT = 500_001  # within a record


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(MANY),
        gzip.compress(MANY[:SPLIT]) + gzip.compress(MANY[SPLIT:]),
        gzip.compress(MANY[:SPLIT]) + gzip.compress(b"") + gzip.compress(MANY[SPLIT:]) + bytes(1000),
        zstandard.compress(MANY),
        zstandard.compress(MANY[:SPLIT]) + zstandard.compress(b"") + zstandard.compress(MANY[SPLIT:]),
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00size" + zstandard.compress(MANY),  # RFC 8878 section 3.1.2, pzstd
        gzip.compress(section() + interface() + b"".join(packet(t) for t in range(20_000))),
    ],
    ids=["gzip", "members", "padding", "zstd", "frames", "skipped first", "pcapng"],
)
def test_compressed_captures_are_recognised_by_content_and_read_whole(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no-telling-name"
    path.write_bytes(data)
    captures = open_captures([str(path)])
    assert seconds(captures) == list(range(20_000))
    assert captures.damages == []


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_cut_compressed_capture_gives_what_was_there_and_says_that_it_is_cut(compress, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "cut"
    data = compress(MANY)
    path.write_bytes(data[: len(data) // 2])
    captures = open_captures([str(path)])
    read = seconds(captures)
    assert read == list(range(len(read)))
    assert 1000 < len(read) < 20_000
    assert [(d.frame, d.what) for d in captures.damages] == [(len(read), "the compressed file is cut")]


def test_a_cut_between_two_members_is_an_end(tmp_path: Path) -> None:
    path = tmp_path / "members.gz"
    path.write_bytes(gzip.compress(TWO))
    captures = open_captures([str(path)])
    assert (seconds(captures), captures.damages) == ([0, 1], [])


@pytest.mark.parametrize("magic", [b"\xfd7zXZ\0", b"BZh91AY", b"\x04\x22\x4d\x18abc", b"PK\x03\x04abcd"])
def test_other_compressions_are_named_with_what_to_do(magic: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(magic + bytes(100))
    with pytest.raises(CaptureError, match=r"first"):
        open_captures([str(path)])


@pytest.mark.slow
def test_standard_input_may_be_a_pipe_that_comes_in_small_pieces() -> None:
    script = "from kacap.capture import open_captures\nprint(sum(len(b.frames) for b in open_captures(['-'])))"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        for at in range(0, 60_000, 777):
            reader.stdin.write(MANY[at : min(60_000, at + 777)])
            reader.stdin.flush()
        reader.stdin.close()
        assert int(reader.stdout.read()) == (60_000 - 24) // 70


def test_standard_input_is_merged_with_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = pcap_header() + b"".join(record(t) for t in (2, 4, 6))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(piped)))
    captures = open_captures([write(tmp_path / "a", 1, 3, 5), "-"])
    assert captures.files[1] == "-"
    assert places(captures) == [(1, 0, 1), (2, 1, 1), (3, 0, 2), (4, 1, 2), (5, 0, 3), (6, 1, 3)]


def test_several_pipes_given_as_paths_are_opened_once_and_merged(tmp_path: Path) -> None:
    pipes = [str(tmp_path / name) for name in ("a", "b")]
    writers = []
    for start, pipe in enumerate(pipes):
        os.mkfifo(pipe)
        data = pcap_header() + b"".join(record(t) for t in range(start, 2000, 2))
        writers.append(threading.Thread(target=Path(pipe).write_bytes, args=(data,)))
        writers[-1].start()
    captures = open_captures([*pipes, write(tmp_path / "file", 5)])
    assert seconds(captures) == sorted([*range(2000), 5])
    for writer in writers:
        writer.join()


@pytest.mark.slow
def test_a_growing_file_is_read_as_it_grows_even_in_the_middle_of_a_record(tmp_path: Path) -> None:
    path, done = tmp_path / "growing.pcap", threading.Event()
    path.write_bytes(MANY[:10])

    def grow() -> None:
        with path.open("ab") as out:
            for at in range(10, 3000, 299):
                time.sleep(0.01)
                out.write(MANY[at : min(3000, at + 299)])
                out.flush()
        time.sleep(0.2)
        done.set()

    writer = threading.Thread(target=grow)
    writer.start()
    captures = open_captures([str(path)], follow=True, stop=done.is_set)
    assert seconds(captures) == list(range((3000 - 24) // 70))
    assert captures.damages == []
    writer.join()


def test_frames_of_a_growing_file_come_out_before_the_next_is_there(tmp_path: Path) -> None:
    path = tmp_path / "growing.pcap"
    path.write_bytes(TWO)
    batches = iter(open_captures([str(path)], follow=True, stop=lambda: False))
    assert len(next(batches).frames) == 2
    with path.open("ab") as out:
        out.write(record(2))
    assert next(batches).frames["frame"].tolist() == [3]


def test_rotated_files_are_read_one_after_the_other_by_their_first_frame(tmp_path: Path) -> None:
    names = [write(tmp_path / "c", 5, 6), write(tmp_path / "a", 3, 4), write(tmp_path / "b", 1, 2)]
    captures = open_captures(names)
    assert captures.files == names
    assert places(captures) == [(1, 2, 1), (2, 2, 2), (3, 1, 1), (4, 1, 2), (5, 0, 1), (6, 0, 2)]
    assert captures.frames == 6


def test_a_pattern_is_expanded_unless_a_file_has_that_name_and_no_file_is_read_twice(tmp_path: Path) -> None:
    names = [write(tmp_path / f"{i}.pcap", i) for i in range(3)]
    assert seconds(open_captures([str(tmp_path / "*.pcap"), names[1]])) == [0, 1, 2]
    odd = write(tmp_path / "[0].pcap", 9)
    assert seconds(open_captures([odd])) == [9]
    assert seconds(open_captures([str(tmp_path / "." / "1.pcap"), names[1]])) == [1]


def test_a_file_without_frames_still_tells_its_link_type(tmp_path: Path) -> None:
    captures = open_captures([write(tmp_path / "a", link_type=113), write(tmp_path / "b", 1)])
    assert places(captures) == [(1, 1, 1)]
    assert captures.link_types == [113, 1]


def test_a_clock_set_back_does_not_reorder_the_frames_of_a_file(tmp_path: Path) -> None:
    captures = open_captures([write(tmp_path / "a", 5, 2, 9), write(tmp_path / "b", 1, 6, 7)])
    assert places(captures) == [(1, 1, 1), (5, 0, 1), (2, 0, 2), (6, 1, 2), (7, 1, 3), (9, 0, 3)]


@pytest.mark.slow
@given(files=st.lists(st.lists(st.integers(0, 12), max_size=12).map(sorted), min_size=1, max_size=5))
def test_overlapping_files_are_merged_by_time_then_file_then_frame(
    files: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from kacap.capture import records

    directory = tmp_path_factory.mktemp("merge")
    names = [write(directory / str(i), *times) for i, times in enumerate(files)]
    expected = sorted((t, i, n + 1) for i, times in enumerate(files) for n, t in enumerate(times))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BATCH_FRAMES", 3)
        found = []
        for batch in open_captures(names):
            for row in batch.frames:
                at = int(row["offset"])
                second = int.from_bytes(batch.buffer[at : at + 4].tobytes(), "big")
                assert second == row["time_ns"] // NS - FIRST_S
                found.append((second, int(row["file"]), int(row["frame"])))
    assert found == expected


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed in /proc on Linux only")
def test_a_hundred_rotated_files_are_not_open_at_once(tmp_path: Path) -> None:
    names = [write(tmp_path / f"{i:03}", 2 * i, 2 * i + 1) for i in range(100)]
    batches = iter(open_captures(names))
    for _ in range(50):
        next(batches)
    opened = [target for fd in Path("/proc/self/fd").iterdir() if (target := os.path.realpath(fd)) in names]
    assert len(opened) <= 2


def test_a_file_that_vanishes_before_its_turn_is_damage_and_the_rest_is_read(tmp_path: Path) -> None:
    names = [write(tmp_path / "a", 1), write(tmp_path / "b", 2), write(tmp_path / "c", 3)]
    captures = open_captures(names)
    Path(names[1]).unlink()
    assert seconds(captures) == [1, 3]
    assert [str(d) for d in captures.damages] == [
        f"{names[1]}: damaged at byte 0 after frame 0: no such file; check the path"
    ]


PEAK = """
import resource, sys
from kacap.capture import open_captures
frames = sum(len(batch.frames) for batch in open_captures(sys.argv[1:], filter="tcp"))
print(frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(copies: int) -> tuple[int, int]:
        path = tmp_path / str(copies)
        with path.open("wb") as out:
            out.write(MANY[:24])
            for _ in range(copies):
                out.write(MANY[24:])
        done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
        frames, kilobytes = map(int, done.stdout.split())
        return frames, kilobytes

    peak(1)  # compiles
    few, small = peak(10)
    many, large = peak(200)  # 280 MB
    assert many == 20 * few
    assert large < small + 16_000, f"{small:,} kB for {few:,} frames, {large:,} kB for {many:,}"


@pytest.mark.parametrize("how", ["read", "live"])
def test_a_pipe_of_an_unknown_format_is_refused_and_nobody_waits_for_it_to_be_opened_again(how, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(bytes(range(64))), daemon=True)
    writer.start()
    with pytest.raises(CaptureError, match="of an unknown format"):
        next(iter(open_captures([str(pipe)])), None) if how == "read" else list(open_growing(str(pipe)))
    writer.join(10)
    assert not writer.is_alive()


@pytest.mark.parametrize("expression", [None, "greater 10"])
def test_a_batch_holds_the_bytes_of_its_frames_whatever_their_size(expression: str | None, tmp_path: Path):
    usb, ethernet = 220, 1  # frames of the first may be larger than a block

    def numbered(first: int, count: int, size: int) -> bytes:
        """Records of which each is full of its number."""
        numbers = range(first, first + count)
        return b"".join(record(n, size, size, n.to_bytes(2, "big") * (size // 2)) for n in numbers)

    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(pcap_header(ethernet) + numbered(0, 30_000, 1000))
    large.write_bytes(pcap_header(usb) + numbered(30_000, 20, BLOCK_BYTES + 1000) + numbered(30_020, 9_000, 1000))
    total = 0
    for batch in open_captures([str(small), str(large)], filter=expression):
        total += len(batch.frames)
        first = np.uint16(int(batch.frames["time_ns"][0]) // NS - FIRST_S)
        numbers = batch.buffer[batch.frames["offset"].astype(np.int64)[:, None] + (0, 1)].astype(np.uint16)
        assert ((numbers[:, 0] << 8 | numbers[:, 1]) == first + np.arange(len(batch.frames), dtype=np.uint16)).all()
    assert total == 39_020
