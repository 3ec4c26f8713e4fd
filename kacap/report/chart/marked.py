"""The findings of one connection as marks on its timeline: a number at the frame that shows it, the sentence above."""

from __future__ import annotations

from dataclasses import dataclass

from kacap.analysis import Analysis, MarkRows
from kacap.model import Connection, FrameRef

MOST = 5


@dataclass(frozen=True, slots=True)
class Marked:
    """A finding with its number, when its frame was seen (None: not known), nanoseconds, and in short what it is."""

    number: int
    time_ns: int | None
    name: str
    sentence: str


def marked(analysis: Analysis, connection: Connection, rows: MarkRows) -> list[Marked]:
    """Return the gravest findings of a connection; ``rows`` are its marks."""
    own = [f for f in analysis.findings if f.connection == connection.connection and not f.folded][:MOST]
    if not own:
        return []
    times = {FrameRef(file, frame): at_ns for file, frame, at_ns in rows[["file", "frame", "time_ns"]].tolist()}
    for prober in connection.probers:
        for episode in prober.runs:
            for probe in episode.probes:
                times.setdefault(probe.frame, probe.time_ns)
                if probe.reply_frame is not None and probe.reply_after_ns is not None:
                    times.setdefault(probe.reply_frame, probe.time_ns + probe.reply_after_ns)
    found = []
    for number, finding in enumerate(own, 1):
        at = next((times[frame] for frame in reversed(finding.frames) if frame in times), None)
        found.append(Marked(number, at, finding.id.replace("-", " "), finding.sentence))
    return found
