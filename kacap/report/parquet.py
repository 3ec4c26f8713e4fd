"""The tables of an analysis as Parquet: probes and episodes as soon as they are final, the others at the end.

Rows go from the analyzer's arrays to columns without an object for each; a row group is written when it is full, so
that memory does not grow with the number of probes. The columns are those of ``tables`` (docs/tables.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_text
from kacap.analysis import Analysis
from kacap.classify.kinds import ENDINGS, GRADE_WORDS
from kacap.classify.tables import Change
from kacap.connections import passing
from kacap.errors import KacapError, UsageError
from kacap.flows import NEVER
from kacap.model import Endpoint
from kacap.news import News
from kacap.outputs import output
from kacap.report.tables import CONNECTION, NAMES, PROBER, Tables, table_of
from kacap.rows import chains
from kacap.views import Views

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

GROUP = 1 << 16  # rows of a row group
OBJECTS = 1 << 12  # connections that are made at a time
_ENDED = int(Change.ENDED)
COMPRESSION = "zstd"


def arrow() -> ModuleType:
    """Return pyarrow with its parquet part. Raises KacapError, naming the extra, where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise KacapError("pyarrow is not installed: pip install 'kacap[parquet]'") from error
    library: ModuleType = pyarrow
    return library


@cache
def schemas() -> dict[str, pyarrow.Schema]:
    """Return the pyarrow schema of each table, by its name."""
    empty = Tables(Analysis())
    return {name: getattr(empty, name).to_arrow().schema for name in NAMES}


class Writer:
    """Writes one Parquet file for each table into a directory; call ``news`` as the sink, then ``finish``.

    Each file appears when it is whole. Use as a context manager.
    """

    def __init__(self, directory: str, files: Sequence[str], *, group: int = GROUP) -> None:
        """Write into ``directory``, made where it is missing; ``files`` are the names that frames refer to."""
        self._arrow, self._schemas = arrow(), schemas()
        self._directory, self._files, self._group = Path(directory), list(files), group
        self._stack = ExitStack()
        self._pending: dict[str, list[pyarrow.Table]] = {name: [] for name in NAMES}
        try:
            self._directory.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"{directory}: no directory to write into: {error.strerror or error}") from error
        self._writers: dict[str, ParquetWriter] = {}

    def __enter__(self) -> Writer:
        for name in NAMES:
            out = self._stack.enter_context(output(self._directory / f"{name}.parquet", self._files))
            writer = self._arrow.parquet.ParquetWriter(out, self._schemas[name], compression=COMPRESSION)
            self._writers[name] = self._stack.enter_context(writer)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def news(self, news: News) -> None:
        """Take the episodes that have ended, with their probes."""
        for name, batch in ended_batches(news, self._files):
            self.take(name, batch)

    def take(self, name: str, batch: pyarrow.Table) -> None:
        """Take rows of a table; write those that fill row groups."""
        pending = self._pending[name]
        pending.append(batch)
        if sum(each.num_rows for each in pending) >= self._group:
            self._write(name)

    def _write(self, name: str) -> None:
        """Write what waits of a table as one row group."""
        if self._pending[name]:
            self._writers[name].write_table(self._arrow.concat_tables(self._pending[name]), row_group_size=self._group)
            self._pending[name] = []

    def finish(self, analysis: Analysis) -> None:
        """Take what is final at the end alone: connections, probers, findings."""
        for name, batch in final_batches(analysis):
            self.take(name, batch)
        for name in NAMES:
            self._write(name)


def ended_batches(news: News, files: Sequence[str]) -> Iterator[tuple[str, pyarrow.Table]]:
    """Yield the episodes that have become final with some news, and their probes; ``files`` are the capture's."""
    rows = _ended_rows(news)
    if len(rows):
        probes, names = _probes_of(news.views, rows), _Names(news.views, rows)
        yield "probes", _probe_batch(news.views, probes, names, files)
        yield "episodes", _episode_batch(news.views, rows, probes, names, files)


def _ended_rows(news: News) -> NDArray[np.int64]:
    """Return the rows of EPISODE that have become final with some news."""
    changes = news.changes.rows
    rows = changes["row"][changes["what"] == _ENDED].astype(np.int64)
    if news.withheld:
        rows = rows[~np.isin(rows, list(news.withheld))]
    return np.concatenate([rows, np.array(news.episodes, np.int64)])


