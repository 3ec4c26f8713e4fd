"""Analyses as tables and in notebooks: exact times, unknown stays unknown, nothing left running."""

from __future__ import annotations

import asyncio
import datetime
import sys
import threading
from html.parser import HTMLParser

import nanoarrow
import pandas
import polars
import pyarrow
import pytest
import samples

import kacap
from kacap.errors import KacapError
from kacap.model import FrameRef
from kacap.report.tables import NUMBER, Column, Table

NAMES = ("connections", "probers", "probes", "episodes", "findings")


def tables(analysis) -> list[Table]:
    return [getattr(analysis.tables, name) for name in NAMES]


@pytest.mark.slow
@pytest.mark.parametrize("sample", samples.ALL)
def test_pandas_polars_and_arrow_hold_the_same_rows_and_columns(sample):
    for table in tables(samples.ALL[sample]()):
        for frame in (table.to_pandas(), table.to_polars(), table.to_arrow()):
            rows = frame.num_rows if isinstance(frame, pyarrow.Table) else len(frame)
            columns = frame.column_names if isinstance(frame, pyarrow.Table) else frame.columns
            assert (rows, list(columns)) == (len(table), table.names)


def test_times_are_utc_nanoseconds_and_exact_in_every_library():
    analysis = samples.gave_up()
    analysis.connections[0].probers[0].episodes[0].probes[0].time_ns += 7  # not a whole microsecond
    exact = analysis.probes[0].time_ns
    table = analysis.tables.probes
    assert str(table.to_arrow().schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert table.to_arrow()["time"].cast(pyarrow.int64())[0].as_py() == exact
    assert table.to_pandas()["time"].iloc[0].value == exact
    assert str(table.to_pandas()["time"].dtype) == "datetime64[ns, UTC]"
    assert table.to_polars()["time"].dt.epoch("ns")[0] == exact
    assert table.to_polars()["time"].dtype == polars.Datetime("ns", "UTC")


def test_what_is_unknown_is_null_and_not_zero():
    table = samples.gave_up().tables.probes
    assert table["reply_after"] == [None] * 4
    assert table.to_arrow()["reply_after"].null_count == 4
    assert table.to_arrow()["reply_frame"].null_count == 4
    assert table.to_polars()["reply_after"].null_count() == 4
    assert table.to_pandas()["reply_after"].isna().all()
    assert table.to_pandas()["reply_frame"].isna().all()


def test_durations_are_durations_with_their_unit():
    table = samples.answered().tables.probes
    assert table.to_pandas()["reply_after"].iloc[0] == pandas.Timedelta(30, "us")
    assert table.to_polars()["reply_after"][0] == datetime.timedelta(microseconds=30)
    assert str(table.to_arrow().schema.field("reply_after").type) == "duration[ns]"


def test_frames_of_a_finding_are_a_list_and_name_their_file_where_there_are_several():
    analysis = samples.drops()
    found = analysis.tables.findings
    for table in (found.to_arrow().to_pydict(), found.to_polars().to_dict(as_series=False)):
        assert (table["files"], table["frames"]) == ([["a.pcap", "b.pcap"]], [[6, 2]])
    analysis.capture.files = ["a.pcap"]
    analysis.findings[0].frames = [FrameRef(0, 6)]
    assert analysis.tables.findings["frames"] == [[6]]


def test_any_library_that_speaks_the_capsule_interface_takes_a_table():
    table = samples.many().tables.probers
    assert len(nanoarrow.Array(table)) == len(table)
    assert pyarrow.RecordBatchReader.from_stream(table).read_all().num_rows == len(table)


def test_settings_are_numbers_with_the_least_and_the_most_they_may_be():
    table = samples.gave_up().tables.probers
    row = {name: table[name][0] for name in table.names}
    assert (row["idle_s_least"], row["idle_s_most"], row["idle_s_expected"], row["idle_verdict"]) == (3, 3, 3, "ok")
    assert (row["interval_s_least"], row["count_least"], row["count_expected"]) == (1, 4, 4)


@pytest.mark.parametrize(("library", "extra"), [("pandas", "pandas"), ("polars", "polars"), ("pyarrow", "arrow")])
def test_a_library_that_is_absent_is_named_with_the_extra_that_brings_it(monkeypatch, library, extra):
    monkeypatch.setitem(sys.modules, library, None)
    method = {"pyarrow": "to_arrow"}.get(library, f"to_{library}")
    with pytest.raises(KacapError) as told:
        getattr(samples.gave_up().tables.probes, method)()
    assert str(told.value) == f"{library} is not installed: pip install 'kacap[{extra}]'"


class Balanced(HTMLParser):
    """Checks that every element is closed, in order."""

    VOID = ("meta", "br", "input", "link", "img", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.slow
@pytest.mark.parametrize("sample", samples.ALL)
def test_an_analysis_shows_itself_as_html_without_a_script_and_as_text(sample):
    analysis = samples.ALL[sample]()
    shown = Balanced(analysis._repr_html_())
    assert "svg" in shown.seen
    assert "script" not in shown.seen
    assert "object at 0x" not in repr(analysis)
    assert len(repr(analysis)) < 6000


def test_the_text_of_an_analysis_begins_with_its_verdict():
    assert repr(samples.gave_up()).startswith("10.9.0.1:42952 gave up on 10.9.0.2:12345: 4 unanswered probes")


def test_a_table_shows_its_first_rows_escaped():
    analysis = samples.gave_up()
    analysis.connections[0].probers[0].grade = "<script>"
    shown = analysis.tables.probers._repr_html_()
    Balanced(shown)
    assert "&lt;script&gt;" in shown
    assert "30 rows, the first 20 shown" in Table([Column("n", NUMBER, list(range(30)))])._repr_html_()


@pytest.mark.slow
def test_reading_inside_a_running_event_loop_works_and_leaves_no_thread(captures):
    async def read():
        return kacap.read(str(captures / "lab" / "up" / "capture.pcapng"), marks=True)

    before = set(threading.enumerate())
    analysis = asyncio.run(read())
    assert analysis._repr_html_()
    assert len(analysis.tables.probes) == len(analysis.probes) > 0
    assert set(threading.enumerate()) == before
