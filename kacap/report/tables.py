"""The few objects of an analysis as tables for data frames: typed columns, nanoseconds in UTC.

A ``Table`` speaks the Arrow PyCapsule interface (``__arrow_c_stream__``), so that ``polars.DataFrame(table)``,
``pyarrow.table(table)`` and DuckDB take it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from kacap.analysis import Analysis
from kacap.errors import KacapError
from kacap.facts.standing import gravest
from kacap.model import Connection, Episode, Finding, FrameRef, Probe, Prober, Setting
from kacap.units import clean, duration, moment

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    from nanoarrow.c_array import CArray

NAMES = ("connections", "probers", "probes", "episodes", "findings")
SHOWN = 20  # rows that a notebook shows
EXTRAS = {"pandas": "pandas", "polars": "polars", "pyarrow": "arrow"}  # library to extra of the package

# What a column holds: text, whole numbers, yes or no, times (UTC) and durations in nanoseconds.
TEXT, NUMBER, BOOL, TIME, DURATION = "text", "number", "bool", "time", "duration"
TEXTS, NUMBERS = "texts", "numbers"  # several of them


Value: TypeAlias = Any  # None, text, a number, a switch or several of them, as its column's kind says


@dataclass(frozen=True, slots=True)
class Column:
    """One column; None is unknown. Times are nanoseconds since 1970 UTC, durations nanoseconds."""

    name: str
    kind: str
    values: list[Value]


class Table:
    """Some columns of one length; ``table["name"]`` is the list of a column's values."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns[0].values)

    def __getitem__(self, name: str) -> list[Value]:
        return next(column.values for column in self.columns if column.name == name)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the table as an ArrowArrayStream in a capsule (Arrow PyCapsule interface)."""
        import nanoarrow as na
        from nanoarrow.c_array_stream import CArrayStream

        children = [_arrow(column) for column in self.columns]
        schema = na.struct({column.name: child.schema for column, child in zip(self.columns, children, strict=True)})
        whole = na.c_array_from_buffers(schema, len(self), [None], children=children)
        return CArrayStream.from_c_arrays([whole], na.c_schema(schema)).__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pyarrow.Table:
        """Return a ``pyarrow.Table``. Raises KacapError, naming the extra, where pyarrow is not installed."""
        return _library("pyarrow").table(self)

    def to_polars(self) -> polars.DataFrame:
        """Return a ``polars.DataFrame``. Raises KacapError, naming the extra, where polars is not installed."""
        found: polars.DataFrame = _library("polars").DataFrame(self)
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """Return a ``pandas.DataFrame``. Raises KacapError, naming the extra, where pandas is not installed."""
        library = _library("pandas")
        found: pandas.DataFrame = library.DataFrame({column.name: _pandas(library, column) for column in self.columns})
        return found

    def __repr__(self) -> str:
        return f"<kacap table: {len(self):,} rows of {', '.join(self.names)}>"

    def _repr_html_(self) -> str:
        """Return the first rows as HTML, every value escaped."""
        sides = ["right" if column.kind in (NUMBER, DURATION) else "left" for column in self.columns]
        heads = "".join(
            f'<th style="text-align:{side}">{escape(name)}</th>' for name, side in zip(self.names, sides, strict=True)
        )
        rows = []
        for i in range(min(len(self), SHOWN)):
            words = (escape(clean(_words(c.kind, c.values[i]))) for c in self.columns)
            cells = (f'<td style="text-align:{side}">{text}</td>' for text, side in zip(words, sides, strict=True))
            rows.append(f"<tr>{''.join(cells)}</tr>")
        more = f"<p>{len(self):,} rows, the first {SHOWN} shown</p>" if len(self) > SHOWN else ""
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>{more}"


def _library(name: str) -> ModuleType:
    """Import a library that kacap does not bring along."""
    try:
        return import_module(name)
    except ImportError as error:
        raise KacapError(f"{name} is not installed: pip install 'kacap[{EXTRAS[name]}]'") from error


def _integers(values: Sequence[int | None], unknown: int) -> NDArray[np.int64]:
    """Return whole numbers with ``unknown`` for None."""
    return np.array([unknown if value is None else value for value in values], np.int64)


def _arrow(column: Column) -> CArray:
    """Return a column as a nanoarrow C array."""
    import nanoarrow as na

    types = {
        TEXT: na.string(),
        NUMBER: na.int64(),
        BOOL: na.bool_(),
        TIME: na.timestamp("ns", timezone="UTC"),
        DURATION: na.duration("ns"),
        TEXTS: na.string(),
        NUMBERS: na.int64(),
    }
    kind = types[column.kind]
    if column.kind in (TEXTS, NUMBERS):
        ends = np.cumsum([0, *map(len, column.values)], dtype=np.int32)
        flat = na.c_array([each for several in column.values for each in several], kind)
        return na.c_array_from_buffers(na.list_(kind), len(column.values), [None, ends], children=[flat])
    if column.kind not in (TIME, DURATION):
        return na.c_array(column.values, kind)
    known = np.packbits(np.array([value is not None for value in column.values], np.bool_), bitorder="little")
    return na.c_array_from_buffers(kind, len(column.values), [known, _integers(column.values, 0)])


def _pandas(library: ModuleType, column: Column) -> pandas.Series:
    """Return a column as pandas has it."""
    if column.kind in (TIME, DURATION):
        numbers = _integers(column.values, np.iinfo(np.int64).min)  # what pandas takes for "not a time"
        if column.kind == DURATION:
            return library.Series(numbers.view("m8[ns]"))
        return library.Series(numbers.view("M8[ns]")).dt.tz_localize("UTC")
    dtypes = {TEXT: "string", NUMBER: "Int64", BOOL: "boolean", TEXTS: object, NUMBERS: object}
    return library.Series(column.values, dtype=dtypes[column.kind])


def encodable(text: str) -> str:
    """Return a text as UTF-8 can hold it: the name of a file may be any bytes."""
    return text.encode("utf-8", "replace").decode()


def _file(files: Sequence[str], frame: FrameRef) -> str:
    """Return the name of a frame's file; empty where the analysis names none."""
    return files[frame.file] if frame.file < len(files) else ""


