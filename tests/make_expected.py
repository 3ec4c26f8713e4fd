"""Write expected.json beside each shipped capture: what reading it gives, one record a line.

    python tests/make_expected.py [CASE ...]

Read the difference before it is committed: a golden result is only worth what somebody has seen in it. File names
stand without their directory, so that the lines are the same on every machine. The population has tests of its own.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import kacap
from kacap.errors import KacapError
from kacap.report.records import RecordWriter

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
FAMILIES = ("both", "crafted", "lab")
SUFFIXES = (".pcap", ".pcapng", ".gz")
WITHOUT = {"lab/population"}


def cases() -> list[str]:
    """Return every ``family/case`` that has a golden result."""
    found = {str(p.parent.relative_to(CAPTURES)) for f in FAMILIES for p in (CAPTURES / f).glob("*/*.pcap*")}
    return sorted(found - WITHOUT)


def records(case: str) -> list[str]:
    """Return the records of a case, sorted: which of them is final first is not part of the result."""
    files = sorted(str(path) for path in (CAPTURES / case).iterdir() if path.suffix in SUFFIXES)
    out = io.StringIO()
    kacap.read(files, sink=RecordWriter(out, files), segments="events", keep_all=True)
    lines = [line.replace(f"{CAPTURES / case}/", "") for line in out.getvalue().splitlines()]
    return sorted(lines, key=_order)


def _order(line: str) -> tuple[str, int, str]:
    """Order records by type, then by time."""
    record = json.loads(line)
    return record["type"], record.get("time_ns") or record.get("first_ns") or 0, line


def main(names: list[str]) -> Iterator[str]:
    """Write the golden results of the cases named, or of all; yield those that changed."""
    for case in names or cases():
        path = CAPTURES / case / "expected.json"
        text = "".join(f"{line}\n" for line in records(case))
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            yield case


if __name__ == "__main__":
    try:
        for changed in main(sys.argv[1:]):
            print(changed)
    except KacapError as error:
        sys.exit(str(error))