def _probes_of(views: Views, episodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of PROBE of some rows of EPISODE, in order."""
    found = views.gatherer.episodes.rows[episodes]
    return chains(views.gatherer.probes.rows["previous"], found["last"], found["probes"])


@lru_cache(maxsize=1 << 16)
def _end(hi: int, lo: int, port: int) -> str:
    """Return the text of one end of a connection: every batch names the same ones."""
    return str(Endpoint(address_text(hi, lo), port))


class _Names:
    """Connection, prober and peer of some rows of EPISODE, whose probes have the same."""

    def __init__(self, views: Views, episodes: NDArray[np.int64]) -> None:
        self.probers = np.unique(views.gatherer.episodes.rows["prober"][episodes])
        rows = views.gatherer.probers.rows[self.probers]
        watched = views.gatherer.watched.rows[rows["watched"]]
        self.connections: NDArray[np.integer] = watched["id"]
        a, b = (
            map(_end, *(watched[f"{side}_{part}"].tolist() for part in ("hi", "lo", "port"))) for side in ("a", "b")
        )
        ends = list(zip(rows["side"].tolist(), a, b, strict=True))
        self.own = [b if side else a for side, a, b in ends]
        self.peers = [a if side else b for side, a, b in ends]


class _Columns:
    """Columns of one batch by name, made into an Arrow table of a schema."""

    def __init__(self, schema: pyarrow.Schema) -> None:
        self._arrow, self._schema = arrow(), schema
        self._columns: dict[str, object] = {}

    def add(self, name: str, values: NDArray[np.integer], known: NDArray[np.bool_] | None = None) -> None:
        """Add numbers or times; those that are not known are null."""
        mask = None if known is None else ~known
        made = self._arrow.array(values.astype(np.int64), self._arrow.int64(), mask=mask)
        self._columns[name] = made.cast(self._schema.field(name).type)

    def words(
        self, name: str, numbers: NDArray[np.integer], words: Sequence[str], known: NDArray[np.bool_] | None = None
    ) -> None:
        """Add texts: of each row the number of its word."""
        mask = None if known is None else ~known
        taken = self._arrow.array(numbers.astype(np.int64), self._arrow.int64(), mask=mask)
        self._columns[name] = self._arrow.array(words, self._arrow.string()).take(taken)

    def prober(self, probers: NDArray[np.integer], names: _Names) -> None:
        """Add connection, prober and peer of rows of PROBER."""
        which = np.searchsorted(names.probers, probers)
        self.add("connection", names.connections[which])
        self.words("prober", which, names.own)
        self.words("peer", which, names.peers)

    def table(self) -> pyarrow.Table:
        """Return the columns in the order of the schema."""
        names = self._schema.names
        return self._arrow.Table.from_arrays([self._columns[name] for name in names], schema=self._schema)


def _probe_batch(views: Views, rows: NDArray[np.int64], names: _Names, files: Sequence[str]) -> pyarrow.Table:
    """Return rows of PROBE as an Arrow table; ``files`` are the names of the capture's files."""
    found, columns = views.gatherer.probes.rows[rows], _Columns(schemas()["probes"])
    columns.prober(found["prober"], names)
    columns.words("file", found["file"], files, found["file"] < len(files))
    columns.add("frame", found["frame"])
    columns.add("time", found["time_ns"])
    columns.words("grade", found["grade"], GRADE_WORDS)
    columns.add("payload_bytes", found["payload"])
    answered = found["reply_frame"] > 0
    columns.add("reply_frame", found["reply_frame"], answered)
    columns.add("reply_after", found["reply_after_ns"], answered)
    return columns.table()


def _episode_batch(
    views: Views, rows: NDArray[np.int64], sent: NDArray[np.int64], names: _Names, files: Sequence[str]
) -> pyarrow.Table:
    """Return rows of EPISODE, whose PROBE rows are ``sent``, as an Arrow table; ``files`` are the capture's names."""
    found, probes = views.gatherer.episodes.rows[rows], views.gatherer.probes.rows
    own = probes[sent]
    starts = np.cumsum(found["probes"]) - found["probes"]
    columns = _Columns(schemas()["episodes"])
    columns.prober(found["prober"], names)
    since_ns, first_ns, last_ns = found["silent_since_ns"], own["time_ns"][starts], probes["time_ns"][found["last"]]
    columns.add("silent_since", since_ns, since_ns != NEVER)
    columns.add("first_probe", first_ns)
    columns.add("last_probe", last_ns)
    columns.add("probes", found["probes"])
    columns.add("replies", np.add.reduceat((own["reply_frame"] > 0).astype(np.int64), starts))
    columns.add("first_gap", first_ns - since_ns, since_ns != NEVER)
    _add_gaps(columns, found, own["time_ns"], last_ns)
    columns.words("ending", found["ending"], [str(ending) for ending in ENDINGS])
    ended = found["ending_frame"] > 0
    columns.words("ending_frame_file", found["ending_file"], files, ended & (found["ending_file"] < len(files)))
    columns.add("ending_frame", found["ending_frame"], ended)
    return columns.table()


def _add_gaps(columns: _Columns, found: NDArray[np.void], times: NDArray[np.int64], last_ns: NDArray[np.int64]) -> None:
    """Add the gaps within each run: between its probes, and from the last to an abort."""
    number = len(found)
    most, least = np.full(number, -1, np.int64), np.full(number, np.iinfo(np.int64).max, np.int64)
    run = np.repeat(np.arange(number), found["probes"])
    inner = run[1:] == run[:-1]
    gaps = np.diff(times)[inner]
    np.maximum.at(most, run[1:][inner], gaps)
    np.minimum.at(least, run[1:][inner], gaps)
    gave_up = found["closed_ns"] != NEVER
    closing = found["closed_ns"] - last_ns
    most[gave_up] = np.maximum(most, closing)[gave_up]
    least[gave_up] = np.minimum(least, closing)[gave_up]
    known = gave_up | (found["probes"] > 1)
    columns.add("shortest_gap", least, known)
    columns.add("longest_gap", most, known)
    columns.add("gave_up_after", closing, gave_up)


def final_batches(analysis: Analysis) -> Iterator[tuple[str, pyarrow.Table]]:
    """Yield what an analysis shows at its end alone, table by table, some thousand rows at a time."""
    connections = passing(analysis.connections)
    while some := list(islice(connections, OBJECTS)):
        yield "connections", table_of(some, CONNECTION).to_arrow()
        probers = [(connection, prober) for connection in some for prober in connection.probers]
        yield "probers", table_of(probers, PROBER).to_arrow()
    yield "findings", Tables(analysis).findings.to_arrow()


def write_tables(analysis: Analysis, directory: str, inputs: Iterable[str] = ()) -> None:
    """Write the five tables of a complete analysis into a directory, one Parquet file each."""
    with Writer(directory, list(inputs)) as writer:
        for name in ("probes", "episodes"):
            writer.take(name, getattr(Tables(analysis), name).to_arrow())
        writer.finish(analysis)
