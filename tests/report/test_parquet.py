"""The five tables as Parquet: what the library's tables hold, in row groups, and the questions of the docs answered."""

from __future__ import annotations

import re
from pathlib import Path

import analysing
import polars
import pyarrow
import pyarrow.parquet
import pytest
from analysing import CAPTURES, files_of
from click.testing import CliRunner

import kacap
from kacap.commands.read import read
from kacap.library import analyse
from kacap.options import Options
from kacap.report.parquet import Writer, schemas
from kacap.report.tables import NAMES

pytestmark = pytest.mark.slow

CASES = [case for case in analysing.small_cases() if case.startswith(("lab/", "both/"))]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


def written(case: str, directory: Path, **options: int) -> kacap.Analysis:
    files = files_of(case)
    with Writer(str(directory), files, **options) as writer:
        analysis = analyse(files, None, Options(), sink=writer.news)
        writer.finish(analysis)
    return analysis


def rows(table: pyarrow.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def stored(directory: Path, name: str) -> pyarrow.Table:
    return pyarrow.parquet.read_table(directory / f"{name}.parquet")


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_as_it_becomes_final_is_what_the_tables_of_the_library_hold(case: str, tmp_path: Path) -> None:
    analysis = written(case, tmp_path)
    for name in NAMES:
        expected = getattr(analysis.tables, name).to_arrow()
        found = stored(tmp_path, name)
        assert found.schema.equals(expected.schema), name
        assert rows(found) == rows(expected), name


@pytest.mark.slow
def test_row_groups_are_written_as_they_fill(tmp_path: Path) -> None:
    analysis = written(analysing.POPULATION, tmp_path, group=500)
    metadata = pyarrow.parquet.ParquetFile(tmp_path / "probes.parquet").metadata
    assert metadata.num_rows == len(analysis.probes) > 1500
    assert metadata.num_row_groups >= metadata.num_rows // 1000
    for name in NAMES:
        assert rows(stored(tmp_path, name)) == rows(getattr(analysis.tables, name).to_arrow())


def test_a_failure_leaves_no_table_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Writer(str(tmp_path), []):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_them_beside_its_text_and_its_records(tmp_path: Path) -> None:
    capture = str(CAPTURES / "lab" / "cut-off" / "capture.pcapng")
    plain = CliRunner().invoke(read, [capture], standalone_mode=False)
    for options in ([], ["--json"]):
        target = tmp_path / f"tables{len(options)}"
        done = CliRunner().invoke(read, [capture, *options, "--parquet", str(target)], standalone_mode=False)
        assert done.exception is None, done.output
        assert sorted(path.name for path in target.iterdir()) == sorted(f"{name}.parquet" for name in NAMES)
        assert stored(target, "probes").num_rows > 0
        if not options:
            assert done.stdout == plain.stdout


def test_the_library_writes_a_finished_analysis_too(tmp_path: Path) -> None:
    analysis = kacap.read(files_of("lab/cut-off"))
    analysis.tables.to_parquet(str(tmp_path))
    for name in NAMES:
        assert rows(stored(tmp_path, name)) == rows(getattr(analysis.tables, name).to_arrow())


def test_the_docs_describe_every_column_of_every_table() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, schema in schemas().items():
        section = text.partition(f"### {name}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
        found = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE)
        assert found == [(field.name, str(field.type)) for field in schema]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tables")
    with Writer(str(directory), []) as writer:
        writer.finish(analyse(files_of("lab/cut-off"), None, Options(), sink=writer.news))
    return directory


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_the_questions_in_the_docs_have_answers_in_duckdb_and_in_polars(
    tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(tables)
    queries, programs = examples("sql"), examples("python")
    assert len(queries) == len(programs) == 3
    for query, program in zip(queries, programs, strict=True):
        by_sql = duckdb.sql(query).pl()
        names: dict[str, polars.DataFrame] = {}
        exec(program, {"pl": polars}, names)
        assert len(by_sql) > 0
        assert names["answer"].rows() == by_sql.rows()
