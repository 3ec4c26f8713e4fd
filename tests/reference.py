"""The plain twin of decoder and classifier in one place; imports nothing of kacap."""

from __future__ import annotations

from reference_decode import Segment, decode_frame
from reference_rules import classify

__all__ = ["Segment", "classify", "decode_frame", "segments_of"]


def segments_of(frames: list[tuple[int, bytes]], link_type: int = 1) -> list[Segment]:
    """Return the segments of (time_ns, frame) pairs, numbered from 1; frames without one are left out."""
    found = []
    for number, (time_ns, data) in enumerate(frames, 1):
        segment = decode_frame(data, len(data), link_type)
        if isinstance(segment, Segment):
            segment.frame, segment.time_ns = number, time_ns
            found.append(segment)
    return found
