"""(Re)write ``expected*.json`` beside every shipped capture: ``python tests/make_expected.py [FAMILY/CASE ...]``.

What it writes is what kacap says now. Read the difference against the truth beside the capture before keeping it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import analysing

import kacap
from kacap.analysis import Analysis
from kacap.report.records import line
from kacap.summary import CaptureSummary

ORDER = ("capture", "connection", "finding", "episode", "probe", "segment")


def goldens_of(case: str) -> dict[Path, list[str]]:
    """The capture files of a case as kacap reads them, by the file that holds what is expected of them.

    One capture, possibly of several files; the two ends of both-ends are two captures.
    """
    directory = analysing.CAPTURES / case
    files = analysing.files_of(case)
    found = {directory / "expected.json": files}
    for path in sorted(directory.glob("peer.pcapng")):
        found[directory / "expected-peer.json"] = [str(path)]
    return found


def records_of(files: list[str]) -> list[str]:
    """The records of a capture as JSON, sorted by type and then by frame, with file names but no directories."""
    records: list[object] = []
    kacap.read(files, sink=records.append, segments="events")
    names = [Path(name).name for name in files]
    frame_name = Analysis(capture=CaptureSummary(files=names)).frame_name
    for record in records:
        if isinstance(record, CaptureSummary):
            record.files = names
    lines = [line(record, frame_name) for record in records]
    return sorted(lines, key=_place)


def _place(text: str) -> tuple:
    fields = json.loads(text)
    frame = str(fields.get("frame") or "")
    number = int(frame.rpartition(":")[2] or 0)
    return (
        ORDER.index(fields["type"]),
        fields.get("connection") or 0,
        fields.get("time_ns") or 0,
        number,
        fields.get("silent_since_ns") or 0,
        text,
    )


def written(lines: list[str]) -> str:
    """A JSON array with one record on each line."""
    return "[\n" + ",\n".join(lines) + "\n]\n"


def cases() -> list[str]:
    """Every case that is small enough to be read: all but the population, which has a test of its own."""
    return analysing.small_cases()


def main(names: list[str]) -> None:
    """Write what is expected of the cases named, or of all."""
    for case in names or cases():
        for path, files in goldens_of(case).items():
            path.write_text(written(records_of(files)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
