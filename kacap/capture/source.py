"""Several files, globs, a pipe or a growing file as one capture: frame batches in time order, and what went wrong."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kacap.capture.blocks import Spares
from kacap.capture.breaks import Span, breaks_between
from kacap.capture.drops import shortened, total
from kacap.capture.filters import Filter
from kacap.capture.formats import never, open_reader
from kacap.capture.frames import FrameBatch
from kacap.capture.merge import Extent, Waiting, merge
from kacap.capture.records import RecordReader
from kacap.errors import CaptureError, Damage
from kacap.model import Break, Drop

PEEK_BYTES = 1 << 16
EARLIEST = int(np.iinfo(np.int64).min)


def open_captures(
    paths: Sequence[str],
    *,
    filter: str | None = None,
    follow: bool = False,
    stop: Callable[[], bool] | None = None,
    convert: bool = True,
    limit: int | None = None,
) -> Captures:
    """Open the captures named by ``paths`` (files, patterns, ``-`` for standard input) as one capture.

    A file named twice is read once. ``filter`` is a BPF expression. ``follow`` waits for more at the end of the
    file that begins last, until ``stop()`` returns True. It ends after ``limit`` frames that the filter takes. With
    ``convert`` tshark reads the formats that only it knows. Raises CaptureError when any of them cannot be opened
    or is not a capture, FilterError when libpcap refuses the expression (for an interface of a pcapng: at its first
    frame).
    """
    found = Captures(expand(paths), Filter(filter) if filter else None, follow, stop or never, convert)
    found.limit = limit
    return found


def expand(paths: Sequence[str]) -> list[str]:
    """Return the files that ``paths`` name, each once: a pattern is expanded when no file has that very name."""
    files: dict[object, str] = {}
    for path in paths:
        literal = path == "-" or os.path.exists(path)  # noqa: PTH110 (Path.exists raises where access is denied)
        names = [path] if literal else sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else [path]  # noqa: PTH207
        if not names:
            raise CaptureError(f"{path}: no file matches this pattern; check the path")
        for name in names:
            files.setdefault(_identity(name), name)
    if not files:
        raise CaptureError("no capture named; name a pcap or pcapng file, or - for standard input")
    return list(files.values())


def _identity(name: str) -> object:
    """Return what two names of one file have in common."""
    try:
        found = os.stat(name)  # noqa: PTH116 (a Path takes longer)
    except (OSError, ValueError):
        return name
    return name if name == "-" else (found.st_dev, found.st_ino)


class Captures:
    """Frames of all files in time order. Iterate once; ``files`` gives the names behind each frame's ``file``."""

    def __init__(self, files: list[str], filter: Filter | None, follow: bool, stop: Callable[[], bool], convert: bool):
        """Open ``files``; see ``open_captures``."""
        self.files = files
        self.frames = 0  # handed out or filtered out so far
        self.filtered_out = 0
        self.limit: int | None = None  # so many frames are handed out; None: all
        self._filter, self._follow, self._stop, self._convert = filter, follow, stop, convert
        self._late_damages: list[Damage] = []
        self._readers: dict[int, RecordReader] = {}
        self._spans: dict[int, Extent] = {}
        self._spares: Spares = []
        try:
            self._waiting = [self._once(0, follow)] if len(files) == 1 else self._peek()
            for link_type in self.link_types:
                if filter is not None:
                    filter.program(link_type)  # so that a mistake is reported before anything is read
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[FrameBatch]:
        """Yield batches of at least one frame; a batch's buffer is valid until the next is asked for."""
        try:
            for batch in merge(self._waiting, self._spans if len(self.files) > 1 else None):
                kept = self._sieve(batch)
                if len(kept.frames):
                    yield kept
                if self._left == 0:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Close every file that is still open."""
        for reader in self._readers.values():
            reader.close()

    @property
    def link_types(self) -> list[int]:
        """Link types that the files have declared so far, each once."""
        return list(dict.fromkeys(link for index in sorted(self._readers) for link in self._readers[index].link_types))

    @property
    def damages(self) -> list[Damage]:
        """Where files stopped making sense, in the order of the files."""
        damages = [damage for reader in self._readers.values() for damage in reader.damages]
        return sorted([*damages, *self._late_damages], key=lambda damage: self.files.index(damage.file))

    @property
    def breaks(self) -> list[Break]:
        """Where the files do not follow on one another, as far as they have been read."""
        return breaks_between([
            Span(self.files[index], extent.first_ns, extent.last_ns, extent.silence_ns)
            for index, extent in sorted(self._spans.items())
        ])

    @property
    def notes(self) -> list[str]:
        """Remarks about the files, one line each: frames without a time."""
        return [
            f"{reader.name}: {untimed:,} frames in Simple Packet Blocks carry no time; each has its predecessor's"
            for _, reader in sorted(self._readers.items())
            if (untimed := int(reader.cursor[0]["untimed"]))
        ]

    @property
    def dropped_kernel(self) -> int | None:
        """Packets that the kernel dropped, by the files' own count; None: they do not say."""
        return total(reader.dropped_kernel for reader in self._readers.values())

    @property
    def dropped_interface(self) -> int | None:
        """Packets that the interfaces dropped, by the files' own count; None: they do not say."""
        return total(reader.dropped_interface for reader in self._readers.values())

    @property
    def drops(self) -> list[Drop]:
        """When frames were lost, as far as the files say."""
        return shortened(drop for reader in self._readers.values() for drop in reader.drops)

    @property
    def _left(self) -> int | None:
        """How many frames may still be handed out; None: any number."""
        return None if self.limit is None else self.limit - (self.frames - self.filtered_out)

    def _sieve(self, batch: FrameBatch) -> FrameBatch:
        """Count the frames; leave out those that the filter rejects, and those after the last that may be taken."""
        taken = np.ones(len(batch.frames), np.bool_) if self._filter is None else self._filter.matches(batch)
        at = np.flatnonzero(taken)
        seen = len(taken) if self._left is None or len(at) < self._left else int(at[self._left - 1]) + 1
        kept = batch.frames[:seen][taken[:seen]] if seen < len(taken) or len(at) < seen else batch.frames
        self.frames += seen
        self.filtered_out += seen - len(kept)
        return FrameBatch(batch.buffer, kept)

    def _once(self, index: int, follow: bool) -> Waiting:
        """Open for good what is alone, or cannot be opened twice: it begins at once."""
        reader = self._open(index, follow)
        return Waiting(EARLIEST, index, lambda: reader)

    def _peek(self) -> list[Waiting]:
        """Look at the first frame of each file for the order; pipes come first."""
        regular = [name != "-" and os.path.isfile(name) for name in self.files]  # noqa: PTH113 (a Path takes longer)
        files = [index for index, is_file in enumerate(regular) if is_file]
        waiting = [self._once(index, False) for index, is_file in enumerate(regular) if not is_file]
        first_ns = {index: self._first_ns(index) for index in files}
        last = max(files, key=lambda index: (first_ns[index], index), default=None)
        return waiting + [Waiting(first_ns[i], i, self._opener(i, self._follow and i == last)) for i in files]

    def _first_ns(self, index: int) -> int:
        """Return the time of the file's first frame; a time before all others if it has no frame."""
        reader = self._open(index, False, PEEK_BYTES)
        try:
            first_ns = reader.first_ns()
            return EARLIEST if first_ns is None else first_ns
        finally:
            reader.close()

    def _opener(self, index: int, follow: bool) -> Callable[[], RecordReader | None]:
        """Return what opens the file again when its turn has come; a file gone since is damage."""

        def open_again() -> RecordReader | None:
            try:
                return self._open(index, follow)
            except CaptureError as error:
                name = self.files[index]
                self._late_damages.append(Damage(name, 0, 0, str(error).removeprefix(f"{name}: ")))
                return None

        return open_again

    def _open(self, index: int, follow: bool, size: int | None = None) -> RecordReader:
        """Open one file and remember its reader."""
        options: dict[str, Any] = {"spares": self._spares} if size is None else {"size": size}
        options["convert"] = self._convert
        self._readers[index] = open_reader(self.files[index], index, follow=follow, stop=self._stop, **options)
        return self._readers[index]
