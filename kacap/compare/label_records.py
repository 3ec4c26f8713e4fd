"""A comparison as JSON Lines: a ``difference`` for each frame, an ``agreement`` for each kind, then the sum."""

from __future__ import annotations

from collections.abc import Iterator

from kacap.compare.label_differences import Difference, LabelComparison
from kacap.report.records import segment_fields, written


def lines(comparison: LabelComparison, version: str) -> Iterator[str]:
    """Yield each record as a line; ``version`` is tshark's."""
    for difference in comparison.differences:
        yield written("difference", _difference(comparison, difference))
    for (kind, label), n in sorted(comparison.agreed.items()):
        yield written("agreement", {"kind": kind, "tshark": label or None, "n": n})
    yield written(
        "comparison",
        {
            "files": comparison.analysis.capture.files,
            "tshark": version,
            "segments": comparison.segments,
            "differences": len(comparison.differences),
        },
    )


def _difference(comparison: LabelComparison, difference: Difference) -> dict[str, object]:
    """Return one frame on which they differ: ``id`` names the reason, ``why`` says it."""
    return {
        **segment_fields(difference.record, comparison.analysis.frame_name),
        "tshark": list(difference.labels),
        "id": difference.why.id,
        "why": difference.why.sentence,
    }