def _listed(numbers: Sequence[int]) -> str:
    """Return several numbers for people."""
    return ", ".join(map(str, numbers))


def _words(kind: str, value: Value) -> str:
    """Return a value for people."""
    if value is None:
        return ""
    words: dict[str, Callable[[Value], str]] = {TIME: moment, DURATION: duration, TEXTS: ", ".join, NUMBERS: _listed}
    return words.get(kind, str)(value)


Of = TypeVar("Of")
Side: TypeAlias = tuple[Connection, Prober]
Field: TypeAlias = tuple[str, str, Callable[[Of], Value]]  # name, kind, and how its value is got from an object


def table_of(rows: Iterable[Of], fields: Sequence[Field[Of]]) -> Table:
    """Return the table of some objects: for each field its name, kind and how it is got from an object."""
    found = list(rows)
    columns = [Column(name, kind, [get(row) for row in found]) for name, kind, get in fields]
    for column in columns:
        if column.kind == TEXT and not all(value is None or value.isascii() for value in column.values):
            column.values[:] = [None if value is None else encodable(value) for value in column.values]
    return Table(columns)


class Tables:
    """The tables of one analysis: ``connections``, ``probers``, ``probes``, ``episodes``, ``findings``."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def __repr__(self) -> str:
        return f"<kacap tables: {', '.join(f'{name} ({len(getattr(self, name)):,})' for name in NAMES)}>"

    def to_parquet(self, directory: str) -> None:
        """Write each table into a directory as ``<name>.parquet``. Raises KacapError where pyarrow is missing."""
        from kacap.report.parquet import write_tables

        write_tables(self._analysis, directory)

    @cached_property
    def connections(self) -> Table:
        """One row for each connection that the analysis holds."""
        return table_of(self._analysis.connections, CONNECTION)

    @cached_property
    def probers(self) -> Table:
        """One row for each side that probes: numbers, and the settings that could have produced its gaps."""
        rows = [(connection, prober) for connection in self._analysis.connections for prober in connection.probers]
        return table_of(rows, PROBER)

    @cached_property
    def probes(self) -> Table:
        """One row for each probe, in time order."""
        return table_of(self._analysis.probes, [*self._where("frame", "frame"), *PROBE])

    @cached_property
    def episodes(self) -> Table:
        """One row for each run of probes with one ending, in time order."""
        return table_of(self._analysis.episodes, [*EPISODE, *self._where("ending_frame", "ending_frame")])

    @cached_property
    def findings(self) -> Table:
        """One row for each finding: its frames by number, and beside each number its file."""
        files = self._analysis.capture.files
        of_files: Field[Finding] = ("files", TEXTS, lambda finding: [_file(files, frame) for frame in finding.frames])
        frames: Field[Finding] = ("frames", NUMBERS, lambda finding: [frame.number for frame in finding.frames])
        return table_of(self._analysis.findings, [*FINDING, of_files, frames])

    def _where(self, name: str, attribute: str) -> list[Field[Probe | Episode]]:
        """Return the fields for a frame: its file, and its number within it."""
        files = self._analysis.capture.files

        def file(row: Probe | Episode) -> str | None:
            frame: FrameRef | None = getattr(row, attribute)
            return files[frame.file] if frame is not None and frame.file < len(files) else None

        def number(row: Probe | Episode) -> int | None:
            frame: FrameRef | None = getattr(row, attribute)
            return None if frame is None else frame.number

        return [(f"{name}_file" if name != "frame" else "file", TEXT, file), (name, NUMBER, number)]


def _ending(connection: Connection) -> str | None:
    """Return the ending of the side that fares worst."""
    return gravest(connection)[0].ending if connection.probers else None


def _edge(name: str, edge: int) -> Callable[[Side], int | None]:
    """Return what gets the least (0) or the most (-1) value that a setting may have."""

    def get(row: Side) -> int | None:
        found: Setting = getattr(row[1], name)
        return found.candidates[edge] if found.candidates else None

    return get


def _attribute(name: str, attribute: str) -> Callable[[Side], Value]:
    """Return what gets an attribute of a setting."""
    return lambda row: getattr(getattr(row[1], name), attribute)


def _settings() -> list[Field[Side]]:
    """Return the fields of the three settings: seconds, for count probes."""
    fields: list[Field[Side]] = []
    for name, unit in (("idle", "_s"), ("interval", "_s"), ("count", "")):
        fields += [(f"{name}{unit}_least", NUMBER, _edge(name, 0)), (f"{name}{unit}_most", NUMBER, _edge(name, -1))]
        fields += [(f"{name}{unit}_expected", NUMBER, _attribute(name, "expected"))]
        fields += [(f"{name}_verdict", TEXT, _attribute(name, "verdict"))]
    return fields


CONNECTION: list[Field[Connection]] = [
    ("connection", NUMBER, lambda c: c.connection),
    ("a", TEXT, lambda c: str(c.a)),
    ("b", TEXT, lambda c: str(c.b)),
    ("first", TIME, lambda c: c.first_ns),
    ("last", TIME, lambda c: c.last_ns),
    ("longest_silence", DURATION, lambda c: c.longest_silence_ns),
    ("segments", NUMBER, lambda c: c.segments),
    ("began_in_capture", BOOL, lambda c: c.began_in_capture),
    ("probes", NUMBER, lambda c: sum(prober.probes for prober in c.probers)),
    ("replies", NUMBER, lambda c: sum(prober.replies for prober in c.probers)),
    ("missed", NUMBER, lambda c: sum(prober.missed for prober in c.probers)),
    ("ending", TEXT, _ending),
]

PROBER: list[Field[Side]] = [
    ("connection", NUMBER, lambda row: row[0].connection),
    ("prober", TEXT, lambda row: str(row[1].side)),
    ("peer", TEXT, lambda row: str(row[1].peer)),
    ("probes", NUMBER, lambda row: row[1].probes),
    ("replies", NUMBER, lambda row: row[1].replies),
    ("missed", NUMBER, lambda row: row[1].missed),
    ("first_probe", TIME, lambda row: row[1].first_probe_ns),
    ("last_probe", TIME, lambda row: row[1].last_probe_ns),
    ("shortest_gap", DURATION, lambda row: row[1].gaps_ns[0] if row[1].gaps_ns else None),
    ("longest_gap", DURATION, lambda row: row[1].gaps_ns[1] if row[1].gaps_ns else None),
    *_settings(),
    ("ending", TEXT, lambda row: row[1].ending),
    ("grade", TEXT, lambda row: row[1].grade),
]


def _reply_frame(probe: Probe) -> int | None:
    return None if probe.reply_frame is None else probe.reply_frame.number


PROBE: list[Field[Probe]] = [
    ("time", TIME, lambda p: p.time_ns),
    ("connection", NUMBER, lambda p: p.connection),
    ("prober", TEXT, lambda p: str(p.prober)),
    ("peer", TEXT, lambda p: str(p.peer)),
    ("grade", TEXT, lambda p: p.grade),
    ("payload_bytes", NUMBER, lambda p: p.payload_bytes),
    ("reply_frame", NUMBER, _reply_frame),
    ("reply_after", DURATION, lambda p: p.reply_after_ns),
]


def _last_gap(episode: Episode) -> int | None:
    """Return from the last probe to the abort, where there was one."""
    return episode.gaps_ns[-1] if len(episode.gaps_ns) >= len(episode.probes) else None


EPISODE: list[Field[Episode]] = [
    ("connection", NUMBER, lambda e: e.connection),
    ("prober", TEXT, lambda e: str(e.prober)),
    ("peer", TEXT, lambda e: str(e.probes[0].peer)),
    ("silent_since", TIME, lambda e: e.silent_since_ns),
    ("first_probe", TIME, lambda e: e.probes[0].time_ns),
    ("last_probe", TIME, lambda e: e.probes[-1].time_ns),
    ("probes", NUMBER, lambda e: len(e.probes)),
    ("replies", NUMBER, lambda e: sum(p.reply_frame is not None for p in e.probes)),
    ("first_gap", DURATION, lambda e: e.first_gap_ns),
    ("shortest_gap", DURATION, lambda e: min(e.gaps_ns, default=None)),
    ("longest_gap", DURATION, lambda e: max(e.gaps_ns, default=None)),
    ("gave_up_after", DURATION, _last_gap),
    ("ending", TEXT, lambda e: e.ending),
]


FINDING: list[Field[Finding]] = [
    ("id", TEXT, lambda f: f.id),
    ("connection", NUMBER, lambda f: f.connection),
    ("sentence", TEXT, lambda f: f.sentence),
    ("remedy", TEXT, lambda f: f.remedy),
]
