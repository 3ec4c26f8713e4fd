"""Several files, globs, a pipe or a growing file as one capture: frame batches in time order, and what went wrong."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kacap.capture.blocks import BLOCK_BYTES, Spares
from kacap.capture.breaks import Span, breaks_between
from kacap.capture.drops import shortened, total
from kacap.capture.earlier import Earlier
from kacap.capture.filters import Filter
from kacap.capture.formats import never, open_reader
from kacap.capture.frames import FrameBatch
from kacap.capture.merge import EARLIEST, Waiting, merge
from kacap.capture.records import RecordReader
from kacap.errors import CaptureError, Damage
from kacap.summary import Break, Drop

PEEK_BYTES = 1 << 12
MOST_FILES = 1 << 15  # a frame is kept as one number of 64 bits, its file in the upper 16


def open_captures(
    paths: Sequence[str],
    *,
    filter: str | None = None,
    follow: bool = False,
    stop: Callable[[], bool] | None = None,
    convert: bool = True,
    earlier: Earlier | None = None,
    limit: int | None = None,
    whole: bool = False,
) -> Captures:
    """Open the captures named by ``paths`` (files, patterns, ``-`` for standard input) as one capture.

    A file named twice is read once. ``filter`` is a BPF expression. ``follow`` waits for more at the end of the
    file that begins last; when ``stop()`` returns True, or after ``limit`` frames that the filter takes, reading ends.
    With ``convert`` tshark reads the formats that only it knows. ``earlier`` is what was read before: its files go
    before these. Who writes frames wants them ``whole``; else none is longer than a packet can be. Raises CaptureError
    when any of them cannot be opened or is not a capture, FilterError when libpcap refuses the expression (for an
    interface of a pcapng: at its first frame).
    """
    found = Captures(expand(paths), Filter(filter) if filter else None, follow, stop or never, convert, earlier)
    found.limit, found.whole = limit, whole
    found.start()
    return found


def expand(paths: Sequence[str]) -> list[str]:
    """Return the files that ``paths`` name, each once: a pattern is expanded when no file has that very name."""
    files: dict[object, str] = {}
    for path in paths:
        identity = _identity(path)
        if identity is not path or path == "-" or not glob.has_magic(path):
            files.setdefault(identity, path)
        elif names := sorted(glob.glob(path, recursive=True)):  # noqa: PTH207
            for name in names:
                files.setdefault(_identity(name), name)
        else:
            raise CaptureError(f"{path}: no file matches this pattern; check the path")
    if not files:
        raise CaptureError("no capture named; name a pcap or pcapng file, or - for standard input")
    return list(files.values())


def _identity(name: str) -> object:
    """Return what two names of one file have in common; the name itself where there is no file."""
    try:
        found = os.stat(name)  # noqa: PTH116 (a Path takes longer)
    except (OSError, ValueError):
        return name
    return name if name == "-" else (found.st_dev, found.st_ino)


class Captures:
    """Frames of all files in time order. Iterate once; ``files`` gives the names behind each frame's ``file``."""

    def __init__(
        self,
        files: list[str],
        filter: Filter | None,
        follow: bool,
        stop: Callable[[], bool],
        convert: bool,
        earlier: Earlier | None = None,
    ):
        """Name ``files``; see ``open_captures``."""
        self._earlier = earlier or Earlier()
        self.files = [*self._earlier.files, *files]
        if len(self.files) > MOST_FILES:
            raise CaptureError(f"{len(self.files):,} files: one capture can have {MOST_FILES:,}; read them in parts")
        self._own = range(len(self._earlier.files), len(self.files))
        self.frames = self._earlier.frames  # handed out or filtered out so far
        self.filtered_out = self._earlier.filtered_out
        self._before = self.frames - self.filtered_out
        self.limit: int | None = None  # so many frames are handed out; None: all
        self.whole = False  # also those that are longer than any packet
        self._filter, self._follow, self._stop, self._convert = filter, follow, stop, convert
        self._late_damages: list[Damage] = []
        self._readers: dict[int, RecordReader] = {}
        self._extents = dict(self._earlier.extents)
        self._spares: Spares = []

    def start(self) -> None:
        """Open the files, or look at them for their order. Raises CaptureError, FilterError."""
        try:
            self._waiting = [self._once(self._own[0], self._follow)] if len(self._own) == 1 else self._peek()
            for link_type in self.link_types:
                if self._filter is not None:
                    self._filter.program(link_type)  # so that a mistake is reported before anything is read
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[FrameBatch]:
        """Yield batches of at least one frame; a batch's buffer is valid until the next is asked for."""
        try:
            for batch in merge(self._waiting, self._extents):
                kept = self._sieve(batch)
                if len(kept.frames):
                    yield kept
                if self._left == 0 or (not self._follow and self._stop()):
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Close every file that is still open."""
        for reader in self._readers.values():
            reader.close()

    @property
    def bytes_read(self) -> int:
        """How many bytes of the files have been read so far, as they are stored."""
        return sum(reader.taken() for reader in list(self._readers.values()))

    @property
    def bytes_in_all(self) -> int | None:
        """How many bytes the files have; None where one has no end to be seen."""
        if self._follow or not all(self._is_file(self.files[index]) for index in self._own):
            return None
        return sum(os.path.getsize(self.files[index]) for index in self._own)  # noqa: PTH202 (a Path takes longer)

    @property
    def link_types(self) -> list[int]:
        """Link types that the files have declared so far, each once."""
        own = (link for index in sorted(self._readers) for link in self._readers[index].link_types)
        return list(dict.fromkeys([*self._earlier.link_types, *own]))

    @property
    def damages(self) -> list[Damage]:
        """Where files stopped making sense, in the order of the files."""
        damages = [damage for reader in self._readers.values() for damage in reader.damages]
        place = {name: index for index, name in enumerate(self.files)}
        return sorted([*self._earlier.damages, *damages, *self._late_damages], key=lambda damage: place[damage.file])

    @property
    def breaks(self) -> list[Break]:
        """Where the files do not follow on one another, as far as they have been read."""
        return breaks_between(
            [
                Span(self.files[index], extent.first_ns, extent.last_ns, extent.silence_ns)
                for index, extent in sorted(self._extents.items())
            ]
        )

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
        return total([self._earlier.dropped_kernel, *(reader.dropped_kernel for reader in self._readers.values())])

    @property
    def dropped_interface(self) -> int | None:
        """Packets that the interfaces dropped, by the files' own count; None: they do not say."""
        own = (reader.dropped_interface for reader in self._readers.values())
        return total([self._earlier.dropped_interface, *own])

    @property
    def drops(self) -> list[Drop]:
        """When frames were lost, as far as the files say."""
        own = (drop for reader in self._readers.values() for drop in reader.drops)
        return shortened([*self._earlier.drops, *own])

    def read_so_far(self) -> Earlier:
        """Return what these files, and those before them, say of themselves: for who goes on after them."""
        return Earlier(
            self.files,
            self._extents,
            self.frames,
            self.filtered_out,
            self.link_types,
            self.dropped_kernel,
            self.dropped_interface,
            self.drops,
            self.damages,
        )

    @property
    def _left(self) -> int | None:
        """How many frames may still be handed out; None: any number."""
        return None if self.limit is None else self.limit - (self.frames - self.filtered_out) + self._before

    def _sieve(self, batch: FrameBatch) -> FrameBatch:
        """Count the frames; leave out those that the filter rejects, and those after the last that may be taken."""
        left = self._left
        kept = batch.frames[:left]
        seen = len(kept)
        if self._filter is not None:
            at = np.flatnonzero(self._filter.matches(batch))
            kept = batch.frames.take(at[:left])
            seen = len(batch.frames) if left is None or len(at) < left else int(at[left - 1]) + 1
        self.frames += seen
        self.filtered_out += seen - len(kept)
        return FrameBatch(batch.buffer, kept)

    def _once(self, index: int, follow: bool) -> Waiting:
        """Open for good what is alone, or cannot be opened twice: it begins at once."""
        reader = self._open(index, follow)
        return Waiting(EARLIEST, index, lambda: reader)

    def _peek(self) -> list[Waiting]:
        """Look at the first frame of each file for the order; pipes come first."""
        names = {index: self.files[index] for index in self._own}
        files = [index for index, name in names.items() if self._is_file(name)]
        pipes = sorted(names.keys() - set(files))
        waiting = [self._once(index, False) for index in pipes]
        first_ns = {index: self._first_ns(index) for index in files}
        last = max(files, key=lambda index: (first_ns[index], index), default=None)
        return waiting + [Waiting(first_ns[i], i, self._opener(i, self._follow and i == last)) for i in files]

    def _is_file(self, name: str) -> bool:
        """Return whether a file can be opened again and again."""
        return name != "-" and os.path.isfile(name)  # noqa: PTH113 (a Path takes longer)

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
        spares, room = (self._spares, BLOCK_BYTES) if size is None else (None, size)
        self._readers[index] = open_reader(
            self.files[index], index, size=room, follow=follow, stop=self._stop, convert=self._convert, spares=spares,
            whole=self.whole,
        )  # fmt: skip
        return self._readers[index]
