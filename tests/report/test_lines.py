"""The lines that a kernel writes are those of ``records.line``, byte for byte, whatever the capture and its name."""

from __future__ import annotations

import io
import json
import random

import analysing
import pytest
from analysing import frames_of, pieces
from hypothesis import given, settings
from hypothesis import strategies as st

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer
from kacap.capture.frames import FrameBatch
from kacap.news import News
from kacap.options import Options
from kacap.report.lines import Writer
from kacap.report.records import RecordWriter, line
from kacap.summary import CaptureSummary
from kacap.timing.expectations import Expectation

NAMES = ['q"uote.pcap', "back\\slash:12.pcap", "ü 語 \U0001f4a9", "tab\tline\nend", "\x00\x1b[2J", "\udc80", ""]
CASES = ["lab/rotated", "lab/zero-window", "crafted/55-mid-capture-unanswered", "lab/unreachable-ipv6"]
ANY_NAME = st.text(st.characters(exclude_categories=[]), max_size=30)


def two_ways(names: list[str], batches: list[FrameBatch], **options) -> tuple[list[str], list[str]]:
    """The lines of a capture by the kernel, and of each record one by one, both without the end of a line."""
    out, singly = io.StringIO(), []
    write = RecordWriter(out, names)
    texts = [name.encode("utf-8", "replace").decode() for name in names]
    frame_name = Analysis(capture=CaptureSummary(files=texts)).frame_name

    def sink(news: News) -> None:
        write.news(news)
        singly.extend(line(record, frame_name) for record in news.records())

    analyzer = Analyzer(Options(**options), sink=sink)
    for batch in batches:
        analyzer.feed(batch)
    analyzer.finish()
    return out.getvalue().split("\n")[:-1], singly


@pytest.mark.parametrize("segments", ["events", "all", "none"])
@pytest.mark.parametrize("case", analysing.small_cases())
def test_every_shipped_capture_gives_the_same_bytes(case: str, segments: str) -> None:
    names = analysing.files_of(case)
    batches = pieces(frames_of(case), random.Random(4).choices(range(1, max(len(frames_of(case).frames), 2)), k=5))
    written, singly = two_ways(names, batches, segments=segments)
    assert written == singly


@pytest.mark.slow
def test_a_population_gives_the_same_bytes() -> None:
    frames = frames_of(analysing.POPULATION)
    written, singly = two_ways(["one.pcap"], pieces(frames, range(1, len(frames.frames), 3001)), segments="events")
    assert written == singly


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_files_are_called_the_bytes_are_the_same_and_are_json(case: str, name: str) -> None:
    for names in ([name], [name, "b.pcap", name], [name] * 40):
        written, singly = two_ways(names, [frames_of(case)], segments="events")
        assert written == singly
        for text in written:
            found = json.loads(text)
            assert "frame" not in found or isinstance(found["frame"], str if len(names) > 1 else int)


def test_what_is_withheld_until_it_is_judged_is_written_once_and_the_same() -> None:
    expected = Expectation(idle=2, interval=1, count=3, user_timeout_ns=4_000_000_000)
    for case in ("lab/user-timeout-short", "lab/cut-off"):
        written, singly = two_ways(["x"], [frames_of(case)], segments="none", expect=expected)
        assert written == singly
        assert sum('"type":"episode"' in text for text in written) == 1


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.lists(ANY_NAME, min_size=1, max_size=4), st.integers(0, 10**6))
def test_no_file_name_and_no_cut_makes_a_difference(names: list[str], seed: int) -> None:
    frames = frames_of("lab/rotated")
    places = random.Random(seed).choices(range(1, len(frames.frames)), k=seed % 5)
    names = (names * 4)[:4]
    written, singly = two_ways(names, pieces(frames, places), segments="events")
    assert written == singly


@pytest.mark.slow
def test_a_writer_that_begins_late_knows_the_names_of_all_connections() -> None:
    told: list[News] = []
    analyzer = Analyzer(Options(segments="events"), sink=told.append)
    for batch in pieces(frames_of("lab/many"), [40]):
        analyzer.feed(batch)
    analyzer.finish()
    write, late = Writer(["x"]), Writer(["x"])
    lines = [write.written(news) for news in told]
    assert len(lines) == 3
    assert lines[0] and lines[1]
    assert [late.written(news) for news in told[1:]] == lines[1:]
