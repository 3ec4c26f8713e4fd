"""Ready display filters for Wireshark: for some frames, and for all that two ends said to each other."""

from __future__ import annotations

from collections.abc import Iterable

from kacap.analysis import Analysis
from kacap.model import Endpoint, FrameRef

MOST = 120  # ranges in one filter


def pair_filter(a: Endpoint, b: Endpoint) -> str:
    """Return the filter for a connection: addresses and ports, which hold in any capture; ICMP errors included."""
    hosts = [f"ip{'v6' if ':' in end.address else ''}.addr == {end.address}" for end in (a, b)]
    return " && ".join([*hosts, *(f"tcp.port == {end.port}" for end in (a, b))])


def frames_filter(analysis: Analysis, frames: Iterable[FrameRef]) -> list[tuple[str, str]]:
    """Return (what it is for, filter) for the frames of each file; numbers that follow one another become a range."""
    by_file: dict[int, set[int]] = {}
    for frame in frames:
        by_file.setdefault(frame.file, set()).add(frame.number)
    files = analysis.capture.files
    return [
        ("frames" if len(files) < 2 else f"frames of {files[file]}", _numbers(sorted(by_file[file])))
        for file in sorted(by_file)
    ]


def _numbers(numbers: list[int]) -> str:
    """Return ``frame.number in {8, 10..12}``; of very many ranges one from the first to the last."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    if len(ranges) > MOST:
        ranges = [[numbers[0], numbers[-1]]]
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return f"frame.number == {numbers[0]}"
    return "frame.number in {" + ", ".join(f"{a}..{b}" if a != b else str(a) for a, b in ranges) + "}"
