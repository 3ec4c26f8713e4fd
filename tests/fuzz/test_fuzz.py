"""The fuzzer finds what it is made to find, and what was found is not found again; CI runs it for three minutes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from roads import CostError, Road, measured  # noqa: E402
from shrink import place, smallest  # noqa: E402
from stories import Capture, Chance, FromBytes, capture  # noqa: E402
from worker import Worker  # noqa: E402

BROKEN = sorted((HERE.parents[1] / "captures" / "broken").iterdir())
OF_A_CAPTURE = ("read", "json", "live", "annotate", "check", "explain", "compare", "report", "chart")


@pytest.mark.slow
def test_a_number_makes_the_same_capture_again_and_bytes_do_so_too():
    for seed in range(30):
        assert capture(Chance(seed)).data == capture(Chance(seed)).data
    data = Chance(1).randbytes(4000)
    assert capture(FromBytes(data)).data == capture(FromBytes(data)).data
    assert len({capture(Chance(seed)).data for seed in range(30)}) > 25


@pytest.mark.slow
def test_what_fails_is_found_made_small_and_kept_with_a_name_that_says_where(tmp_path, monkeypatch):
    def fails(_: Chance, path: str) -> None:
        if b"needle" in Path(path).read_bytes():
            raise KeyError("found")

    monkeypatch.setattr("worker.ROADS", {"read": Road(fails, 1)})
    worker = Worker(tmp_path / "keep", tmp_path)
    pieces = [b"hay"] * 50 + [b"needle"] + [b"straw"] * 50
    assert worker.walk("read", Capture(pieces), 1, 1) == "read-KeyError-test_fuzz-fails"
    (kept,) = (tmp_path / "keep").iterdir()
    assert (kept.name, kept.read_bytes()) == ("found-read-keyerror-test_fuzz-fails.pcap", b"needle")


@pytest.mark.slow
def test_what_costs_more_than_it_may_is_found_with_time_and_with_memory(tmp_path, monkeypatch):
    held: list[bytearray] = []

    def slow(*_: object) -> None:
        ends_s = time.process_time() + 1.1
        while time.process_time() < ends_s:
            pass

    walks = {"time": slow, "memory": lambda *_: held.append(bytearray(300_000_000))}
    for name, walk in walks.items():
        monkeypatch.setattr("worker.ROADS", {"read": Road(walk, 1)})
        error = Worker(tmp_path, tmp_path).failure(Road(walk, 1), Capture([b"x"]), 1)
        assert isinstance(error, CostError), name
    seconds, _ = measured(lambda: None)
    assert seconds < 0.1


def test_shrinking_keeps_only_what_it_takes():
    assert smallest(list(range(200)), lambda kept: {17, 120} <= set(kept), 10) == [17, 120]
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        assert place(error) == "ZeroDivisionError-test_fuzz-test_shrinking_keeps_only_what_it_takes"


@pytest.mark.slow
@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.name)
def test_every_broken_capture_takes_every_road(path, tmp_path):
    from roads import ROADS

    worker = Worker(tmp_path / "keep", tmp_path)
    worker.checked = True  # what kernels compile for is no capture's cost; the long run looks at that
    suffix = ".pcapng" if ".pcapng" in path.name else ".pcap"
    for name in OF_A_CAPTURE:
        error = worker.failure(ROADS[name], Capture([path.read_bytes()], suffix), 1)
        assert error is None, f"{name}: {error!r}"


@pytest.mark.slow
def test_some_seconds_of_fuzzing_find_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE, "--minutes", "0.15", "--keep", tmp_path / "found"],
        text=True,
        capture_output=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
