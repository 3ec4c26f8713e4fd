"""Joins the captures of one run into one file with an interface for each, in the order of time."""

from __future__ import annotations

import struct
from pathlib import Path

from kacap.lab.record import ETHERNET, PcapngWriter
from kacap.lab.truth import CaptureFacts

_FRAME = 6
_SNAPLEN = 256


def merge(directory: Path, captures: list[CaptureFacts]) -> CaptureFacts:
    """Join what ``captures`` (as in the truth) name into ``capture.pcapng``; return the truth of that one."""
    frames = []
    for number, capture in enumerate(captures):
        for name in capture["files"]:
            frames += [(time_ns, number, data, length) for time_ns, data, length in frames_in(directory / name)]
    frames.sort()
    names = [(f"{capture['host']}:{capture['interface']}", ETHERNET, _SNAPLEN) for capture in captures]
    writer = PcapngWriter(directory / "capture.pcapng", names)
    for time_ns, number, data, length in frames:
        writer.frame(number, time_ns, data, length)
    writer.close([(capture["frames"], capture["dropped"]) for capture in captures], captures[-1]["stopped_ns"])
    for capture in captures:
        for name in capture["files"]:
            (directory / name).unlink()
    return {
        "host": ", ".join(capture["host"] for capture in captures),
        "interface": ", ".join(name for name, _, _ in names),
        "place": "both",
        "files": ["capture.pcapng"],
        "frames": len(frames),
        "dropped": sum(capture["dropped"] for capture in captures),
        "started_ns": min(capture["started_ns"] for capture in captures),
        "stopped_ns": max(capture["stopped_ns"] for capture in captures),
    }


def frames_in(path: Path) -> list[tuple[int, bytes, int]]:
    """Read back what ``PcapngWriter`` wrote: (time in nanoseconds, bytes, length on the wire)."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind == _FRAME:
            _, high, low, kept, length = struct.unpack_from("<IIIII", data, at + 8)
            found.append((high << 32 | low, data[at + 28 : at + 28 + kept], length))
        at += size
    return found
