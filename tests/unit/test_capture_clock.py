"""The clock of a capture that is set back: said once, and nothing is measured across it; a late frame is no step."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from forked import run
from timelines import parse, write_pcap

import kacap
from kacap.analyzer import Analyzer
from kacap.classify.capture_clock import MOST_STEPS, CaptureClock
from kacap.segments import SEGMENT

S = 10**9
START = 1_700_000_000 * S
ENDS = """
A 10.0.0.1:40000 isn 1000
B 10.0.0.2:80 isn 5000
0        A > B S  win 64240 <mss 1460, sackOK, nop, wscale 7>
+0.0002  B > A S. win 65160 <mss 1460, sackOK, nop, wscale 7>
+0.0001  A > B .
"""
ANSWERED = "+60.0 A > B . seq nxt-1\n+0.01 B > A .\n"


def given(times_s: Sequence[float], cut: int | None = None) -> tuple[list[float], list[int], CaptureClock]:
    """What a clock makes of segments at these times, in two batches if ``cut`` says where."""
    clock, segments = CaptureClock(), np.zeros(len(times_s), SEGMENT)
    segments["time_ns"] = [START + round(t * S) for t in times_s]
    segments["frame"] = np.arange(1, len(times_s) + 1)
    found, places = [], []
    for start, end in ((0, cut), (cut, None)) if cut is not None else ((0, None),):
        rows, steps = clock.take(segments[start:end])
        found += [round((int(t) - START) / S, 3) for t in rows["time_ns"]]
        places += [(start or 0) + step for step in steps]
    assert [int(frame) for frame in clock.steps["frame"]] == [place + 1 for place in places]
    return found, places, clock


@pytest.mark.parametrize(
    ("times", "handed_on", "places"),
    [
        ((0, 1, 2, 3), (0, 1, 2, 3), []),
        ((0, 1, 0.999, 2), (0, 1, 0.999, 2), []),  # two queues
        ((0, 1, 2, 0.5, 1.5, 3, 1.2, 2.5), (0, 1, 2, 0.5, 1.5, 3, 1.2, 2.5), []),  # a buffer that waited
        ((1000, 1010, 70, 80, 95), (1000, 1010, 1010, 1020, 1035), [2]),
        ((1000, 1010, 70, 80, 20, 30), (1000, 1010, 1010, 1020, 1020, 1030), [2, 4]),
        # Two clocks that are 37 s apart: after the first way back and forth that much is no step.
        ((100, 63.1, 100.2, 63.3, 100.4), (100, 100, 100.2, 63.3, 100.4), [1, 2]),
    ],
)
def test_times_go_on_after_a_step_and_late_frames_stay_where_they_are(times, handed_on, places) -> None:
    for cut in (None, *range(len(times))):
        assert given(times, cut)[:2] == ([float(t) for t in handed_on], places), cut


def test_times_in_no_order_are_left_as_they_are_in_the_end() -> None:
    _, places, clock = given([10_000.0 - 10 * n for n in range(MOST_STEPS)] * 2)
    assert len(places) <= MOST_STEPS + 1
    assert len(clock.steps) == MOST_STEPS


def test_times_at_both_ends_of_what_64_bits_hold_are_left_as_they_are() -> None:
    clock, segments = CaptureClock(), np.zeros(4, SEGMENT)
    segments["time_ns"] = [2**63 - 1, 2**60, 2**63 - 1, -(2**62)]
    rows, steps = clock.take(segments)
    assert rows["time_ns"].tolist() == segments["time_ns"].tolist()
    assert not steps and not len(clock.steps)


def write(tmp_path: Path, story: str, at: int, back_s: float) -> str:
    """Write a story whose clock is set back before frame ``at``."""
    frames = [(t - round(back_s * S) * (n >= at), data) for n, (t, data) in enumerate(parse(story).frames(), 1)]
    write_pcap(tmp_path / "back.pcap", frames, 1)
    return str(tmp_path / "back.pcap")


def durations(value: object) -> list[int]:
    """Every number of nanoseconds of a record that is no moment."""
    if isinstance(value, dict):
        moments = ("time_ns", "first_ns", "last_ns", "since_ns", "until_ns", "silent_since_ns", "observed_until_ns")
        rest = [one for name, one in value.items() if name not in moments]
        return [n for one in rest for n in durations(one)]
    return [n for one in value for n in durations(one)] if isinstance(value, list) else [value] * isinstance(value, int)


def records(path: str) -> list[dict]:
    done = run("read", "--json", path)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("at", [14, 15])  # before a probe, and between a probe and its answer
@pytest.mark.parametrize("back_s", [90, 1000, 86_400])
def test_a_step_is_said_once_and_nothing_is_measured_across_it(at: int, back_s: float, tmp_path: Path) -> None:
    path = write(tmp_path, ENDS + 10 * ANSWERED, at, back_s)
    found = records(path)
    (step,) = found[-1]["breaks"]
    assert (step["what"], step["frame"]) == ("clock", at)
    assert step["since_ns"] - step["until_ns"] == step["later_ns"] == pytest.approx(back_s * S, abs=61 * S)
    assert min(durations(found)) >= 0
    for prober in (p for r in found if r["type"] == "connection" for p in r["probers"]):
        if prober["idle"]["observed_ns"]:
            assert all(ns == pytest.approx(60 * S, abs=S) for ns in prober["idle"]["observed_ns"]), prober
        assert prober["replies"] >= prober["probes"] - 1
    assert not [r for r in found if r["type"] == "finding"]
    text = run("read", path).stdout
    assert len(re.findall(r"times go back by", text)) == 1
    assert not re.search(r"(?<![\d:])-\d", re.sub(r"\d{4}-\d\d-\d\d", "", text.replace(path, "")))
    assert "missed" not in re.sub(r"0 missed", "", text)


def test_the_silence_chart_says_nothing_of_a_silence_that_nobody_saw(tmp_path: Path) -> None:
    path = write(tmp_path, ENDS + 10 * ANSWERED, 14, 7200)
    done = run("chart", path, "--view", "silence", "-o", str(tmp_path / "c.svg"))
    assert done.returncode == 0, done.stderr
    drawn = re.sub(r"<[^>]*>", " ", (tmp_path / "c.svg").read_text())
    crossed = re.search("known limits crossed:([^;]*);", drawn)
    assert crossed is not None
    assert not re.search("600 s|1200 s|3600 s", crossed[1])  # 360 s without data before the step
    assert max(c.longest_silence_ns for c in kacap.read(path).connections) < 61 * S


def test_a_late_frame_is_no_step(tmp_path: Path) -> None:
    frames = parse(ENDS + 5 * ANSWERED).frames()
    frames[5], frames[6] = frames[6], frames[5]  # two that swapped places
    frames[6], frames[5] = (frames[5][0] - S // 2, frames[6][1]), frames[5]
    write_pcap(tmp_path / "late.pcap", frames, 1)
    analysis = kacap.read(str(tmp_path / "late.pcap"))
    assert analysis.capture.breaks == []
    assert len(analysis.connections) == 1


def test_a_watch_counts_the_time_on_when_its_clock_is_set_back() -> None:
    analyzer, segments = Analyzer(), np.zeros(2, SEGMENT)
    segments["time_ns"], segments["frame"] = [START, START - 1000 * S], [1, 2]
    analyzer.gather(analyzer.track(segments))
    assert analyzer.tracker.clock.now_ns(START - 1000 * S) == START
