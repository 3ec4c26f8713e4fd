"""kacap beside tshark on one capture: where they agree, and the reason for every difference."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import analysing
import jsonschema
import pytest

from kacap.classify.kinds import Kind
from kacap.compare import label_records, label_text
from kacap.compare.explanations import TABLE, Seen, reason
from kacap.compare.label_differences import LabelComparison, compare
from kacap.compare.labels import AGREE, alike, role
from kacap.model import SegmentRecord
from kacap.report.records import schema

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("labels")]  # one worker asks tshark, once of each capture

tshark = pytest.mark.tool("tshark")

# Recipes on which tshark is known to be wrong: each difference as (frame, kacap's kind, reason), tshark 4.0 and 4.4.
DIFFER = {
    "01-one-byte-unacknowledged": {(5, "retransmission", "byte-unacknowledged"),
                                   (6, "retransmission", "byte-unacknowledged")},
    "02-zero-window-probes": {(n, "window-probe", "window-closed") for n in (6, 8, 10, 12)},
    "05-mid-capture-one-byte": {(1, "probe", "began-later"), (2, "reply", "probe-unknown")},
    "06-both-ends-probe": {(n, "reply", "something-between") for n in (7, 11, 15)},
    "07-first-reply-has-a-scaled-window": {(5, "reply", "window-differs")},
    "08-reply-with-a-new-window": {(7, "reply", "window-differs")},
    "09-next-is-zero": {(8, "probe", "next-is-zero"), (9, "reply", "probe-unknown"), (10, "probe", "next-is-zero"),
                        (11, "reply", "probe-unknown")},
    "10-first-ack-at-the-last-number": {(1, "ack", "first-is-last-number")},
    "10b-first-byte-at-the-last-number": {(1, "data", "first-is-last-number")},
    "11-overtaken-ack": {(6, "ack", "overtaken")},
    "12-byte-captured-late": {(6, "data", "data-out-of-order")},
    "16-last-data-not-captured": {(5, "probe", "data-missing"), (6, "reply", "probe-unknown"),
                                  (7, "probe", "first-probe-missed"), (8, "reply", "probe-unknown")},
    "17-port-reuse-without-syn": {(6, "data", "port-reuse"), (8, "data", "port-reuse"), (10, "probe", "port-reuse"),
                                  (11, "reply", "port-reuse")},
    "21-late-unrelated-acks": {(5, "ack", "nothing-to-answer"), (6, "ack", "nothing-to-answer")},
    "22b-peer-window-zero": {(n, "reply", "window-zero-reply") for n in (7, 9, 11)},
    "23-fin-into-closed-window": {(6, "fin", "fin-at-closed-window")},
    "28-reply-before-probe": {(4, "reply", "reply-first")},
    "29-data-between-probe-and-reply": {(7, "reply", "something-between")},
    "31-stray-reset": {(7, "probe", "stray-reset"), (8, "reply", "probe-unknown")},
    "32-two-vlans": {(7, "probe", "one-connection"), (11, "probe", "one-connection"),
                     *((n, "reply", "one-connection") for n in (8, 10, 12, 14))},
    "41-no-ack-flag": {(4, "ack", "no-ack-flag"), (5, "ack", "nothing-to-answer")},
    "101-byte-at-the-fin": {(9, "reply", "first-to-acknowledge")},
}  # fmt: skip
ALIKE = ["00-baseline", "18-reset-answer", "19-dsack-answer", "25-half-closed", "33-ethernet-padding", "36-new-syn",
         "43-fast-open"]  # fmt: skip


@cache
def compared(case: str) -> LabelComparison:
    return compare(analysing.files_of(case))


@tshark
@pytest.mark.parametrize("case", DIFFER)
def test_every_difference_has_its_own_reason(case: str) -> None:
    found = compared(f"crafted/{case}")
    assert {(d.record.frame.number, d.record.kind, d.why.id) for d in found.differences} == DIFFER[case]


@tshark
@pytest.mark.parametrize("case", ALIKE)
def test_where_wireshark_is_right_nothing_differs(case: str) -> None:
    found = compared(f"crafted/{case}")
    assert found.differences == []
    assert found.agreed["probe", "keep_alive"] == len(found.analysis.probes)
    assert found.segments == found.analysis.capture.segments


@tshark
@pytest.mark.slow
def test_no_difference_in_any_shipped_capture_is_left_without_a_reason_of_its_own() -> None:
    general = {
        case: [d.record.frame.number for d in compared(case).differences if d.why.id == "one-segment"]
        for case in analysing.every_case()
    }
    assert not {case: frames for case, frames in general.items() if frames}


@tshark
@pytest.mark.parametrize("case", ["lab/crossing", "lab/unreachable", "lab/merged", "lab/rotated"])
def test_agreements_and_differences_are_all_segments_but_quotes(case: str) -> None:
    found, told = compared(case), analysing.whole(case).of(SegmentRecord)
    segments = [record for record in told if record.kind != Kind.UNREACHABLE.word]
    assert found.segments == len(segments) == sum(found.agreed.values()) + len(found.differences)


@tshark
def test_with_several_files_each_frame_is_compared_with_its_own_label() -> None:
    found = compared("lab/rotated")
    names = {str(found.analysis.frame_name(d.record.frame)) for d in found.differences}
    assert names
    assert all(":" in name for name in names)
    assert {d.why.id for d in found.differences} == {"earlier-file"}


@tshark
def test_each_line_of_json_is_of_the_published_schema() -> None:
    check = jsonschema.Draft202012Validator(schema())
    found = compared("lab/mid-connection")
    lines = [json.loads(line) for line in label_records.lines(found, "4.0.17")]
    for line in lines:
        check.validate(line)
    kinds = [line["type"] for line in lines]
    assert kinds.count("difference") == len(found.differences) == lines[-1]["differences"]
    assert kinds[-1] == "comparison"
    assert sum(line["n"] for line in lines if line["type"] == "agreement") == found.segments - len(found.differences)


@tshark
def test_the_text_groups_by_reason_and_names_every_frame() -> None:
    found = compared("lab/mid-connection")
    short = "\n".join(label_text.lines(found, "4.0.17"))
    assert "8 TCP segments: kacap and tshark 4.0.17 agree on 0, differ on 8" in short
    assert "the capture begins after the last data" in short
    assert "frames      3, 5, 7" in short
    long = "\n".join(label_text.lines(found, "4.0.17", every=True))
    assert long.count("  frame ") == 8


@tshark
@pytest.mark.shared
def test_on_the_public_captures_differences_on_keepalives_have_a_reason(shared: Path) -> None:
    for path in sorted(shared.iterdir()):
        if path.suffix in analysing.SUFFIXES:
            found = compare([str(path)])
            keepalive = [d for d in found.differences if d.record.kind in ("probe", "reply", "window-probe")]
            assert not [d.record.frame.number for d in keepalive if d.why.id == "one-segment"], path.name


def test_every_kind_but_quotes_has_labels_that_agree_with_it() -> None:
    assert set(AGREE) == {kind.word for kind in Kind} - {Kind.UNREACHABLE.word}


def test_a_label_that_names_no_role_contradicts_nothing() -> None:
    assert role(("zero_window", "lost_segment")) == ""
    assert role(("keep_alive", "zero_window")) == "keep_alive"
    assert alike("ack", ("duplicate_ack",))
    assert not alike("probe", ("duplicate_ack",))
    assert not alike("retransmission", ("keep_alive",))


def test_the_reasons_are_looked_through_in_order_and_the_last_always_holds() -> None:
    assert len({row.id for row in TABLE}) == len(TABLE)
    assert reason(Seen("data", "proven", "", "window_update", ())).id == "one-segment"
    assert reason(Seen("reply", "proven", "", "duplicate_ack", (), probe_known=False)).id == "probe-unknown"
    assert reason(Seen("reply", "proven", "", "duplicate_ack", ())).id == "something-between"
