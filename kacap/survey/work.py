"""What a worker does: look at the first frame of files, decode a chunk of them, classify the next chunk of a sensor.

Everything here takes and returns what can be sent between machines, and gives the same when it is done again.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer
from kacap.capture.blocks import BLOCK_BYTES
from kacap.capture.drops import shortened, total
from kacap.capture.earlier import Earlier, earlier_of
from kacap.capture.formats import open_reader
from kacap.capture.frames import FrameRows
from kacap.capture.merge import EARLIEST
from kacap.capture.records import RecordReader
from kacap.capture.source import Captures
from kacap.capture.state_file import Layout, pack, unpack
from kacap.capture.streams import FileStream, Readable
from kacap.clock import DAY_NS
from kacap.errors import CaptureError, KacapError
from kacap.news import News
from kacap.options import Options
from kacap.pipeline import conclude
from kacap.report import parquet
from kacap.resuming import LAYOUT, State
from kacap.rows import copied, joined, newest_up_to
from kacap.segments import SEGMENT, SegmentRows
from kacap.survey.places import filesystem, is_local, read_bytes, write_bytes
from kacap.survey.summary import Part, summed_up
from kacap.wire import decode

if TYPE_CHECKING:
    import pyarrow

OPTIONS = Options(marks=False)
READ_AHEAD = 8 << 20  # bytes that are fetched of a file at a time
LOOK_BYTES = 1 << 16
MOMENTS = {  # the column of each table that says to which day a row belongs
    "connections": "first",
    "probers": "first_probe",
    "probes": "time",
    "episodes": "first_probe",
    "findings": None,
}
END = (np.iinfo(np.int64).max, np.iinfo(np.int64).max)
Place = tuple[int, int]  # in the order of a sensor's frames: a time, and the index of a file


@dataclass(slots=True)
class Looked:
    """What a look at a file found: the time of its first frame (None: it has none), or why it cannot be read."""

    first_ns: int | None
    failure: str = ""


@dataclass(slots=True)
class Decoded:
    """The segments of a chunk in order, each with the time by which its file orders it; what was read of the files."""

    segments: SegmentRows
    keys: NDArray[np.int64]
    skipped: NDArray[np.int64]
    span_ns: tuple[int, int] | None
    read: dict[str, object]  # Earlier, as JSON has it


@dataclass(slots=True)
class Undecoded:
    """A chunk as it lies in its files: these, and the index of the first among those of their sensor."""

    urls: Sequence[str]
    first: int


@dataclass(slots=True)
class Carried:
    """What goes from one chunk of a sensor to the next: the state, and segments that the next chunk's may precede."""

    state: bytes | None = None
    earlier: dict[str, object] = field(default_factory=lambda: Earlier().as_json())
    segments: SegmentRows = field(default_factory=lambda: np.zeros(0, SEGMENT))
    keys: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


class Remote(Captures):
    """Captures at addresses of fsspec, in the order in which they begin."""

    def __init__(self, urls: Sequence[str], first: int) -> None:
        """Name the files; their indices begin with ``first``."""
        super().__init__([], None, False, lambda: False, False)
        self.files = ["" for _ in range(first)] + list(urls)
        self._own = range(first, first + len(urls))

    def _open(self, index: int, follow: bool, size: int | None = None) -> RecordReader:
        name = self.files[index]
        spares, room = (self._spares, BLOCK_BYTES) if size is None else (None, size)
        self._readers[index] = open_reader(
            name, index, size=room, stream=remote_stream(name, size or READ_AHEAD), convert=False, spares=spares
        )
        return self._readers[index]

    def _is_file(self, name: str) -> bool:
        return True


class _RemoteStream(FileStream):
    """A file that may be far away; what goes wrong on the way is told as damage of the file."""

    def __init__(self, file: Readable) -> None:
        super().__init__(file)
        self._read = file.readinto


def remote_stream(url: str, ahead: int) -> FileStream:
    """Open the file at an address. Raises CaptureError."""
    fs, path = filesystem(url)
    local = is_local(fs)
    try:
        return _RemoteStream(fs.open(path, "rb") if local else fs.open(path, "rb", block_size=ahead))
    except FileNotFoundError:
        raise CaptureError(f"{url}: no such file") from None
    except (OSError, ValueError) as error:
        raise CaptureError(f"{url}: cannot be opened: {getattr(error, 'strerror', None) or error}") from None


def look(urls: Sequence[str]) -> list[Looked]:
    """Return what a look at each file finds."""
    found = []
    for url in urls:
        try:
            reader = open_reader(url, 0, stream=remote_stream(url, LOOK_BYTES), size=LOOK_BYTES, convert=False)
            try:
                found.append(Looked(reader.first_ns()))
            finally:
                reader.close()
        except CaptureError as error:
            found.append(Looked(None, str(error).removeprefix(f"{url}: ")))
    return found


def decode_chunk(chunk: Undecoded) -> Decoded:
    """Decode the files of a chunk, merged in order of time.

    Where one turns out damaged all are read again: what failed may have been the way to it.
    """
    found = _decode(chunk)
    return _decode(chunk) if found.read["damages"] else found


