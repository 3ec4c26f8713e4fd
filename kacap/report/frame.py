"""One frame explained: what it is, why, what it could be mistaken for, and what lies around it."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TextIO

from kacap.analysis import Analysis
from kacap.classify.kinds import TABLE, Grade, Kind
from kacap.connections import by_number
from kacap.facts.verdicts import other_answer
from kacap.model import Episode, FrameRef, Probe, SegmentRecord
from kacap.report.sentences import ENDINGS, GRADES
from kacap.units import clean, counted, duration, moment

AROUND = 4  # segments of the same connection shown on either side
KEY = 14

KINDS = {kind.word: row for kind, row in TABLE.items()}
NOT_KEEPALIVES = (Kind.WINDOW_PROBE.word, Kind.RETRANSMISSION.word)


class Neighbourhood:
    """A sink for ``kacap.read`` that keeps one frame's segment, and a few of its connection before and after it.

    Memory: a few records for each connection until the frame is found, then only its own connection's. Records come
    when they are final, so a little out of order; ``before`` and ``after`` sort that out.
    """

    def __init__(self, frame: FrameRef) -> None:
        self.frame = frame
        self.found: SegmentRecord | None = None
        self._recent: dict[int, deque[SegmentRecord]] = {}
        self._later: list[SegmentRecord] = []

    def __call__(self, record: object) -> None:
        """Hear of one record."""
        if not isinstance(record, SegmentRecord):
            return
        if record.frame == self.frame:
            self.found = record
        elif self.found is None:
            self._recent.setdefault(record.connection, deque(maxlen=4 * AROUND)).append(record)
        elif record.connection == self.found.connection and len(self._later) < 4 * AROUND:
            self._later.append(record)

    def around(self) -> list[SegmentRecord]:
        """Return up to nine segments of the frame's connection in time order, the frame itself among them."""
        if self.found is None:
            return []
        mine = [*self._recent.get(self.found.connection, ()), self.found, *self._later]
        mine.sort(key=lambda record: (record.time_ns, record.frame))
        here = mine.index(self.found)
        return mine[max(0, here - AROUND) : here + AROUND + 1]


def render(analysis: Analysis, out: TextIO, heard: Neighbourhood) -> None:
    """Write what is known of the frame that ``heard`` listened for."""
    for line in _lines(analysis, heard):
        out.write(clean(line) + "\n")


def _lines(analysis: Analysis, heard: Neighbourhood) -> list[str]:
    """Return the report, line by line."""
    found, name = heard.found, analysis.frame_name(heard.frame)
    if found is None:
        return [f"frame {name}  not a TCP segment that kacap decodes", f"  {'left out':<{KEY}}{_reasons(analysis)}"]
    row = KINDS[found.kind]
    start = analysis.capture.first_ns if analysis.capture.first_ns is not None else found.time_ns
    title = row.title.upper() + (", not a keepalive" if found.kind in NOT_KEEPALIVES else "")
    facts = [
        ("why", found.reason),
        ("confidence", _confidence(found)),
        ("rule", f"{row.rule} ({row.source})"),
        ("mistaken for", row.mistaken_for),
        *_story(analysis, found),
    ]
    return [
        f"frame {name}  {duration(found.time_ns - start)}  {title}",
        f"  {found.source} -> {found.destination}, {moment(found.time_ns)} (connection {found.connection})",
        *(f"  {key:<{KEY}}{words}" for key, words in facts if words not in ("", "-")),
        *_around(analysis, heard.around(), found),
    ]


def _confidence(found: SegmentRecord) -> str:
    """Return the grade in words; only a probe's grade has more to say than its name."""
    probing = found.kind in (Kind.PROBE.word, Kind.WINDOW_PROBE.word) or found.grade != Grade.PROVEN.word
    return GRADES[found.grade] if probing else found.grade


def _reasons(analysis: Analysis) -> str:
    """Return why frames of this capture were left out: the reason itself where there is only one."""
    skipped = analysis.capture.skipped
    if len(skipped) == 1:
        return next(iter(skipped))
    return ", ".join(f"{count:,} {reason}" for reason, count in skipped.items()) + " in this capture"


def _story(analysis: Analysis, found: SegmentRecord) -> list[tuple[str, str]]:
    """Return what a frame is to the probes of its connection: which it answers, what answers it, what it ends."""
    own = by_number(analysis.connections, {found.connection}).values()
    episodes = [episode for one in own for prober in one.probers for episode in prober.episodes]
    facts: list[tuple[str, str]] = []
    for episode in sorted(episodes, key=lambda episode: episode.probes[0].time_ns):
        for probe in episode.probes:
            if probe.frame == found.frame:
                facts += [("answer", _answer(analysis, probe)), ("gaps", _gaps(episode))]
            if probe.reply_frame == found.frame and probe.reply_after_ns is not None:
                asked = analysis.frame_name(probe.frame)
                facts.append(("answers", f"frame {asked}, {duration(probe.reply_after_ns)} earlier"))
        if episode.ending_frame == found.frame and found.kind != Kind.REPLY.word:
            facts.append(("ends", f"{counted(len(episode.probes), 'probe')}: {_meaning(episode)}"))
    return facts


def _answer(analysis: Analysis, probe: Probe) -> str:
    """Return what came back for a probe."""
    if probe.reply_after_ns is None:
        return "none came"
    by = f", by {other}" if (other := other_answer(probe)) else ""
    return f"frame {analysis.frame_name(probe.reply_frame)}{by}, {duration(probe.reply_after_ns)} later"


def _gaps(episode: Episode) -> str:
    """Return the silence before a run of probes and the gaps within it."""
    heard = episode.first_gap_ns
    silence = [] if heard is None else [f"{duration(heard)} after the peer was last heard"]
    within = [duration(later.time_ns - earlier.time_ns) for earlier, later in pairwise(episode.probes)]
    more = [f"then {', '.join(within[:8])}{', ...' if len(within) > 8 else ''} between probes"] if within else []
    return ", ".join(silence + more)


def _meaning(episode: Episode) -> str:
    """Return what an episode's ending means."""
    return next(row.meaning for ending, row in ENDINGS.items() if ending == episode.ending)


def _around(analysis: Analysis, segments: list[SegmentRecord], found: SegmentRecord) -> list[str]:
    """Return the frame's neighbours on its connection, each with its distance in time."""
    if len(segments) < 2:
        return []
    names = [str(analysis.frame_name(one.frame)) for one in segments]
    width = max(map(len, names))
    lines = []
    for name, one in zip(names, segments, strict=True):
        apart = one.time_ns - found.time_ns
        when = "this frame" if one is found else f"{'-' if apart < 0 else '+'}{duration(abs(apart))}"
        lines.append(f"    frame {name:>{width}}  {when:>11}  {one.kind:<15}  {one.source} -> {one.destination}")
    return ["  around it", *lines]
