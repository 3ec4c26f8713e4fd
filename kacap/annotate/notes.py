"""What the comments say: a short text for each frame of evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from kacap.analysis import Analysis
from kacap.classify.kinds import Ending, Kind
from kacap.clock import SECOND_NS
from kacap.connections import passing
from kacap.facts.standing import gravest
from kacap.facts.verdicts import of_prober, other_answer
from kacap.model import Connection, Episode, FrameRef, Probe, Prober, SegmentRecord, Setting
from kacap.report.sentences import ENDINGS, GRADES
from kacap.units import counted, duration

Name = Callable[[FrameRef], str]
Note = tuple[FrameRef, str]

# Segments outside of episodes that people take for keepalives or for their end.
TELLING = (Kind.WINDOW_PROBE, Kind.UNREACHABLE, Kind.RESET, Kind.ABORT)
NOT_KEEPALIVE = Kind.WINDOW_PROBE.word


def notes(
    analysis: Analysis, first: Mapping[int, FrameRef], telling: Iterable[SegmentRecord], name: Name
) -> dict[FrameRef, list[str]]:
    """Return the sentences for each frame of evidence, in order.

    ``first`` is the first frame of each connection by its number, ``telling`` the segments of the kinds TELLING;
    ``name`` says how a frame is called.
    """
    found: dict[FrameRef, list[str]] = {}
    for frame, text in _all(analysis, first, telling, name):
        sentences = found.setdefault(frame, [])
        if text not in sentences:
            sentences.append(text)
    return found


def _all(
    analysis: Analysis, first: Mapping[int, FrameRef], telling: Iterable[SegmentRecord], name: Name
) -> Iterator[Note]:
    """Yield every note: verdicts, then probes and what came of them, other segments, findings."""
    ends = set()
    for connection in passing(analysis.connections):
        if connection.probers and connection.connection in first:
            yield first[connection.connection], _verdict(connection)
        for prober in connection.probers:
            for episode in prober.episodes:
                yield from _episode(prober, episode, name)
                ends.add(episode.ending_frame)
    for segment in telling:
        if segment.frame not in ends:
            yield segment.frame, f"{segment.kind}{_not_a_keepalive(segment)}: {segment.reason}"
    for finding in analysis.findings:
        for frame in finding.frames:
            yield frame, f"finding {finding.id}: {finding.sentence}"


def _not_a_keepalive(segment: SegmentRecord) -> str:
    """Return a warning for a zero-window probe, else nothing."""
    return ", not a keepalive" if segment.kind == NOT_KEEPALIVE else ""


def _verdict(connection: Connection) -> str:
    """Return what is said about a whole connection."""
    other = "".join(f"; peer: {of_prober(prober).sentence}" for prober in gravest(connection)[1:])
    return f"connection {connection.connection}: {connection.verdict.sentence}{other}"


def _episode(prober: Prober, episode: Episode, name: Name) -> Iterator[Note]:
    """Yield the notes of a run of probes: each probe, its reply, and what ended the run."""
    run = len(episode.probes)
    befores: list[Probe | None] = [None, *episode.probes[:-1]]
    for number, (before, probe) in enumerate(zip(befores, episode.probes, strict=True), 1):
        of_run = f" {number} of a run of {run}" if run > 1 else ""
        parts = [f"keepalive probe{of_run}, {_answer(episode, probe, name)}", _timing(prober, episode, before, probe)]
        if probe.grade in GRADES and probe.grade != "proven":
            parts.append(GRADES[probe.grade])
        yield probe.frame, "; ".join(parts)
        if probe.reply_frame is not None and probe.reply_after_ns is not None:
            after = duration(probe.reply_after_ns)
            what = "reply to" if not (other := other_answer(probe)) else f"{other} that answers"
            yield probe.reply_frame, f"{what} the keepalive probe in frame {name(probe.frame)}, {after} after it"
    if episode.ending_frame is not None and episode.ending != Ending.ANSWERED:
        row = ENDINGS[Ending(episode.ending)]
        words = f"{row.total} after {counted(run, 'probe')}{_given_up(episode)}: {row.meaning}"
        yield episode.ending_frame, words


def _answer(episode: Episode, probe: Probe, name: Name) -> str:
    """Return what came of one probe."""
    if probe.reply_frame is not None:
        return f"answered in frame {name(probe.reply_frame)}"
    if episode.ending == Ending.RESET and probe is episode.probes[-1] and episode.ending_frame is not None:
        return f"answered with a reset in frame {name(episode.ending_frame)}"
    return "unanswered"


def _timing(prober: Prober, episode: Episode, before: Probe | None, probe: Probe) -> str:
    """Return when a probe came, and when it was expected where somebody said so."""
    if before is not None:
        return _came(prober.interval, probe.time_ns - before.time_ns, "the last")
    if episode.first_gap_ns is None:
        return "the silence before it began before the capture"
    return _came(prober.idle, episode.first_gap_ns, "the peer was last heard")


def _came(setting: Setting, gap_ns: int, since: str) -> str:
    """Return ``expected 2 s after the last, came 2.02 s after``."""
    if setting.expected is None:
        return f"came {duration(gap_ns)} after {since}"
    return f"expected {duration(setting.expected * SECOND_NS)} after {since}, came {duration(gap_ns)} after"


def _given_up(episode: Episode) -> str:
    """Return how long after the last probe an abort came."""
    if episode.ending not in (Ending.GAVE_UP, Ending.USER_TIMEOUT) or len(episode.gaps_ns) < len(episode.probes):
        return ""
    return f", {duration(episode.gaps_ns[-1])} after the last"
