"""What must not matter does not: whose address is whose, where sequence numbers wrap, when it was, in which VLAN."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace

import analysing
import numpy as np
import pytest
from analysing import analyse_segments, segments_of, spelled
from hypothesis import given, settings
from hypothesis import strategies as st

from kacap.model import Connection, Episode, Finding, Probe, SegmentRecord
from kacap.report.records import line
from kacap.segments import ACK, HAS_SACK, HAS_TIMESTAMPS

pytestmark = pytest.mark.slow

CASES = analysing.small_cases()
EVERY = pytest.mark.parametrize("case", CASES)
SPACE = 2**32
DAY_NS = 86_400_000_000_000


def told(segments: np.ndarray) -> list[str]:
    """Every record on these segments, sorted."""
    return sorted(analyse_segments(segments).records)


def expected(case: str) -> list[str]:
    return told(segments_of(case))


def from_lower(rows: np.ndarray) -> np.ndarray:
    """Which segments go from the lower address and port to the higher: one direction of each connection."""
    source, target = ([rows[f"{end}_hi"], rows[f"{end}_lo"], rows[f"{end}_port"]] for end in ("src", "dst"))
    higher, lower = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for a, b in zip(source, target, strict=True):
        undecided = ~(higher | lower)
        higher |= undecided & (a > b)
        lower |= undecided & (a < b)
    return lower


def exchanged(rows: np.ndarray) -> np.ndarray:
    """The same with the two ends of each connection called by each other's name."""
    rows = rows.copy()
    for part in ("hi", "lo", "port"):
        rows[f"src_{part}"], rows[f"dst_{part}"] = rows[f"dst_{part}"].copy(), rows[f"src_{part}"].copy()
    return rows


def renumbered(rows: np.ndarray, low: int, high: int, clock: int = 0) -> np.ndarray:
    """The same with both ends' sequence numbers shifted, and both ends' timestamp clocks."""
    rows = rows.copy()
    own = np.where(from_lower(rows), low, high).astype(np.uint32)
    peer = np.where(from_lower(rows), high, low).astype(np.uint32)
    rows["seq"] += own
    rows["ack"] += np.where(rows["flags"] & ACK, peer, 0).astype(np.uint32)
    for edge in ("sack_left", "sack_right"):
        rows[edge] += np.where(rows["has"] & HAS_SACK, peer, 0).astype(np.uint32)
    for stamp in ("tsval", "tsecr"):
        rows[stamp] += np.where(rows["has"] & HAS_TIMESTAMPS, clock, 0).astype(np.uint32)
    return rows


