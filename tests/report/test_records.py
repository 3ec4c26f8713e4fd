import io
import json

import jsonschema
import numpy as np
import pytest
import samples

from kacap.classify.kinds import Ending, Grade, Kind
from kacap.model import FrameRef, SegmentRecord
from kacap.report import records

# The keys of each type in their order.
ORDER = {
    "segment": "frame time_ns connection from to kind grade reason",
    "probe": "connection frame time_ns prober peer grade payload_bytes reply_frame reply_after_ns",
    "episode": "connection prober probes silent_since_ns first_gap_ns gaps_ns ending ending_frame",
    "connection": "connection a b first_ns last_ns observed_until_ns ended verdict probers longest_silence_ns",
    "finding": "id connection sentence frames remedy",
    "capture": "files link_types frames segments skipped dropped first_ns last_ns",
}
CHECK = jsonschema.Draft202012Validator(records.schema())


def written(analysis) -> list[dict]:
    out = io.StringIO()
    records.render(analysis, out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def segment(**changes) -> dict:
    record = SegmentRecord(FrameRef(0, 12), samples.START, 0, samples.V6, samples.B, "probe", "proven", "because")
    return json.loads(records.line(record, samples.answered().frame_name)) | changes


@pytest.mark.slow
def test_the_schema_itself_is_valid():
    jsonschema.Draft202012Validator.check_schema(records.schema())


@pytest.mark.slow
@pytest.mark.parametrize("sample", samples.ALL)
def test_every_record_meets_the_schema_and_has_its_keys_in_order(sample):
    found = written(samples.ALL[sample]())
    for record in found:
        CHECK.validate(record)
        assert list(record) == ["v", "type", *ORDER[record["type"]].split()]
    assert [record["type"] for record in found].index("capture") == len(found) - 1


def test_the_capture_says_when_it_lost_frames_where_that_is_known():
    dropped = written(samples.drops_in_time())[-1]["dropped"]
    assert dropped == {
        "kernel": 1203,
        "interface": 2,
        "when": [
            {"since_ns": samples.at(2.1), "until_ns": samples.at(2.102), "frames": 3, "interface": "eth0"},
            {"since_ns": samples.at(4.5), "until_ns": samples.at(5.5), "frames": 1200, "interface": None},
            {"since_ns": samples.at(-1), "until_ns": samples.at(60), "frames": 2, "interface": "eth0"},
        ],
    }
    assert written(samples.drops())[-1]["dropped"] == {"kernel": 12, "interface": 0}


def test_a_segment_record_meets_the_schema_and_has_its_keys_in_order():
    CHECK.validate(segment())
    assert list(segment()) == ["v", "type", *ORDER["segment"].split()]
    assert segment()["from"] == "[fd00::1]:5432"


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"type": "miss"},
        {"time_ns": 1.5},
        {"kind": "keepalive"},
        {"grade": "certain"},
        {"frame": 0},
        {"frame": "12"},
        {"reason": ""},
        {"from": "fd00::1:5432"},
        {"extra": 1},
    ],
)
def test_the_schema_refuses_what_is_not_a_record(change):
    assert not CHECK.is_valid(segment(**change))


def test_the_schema_knows_every_kind_grade_and_ending():
    defs = records.schema()["$defs"]
    assert set(defs["segment"]["properties"]["kind"]["enum"]) == {kind.word for kind in Kind}
    assert defs["grade"]["enum"] == [grade.word for grade in Grade]
    assert set(defs["ending"]["enum"]) == set(Ending)


def test_a_setting_is_in_nanoseconds_and_a_count_in_probes():
    prober = next(r for r in written(samples.gave_up()) if r["type"] == "connection")["probers"][0]
    assert list(prober) == ["side", "probes", "replies", "idle", "interval", "count", "ending"]
    assert prober["idle"] == {
        "observed_ns": [3_128_000_000, 3_128_000_000],
        "n": 1,
        "candidates": [3],
        "assumes": [],
        "expected": 3,
        "source": "socket option",
        "verdict": "ok",
        "why": "",
    }
    assert prober["count"]["observed"] == [4, 4]


def test_with_several_files_a_frame_carries_its_file_name():
    found = written(samples.drops())
    assert next(r for r in found if r["type"] == "episode")["probes"] == [f"a.pcap:{n}" for n in (6, 7, 8, 9)]
    assert next(r for r in found if r["type"] == "finding")["frames"] == ["a.pcap:6", "b.pcap:2"]


def test_a_missed_probe_has_null_for_what_never_came():
    probe = next(r for r in written(samples.gave_up()) if r["type"] == "probe")
    assert (probe["reply_frame"], probe["reply_after_ns"]) == (None, None)


def test_the_writer_is_a_sink_that_hands_each_line_on_at_once():
    class Pipe(io.StringIO):
        flushed = 0

        def flush(self):
            self.flushed += 1

    out = Pipe()
    write = records.RecordWriter(out, ["x.pcap"], flush=True)
    for record in (samples.probe(1, 0, reply_ms=1), samples.answered().capture):
        write(record)
    assert out.flushed == 2
    assert [json.loads(line)["type"] for line in out.getvalue().splitlines()] == ["probe", "capture"]


def test_integers_of_numpy_and_names_that_are_no_text_are_written_as_json():
    analysis = samples.answered()
    analysis.capture.frames = np.int64(40)
    analysis.capture.files = ["\udcff\x1b.pcap"]
    last = written(analysis)[-1]
    assert (last["frames"], last["files"]) == (40, ["?\x1b.pcap"])
