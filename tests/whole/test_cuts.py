"""However a capture is cut into batches, the records and the analysis are the same."""

from __future__ import annotations

import dataclasses
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain

import analysing
import numpy as np
import pytest
from analysing import Heard, analyse_frames, frames_of, listener, pieces, summary, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from kacap.analyzer import Analyzer
from kacap.capture.frames import FrameBatch
from kacap.classify import tracker
from kacap.classify.emit import EVENTS_PER_SEGMENT
from kacap.classify.tracker import Tracked
from kacap.pipeline import ahead, run
from kacap.segments import ACK, FIN, HAS_TIMESTAMPS, IS_QUOTE, PSH, RST, SEGMENT, SYN

pytestmark = pytest.mark.slow

EVERY = pytest.mark.parametrize("case", analysing.small_cases())


def one_by_one(batch: FrameBatch) -> list[FrameBatch]:
    return pieces(batch, range(1, len(batch.frames)))


def at_random(batch: FrameBatch, seed: int, cuts: int) -> list[FrameBatch]:
    places = range(1, max(len(batch.frames), 2))
    return pieces(batch, random.Random(seed).choices(places, k=cuts))  # twice the same place: an empty batch


def agree(found: Heard, expected: Heard) -> None:
    """Compare set by set, so that a difference shows as the records that differ."""
    records, analysis, marks = found.comparable
    expected_records, expected_analysis, expected_marks = expected.comparable
    assert records == expected_records
    assert analysis == expected_analysis
    assert marks == expected_marks


@EVERY
def test_one_frame_at_a_time_tells_the_same(case: str) -> None:
    agree(analyse_frames(one_by_one(frames_of(case))), whole(case))


@EVERY
def test_cut_anywhere_and_told_the_time_in_between_tells_the_same(case: str) -> None:
    for seed in range(4):
        agree(analyse_frames(at_random(frames_of(case), seed, 1 + 3 * seed), advance=True), whole(case))


@EVERY
def test_with_nobody_listening_the_analysis_is_the_same(case: str) -> None:
    analyzer = Analyzer()
    for batch in at_random(frames_of(case), 11, 5):
        analyzer.feed(batch)
    found, expected = analyzer.finish(), whole(case).analysis
    # With a listener every retransmission is heard of, else from the third one of the same bytes on.
    found.findings = [finding for finding in found.findings if finding.id != "suspended"]
    others = [finding for finding in expected.findings if finding.id != "suspended"]
    assert summary(found) == summary(dataclasses.replace(expected, findings=others))


@EVERY
def test_on_threads_of_their_own_the_parts_tell_the_same(case: str) -> None:
    heard = Heard()
    analyzer = listener(heard)
    run(at_random(frames_of(case), 7, 9), analyzer)
    heard.analysis = analyzer.finish()
    agree(heard, whole(case))


def test_small_pieces_are_taken_as_one_and_do_not_wait_for_an_idle_source() -> None:
    more = threading.Event()

    def source() -> Iterator[list[int]]:
        yield from ([number] for number in range(40))
        more.wait(60)
        raise RuntimeError("the source fails")

    pieces = ahead(source(), threading.Event(), lambda some: len(some) / 16, lambda some: [*chain(*some)])
    taken: list[list[int]] = []
    while sum(map(len, taken)) < 40:
        taken.append(next(pieces))
    assert [*chain(*taken)] == list(range(40)) and len(taken) < 20
    more.set()
    with pytest.raises(RuntimeError, match="the source fails"):
        next(pieces)


def test_all_that_was_read_is_done_where_the_source_is_idle_and_nobody_wants_more() -> None:
    idle = threading.Event()

    def source() -> Iterator[int]:
        yield from range(10)
        idle.wait(60)

    def slowly(number: int) -> int:
        time.sleep(0.1)
        return number

    stop = threading.Event()
    numbers = ahead(map(slowly, ahead(source(), stop, enough=lambda: True)), stop)
    assert [*ahead(map(slowly, numbers), stop)] == [*range(10)]
    idle.set()


@pytest.mark.parametrize("delay_s", [0, 0.01, 0.02, 0.06])
def test_an_error_of_the_source_is_raised_also_where_nobody_wants_more(delay_s: float) -> None:
    def source() -> Iterator[int]:
        time.sleep(delay_s)
        raise RuntimeError("the source fails")
        yield 0

    with pytest.raises(RuntimeError, match="the source fails"):
        list(ahead(source(), threading.Event(), enough=lambda: True))


