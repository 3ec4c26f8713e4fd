"""The result of one analysis: what a capture or a live interface held, ready for every report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kacap.errors import Damage
from kacap.model import Connection, Episode, Finding, FrameRef, IdleDeaths, Probe
from kacap.summary import CaptureSummary

# One row per segment of interest to a timeline (kinds other than ack), kept only when asked for.
MARK = np.dtype(
    [
        ("time_ns", "<i8"),
        ("frame", "<i8"),
        ("connection", "<i4"),
        ("payload_len", "<u4"),
        ("file", "<u2"),
        ("kind", "u1"),  # the value of classify.kinds.Kind
        ("from_a", "u1"),  # 1: sent by the connection's side a
    ],
    align=True,
)
MarkRows = NDArray[np.void]  # of MARK


# The longest silence that a connection survived, or the one that it was dead after, by where it went.
SILENCE = np.dtype(
    [
        ("hi", "<u8"),  # the destination's address
        ("lo", "<u8"),
        ("silence_ns", "<i8"),
        ("port", "<u2"),
        ("outcome", "u1"),
    ],
    align=True,
)
SilenceRows = NDArray[np.void]  # of SILENCE

# SILENCE["outcome"]: it was answered after it; it was dead while its destination was up; dead, and maybe the end too
SURVIVED, KILLED, GONE = 0, 1, 2


@dataclass(slots=True)
class UnprobedSummary:
    """The connections without probes in sum: how many, and the longest silence among them."""

    connections: int = 0
    longest_silence_ns: int = 0
    longest: Connection | None = None
    window_probing: int = 0  # of those, how many had zero-window probes
    retransmitting: int = 0  # of those, how many had retransmissions
    let_go: int = 0  # of those, how many were forgotten after one segment: too many came with no more than that

    def take(self, longest: Connection, number: int, window_probing: int, retransmitting: int) -> None:
        """Add so many connections; ``longest`` of them was silent longest, of two equal ones the first."""
        self.connections += number
        self.window_probing += window_probing
        self.retransmitting += retransmitting
        silence_ns, before = longest.longest_silence_ns, self.longest
        if before is None or (silence_ns, -longest.connection) > (self.longest_silence_ns, -before.connection):
            self.longest, self.longest_silence_ns = longest, silence_ns


@dataclass(slots=True)
class Analysis:
    """Everything that one pass over a capture found.

    ``connections`` holds those with a prober (all of them when they were asked for), in order of their first
    segment; ``probes`` and ``episodes`` are flattened views of them.
    """

    capture: CaptureSummary = field(default_factory=CaptureSummary)
    connections: Sequence[Connection] = field(default_factory=list)
    unprobed: UnprobedSummary = field(default_factory=UnprobedSummary)
    findings: list[Finding] = field(default_factory=list)
    clocks: dict[str, set[int]] = field(default_factory=dict)  # host address to the jiffies per second it may have
    damages: list[Damage] = field(default_factory=list)
    interrupted: bool = False  # it was asked to end before the end of its files
    marks: MarkRows = field(default_factory=lambda: np.empty(0, MARK))
    idle_deaths: list[IdleDeaths] = field(default_factory=list)  # what the finding of that name rests on
    silences: SilenceRows = field(default_factory=lambda: np.empty(0, SILENCE))  # what these rest on

    @property
    def episodes(self) -> list[Episode]:
        """Every episode of every prober, in time order."""
        found = [episode for c in self.connections for prober in c.probers for episode in prober.episodes]
        return sorted(found, key=lambda episode: episode.probes[0].time_ns)

    @property
    def probes(self) -> list[Probe]:
        """Every probe, in time order."""
        return sorted((p for episode in self.episodes for p in episode.probes), key=lambda probe: probe.time_ns)

    def frame_name(self, frame: FrameRef | None) -> int | str | None:
        """Return a frame as records write it: its number, or ``"name:12"`` where there are several files."""
        if frame is None:
            return None
        return frame.number if len(self.capture.files) < 2 else f"{self.capture.files[frame.file]}:{frame.number}"
