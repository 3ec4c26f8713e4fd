"""Surveys: what several workers make of many files, here and in an object store, is what one reading makes of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import analysing
import pyarrow
import pyarrow.parquet
import pytest
from analysing import CAPTURES

import kacap
from kacap.errors import KacapError
from kacap.report.tables import NAMES
from kacap.survey import run, work
from kacap.survey.places import listed

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.xdist_group("survey"), pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


def parts_of(case: str, number: int, directory: Path) -> list[Path]:
    """A shipped capture as so many pcap files of equal length, in order."""
    directory.mkdir(parents=True, exist_ok=True)
    frames = analysing.frames_of(case)
    bounds = [round(i * len(frames.frames) / number) for i in range(number + 1)]
    paths = []
    for i in range(number):
        rows = frames.frames[bounds[i] : bounds[i + 1]]
        path = directory / f"rotated-{i:04}.pcap"
        with path.open("wb") as out:
            out.write(bytes.fromhex("4d3cb2a1 0200 0400 00000000 00000000 00000400") + bytes([1, 0, 0, 0]))
            for row in rows:
                time_ns, size = int(row["time_ns"]), int(row["captured_len"])
                head = (time_ns // 10**9, time_ns % 10**9, size, int(row["wire_len"]))
                out.write(b"".join(value.to_bytes(4, "little") for value in head))
                out.write(frames.buffer[int(row["offset"]) : int(row["offset"]) + size].tobytes())
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as made:
        yield made


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    with distributed.Client(cluster) as made:
        yield made


def nothing(_: int, __: int) -> None:
    """Nobody watches."""


def stored(results: Path, name: str, sensor: str) -> list[str]:
    """The rows of one table of a sensor, whatever files they are in."""
    files = sorted((results / name / f"sensor={sensor}").glob("*/*.parquet"))
    return sorted(repr(row) for path in files for row in pyarrow.parquet.ParquetFile(path).read().to_pylist())


def of_reading(paths: list[str]) -> dict[str, list[str]]:
    """The same of one reading of all the files on one machine."""
    analysis = kacap.read(paths)
    found = {}
    for name in NAMES:
        table = getattr(analysis.tables, name).to_arrow()
        found[name] = sorted(repr(row) for row in table.to_pylist())
    return found


def agree(results: Path, sensor: str, paths: list[str]) -> None:
    expected = of_reading(paths)
    for name in NAMES:
        assert stored(results, name, sensor) == expected[name], name
    assert expected["probes"]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CHUNK_FILES", 7)


@pytest.mark.slow
def test_two_hundred_rotated_files_on_two_workers_are_what_one_reading_makes_of_them(
    client: Any, tmp_path: Path, small_chunks: None
) -> None:
    paths = [str(path) for path in parts_of(analysing.POPULATION, 200, tmp_path / "edge")]
    outcome = run.survey(client, [str(tmp_path / "edge")], str(tmp_path / "results"), None, nothing)
    assert outcome.troubles == []
    assert outcome.files == 200
    agree(tmp_path / "results", "edge", paths)
    (sensor,) = outcome.summary["sensors"]
    assert sensor["frames"] == len(analysing.frames_of(analysing.POPULATION).frames)
    again = run.survey(client, [str(tmp_path / "edge")], str(tmp_path / "results"), None, nothing)
    assert (again.files, again.summary) == (0, outcome.summary)


def test_each_sensor_is_a_capture_of_its_own_and_the_summary_is_over_all(
    client: Any, tmp_path: Path, small_chunks: None
) -> None:
    for sensor, case in (("a", "lab/cut-off"), ("b", "lab/up")):
        parts_of(case, 3, tmp_path / "lake" / sensor)
    results = tmp_path / "results"
    outcome = run.survey(client, [str(tmp_path / "lake" / "*" / "*.pcap")], str(results), None, nothing)
    for sensor in "ab":
        agree(results, sensor, sorted(map(str, (tmp_path / "lake" / sensor).iterdir())))
    assert [part["sensor"] for part in outcome.summary["sensors"]] == ["a", "b"]
    assert outcome.summary["settings"] and outcome.summary["deaths"]
    assert "Settings in use" in (results / "summary.txt").read_text()
    assert "<h2>Settings in use, by destination</h2>" in (results / "summary.html").read_text()
    by_name = listed([str(tmp_path / "lake" / "*" / "*.pcap")], r"lake/(\w)/")
    assert {entry.sensor for entry in by_name} == {"a", "b"}


def test_each_chunk_is_decoded_once_by_who_classifies_it_until_workers_have_nothing_else_to_do(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CHUNK_FILES", 1)
    for sensor, files in (("a", 2), ("b", 3), ("c", 12)):
        parts_of("lab/up", files, tmp_path / "lake" / sensor)
    ahead, together, submit = [], [], client.submit

    def noting(task: Any, *given: Any, **more: Any) -> Any:
        if task is work.decode_chunk:
            ahead.extend(given[0].urls)
        elif task is work.go_on and isinstance(given[1], work.Undecoded):
            together.extend(given[1].urls)
        return submit(task, *given, **more)

    monkeypatch.setattr(client, "submit", noting)
    outcome = run.survey(client, [str(tmp_path / "lake")], str(tmp_path / "results"), None, nothing)
    assert (outcome.troubles, outcome.files) == ([], 17)
    assert sorted(ahead + together) == sorted(entry.url for entry in listed([str(tmp_path / "lake")], None))
    assert ahead and together
    for sensor in "abc":
        agree(tmp_path / "results", sensor, sorted(map(str, (tmp_path / "lake" / sensor).iterdir())))


def test_a_second_run_does_only_what_is_new_and_comes_to_the_same(
    client: Any, tmp_path: Path, small_chunks: None
) -> None:
    paths = parts_of("lab/cut-off", 10, tmp_path / "all")
    lake, results = tmp_path / "lake", tmp_path / "results"
    lake.mkdir()
    for path in paths[:6]:
        shutil.copy2(path, lake)
    assert run.survey(client, [str(lake)], str(results), None, nothing).files == 6
    for path in paths[6:]:
        shutil.copy2(path, lake)
    outcome = run.survey(client, [str(lake)], str(results), None, nothing)
    assert outcome.files == 4
    agree(results, "lake", sorted(map(str, lake.iterdir())))
    (lake / paths[3].name).unlink()  # what came after it has to be done again
    assert run.survey(client, [str(lake)], str(results), None, nothing).troubles == []
    agree(results, "lake", sorted(map(str, lake.iterdir())))


def test_files_that_overlap_across_chunks_are_merged_as_one_reading_merges_them(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CHUNK_FILES", 1)
    lake = tmp_path / "lake"
    for case, name in (("lab/cut-off", "first"), ("lab/cut-off", "second")):
        for path in parts_of(case, 4, tmp_path / name):
            lake.mkdir(exist_ok=True)
            shutil.copy2(path, lake / f"{name}-{path.name}")
    assert run.survey(client, [str(lake)], str(tmp_path / "results"), None, nothing).troubles == []
    agree(tmp_path / "results", "lake", sorted(map(str, lake.iterdir())))


def test_a_corrupt_file_is_reported_with_its_place_and_the_rest_goes_on(
    client: Any, tmp_path: Path, small_chunks: None
) -> None:
    paths = parts_of("lab/cut-off", 5, tmp_path / "lake")
    paths[2].write_bytes(paths[2].read_bytes()[:-3])
    (tmp_path / "lake" / "note.pcap").write_text("no capture at all")
    outcome = run.survey(client, [str(tmp_path / "lake")], str(tmp_path / "results"), None, nothing)
    assert any("note.pcap" in trouble and "text" in trouble for trouble in outcome.troubles)
    assert any(paths[2].name in trouble and "damaged at byte" in trouble for trouble in outcome.troubles)
    agree(tmp_path / "results", "lake", [str(path) for path in paths])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def waited_for(port: int, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(port)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, str]]]:
    """A local S3 server with one empty bucket: its address, and the environment that leads to it."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    port = free_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with ExitStack() as stack:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.kill)
        waited_for(port)
        import fsspec

        fsspec.filesystem("s3").mkdir("lake")
        yield "s3://lake", settings


