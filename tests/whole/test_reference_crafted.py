"""The plain twin gives the annotated truth on every crafted case, however its ends, numbers and headers are changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from make_crafted import CRAFTED
from reference import classify, segments_of
from timelines import Timeline, parse

CASES = sorted(path.parent.name for path in CRAFTED.glob("*/timeline.txt"))


def timeline_of(case: str) -> Timeline:
    return parse((CRAFTED / case / "timeline.txt").read_text())


def variants(timeline: Timeline) -> Iterator[tuple[str, Timeline]]:
    yield "as written", timeline
    yield "ends swapped", timeline.swapped()
    yield "IPv6", timeline.ipv6()
    yield "VLAN", timeline.with_vlan(7)
    yield "QinQ", timeline.with_vlan(7, 8)
    shifts = list(timeline.wraps())
    for number, shifted in enumerate(random.Random(1).sample(shifts, min(40, len(shifts)))):
        yield f"wrap {number}", shifted


@pytest.mark.parametrize("case", CASES)
def test_the_twin_gives_the_annotated_truth(case: str) -> None:
    for name, variant in variants(timeline_of(case)):
        verdicts = classify(segments_of(variant.frames()))
        for (number, kind, grade), found in zip(variant.truth(), verdicts, strict=True):
            assert found[0] == kind, f"{case}, {name}, frame {number}: {found}"
            assert grade in (None, found[1]), f"{case}, {name}, frame {number}: {found}"


@pytest.mark.parametrize("case", CASES)
def test_the_capture_is_built_from_its_timeline(case: str, tmp_path: Path) -> None:
    timeline_of(case).write_pcap(tmp_path / "capture.pcap")
    built, kept = (directory / "capture.pcap" for directory in (tmp_path, CRAFTED / case))
    assert built.read_bytes() == kept.read_bytes(), "run python tests/make_crafted.py"


@pytest.mark.slow
def test_every_case_says_what_it_shows_where_it_is_from_and_what_others_say() -> None:
    for case in CASES:
        lines = timeline_of(case).prose.splitlines()
        assert [line.split(":")[0] for line in lines[1:4]] == ["From", "Wireshark 4.0 says", "True"], case
