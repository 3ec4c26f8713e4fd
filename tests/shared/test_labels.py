"""Every hand-made label of the public captures: probes and replies found, nothing else taken for one."""

from __future__ import annotations

import csv
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import kacap
from kacap.model import Prober, SegmentRecord

pytestmark = pytest.mark.shared
SHOWN = {"keepalive": "probe", "keepalive_reply": "reply", "zero_window_probe": "window-probe"}
COPY = "duplicate-frame"  # the same frame captured again counts as no second probe


@cache
def labels_of(shared: Path) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = defaultdict(dict)
    with (shared / "truth.csv").open() as file:
        for row in csv.DictReader(file):
            found[row["file"]][int(row["frame"])] = row["true_label"]
    return found


@cache
def records_of(path: Path) -> dict[int, SegmentRecord]:
    records: list[object] = []
    kacap.read(str(path), sink=records.append, segments="all")
    return {record.frame.number: record for record in records if isinstance(record, SegmentRecord)}


def labelled(shared: Path) -> list[tuple[str, int, str, SegmentRecord]]:
    return [
        (name, frame, label, records_of(shared / name)[frame])
        for name, labels in labels_of(shared).items()
        for frame, label in labels.items()
    ]


@pytest.mark.slow
def test_every_probe_reply_and_window_probe_is_found(shared: Path) -> None:
    wrong = [
        (name, frame, label, record.kind)
        for name, frame, label, record in labelled(shared)
        if label in SHOWN and record.kind not in (SHOWN[label], COPY)
    ]
    assert wrong == []


def test_a_copy_stands_for_what_was_found_before_it(shared: Path) -> None:
    copies = [one for one in labelled(shared) if one[2] in SHOWN and one[3].kind == COPY]
    for name, _, label, copy in copies:
        before = [r for r in records_of(shared / name).values() if abs(r.time_ns - copy.time_ns) < 500_000_000]
        assert any(r.kind == SHOWN[label] and r.source == copy.source for r in before), (name, copy)


@pytest.mark.slow
def test_nothing_that_is_no_keepalive_is_taken_for_a_probe_or_a_reply(shared: Path) -> None:
    wrong = [
        (name, frame, label, record.kind, record.reason)
        for name, frame, label, record in labelled(shared)
        if label not in SHOWN and label != "uncertain" and record.kind in ("probe", "reply")
    ]
    assert wrong == []


def test_what_is_uncertain_is_ambiguous_or_no_probe(shared: Path) -> None:
    uncertain = [one for one in labelled(shared) if one[2] == "uncertain"]
    assert uncertain
    assert all(record.kind != "probe" or record.grade == "ambiguous" for _, _, _, record in uncertain)


def test_unlabelled_frames_of_labelled_connections_are_no_probes(shared: Path) -> None:
    for name, labels in labels_of(shared).items():
        records = records_of(shared / name)
        connections = {records[frame].connection for frame in labels}
        for frame, record in records.items():
            if record.connection in connections and frame not in labels:
                assert record.kind not in ("probe", "reply"), (name, frame, record)


@pytest.mark.slow
def test_the_gaps_of_real_probers_are_told(shared: Path) -> None:
    """Real stacks of many kinds: whatever is estimated, its observed range is there and holds the candidates."""
    probers: list[Prober] = []
    for name in labels_of(shared):
        probers += [p for c in kacap.read(str(shared / name)).connections for p in c.probers]
    assert len(probers) > 40
    for prober in probers:
        idle = prober.idle
        assert (idle.observed_ns is None) == (idle.n == 0)
        if idle.candidates and idle.observed_ns:
            # Whatever the system, its timer is less than a second early.
            assert (min(idle.candidates) - 1) * 10**9 < idle.observed_ns[0], prober.side
