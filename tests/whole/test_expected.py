"""Every shipped capture is read as it was when its golden result was held against the truth beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from analysing import CAPTURES, Heard, analyse_frames
from make_expected import cases, goldens_of, records_of, written
from timelines import Timeline, parse

from kacap.capture.frames import FRAME, FrameBatch
from kacap.model import SegmentRecord

CRAFTED = [case for case in cases() if case.startswith("crafted/")]


@pytest.mark.parametrize("case", cases())
def test_the_records_are_the_expected_ones(case: str) -> None:
    for path, files in goldens_of(case).items():
        found = [json.loads(text) for text in records_of(files)]
        expected = json.loads(path.read_text(encoding="utf-8"))
        assert found == expected, f"run python tests/make_expected.py {case}, and read the difference"


@pytest.mark.slow
def test_no_golden_result_is_left_over_and_each_is_written_as_the_program_writes_it() -> None:
    expected = {path for case in cases() for path in goldens_of(case)}
    assert set(CAPTURES.rglob("expected*.json")) == expected
    for path in expected:
        records = json.loads(path.read_text(encoding="utf-8"))
        lines = [json.dumps(record, separators=(",", ":")) for record in records]
        assert path.read_text(encoding="utf-8") == written(lines)


def batch_of(timeline: Timeline) -> FrameBatch:
    """The frames of a timeline as a source would yield them."""
    frames = timeline.frames()
    rows = np.zeros(len(frames), FRAME)
    buffer = b"".join(data for _, data in frames)
    rows["time_ns"] = [time_ns for time_ns, _ in frames]
    rows["captured_len"] = rows["wire_len"] = [len(data) for _, data in frames]
    rows["offset"] = np.cumsum([0, *rows["captured_len"][:-1]])
    rows["frame"], rows["link_type"] = np.arange(1, len(frames) + 1), 1
    return FrameBatch(np.frombuffer(buffer, np.uint8), rows)


def variants(timeline: Timeline) -> Iterator[tuple[str, Timeline]]:
    """The same story with its ends exchanged, over IPv6, in a VLAN."""
    yield "as written", timeline
    yield "ends exchanged", timeline.swapped()
    yield "IPv6", timeline.ipv6()
    yield "QinQ", timeline.with_vlan(7, 8)


def kinds_of(heard: Heard) -> dict[int, SegmentRecord]:
    return {record.frame.number: record for record in heard.of(SegmentRecord)}


@pytest.mark.parametrize("case", CRAFTED)
def test_every_frame_of_a_timeline_is_what_its_author_says(case: str) -> None:
    timeline = parse((CAPTURES / case / "timeline.txt").read_text())
    for name, variant in variants(timeline):
        found = kinds_of(analyse_frames([batch_of(variant)]))
        for number, kind, grade in variant.truth():
            place = f"{case}, {name}, frame {number}"
            assert number in found or kind == "ack", place
            if number in found:
                assert found[number].kind == kind, f"{place}: {found[number]}"
                assert grade in (None, found[number].grade), f"{place}: {found[number]}"


@pytest.mark.slow
def test_the_goldens_hold_what_the_timelines_say() -> None:
    for case in CRAFTED:
        truth = parse((CAPTURES / case / "timeline.txt").read_text()).truth()
        records = json.loads((CAPTURES / case / "expected.json").read_text(encoding="utf-8"))
        told = {(r["frame"], r["kind"]) for r in records if r["type"] == "segment"}
        assert told == {(number, kind) for number, kind, _ in truth if kind not in ("ack", "data")}, case
