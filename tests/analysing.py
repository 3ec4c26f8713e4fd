"""The shipped captures, and what kacap makes of them however they are fed: for tests of the whole path."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer
from kacap.capture import open_captures
from kacap.capture.frames import FRAME, FrameBatch
from kacap.model import Endpoint, FrameRef
from kacap.news import each
from kacap.options import Options
from kacap.wire import SkipReason, decode

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
POPULATION = "lab/population"
SUFFIXES = (".pcap", ".pcapng", ".gz")


@cache
def every_case() -> tuple[str, ...]:
    """Every ``family/case`` that ships a capture, the population last."""
    found = {str(path.parent.relative_to(CAPTURES)) for path in CAPTURES.glob("*/*/*") if path.suffix in SUFFIXES}
    return tuple(sorted(found, key=lambda case: (case == POPULATION, case)))


def small_cases() -> list[str]:
    """Every case but the population."""
    return [case for case in every_case() if case != POPULATION]


def files_of(case: str) -> list[str]:
    """The files of a case in the order of their names; both-ends holds two captures of one thing: the prober's."""
    files = sorted(str(path) for path in (CAPTURES / case).iterdir() if path.suffix in SUFFIXES)
    return [name for name in files if Path(name).name != "peer.pcapng"]


def bytes_of(case: str) -> int:
    """How large the files of a case are."""
    return sum(Path(name).stat().st_size for name in files_of(case))


@cache
def frames_of(case: str) -> FrameBatch:
    """All frames of a case in one batch that stays valid."""
    return frames_in(files_of(case))


def frames_in(files: Sequence[str]) -> FrameBatch:
    """All frames of some files in one batch of its own."""
    buffers, rows, start = [], [], 0
    for batch in open_captures(list(files)):
        frames = batch.frames.copy()
        frames["offset"] += start
        start += len(batch.buffer)
        buffers.append(batch.buffer.copy())
        rows.append(frames)
    return FrameBatch(np.concatenate(buffers), np.concatenate([np.zeros(0, FRAME), *rows]))


@cache
def segments_of(case: str) -> np.ndarray:
    """The decoded SEGMENT rows of a case; copy before changing them."""
    rows = decode(frames_of(case), np.zeros(len(SkipReason), np.int64)).copy()
    rows.setflags(write=False)
    return rows


def pieces(batch: FrameBatch, cuts: Iterable[int]) -> list[FrameBatch]:
    """A batch cut before the frames given."""
    bounds = [0, *sorted(cuts), len(batch.frames)]
    return [FrameBatch(batch.buffer, batch.frames[a:b]) for a, b in itertools.pairwise(bounds)]


def spelled(value: object) -> str:
    """A value with everything in it that counts when it is compared, whatever its own repr leaves out."""
    return _speller(type(value))(value)


@cache
def _speller(kind: type) -> Callable[[Any], str]:
    """What spells values of a type: it is looked at once, as there are millions of values."""
    if is_dataclass(kind):
        names = [one.name for one in fields(kind) if one.compare]
        words = f"{kind.__name__}({', '.join(f'{name}={{}}' for name in names)})".format
        return lambda value: words(*[spelled(getattr(value, name)) for name in names])
    if issubclass(kind, Sequence) and not issubclass(kind, str | bytes | FrameRef | Endpoint):
        return lambda value: f"[{', '.join(map(spelled, value))}]"
    if issubclass(kind, dict):
        return lambda value: f"{{{', '.join([f'{spelled(key)}: {spelled(each)}' for key, each in value.items()])}}}"
    return repr


@dataclass
class Heard:
    """What an analyzer told, each record as it was when it was told, and the analysis."""

    records: list[str] = field(default_factory=list)
    objects: list[object] = field(default_factory=list)
    analysis: Analysis = field(default_factory=Analysis)

    def take(self, record: object) -> None:
        """Be the sink: what changes after it was told was not final."""
        self.records.append(spelled(record))
        self.objects.append(record)

    def of(self, kind: type) -> list:
        """The records of one type."""
        return [record for record in self.objects if isinstance(record, kind)]

    @cached_property
    def comparable(self) -> tuple:
        """Everything that must not depend on how the capture was fed, once all is told."""
        analysis = self.analysis
        return sorted(self.records), summary(analysis), analysis.marks.tolist()


def summary(analysis: Analysis) -> str:
    """Everything that an analysis holds but marks."""
    connections, unprobed = (analysis.connections, analysis.episodes), analysis.unprobed
    return spelled((analysis.capture, connections, unprobed, analysis.findings, analysis.clocks))


def listener(heard: Heard, **options) -> Analyzer:
    """An analyzer that tells everything, marks included."""
    return Analyzer(Options(**{"segments": "all", "marks": True, **options}), sink=each(heard.take))


def analyse_frames(batches: Sequence[FrameBatch], *, advance: bool = False, **options) -> Heard:
    """Feed batches one by one; ``advance``: say the time after each, and some time later too."""
    heard = Heard()
    analyzer = listener(heard, **options)
    for batch in batches:
        analyzer.feed(batch)
        if advance and len(batch.frames):
            now_ns = int(batch.frames["time_ns"][-1])
            analyzer.advance(now_ns)
            analyzer.advance(now_ns + 3_600_000_000_000)
    heard.analysis = analyzer.finish()
    return heard


def analyse_segments(segments: np.ndarray, **options) -> Heard:
    """Feed SEGMENT rows, whoever decoded them."""
    heard = Heard()
    analyzer = listener(heard, **options)
    analyzer.gather(analyzer.track(segments.copy()))
    heard.analysis = analyzer.finish()
    return heard


@cache
def whole(case: str) -> Heard:
    """What kacap makes of a case fed in one piece; shared, so leave it as it is."""
    return analyse_frames([frames_of(case)])
