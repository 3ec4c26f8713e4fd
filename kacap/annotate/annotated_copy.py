"""A capture with its analysis written into it: packet comments on the frames of evidence, all else as it was.

Two passes: the first analyses (what it keeps are the few objects of an ``Analysis``), the second copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer, Decode
from kacap.annotate.anonymise import Anonymiser
from kacap.annotate.notes import TELLING, Name, notes
from kacap.capture import open_captures
from kacap.capture.formats import open_reader
from kacap.capture.frames import FrameBatch, FrameRows
from kacap.capture.records import RecordReader
from kacap.capture.rewrite import PLAN, Piece, PlanRows, Rewriter, pieces
from kacap.capture.source import expand
from kacap.capture.tshark.engine import decoder
from kacap.classify.tracker import Tracked
from kacap.errors import CaptureError, Damage, UsageError
from kacap.facts.standing import numbers_of
from kacap.model import FrameRef, SegmentRecord
from kacap.news import News, Sink
from kacap.options import Options
from kacap.pipeline import conclude, run
from kacap.segments import SegmentRows
from kacap.timing.expectations import Expectation, Expected
from kacap.wire.fields import LINK_NFLOG
from kacap.wire.headers import headers_of
from kacap.wire.replace import replace_addresses

COMMENT_LIMIT = 0xFFFC  # bytes, padding included: an option's length is 16 bits


@dataclass(frozen=True, slots=True)
class Changes:
    """What else is done to the copy: ``only`` the frames of evidence, ``headers_only``, other addresses."""

    only: bool = False
    headers_only: bool = False
    anonymiser: Anonymiser | None = None


@dataclass(slots=True)
class Annotated:
    """What came of it: the analysis, how many frames were written, how many of them carry a comment."""

    analysis: Analysis
    frames: int = 0
    commented: int = 0
    without_room: int = 0  # frames in Simple Packet Blocks: those have no place for a comment
    damages: list[Damage] = field(default_factory=list)


def annotate(
    paths: str | Sequence[str],
    out: BinaryIO,
    changes: Changes | None = None,
    *,
    expect: Expected | Expectation | str | None = None,
) -> Annotated:
    """Write the captures ``paths`` to ``out`` as one pcapng, with comments; ``expect`` is as in ``kacap.Options``.

    Several files follow one another as sections, in the order of their first frames. Raises UsageError for standard
    input, which cannot be read twice, and CaptureError as ``kacap.read`` does.
    """
    changes = changes or Changes()
    files = expand([paths] if isinstance(paths, str) else paths)
    if "-" in files:
        raise UsageError("-: a pipe cannot be read twice; save it first: tcpdump -w FILE")
    before = _identities(files)
    survey = Survey(files, changes, Options(segments="events", marks=False, expect=expect))
    comments = Comments(survey, changes.only)
    result = Annotated(survey.analysis)
    for index in survey.order:
        reader = open_reader(files[index], index, whole=True)
        try:
            _copy(reader, comments, changes, out, result)
        finally:
            reader.close()
        result.without_room += int(reader.cursor[0]["untimed"])
        result.damages += reader.damages
    for name, one, other in zip(files, before, _identities(files), strict=True):
        if one != other:
            raise CaptureError(f"{name}: changed while it was annotated; copy it first")
    return result


def _identities(files: Sequence[str]) -> list[tuple[int, ...]]:
    """Return what tells whether a file is the same, and its content, the next time; empty where it is gone."""
    found: list[tuple[int, ...]] = []
    for name in files:
        try:
            status = Path(name).stat()
            found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
        except (OSError, ValueError):
            found.append(())
    return found


class Watcher(Analyzer):
    """An analyzer that also notes the first frame of each connection."""

    def __init__(self, options: Options, *, sink: Sink, decoder: Decode) -> None:
        super().__init__(options, sink=sink, decoder=decoder)
        self._next = 0
        self._firsts: list[NDArray[np.int64]] = []

    def track(self, segments: SegmentRows) -> Tracked:
        """Classify SEGMENT rows, and note the first of each connection."""
        tracked = super().track(segments)
        at = np.flatnonzero((tracked.labels["slot"] >= 0) & (tracked.labels["id"] >= self._next))
        if len(at):
            new, where = np.unique(tracked.labels["id"][at], return_index=True)
            rows = segments[at[where]]
            self._firsts.append(np.column_stack([new, rows["file"], rows["frame"]]).astype(np.int64))
            self._next = int(new[-1]) + 1
        return tracked

    def firsts(self, wanted: Iterable[int]) -> dict[int, FrameRef]:
        """Return the first frame of each of the connections ``wanted``."""
        table = np.concatenate([np.zeros((0, 3), np.int64), *self._firsts])
        rows = table[np.isin(table[:, 0], list(wanted))].tolist()
        return {number: FrameRef(file, frame) for number, file, frame in rows}


class Survey:
    """The first pass: the analysis, the segments that get a comment, and the number of frames in each file."""

    def __init__(self, files: list[str], changes: Changes, options: Options) -> None:
        self.counts = [0] * len(files)
        self._first_ns: list[int | None] = [None] * len(files)
        self.telling: list[SegmentRecord] = []
        # What only tshark can decode has its addresses where nobody here can replace them.
        decode = decoder("auto" if changes.anonymiser is None else "kacap")
        source = open_captures(files)
        analyzer = Watcher(options, sink=self._hear, decoder=decode)
        try:
            run(self._watch(source, changes.anonymiser), analyzer)
        finally:
            source.close()
            decode.close()
        self.analysis = conclude(source, analyzer)
        self.first = analyzer.firsts(numbers_of(self.analysis.connections))

    @property
    def order(self) -> list[int]:
        """The files by the time of their first frames; those without any come first."""
        return sorted(range(len(self.counts)), key=lambda index: (self._first_ns[index] or 0, index))

    def _hear(self, news: News) -> None:
        """Keep the records of segments that deserve a comment of their own."""
        self.telling += news.segments(TELLING)

    def _watch(self, source: Iterable[FrameBatch], anonymiser: Anonymiser | None) -> Iterator[FrameBatch]:
        """Hand on the batches as the copy will hold them, and count their frames."""
        for batch in source:
            for index in np.unique(batch.frames["file"]).tolist():
                rows = batch.frames[batch.frames["file"] == index]
                self.counts[index] = int(rows["frame"][-1])
                if self._first_ns[index] is None:
                    self._first_ns[index] = int(rows["time_ns"][0])
            yield batch if anonymiser is None else _replaced(batch, anonymiser)


def _replaced(batch: FrameBatch, anonymiser: Anonymiser) -> FrameBatch:
    """Return a batch of its own memory with other addresses."""
    frames = batch.frames.copy()
    start = int(frames["offset"].min())
    buffer = batch.buffer[start : int((frames["offset"] + frames["captured_len"]).max())].copy()
    frames["offset"] -= start
    replace_addresses(buffer, frames, anonymiser)
    return FrameBatch(buffer, frames)


class Comments:
    """The comment of each frame of evidence, as bytes, in the order of the copy."""

    def __init__(self, survey: Survey, only: bool) -> None:
        kept = sorted(self._texts(survey, str)) if only else []
        self._ranks: dict[FrameRef, int] = {}
        self._base: dict[int, int] = {}  # frames of the copy before those of a file
        base = 0
        for file in survey.order:
            numbers = [ref for ref in kept if ref.file == file]
            self._ranks |= {ref: base + rank for rank, ref in enumerate(numbers, 1)}
            self._base[file] = base
            base += len(numbers) if only else survey.counts[file]
        frames = self._texts(survey, self._name)
        refs = sorted(frames)
        encoded = [_comment(frames.pop(ref)) for ref in refs]  # there may be millions
        lengths = np.array([len(text) for text in encoded], np.int64)
        self.texts = np.frombuffer(b"".join(encoded) or b"\0", np.uint8)
        self._starts, self._lengths = np.cumsum(lengths) - lengths, lengths
        self._frames = np.array(refs, np.int64).reshape(-1, 2)

    @staticmethod
    def _texts(survey: Survey, name: Name) -> dict[FrameRef, list[str]]:
        return notes(survey.analysis, survey.first, survey.telling, name)

    def _name(self, frame: FrameRef) -> str:
        """Return the number that a frame has in the copy."""
        return str(self._ranks.get(frame) or self._base[frame.file] + frame.number)

    def plans(self, rows: FrameRows, file: int, changes: Changes) -> PlanRows:
        """Return the plan (PLAN) for some consecutive frames of a file, lengths as captured."""
        plans = np.zeros(len(rows), PLAN)
        plans["captured"], plans["keep"] = rows["captured_len"], not changes.only
        mine = np.flatnonzero(self._frames[:, 0] == file)
        numbers = self._frames[mine, 1]
        first, last = (int(rows["frame"][0]), int(rows["frame"][-1])) if len(rows) else (1, 0)
        commented = mine[(numbers >= first) & (numbers <= last)]
        at = self._frames[commented, 1] - first
        plans["text"][at], plans["text_len"][at] = self._starts[commented], self._lengths[commented]
        plans["keep"][at] = True
        return plans


def _comment(said: list[str]) -> bytes:
    """Return a packet comment of what is said about one frame."""
    text = f"kacap: {'; '.join(said)}".encode("utf-8", "replace")
    return text if len(text) <= COMMENT_LIMIT else text[:COMMENT_LIMIT].decode("utf-8", "ignore").encode()


def _copy(reader: RecordReader, comments: Comments, changes: Changes, out: BinaryIO, result: Annotated) -> None:
    """Copy one file, piece by piece."""
    rewriter = Rewriter(reader, comments.texts, private=changes.anonymiser is not None)
    for piece in pieces(reader):
        if piece.rows is None:
            out.write(rewriter.header(piece.data))
            continue
        plans = comments.plans(piece.rows, reader.index, changes)
        _shorten(piece, plans, changes)
        out.write(rewriter.frames(piece, plans))
        result.frames += int(plans["keep"].sum())
        result.commented += int((plans["text_len"] > 0).sum())


def _shorten(piece: Piece, plans: PlanRows, changes: Changes) -> None:
    """Cut payload as asked for, and replace addresses.

    With other addresses, frames that are no TCP segments end with their headers in any case: ARP aside, what follows
    (DNS, DHCP, neighbour discovery) is full of addresses.
    """
    rows = piece.rows
    if rows is None or not (changes.headers_only or changes.anonymiser):
        return
    lengths, segments = headers_of(piece.data, rows)
    cut = changes.headers_only | ~segments
    plans["captured"] = np.where(cut, lengths, plans["captured"])
    if changes.anonymiser is not None:
        plans["captured"][rows["link_type"] == LINK_NFLOG] = 0  # the kernel's notes on a packet name hosts, too
        replace_addresses(piece.data, rows, changes.anonymiser)
