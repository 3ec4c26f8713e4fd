"""Every finding of the table is raised by a capture that shows it, with its numbers, not by one that looks alike."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from findings_cases import PAIRS, expected, found

import kacap
from kacap.facts.probing import Probing
from kacap.facts.runs import missed_probes
from kacap.findings import TABLE, WHOLE, load, past
from kacap.findings.context import Context
from kacap.findings.screening import Trait
from kacap.summary import Drop
from kacap.timing.gathering import Gatherer

IDS = [row.id for row in (*TABLE, *WHOLE)]
ROOT = Path(__file__).resolve().parents[2]


def test_every_finding_has_a_case_that_raises_it_and_one_that_does_not():
    assert len(set(IDS)) == len(IDS)
    assert set(PAIRS) | {"drops"} == set(IDS)
    assert all(pair.spares for pair in PAIRS.values())


@pytest.mark.parametrize("name", PAIRS)
def test_a_finding_is_raised_with_its_numbers_and_its_frames(name):
    pair = PAIRS[name]
    findings = found(pair.raises, pair.expect)
    assert {finding.id for finding in findings} == {name, *pair.also}
    (finding,) = [finding for finding in findings if finding.id == name]
    for words in pair.says:
        assert words in finding.sentence
    assert [frame.number for frame in finding.frames] == pair.frames
    assert finding.remedy


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, pair in PAIRS.items() for case in pair.spares])
def test_a_finding_is_not_raised_by_what_looks_alike(name, case):
    assert name not in [finding.id for finding in found(case, PAIRS[name].spared_by)]


@pytest.mark.parametrize("lost", [0, 7])
def test_frames_dropped_by_the_kernel_are_a_finding_that_weakens_every_miss(lost, captures, tmp_path):
    data = bytearray((captures / "lab/recovered/capture.pcapng").read_bytes())
    assert set_drops(data, lost)
    (tmp_path / "lossy.pcapng").write_bytes(data)
    findings = [f for f in kacap.read(str(tmp_path / "lossy.pcapng")).findings if f.id == "drops"]
    sentence = "7 frames dropped while capturing: 2 missed replies may be among them"
    assert [(f.sentence, f.connection, f.frames) for f in findings] == ([(sentence, None, [])] if lost else [])


def test_drops_are_told_with_their_time_where_it_is_known():
    def told(dropped, *drops):
        nobody = Probing(Gatherer(listening=False))
        (row,) = load.dropped(Context(nobody, dropped=dropped, timed_drops=[Drop(*drop) for drop in drops]))
        return row[0]

    start = 1_795_168_345_369_000_000
    first, second = (start, start + 4_000_000_000, 3), (start + 5_000_000_000, start + 6_000_000_000, 4)
    between = "between 2026-11-20 09:52:25.369 UTC and 2026-11-20 09:52:{} UTC: a probe or reply may be among them"
    assert told(3, first) == f"3 frames dropped while capturing {between.format('29.369')}"
    assert told(8, first, second) == (
        f"8 frames dropped while capturing, 7 of them in 2 spans {between.format('31.369')}"
    )
    assert " dropped while capturing before 2026-11-20 09:52:29.369 UTC: " in told(3, (None, *first[1:]))


def test_only_what_was_missed_while_frames_were_lost_may_be_among_them(captures):
    analysis = kacap.read(str(captures / "lab/recovered/capture.pcapng"))
    probing = Probing(analysis.connections.views.gatherer)
    missed_ns = [probe.time_ns for probe in analysis.probes if probe.reply_frame is None]

    def told(dropped, *drops):
        (row,) = load.dropped(Context(probing, dropped=dropped, timed_drops=[Drop(*drop) for drop in drops]))
        return row[0].rsplit(": ", 1)[1]

    first, last = (missed_ns[0] - 2, missed_ns[0] - 1, 3), (missed_ns[-1] + 2 * 10**9, missed_ns[-1] + 3 * 10**9, 3)
    assert len(missed_ns) == 2
    assert told(3, last) == told(3, first) == "no reply was missed at that time"
    assert told(3, (first[0], missed_ns[0], 3)) == "1 missed reply may be among them"
    assert told(3, (None, missed_ns[-1], 3)) == "2 missed replies may be among them"
    assert told(4, last) == "2 missed replies may be among them"  # when the fourth was lost is not known


def test_a_probe_that_a_reset_answered_is_no_miss_that_may_be_among_the_lost_frames(captures):
    analysis = kacap.read(str(captures / "lab/restarted/capture.pcapng"))
    probers = [prober for connection in analysis.connections for prober in connection.probers]
    (reset_ns,) = [episode.probes[-1].time_ns for episode in analysis.episodes if episode.ending == "reset"]
    assert sum(prober.missed for prober in probers) == 0
    assert [p for prober in probers for p in missed_probes(prober)] == []
    probing = Probing(analysis.connections.views.gatherer)
    (row,) = load.dropped(Context(probing, dropped=1, timed_drops=[Drop(reset_ns - 1, reset_ns + 1, 1)]))
    assert row[0].endswith("a probe or reply may be among them")


def set_drops(data: bytearray, lost: int) -> int:
    """Write ``lost`` into the dropped counters of interface statistics (pcapng block 5, options 5 and 7)."""
    place, written = 0, 0
    while place < len(data):
        kind, length = struct.unpack_from("<II", data, place)
        option = place + 20
        while kind == 5 and option < place + length - 4:
            code, size = struct.unpack_from("<HH", data, option)
            if code in (5, 7) and size == 8:
                struct.pack_into("<Q", data, option + 4, 0 if written else lost)
                written += 1
            option += 4 + size + -size % 4
        place += length
    return written


def test_the_page_of_findings_has_every_finding():
    page = (ROOT / "kacap/docs/findings.md").read_text()
    assert re.findall(r"^## ([a-z-]+)$", page, re.M) == [row.id for row in (*TABLE, *WHOLE)]


def test_an_early_end_is_told_once():
    ids = [finding.id for finding in found("lab/user-timeout-short", expected(3, 2, 5))]
    assert ids == ["gave-up-early"]


@pytest.mark.slow
@pytest.mark.parametrize("expect", [None, "idle=2,interval=1,count=3"])
def test_no_rule_holds_where_it_is_not_looked_for(expect, captures, monkeypatch):
    def all_found():
        files = [path for room in ("lab", "crafted", "both") for path in sorted((captures / room).rglob("*.pcap*"))]
        return [(path, f.id, f.sentence) for path in files for f in kacap.read(str(path), expect=expect).findings]

    looked_for = all_found()
    everything = sum(Trait) - Trait.EXPECTED
    monkeypatch.setattr(past, "traits", lambda observed, *_: np.full(len(observed.rows), everything))
    assert all_found() == looked_for
    assert len({name for _, name, _ in looked_for}) > len(TABLE) // 2
