"""kacap's kinds beside tshark's labels for every segment of one capture; what differs is kept, the rest counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from kacap.analysis import Analysis
from kacap.capture.tshark.labels import Labelled, labelled
from kacap.classify.kinds import Kind
from kacap.compare.explanations import Explanation, Seen, reason
from kacap.compare.labels import AGREE, alike, role
from kacap.model import Connection, Endpoint, FrameRef, Probe, SegmentRecord

NOBODY = Labelled(0, (), None)
_MISSED, _WINDOW_PROBE, _FIN, _RESET, _FILE = "missed-probe", "window-probe", "fin", "reset", "file"
_UNHEARD = "unheard"  # what the other side sent last, no segment of this one has acknowledged


@dataclass(slots=True)
class Difference:
    """A segment that they call by different names, and the row of ``reasons.TABLE`` that says why."""

    record: SegmentRecord
    labels: tuple[str, ...]
    why: Explanation

    @property
    def role(self) -> str:
        """What tshark calls it; empty: nothing."""
        return role(self.labels)


@dataclass(slots=True)
class LabelComparison:
    """What came out: segments looked at, agreements by (kind, label), and every difference, in order."""

    analysis: Analysis
    segments: int = 0
    agreed: Counter[tuple[str, str]] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


@dataclass(slots=True)
class LabelComparer:
    """The sink of ``kacap.read``: takes every segment and compares its kind with tshark's labels."""

    labels: dict[FrameRef, Labelled]
    agreed: Counter[tuple[str, str]] = field(default_factory=Counter)
    differing: list[tuple[SegmentRecord, Labelled, set[str]]] = field(default_factory=list)
    replies: dict[FrameRef, Probe] = field(default_factory=dict)
    marks: dict[tuple[int, Endpoint], set[str]] = field(default_factory=dict)
    began: dict[int, int] = field(default_factory=dict)  # connection to the file where it began

    def __call__(self, record: object) -> None:
        """Take one record."""
        if isinstance(record, Probe) and record.reply_frame is not None:
            self.replies[record.reply_frame] = record
        if isinstance(record, SegmentRecord) and record.kind in AGREE:
            self._segment(record)

    def _segment(self, record: SegmentRecord) -> None:
        """Count an agreement, or keep a difference with what its sender did before."""
        found = self.labels.get(record.frame, NOBODY)
        marks = self.marks.setdefault((record.connection, record.source), set())
        self.began.setdefault(record.connection, record.frame.file)
        if alike(record.kind, found.labels):
            self.agreed[record.kind, role(found.labels)] += 1
        else:
            earlier = {_FILE} if self.began.get(record.connection, record.frame.file) < record.frame.file else set()
            self.differing.append((record, found, marks | earlier))
        mark = _mark(record, found)
        if mark:
            marks.add(mark)
        marks.discard(_UNHEARD)
        if record.kind in (Kind.SYN.word, Kind.DATA.word, Kind.FIN.word):
            self.marks.setdefault((record.connection, record.destination), set()).add(_UNHEARD)


def _mark(record: SegmentRecord, found: Labelled) -> str:
    """Return what a segment does to how tshark sees the next ones of its sender; empty: nothing."""
    if record.kind == Kind.PROBE.word and "keep_alive" not in found.labels:
        return _MISSED
    if record.kind == Kind.WINDOW_PROBE.word and "zero_window_probe" in found.labels:
        return _WINDOW_PROBE
    return {Kind.FIN.word: _FIN, Kind.RST.word: _RESET}.get(record.kind, "")


def compare(files: list[str]) -> LabelComparison:
    """Read the captures twice, by kacap and by tshark, and compare. Raises KacapError."""
    import kacap

    heard = LabelComparer({FrameRef(i, found.frame): found for i, name in enumerate(files) for found in labelled(name)})
    analysis = kacap.read(files, keep_all=True, segments="all", sink=heard)
    result = LabelComparison(analysis, sum(heard.agreed.values()) + len(heard.differing), heard.agreed)
    beyond = _beyond_tshark(list(analysis.connections))
    for record, found, marks in sorted(heard.differing, key=lambda each: (each[0].time_ns, each[0].frame)):
        seen = Seen(record.kind, record.grade, record.reason, role(found.labels), found.labels, found.seq,
                    earlier=marks | beyond.get(record.connection, set()))  # fmt: skip
        probe = heard.replies.get(record.frame)
        if probe is not None:
            known = heard.labels.get(probe.frame, NOBODY)
            seen.probe_known, seen.before_probe = "keep_alive" in known.labels, probe.time_ns > record.time_ns
        result.differences.append(Difference(record, found.labels, reason(seen)))
    return result


def _beyond_tshark(connections: list[Connection]) -> dict[int, set[str]]:
    """Return, by connection, what of it tshark cannot know: its beginning, other connections of the same ports."""
    found = {each.connection: {"unseen"} for each in connections if not each.began_in_capture}
    for one, two in _pairs(connections):
        if two.first_ns <= one.last_ns:
            found.setdefault(one.connection, set()).add("encapsulations")
            found.setdefault(two.connection, set()).add("encapsulations")
        elif not two.began_in_capture:
            found.setdefault(two.connection, set()).add("reused")
    return found


def _pairs(connections: list[Connection]) -> Iterator[tuple[Connection, Connection]]:
    """Yield each connection with the one before it between the same ends."""
    last: dict[frozenset[Endpoint], Connection] = {}
    for connection in sorted(connections, key=lambda each: each.first_ns):
        endpoints = frozenset((connection.a, connection.b))
        if endpoints in last:
            yield last[endpoints], connection
        last[endpoints] = connection