def wraps(rows: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Shifts (of the lower end's numbers, of the higher end's) that put the wrap before or after each number used."""
    lower = from_lower(rows)
    used: list[set[int]] = []
    for own in (lower, ~lower):
        ends = rows["seq"][own].astype(np.int64) + rows["payload_len"][own]
        acks = rows["ack"][~own & (rows["flags"] & ACK != 0)]
        used.append({int(n) % SPACE for n in (*rows["seq"][own], *ends, *acks)})
    shifts = [((edge - n) % SPACE, 0) for n in used[0] for edge in (0, SPACE - 1)]
    shifts += [(0, (edge - n) % SPACE) for n in used[1] for edge in (0, SPACE - 1)]
    pairs = [(a[0], b[1]) for a, b in zip(shifts, reversed(shifts), strict=True) if a[0] and b[1]]
    yield from random.Random(len(shifts)).sample([*shifts, *pairs], min(most, len(shifts) + len(pairs)))


@EVERY
def test_wherever_the_sequence_numbers_wrap_the_records_are_the_same(case: str) -> None:
    rows, records = segments_of(case), expected(case)
    for low, high in wraps(rows, 60 if len(rows) < 200 else 8):
        assert told(renumbered(rows, low, high)) == records, (low, high)


@EVERY
def test_wherever_the_timestamps_wrap_the_records_are_the_same(case: str) -> None:
    rows, records = segments_of(case), expected(case)
    stamps = sorted({int(n) for n in rows["tsval"][rows["has"] & HAS_TIMESTAMPS != 0]})
    for stamp in random.Random(1).sample(stamps, min(12, len(stamps))):
        assert told(renumbered(rows, 0, 0, -stamp % SPACE)) == records, stamp


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([case for case in CASES if case != "lab/many"]), *[st.integers(0, SPACE - 1)] * 3)
def test_no_initial_sequence_number_or_clock_changes_a_record(case: str, low: int, high: int, clock: int) -> None:
    assert told(renumbered(segments_of(case), low, high, clock)) == expected(case)


@EVERY
def test_in_another_vlan_the_records_are_the_same(case: str) -> None:
    rows = segments_of(case).copy()
    rows["encapsulation"] ^= np.uint64(0x9E3779B97F4A7C15)
    assert told(rows) == expected(case)


def mirrored(record: object) -> object:
    """A record with the two ends of its connection called by each other's name, without what hosts share."""
    match record:
        case SegmentRecord():
            return replace(record, source=record.destination, destination=record.source)
        case Probe():
            return replace(record, prober=record.peer, peer=record.prober)
        case Episode():
            probes = [mirrored(probe) for probe in record.probes]
            return replace(record, prober=record.probes[0].peer, probes=probes)
        case Connection():
            probers = [replace(prober, side=prober.peer, peer=prober.side) for prober in record.probers]
            return replace(record, a=record.b, b=record.a, probers=probers)
    raise AssertionError(record)


def named(records: list[object], mirror: bool) -> list[str]:
    found = [record for record in records if not isinstance(record, Finding)]
    for record in found:
        if isinstance(record, Connection):
            for prober in record.probers:
                prober.episodes = [mirrored(e) for e in prober.episodes] if mirror else prober.episodes
    return sorted(spelled(mirrored(record) if mirror else record) for record in found)


def one_pair(case: str) -> bool:
    """Whether all connections of a case are between the same two ends, by what is expected of it."""
    told = (analysing.CAPTURES / case / "expected.json").read_text(encoding="utf-8")
    pairs = re.findall(r'"type":"connection","connection":\d+,"a":"(.*?)","b":"(.*?)"', told)
    return len({end for pair in pairs for end in pair}) == 2


@pytest.mark.parametrize("case", [case for case in CASES if one_pair(case)])
def test_with_the_ends_exchanged_the_records_are_mirrored(case: str) -> None:
    heard = analyse_segments(exchanged(segments_of(case)))
    plain = analyse_segments(segments_of(case))
    assert named(heard.objects, False) == named(plain.objects, True)
    assert sorted(f.id for f in heard.of(Finding)) == sorted(f.id for f in plain.of(Finding))


def shifted(record: object, by_ns: int) -> dict:
    """A record as JSON holds it, its moments moved."""
    fields = json.loads(line(record, lambda frame: frame and list(frame)))
    moments = ("time_ns", "silent_since_ns", "first_ns", "last_ns", "observed_until_ns")
    return {
        key: value + by_ns if key in moments and value is not None else value
        for key, value in fields.items()
        if key != "sentence"  # may name the date
    }


@EVERY
def test_at_another_time_the_records_are_the_same_but_for_the_time(case: str) -> None:
    rows = segments_of(case).copy()
    rows["time_ns"] += 1000 * DAY_NS
    later, plain = analyse_segments(rows), analyse_segments(segments_of(case))
    expected_records = [json.dumps(shifted(record, 1000 * DAY_NS)) for record in plain.objects]
    assert sorted(json.dumps(shifted(record, 0)) for record in later.objects) == sorted(expected_records)


def doubled(rows: np.ndarray) -> np.ndarray:
    """Every frame captured twice, the second time 20 us later, with a number and on an interface of its own."""
    copies = rows.copy()
    copies["time_ns"] += 20_000
    copies["frame"] += 1_000_000
    copies["ttl"] -= 1
    both = np.concatenate([rows, copies])
    return both[np.argsort(both["time_ns"], kind="stable")]


@EVERY
def test_captured_twice_every_frame_counts_once(case: str) -> None:
    rows = segments_of(case)
    twice, once = analyse_segments(doubled(rows)), analyse_segments(rows)

    def originals(heard: analysing.Heard) -> list[str]:
        copies = {id(r) for r in heard.of(SegmentRecord) if r.kind == "duplicate-frame"}
        told = [text for text, r in zip(heard.records, heard.objects, strict=True) if id(r) not in copies]
        told = [text for text in told if "id='not-end-to-end'" not in text]  # several TTLs of one side tell nothing
        # Watched to the last copy; and with several TTLs of one side nobody knows for sure who sent a reset.
        return sorted(re.sub(r"observed_until_ns=\d+|(?<=how='reset', by=)'\w+'", "", text) for text in told)

    assert originals(twice) == originals(once)
    copies = [record for record in twice.of(SegmentRecord) if record.kind == "duplicate-frame"]
    known = list(once.of(SegmentRecord))
    before = [record for record in known if record.kind == "duplicate-frame"]
    assert len(copies) == len(known) + len(before)
