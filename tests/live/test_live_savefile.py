"""What -w, -G, -C and -W write: the frames themselves, in files named and cut as tcpdump names and cuts them."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest

from kacap.capture import open_captures
from kacap.capture.frames import FRAME, FrameBatch
from kacap.capture.rotation import Rotation, megabytes
from kacap.capture.savefile import Savefile
from kacap.errors import CaptureError, UsageError

T0 = 1_700_000_000_123_456_789
SECOND = 1_000_000_000


def batch(count: int, size: int = 60, step_ns: int = 1_000_000, first: int = 0) -> FrameBatch:
    """Return frames of random bytes, each cut to ``size`` of 1500."""
    rows = np.zeros(count, FRAME)
    rows["captured_len"], rows["wire_len"], rows["link_type"] = size, 1500, 1
    rows["offset"] = np.arange(count) * size
    rows["time_ns"] = T0 + (first + np.arange(count)) * step_ns
    return FrameBatch(np.random.default_rng(first).integers(0, 256, count * size, np.uint8), rows)


def written(path, frames: FrameBatch, rotation=None, **more) -> Savefile:
    file = Savefile(str(path), 2000, rotation, **more)
    file.open(1, int(frames.frames["time_ns"][0]))
    file.write(frames)
    file.close()
    return file


@pytest.mark.parametrize("micro", [False, True])
def test_what_is_written_reads_back_the_same(tmp_path, micro):
    frames = batch(500)
    written(tmp_path / "a.pcap", frames, micro=micro)
    (read,) = open_captures([str(tmp_path / "a.pcap")])
    unit = 1000 if micro else 1
    assert (read.frames["time_ns"] == frames.frames["time_ns"] // unit * unit).all()
    for row, own in zip(read.frames, frames.frames, strict=True):
        assert (row["wire_len"], row["captured_len"]) == (1500, 60)
        start, own_start = int(row["offset"]), int(own["offset"])
        assert (read.buffer[start : start + 60] == frames.buffer[own_start : own_start + 60]).all()


@pytest.mark.slow
@pytest.mark.tool("tcpdump")
@pytest.mark.parametrize("words", ["-C 1", "-C 1 -W 3", "-C 2 -W 11", "-C 1 -W 1"])
def test_files_are_named_and_cut_by_size_as_tcpdump_does(tmp_path, words):
    frames, words = batch(4000, 1300), words.split()
    whole = tmp_path / "whole.pcap"
    written(whole, frames, micro=True)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    stay = ["-Z", "root"] if os.geteuid() == 0 else []
    subprocess.run(["tcpdump", *stay, "-r", whole, "-w", theirs / "f.pcap", *words], check=True, capture_output=True)
    files = int(words[3]) if len(words) > 2 else 0
    written(ours / "f.pcap", frames, Rotation(size=megabytes(words[1]), files=files), micro=True)
    names = sorted(path.name for path in theirs.iterdir())
    assert sorted(path.name for path in ours.iterdir()) == names
    assert [(ours / name).stat().st_size for name in names] == [(theirs / name).stat().st_size for name in names]


def test_a_new_file_begins_every_so_many_seconds_and_the_last_one_ends_the_run(tmp_path):
    file = written(tmp_path / "f-%s.pcap", batch(10, step_ns=SECOND), Rotation(every_s=3, files=2))
    assert file.full
    found = sorted(tmp_path.iterdir())
    assert [path.name for path in found] == [f"f-{T0 // SECOND}.pcap", f"f-{T0 // SECOND + 3}.pcap"]
    assert [sum(len(b.frames) for b in open_captures([str(path)])) for path in found] == [3, 3]


def test_batches_do_not_decide_where_a_file_ends(tmp_path):
    rotation, frames = Rotation(size=1000), batch(200)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    written(tmp_path / "a" / "f", frames, rotation)
    file = Savefile(str(tmp_path / "b" / "f"), 2000, rotation)
    for start in range(0, 200, 7):
        file.write(FrameBatch(frames.buffer, frames.frames[start : start + 7]))
    file.close()
    contents = [{path.name: path.read_bytes() for path in (tmp_path / x).iterdir()} for x in "ab"]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 16


def test_what_cannot_be_written_is_said_in_one_line(tmp_path):
    with pytest.raises(CaptureError, match=r"-w .*missing/x: cannot be written: No such file"):
        written(tmp_path / "missing" / "x", batch(1))
    with pytest.raises(UsageError, match="cannot be rotated"):
        Savefile("-", 128, Rotation(every_s=1))
    mixed = batch(2)
    mixed.frames["link_type"][1] = 113
    with pytest.raises(UsageError, match="one link type fits a pcap"):
        written(tmp_path / "x", mixed)


@pytest.mark.parametrize(("text", "size"), [("1", 1_000_000), ("3k", 3072), ("2m", 2 << 20), ("1G", 1 << 30)])
def test_sizes_are_millions_of_bytes_or_have_a_unit(text, size):
    assert megabytes(text) == size


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "k", ""])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="-C"):
        megabytes(text)