def test_an_error_ends_all_parts_also_where_the_source_gives_nothing_more() -> None:
    idle = threading.Event()

    def source() -> Iterator[FrameBatch]:
        yield from one_by_one(frames_of("lab/up"))
        idle.wait()

    class Refusing(Analyzer):
        def gather(self, tracked: Tracked) -> None:
            raise KeyboardInterrupt

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(source(), Refusing())
        assert time.monotonic() - began < 10
    finally:
        idle.set()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Room for so few connections and events that both run out all the time."""
    monkeypatch.setattr(tracker, "FIRST_ROWS", 1)
    monkeypatch.setattr(tracker, "EVENT_ROWS", EVENTS_PER_SEGMENT + 1)
    yield


@EVERY
def test_with_room_for_one_connection_and_one_event_tells_the_same(case: str, narrow: None) -> None:
    for batches in ([frames_of(case)], one_by_one(frames_of(case)), at_random(frames_of(case), 3, 5)):
        agree(analyse_frames(batches), whole(case))


@pytest.mark.slow
def test_a_population_tells_the_same_wherever_it_is_cut() -> None:
    batch = frames_of(analysing.POPULATION)
    agree(analyse_frames(at_random(batch, 1, 400), advance=False), whole(analysing.POPULATION))


@pytest.mark.slow
def test_a_population_tells_the_same_with_room_for_little(narrow: None) -> None:
    agree(analyse_frames(at_random(frames_of(analysing.POPULATION), 2, 900)), whole(analysing.POPULATION))


def test_without_segments_the_other_records_are_the_same() -> None:
    for case in analysing.small_cases():
        told = analyse_frames(at_random(frames_of(case), 5, 3), segments="none").records
        expected = [record for record in whole(case).records if not record.startswith("SegmentRecord")]
        # A finding may name more frames where more segments are told of.
        told, expected = ([r for r in records if not r.startswith("Finding")] for records in (told, expected))
        assert sorted(told) == sorted(expected), case


def test_segment_records_of_events_are_those_of_all_but_data_and_acks() -> None:
    for case in analysing.small_cases():
        told = analyse_frames(at_random(frames_of(case), 6, 3), segments="events").records
        expected = [r for r in whole(case).records if "kind='ack'" not in r and "kind='data'" not in r]
        assert sorted(told) == sorted(expected), case


def by_connection(heard: Heard) -> dict[str, list[str]]:
    """What was told of each connection, in the order in which it was told."""
    found = defaultdict(list)
    for record in heard.records:
        for number in re.findall(r"connection=(\d+)", record)[:1]:
            found[number].append(record)
    return found


@EVERY
def test_what_is_told_of_a_connection_comes_in_the_same_order(case: str) -> None:
    expected = by_connection(analyse_frames([frames_of(case)], segments="events"))
    for batches in (one_by_one(frames_of(case)), at_random(frames_of(case), 8, 5)):
        assert by_connection(analyse_frames(batches, segments="events")) == expected


WAITS_NS = (0, 1000, 10**6, 4 * 10**6, 2 * 10**8, 10**9, 2 * 10**9, 70 * 10**9, 130 * 10**9, -5 * 10**6)
FLAGS = (ACK, ACK, ACK, ACK | PSH, SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, 0)
NUMBERS = (1000, 1001, 999, 1002, 1010, 2**31)
SEGMENTS = st.tuples(
    st.sampled_from(WAITS_NS),
    st.sampled_from([1, 1, 2]),  # which of two connections
    st.booleans(),  # in which direction
    st.sampled_from(NUMBERS),
    st.sampled_from(NUMBERS),
    st.sampled_from([0, 0, 1, 9]),
    st.sampled_from(FLAGS),
    st.sampled_from([100, 0]),
    st.sampled_from([0, 5, 6]),
    st.sampled_from([0, 0, HAS_TIMESTAMPS, IS_QUOTE]),
)


def rows_of(drawn: list[tuple]) -> np.ndarray:
    rows = np.zeros(len(drawn), SEGMENT)
    now_ns = 10**18
    for number, (row, values) in enumerate(zip(rows, drawn, strict=True), 1):
        wait_ns, port, forth, seq, ack, length, flags, window, ip_id, has = values
        now_ns += wait_ns
        row["time_ns"], row["frame"], row["ttl"], row["icmp_type"] = now_ns, number, 64, 3
        row["src_lo"], row["dst_lo"], row["src_port"], row["dst_port"] = (1, 2, port, 9) if forth else (2, 1, 9, port)
        row["seq"], row["ack"], row["payload_len"], row["flags"] = seq, ack, length, flags
        row["window"], row["ip_id"], row["has"], row["tsval"] = window, ip_id, has, ip_id
    return rows


def analyse_rows(rows: np.ndarray, cuts: list[int]) -> tuple:
    heard = Heard()
    analyzer = listener(heard)
    for piece in np.split(rows, cuts):
        analyzer.gather(analyzer.track(piece.copy()))
    heard.analysis = analyzer.finish()
    return heard.comparable


@settings(max_examples=200, deadline=None)
@given(st.lists(SEGMENTS, min_size=2, max_size=40), st.data())
def test_whatever_segments_come_cutting_them_changes_nothing(drawn: list[tuple], data: st.DataObject) -> None:
    rows = rows_of(drawn)
    expected = analyse_rows(rows, [])
    cuts = sorted(data.draw(st.lists(st.integers(1, len(rows) - 1), max_size=6)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tracker, "FIRST_ROWS", 1)
        monkeypatch.setattr(tracker, "EVENT_ROWS", EVENTS_PER_SEGMENT + 1)
        for places in (cuts, list(range(1, len(rows)))):
            assert analyse_rows(rows, places) == expected