@pytest.fixture
def remote(store: tuple[str, dict[str, str]]) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and two workers as programs of their own: the address, and the workers."""
    port = free_port()
    places = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": places}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    dask = [sys.executable, "-m", "distributed.cli"]
    with ExitStack() as stack:
        started = []
        for words in (
            ["dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
            *(["dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard", "--no-nanny",
               "--name", name] for name in "ab"),
        ):  # fmt: skip
            process = subprocess.Popen([*dask[:2], f"distributed.cli.{words[0]}", *words[1:]], **quiet)
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(process)
            if words[0] == "dask_scheduler":
                waited_for(port)
        yield f"tcp://127.0.0.1:{port}", started[1:]


@pytest.mark.slow
def test_in_an_object_store_with_one_worker_killed_in_the_middle_the_result_is_the_same(
    store: tuple[str, dict[str, str]],
    remote: tuple[str, list[subprocess.Popen[bytes]]],
    tmp_path: Path,
    small_chunks: None,
) -> None:
    import fsspec

    paths = parts_of("lab/cut-off", 12, tmp_path / "edge") + parts_of("lab/up", 12, tmp_path / "core")
    files = fsspec.filesystem("s3")
    for path in paths:
        files.pipe_file(f"lake/raw/{path.parent.name}/{path.name}", path.read_bytes())
    address, workers = remote
    killed: list[int] = []

    def step(_: int, __: int) -> None:
        if not killed:
            killed.append(workers[0].pid)
            workers[0].send_signal(signal.SIGKILL)

    client = run.connected(address, None)
    try:
        client.wait_for_workers(2, timeout=120)
        outcome = run.survey(client, ["s3://lake/raw/*/*.pcap"], "s3://lake/results", None, step)
    finally:
        client.close()
    assert killed
    assert outcome.troubles == []
    files.get("lake/results", str(tmp_path / "results"), recursive=True)
    for sensor in ("edge", "core"):
        own = sorted(str(path) for path in paths if path.parent.name == sensor)
        expected = of_reading(own)
        for name in NAMES:
            found = [
                row.replace(f"s3://lake/raw/{sensor}", str(tmp_path / sensor))
                for row in stored(tmp_path / "results", name, sensor)
            ]
            assert found == expected[name], name


@pytest.mark.slow
def test_the_command_tells_the_summary_and_an_interrupt_leaves_what_a_later_run_goes_on_from(tmp_path: Path) -> None:
    paths = parts_of("lab/cut-off", 12, tmp_path / "lake")
    places = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    program = (
        "import time; from kacap.survey import run; run.CHUNK_FILES = 1; note = run.SurveyRun.note\n"
        "run.SurveyRun.note = lambda *given: (note(*given), time.sleep(0.4))\n"
        "from kacap.__main__ import program; program()"
    )
    command = [sys.executable, "-c", program, "survey", str(tmp_path / "lake"), "-o", str(tmp_path / "results"),
               "--workers", "1"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": places}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    notebook = tmp_path / "results" / "notebooks" / "lake.json"
    until = time.monotonic() + 120
    while not notebook.exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "goes on from there" in err
    done = len(json.loads(notebook.read_text())["chunks"])
    assert done >= 1
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert again.returncode == 0, again.stderr
    assert "Settings in use, by destination" in again.stdout
    assert f"{12 - done} new or changed files" in again.stderr
    agree(tmp_path / "results", "lake", [str(path) for path in paths])


def test_addresses_without_a_capture_and_schedulers_that_do_not_answer_get_one_line(tmp_path: Path) -> None:
    with pytest.raises(KacapError, match="no capture there"):
        listed([str(tmp_path / "*.pcap")])
    with pytest.raises(KacapError, match="every file needs a sensor"):
        listed([str(CAPTURES / "lab" / "up" / "capture.pcapng")], r"edge-(\d+)")
    with pytest.raises(KacapError, match="no scheduler answers"):
        run.connected(f"tcp://127.0.0.1:{free_port()}", None)
