"""Files that do not follow on one another: overlaps, gaps and missing numbers, each with its times."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from analysing import CAPTURES

import kacap
from kacap.capture import open_captures
from kacap.capture.breaks import Span, breaks_between
from kacap.clock import SECOND_NS
from kacap.report.sentences import break_words

SOURCE = next((CAPTURES / "lab" / "population").glob("*.pcap*"))


def spans(*rows: tuple[str, float, float, float]) -> list[Span]:
    return [Span(name, *(round(value * SECOND_NS) for value in times)) for name, *times in rows]


def told(*rows: tuple[str, float, float, float]) -> list[tuple[str, float, float, int]]:
    return [
        (each.what, each.since_ns / SECOND_NS, each.until_ns / SECOND_NS, each.files)
        for each in breaks_between(spans(*rows))
    ]


def test_files_that_follow_on_one_another_have_no_break():
    assert told(("a0", 0, 10, 1), ("a1", 10.5, 20, 1), ("a2", 20, 30, 2)) == []


def test_a_missing_number_is_told_with_the_times_around_it():
    rows = [(f"r.pcap{i:02}", 10 * i, 10 * i + 9, 1) for i in range(8) if i not in (3, 4)]
    assert told(*rows) == [("missing", 29, 50, 2)]


def test_tcpdumps_first_file_has_no_number_and_those_after_it_have():
    rows = [("r.pcap", 0, 9, 1), *((f"r.pcap{i}", 10 * i, 10 * i + 9, 1) for i in range(1, 5))]
    assert told(*rows) == []
    assert told(*rows[:2], *rows[3:]) == [("missing", 19, 30, 1)]


def test_a_ring_goes_on_with_its_first_number_after_its_last():
    order = [3, 4, 0, 1, 2]
    assert told(*((f"r.pcap{n}", 10 * i, 10 * i + 9, 1) for i, n in enumerate(order))) == []


def test_dumpcaps_numbers_stand_before_the_time():
    names = [f"x_{n:05}_2026112109{n:02}00.pcapng" for n in range(7, 12)]
    rows = [(name, 10 * i, 10 * i + 9, 1) for i, name in enumerate(names)]
    assert told(*rows) == []
    assert told(*rows[:2], *rows[3:]) == [("missing", 19, 30, 1)]


def test_dates_are_no_counters_and_a_long_silence_between_files_is_a_gap():
    names = [f"x-202611210{h}0000.pcap" for h in (1, 2, 3, 5, 6)]
    hours = [3600 * h for h in (1, 2, 3, 5, 6)]
    rows = [(name, t, t + 3590, 60) for name, t in zip(names, hours, strict=True)]
    assert told(*rows) == [("gap", 3 * 3600 + 3590, 5 * 3600, 0)]


def test_a_silence_that_is_usual_within_the_files_is_no_gap():
    assert told(("a1", 0, 100, 60), ("a2", 190, 300, 60), ("a3", 300, 400, 60)) == []


def test_files_of_one_set_that_overlap_are_told_and_two_views_of_one_thing_are_not():
    assert told(("r1", 0, 10, 1), ("r2", 8, 20, 1)) == [("overlap", 8, 10, 0)]
    assert told(("client.pcap", 0, 10, 1), ("server.pcap", 8, 20, 1)) == []


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    if not shutil.which("editcap"):
        pytest.skip("needs editcap")
    subprocess.run(["editcap", "-c", "100", str(SOURCE), tmp_path / "r.pcapng"], check=True)
    return tmp_path


@pytest.mark.slow
@pytest.mark.tool("editcap")
def test_a_rotated_set_is_read_as_the_one_file_that_it_was_and_a_missing_file_is_reported(rotated: Path):
    def numbers(analysis: kacap.Analysis) -> list[tuple]:
        return [(str(c.a), str(c.b), c.segments, c.verdict.sentence) for c in analysis.connections]

    files = sorted(str(path) for path in rotated.iterdir())
    whole = kacap.read(files[::-1])
    assert numbers(whole) == numbers(kacap.read(str(SOURCE)))
    assert whole.capture.breaks == []
    Path(files[2]).unlink()
    lacking = kacap.read([*files[:2], *files[3:]])
    (missing,) = lacking.capture.breaks
    assert (missing.what, missing.files, missing.before, missing.after) == ("missing", 1, files[1], files[3])
    assert "1 file is missing" in break_words(missing)
    assert lacking.capture.incomplete


def test_a_break_is_in_the_capture_record_and_in_the_text(tmp_path: Path):
    from io import StringIO

    from kacap.report import text
    from kacap.report.records import line

    names = []
    for number in (1, 2, 3, 5):
        target = tmp_path / f"r.pcap{number}"
        target.write_bytes(shifted((CAPTURES / "crafted/90-replies-do-not-arrive/capture.pcap").read_bytes(), number))
        names.append(str(target))
    analysis = kacap.read(names)
    record = json.loads(line(analysis.capture, analysis.frame_name))
    assert [each["what"] for each in record["breaks"]] == ["gap", "gap", "missing"]
    out = StringIO()
    text.render(analysis, out)
    assert "1 file is missing between" in out.getvalue()


def shifted(capture: bytes, hours: int) -> bytes:
    """A little-endian pcap so many hours later."""
    at, out = 24, bytearray(capture)
    while at < len(out):
        seconds = int.from_bytes(out[at : at + 4], "little") + 3600 * hours
        out[at : at + 4] = seconds.to_bytes(4, "little")
        at += 16 + int.from_bytes(out[at + 8 : at + 12], "little")
    return bytes(out)


@pytest.mark.slow
def test_many_files_are_read_without_many_open_descriptors(tmp_path: Path):
    data = (CAPTURES / "crafted/90-replies-do-not-arrive/capture.pcap").read_bytes()
    names = [str(tmp_path / f"r{i:03}.pcap") for i in range(300)]
    for i, name in enumerate(names):
        Path(name).write_bytes(shifted(data, i))
    before, most = len(os.listdir("/proc/self/fd")), 0  # noqa: PTH208
    for _ in open_captures(names):
        most = max(most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208
    assert most - before < 10