def _decode(chunk: Undecoded) -> Decoded:
    """Decode files once."""
    source, analyzer = Remote(chunk.urls, chunk.first), Analyzer(OPTIONS, decoder=decode)
    source.start()
    segments, keys = [np.zeros(0, SEGMENT)], [np.zeros(0, np.int64)]
    latest = np.full(chunk.first + len(chunk.urls), EARLIEST, np.int64)
    for batch in source:
        rows = analyzer.decode(batch)
        segments.append(copied(rows))
        keys.append(_keys(batch.frames, rows, latest))
    capture = analyzer.analysis.capture
    span_ns = None if capture.first_ns is None or capture.last_ns is None else (capture.first_ns, capture.last_ns)
    read = source.read_so_far()
    return Decoded(joined(segments), np.concatenate(keys), analyzer.skipped, span_ns, read.as_json())


def _keys(frames: FrameRows, rows: SegmentRows, latest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each SEGMENT row the newest time of its file up to its frame; ``latest`` is that of each file."""
    files = frames["file"][:1] if (frames["file"] == frames["file"][:1]).all() else np.unique(frames["file"])
    keys = rows["time_ns"].copy()
    for file in files.tolist():
        own = frames if len(files) == 1 else frames[frames["file"] == file]
        times = np.ascontiguousarray(own["time_ns"])
        newest = newest_up_to(times, int(latest[file]))
        if newest is not times:  # some are out of order
            mine = rows["file"] == file
            keys[mine] = newest[np.searchsorted(own["frame"], rows["frame"][mine])]
        latest[file] = newest[-1]
    return keys


class Sorted:
    """Collects probes and episodes by day as they become final, and writes them as one Parquet file for each."""

    def __init__(self, results: str, sensor: str, files: list[str]) -> None:
        """Write below ``results``; ``sensor`` is its name as part of a path, ``files`` are the names of its files."""
        self._results, self._sensor, self._files = results, sensor, files
        self.batches: dict[tuple[str, str], list[pyarrow.Table]] = {}

    def news(self, news: News) -> None:
        """Take the episodes that have ended, with their probes."""
        for name, batch in parquet.ended_batches(news, self._files):
            self.take(name, batch)

    def take(self, name: str, table: pyarrow.Table) -> None:
        """Take rows of a table, by the day of the moment that they tell of; without one they are of no day."""
        for day, part in by_day(table, MOMENTS[name]):
            self.batches.setdefault((name, day), []).append(part)

    def write(self, part: str) -> list[str]:
        """Write one file for each table and day; return where, below the results."""
        arrow, written = parquet.arrow(), []
        for (name, day), parts in sorted(self.batches.items()):
            out = io.BytesIO()
            arrow.parquet.write_table(arrow.concat_tables(parts), out, compression=parquet.COMPRESSION)
            where = f"{name}/sensor={self._sensor}/day={day}/{part}.parquet"
            write_bytes(f"{self._results}/{where}", out.getvalue())
            written.append(where)
        return written


def by_day(table: pyarrow.Table, moment: str | None) -> Iterator[tuple[str, pyarrow.Table]]:
    """Yield the days (UTC) of an Arrow table's rows and their rows, ``all`` where no column tells."""
    if not table.num_rows:
        return
    if moment is None:
        yield "all", table
        return
    arrow = parquet.arrow()
    days = table[moment].cast(arrow.int64()).to_numpy() // DAY_NS
    for day in np.unique(days).tolist():
        yield str(np.datetime64(day, "D")), table.filter(arrow.array(days == day))


def classify_chunk(
    carried: Carried, decoded: Decoded, until: Place, results: str, where: tuple[str, str]
) -> tuple[Carried, list[str]]:
    """Go on with a sensor: take the segments of its next chunk, as far as ``until``, and write what became final.

    ``where`` is the sensor's name as part of a path, and the name of the files that are written. Return what the next
    chunk goes on from, and the files written.
    """
    earlier = _joined(earlier_of(carried.earlier), earlier_of(decoded.read))
    sensor, part = where
    sink = Sorted(results, sensor, earlier.files)
    analyzer = _restored(carried, sink, len(earlier.files))
    segments, keys = _in_order(carried, decoded)
    taken = int(((keys < until[0]) | ((keys == until[0]) & (segments["file"] < until[1]))).sum())
    capture = analyzer.analysis.capture
    for first in range(0, taken, STEP):
        analyzer.gather(analyzer.track(copied(segments[first : min(first + STEP, taken)])))
    analyzer.skipped += decoded.skipped
    if decoded.span_ns is not None:
        first_ns, last_ns = decoded.span_ns
        capture.first_ns = first_ns if capture.first_ns is None else min(capture.first_ns, first_ns)
        capture.last_ns = last_ns if capture.last_ns is None else max(capture.last_ns, last_ns)
    following = Carried(packed(analyzer), earlier.as_json(), copied(segments[taken:]), keys[taken:].copy())
    return following, sink.write(part)


STEP = 8192  # segments that are classified at a time


def _in_order(carried: Carried, decoded: Decoded) -> tuple[SegmentRows, NDArray[np.int64]]:
    """Return all segments of both and their keys, by these and by files; as they are where they lie so, as most do."""
    segments, keys = decoded.segments, decoded.keys
    if len(carried.segments):
        segments, keys = joined([carried.segments, segments]), np.concatenate([carried.keys, keys])
    files = segments["file"]
    if ((keys[1:] > keys[:-1]) | ((keys[1:] == keys[:-1]) & (files[1:] >= files[:-1]))).all():
        return segments, keys
    order = np.lexsort((files, keys))
    return segments.take(order), keys[order]


def _restored(carried: Carried, sink: Sorted, files: int) -> Analyzer:
    """Return an analyzer that goes on from what was carried."""
    analyzer = Analyzer(OPTIONS, sink=sink.news)
    if carried.state is not None:
        facts, tables = unpack(io.BytesIO(carried.state), len(carried.state), LAYOUT)
        analyzer.restore(State(tables, facts), files)
    return analyzer


def packed(analyzer: Analyzer) -> bytes:
    """Return an analyzer's state as ``--state`` keeps it."""
    state, out = analyzer.save(), io.BytesIO()
    pack(out, state.facts, state.tables)
    return out.getvalue()


def _joined(before: Earlier, more: Earlier) -> Earlier:
    """Return what was read before, and after it; ``more`` has no names for the files before its own."""
    files = [*before.files, *more.files[len(before.files) :]]
    lost = [(before.dropped_kernel, more.dropped_kernel), (before.dropped_interface, more.dropped_interface)]
    kernel, interface = (total(pair) for pair in lost)
    return Earlier(
        files,
        before.extents | more.extents,
        before.frames + more.frames,
        0,
        list(dict.fromkeys([*before.link_types, *more.link_types])),
        kernel,
        interface,
        shortened([*before.drops, *more.drops]),
        [*before.damages, *more.damages],
    )


class _Over(Captures):
    """A source that has been read: what it says of itself."""

    def __init__(self, earlier: Earlier) -> None:
        super().__init__([], None, False, lambda: False, False, earlier)


def finish(carried: Carried, results: str, sensor: str, name: str) -> tuple[Part, list[str]]:
    """End a sensor's analysis for now: write what is open yet and what is final at the end alone.

    Return its part of the summary, and the files written. What was carried stays as it is.
    """
    earlier = earlier_of(carried.earlier)
    sink = Sorted(results, sensor, earlier.files)
    analyzer = _restored(carried, sink, len(earlier.files))
    if len(carried.segments):
        analyzer.gather(analyzer.track(copied(carried.segments)))
    analysis: Analysis = conclude(_Over(earlier), analyzer)
    for table, batch in parquet.final_batches(analysis):
        sink.take(table, batch)
    return summed_up(analysis, name), sink.write("last")


_CHECKPOINT: Layout = {"state": np.dtype("u1"), "segments": SEGMENT, "keys": np.dtype("<i8")}


def keep(carried: Carried, url: str) -> None:
    """Write a checkpoint, all of it or nothing."""
    state = np.frombuffer(carried.state or b"", np.uint8)
    out = io.BytesIO()
    pack(out, {"earlier": carried.earlier}, {"state": state, "segments": carried.segments, "keys": carried.keys})
    write_bytes(url, out.getvalue())


def load(url: str | None) -> Carried:
    """Return what a checkpoint holds; None: nothing was done yet. Raises KacapError."""
    if url is None:
        return Carried()
    data = read_bytes(url)
    if data is None:
        raise CaptureError(f"{url}: the checkpoint is gone; remove the results, and begin anew")
    try:
        facts, tables = unpack(io.BytesIO(data), len(data), _CHECKPOINT)
    except KacapError as error:
        raise KacapError(f"{url}: {error}") from None
    earlier = facts.get("earlier")
    if not isinstance(earlier, dict):
        raise CaptureError(f"{url}: the checkpoint is damaged; remove the results, and begin anew")
    return Carried(tables["state"].tobytes() or None, earlier, tables["segments"], tables["keys"])


def go_on(
    before: str | None, chunk: Decoded | Undecoded, until: Place, results: str, where: tuple[str, str, str]
) -> Done:
    """Classify a chunk from the checkpoint ``before`` it, and write the next one; the task of a chain.

    ``where`` is the sensor's name as part of a path, the name of the files that are written, and the address of the
    next checkpoint.
    """
    sensor, part, checkpoint = where
    decoded = chunk if isinstance(chunk, Decoded) else decode_chunk(chunk)
    carried, parts = classify_chunk(load(before), decoded, until, results, (sensor, part))
    keep(carried, checkpoint)
    return Done(parts, None if decoded.span_ns is None else decoded.span_ns[1])


def end(checkpoint: str | None, results: str, sensor: str, name: str) -> tuple[Part, list[str]]:
    """Do what ``finish`` does, from a checkpoint."""
    return finish(load(checkpoint), results, sensor, name)


@dataclass(slots=True)
class Done:
    """What a chunk left: the files written, and the time of its last frame (None: it has none)."""

    parts: list[str]
    last_ns: int | None
