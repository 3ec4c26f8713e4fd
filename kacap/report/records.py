"""An analysis as JSON Lines: one object as soon as it is final, its keys in the order of the published schema.

``RecordWriter.news`` is what ``kacap.read`` calls with its news; ``render`` writes an analysis that is complete. The
schema
(JSON Schema 2020-12) lies beside this file and is what ``schema()`` returns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, TextIO

from kacap.analysis import Analysis
from kacap.model import (
    Connection,
    Episode,
    Finding,
    FrameRef,
    Probe,
    Prober,
    SegmentRecord,
    Setting,
)
from kacap.news import News
from kacap.report.lines import Writer
from kacap.summary import Break, CaptureSummary

VERSION = 1

Name = Callable[[FrameRef | None], int | str | None]


def schema() -> dict[str, object]:
    """Return the JSON Schema of one record."""
    text = resources.files(__package__).joinpath("schema.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


class RecordWriter:
    """Writes each record that it is called with as one line; ``files`` are the names that frames refer to.

    ``flush`` hands every line on at once, for readers that follow.
    """

    def __init__(self, out: TextIO, files: Sequence[str], *, flush: bool = False) -> None:
        self._out = out
        self._flush = flush
        names = [_text(name) for name in files]
        self._frame_name = Analysis(capture=CaptureSummary(files=names)).frame_name
        self._lines = Writer(names)

    def __call__(self, record: object) -> None:
        """Write one record, an object of ``kacap.model``."""
        self._out.write(line(record, self._frame_name) + "\n")
        if self._flush:
            self._out.flush()

    def news(self, news: News) -> None:
        """Write what a batch brought, each record as it is final."""
        self._out.write(self._lines.written(news).decode())
        for record in news.late():
            self._out.write(line(record, self._frame_name) + "\n")
        if self._flush:
            self._out.flush()


def render(analysis: Analysis, out: TextIO) -> None:
    """Write the records of a complete analysis: probes and episodes in time order, the capture last."""
    write = RecordWriter(out, analysis.capture.files)
    for records in (analysis.probes, analysis.episodes, analysis.connections, analysis.findings):
        for record in records:
            write(record)
    write(analysis.capture)


def line(record: object, frame_name: Name) -> str:
    """Return one record as a line of JSON, without the newline; ``frame_name`` as ``Analysis.frame_name``."""
    kind, fields = _FIELDS[type(record)]
    return written(kind, fields(record, frame_name))


def written(kind: str, fields: dict[str, object]) -> str:
    """Return a record of any kind, by its fields, as a line of JSON, without the newline."""
    whole = {"v": VERSION, "type": kind, **fields}
    return json.dumps(whole, separators=(",", ":"), default=int)  # int: integers that are still NumPy's


def _text(name: str) -> str:
    """Return a file name with bytes that are not text as ``?``: JSON cannot carry them."""
    return name.encode("utf-8", "replace").decode()


def segment_fields(record: SegmentRecord, frame_name: Name) -> dict[str, object]:
    """Return what the record of a segment says."""
    return {
        "frame": frame_name(record.frame),
        "time_ns": record.time_ns,
        "connection": record.connection,
        "from": str(record.source),
        "to": str(record.destination),
        "kind": record.kind,
        "grade": record.grade,
        "reason": record.reason,
    }


def _probe(record: Probe, frame_name: Name) -> dict[str, object]:
    return {
        "connection": record.connection,
        "frame": frame_name(record.frame),
        "time_ns": record.time_ns,
        "prober": str(record.prober),
        "peer": str(record.peer),
        "grade": record.grade,
        "payload_bytes": record.payload_bytes,
        "reply_frame": frame_name(record.reply_frame),
        "reply_after_ns": record.reply_after_ns,
    }


def _episode(record: Episode, frame_name: Name) -> dict[str, object]:
    return {
        "connection": record.connection,
        "prober": str(record.prober),
        "probes": [frame_name(probe.frame) for probe in record.probes],
        "silent_since_ns": record.silent_since_ns,
        "first_gap_ns": record.first_gap_ns,
        "gaps_ns": record.gaps_ns,
        "ending": record.ending,
        "ending_frame": frame_name(record.ending_frame),
    }


def _setting(value: Setting) -> dict[str, object]:
    return {
        "observed_ns": value.observed_ns and list(value.observed_ns),
        "n": value.n,
        "candidates": value.candidates,
        "assumes": value.assumes,
        "expected": value.expected,
        "source": value.source,
        "verdict": value.verdict,
        "why": value.why,
    }


def _count(value: Setting) -> dict[str, object]:
    """Return the count setting: what was observed is a number of probes, not a time."""
    return {"observed": value.observed and list(value.observed)} | {
        key: found for key, found in _setting(value).items() if key != "observed_ns"
    }


def setting_fields(name: str, value: Setting) -> dict[str, object]:
    """Return the fields of the setting ``name``, in order."""
    return _count(value) if name == "count" else _setting(value)


def _prober(value: Prober) -> dict[str, object]:
    return {
        "side": str(value.side),
        "probes": value.probes,
        "replies": value.replies,
        "idle": _setting(value.idle),
        "interval": _setting(value.interval),
        "count": _count(value.count),
        "ending": value.ending,
    }


def _connection(record: Connection, frame_name: Name) -> dict[str, object]:
    return {
        "connection": record.connection,
        "a": str(record.a),
        "b": str(record.b),
        "first_ns": record.first_ns,
        "last_ns": record.last_ns,
        "observed_until_ns": record.observed_until_ns,
        "ended": {"how": record.ended.how, "by": record.ended.by, "frame": frame_name(record.ended.frame)},
        "verdict": record.verdict.sentence,
        "probers": [_prober(prober) for prober in record.probers],
        "longest_silence_ns": record.longest_silence_ns,
    }


def _finding(record: Finding, frame_name: Name) -> dict[str, object]:
    return {
        "id": record.id,
        "connection": record.connection,
        "sentence": record.sentence,
        "frames": [frame_name(frame) for frame in record.frames],
        "remedy": record.remedy,
    }


def _capture(record: CaptureSummary, _: Name) -> dict[str, object]:
    breaks = [_break(each) for each in record.breaks]
    return {
        "files": [_text(name) for name in record.files],
        "link_types": record.link_types,
        "frames": record.frames,
        "segments": record.segments,
        "skipped": record.skipped,
        "dropped": _dropped(record),
        "first_ns": record.first_ns,
        "last_ns": record.last_ns,
        **({"breaks": breaks} if breaks else {}),
    }


def _break(each: Break) -> dict[str, object]:
    """Return a place where times do not follow on one another; ``frame`` and ``later_ns`` where the clock was set."""
    found = each._asdict() | {"before": _text(each.before), "after": _text(each.after)}
    return {name: value for name, value in found.items() if each.what == "clock" or name not in ("frame", "later_ns")}


def _dropped(record: CaptureSummary) -> Mapping[str, object]:
    """Return what was lost while capturing; ``when`` is left out where no moment is known."""
    counts = {"kernel": record.dropped_kernel, "interface": record.dropped_interface}
    when = [{**drop._asdict(), "interface": drop.interface and _text(drop.interface)} for drop in record.drops]
    return {**counts, "when": when} if when else counts


_FIELDS: dict[type, tuple[str, Callable[[Any, Name], dict[str, object]]]] = {
    SegmentRecord: ("segment", segment_fields),
    Probe: ("probe", _probe),
    Episode: ("episode", _episode),
    Connection: ("connection", _connection),
    Finding: ("finding", _finding),
    CaptureSummary: ("capture", _capture),
}
