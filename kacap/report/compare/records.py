"""A comparison as JSON Lines: a ``difference`` for each frame, an ``agreement`` for each kind, then the sum."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kacap.report.compare.opinions import Comparison, Difference
from kacap.report.records import VERSION


def lines(comparison: Comparison, version: str) -> Iterator[str]:
    """Yield each record as a line; ``version`` is tshark's."""
    for difference in comparison.differences:
        yield written("difference", _difference(comparison, difference))
    for (kind, label), n in sorted(comparison.agreed.items()):
        yield written("agreement", {"kind": kind, "tshark": label or None, "n": n})
    yield written("comparison", {
        "files": comparison.analysis.capture.files,
        "tshark": version,
        "segments": comparison.segments,
        "differences": len(comparison.differences),
    })  # fmt: skip


def _difference(comparison: Comparison, difference: Difference) -> dict[str, Any]:
    """Return one frame on which they differ: ``id`` names the reason, ``why`` says it."""
    record = difference.record
    return {
        "frame": comparison.analysis.frame_name(record.frame),
        "time_ns": record.time_ns,
        "connection": record.connection,
        "from": str(record.source),
        "to": str(record.destination),
        "kind": record.kind,
        "grade": record.grade,
        "reason": record.reason,
        "tshark": list(difference.labels),
        "id": difference.why.id,
        "why": difference.why.sentence,
    }


def written(kind: str, fields: dict[str, Any]) -> str:
    """Return one record as a line of JSON, without the newline."""
    return json.dumps({"v": VERSION, "type": kind, **fields}, separators=(",", ":"), default=int)
