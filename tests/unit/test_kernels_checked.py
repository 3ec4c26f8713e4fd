"""Compiled, with bounds checks, and as plain Python the kernels give the same; and the cache hurts nobody."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import analysing
import numpy as np
import pytest
from analysing import CAPTURES, analyse_frames, frames_of
from compiled import checked, kernels_are_compiled
from plain_rows import with_rows_as_compiled

import kacap
from kacap.commands.compiling import COMPLETE
from kacap.errors import KacapError
from kacap.kernel_cache import CACHE

pytestmark = pytest.mark.slow
CAPTURE = CAPTURES / "lab" / "cut-off" / "capture.pcapng"
TESTS = Path(__file__).resolve().parents[1]
ANNOUNCED = "kacap: compil"
DIGEST_BYTES = 32  # a file of the cache begins with its SHA-256
MISSING = b"_group"  # a kernel that every reading takes
PAST = """
import numpy as np
from kacap.kernels import entry

@entry
def past(rows):
    return rows[len(rows)]

past(np.arange(3))
"""
BROKEN = sorted(str(path) for path in (CAPTURES / "broken").iterdir())


def small(case: str) -> bool:
    return len(frames_of(case).frames) < 20


def results(cases: list[str], broken: list[str]) -> Iterator[str]:
    """A line for each capture: its name and a digest of everything that kacap makes of it."""
    for case in cases:
        yield f"{case} {digest(repr(analyse_frames([frames_of(case)]).comparable))}"
    for path in broken:
        records: list[object] = []
        try:
            analysis = kacap.read(path, sink=records.append, segments="all")
            yield f"{path} {digest(analysing.spelled((records, analysis.damages)))}"
        except KacapError as error:
            yield f"{path} {error}"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def environment(**settings: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (TESTS, TESTS.parent))), **settings}


@pytest.mark.early
@pytest.mark.xdist_group("bounds")
@pytest.mark.parametrize("setting", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
def test_with_bounds_checks_and_without_the_compiler_every_result_is_the_same(setting: str) -> None:
    interpreted = setting == "NUMBA_DISABLE_JIT"
    cases = [case for case in analysing.small_cases() if small(case)] if interpreted else analysing.small_cases()
    command = [sys.executable, __file__, *cases]
    done = subprocess.run(command, env=environment(**checked(setting)), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    kernels_are_compiled()
    assert done.stdout.splitlines() == list(results(cases, BROKEN))
    assert ANNOUNCED not in done.stderr  # a library keeps quiet


def test_with_bounds_checks_a_kernel_that_reads_past_the_end_fails(tmp_path: Path) -> None:
    script = tmp_path / "past.py"
    script.write_text(PAST)
    for _ in range(2):  # compiled, then from the cache
        done = subprocess.run(
            [sys.executable, script], env=environment(NUMBA_BOUNDSCHECK="1"), capture_output=True, check=False
        )
        assert b"RuntimeError: __main__.past failed" in done.stderr


def read(capture: Path, cache: Path, **settings: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kacap", "read", str(capture)]
    return subprocess.Popen(
        command,
        env=environment(KACAP_CACHE=str(cache), **settings),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_two_processes_that_start_at_once_where_a_kernel_is_missing_both_succeed(tmp_path: Path) -> None:
    """A kernel that is compiled soon: where none is kept it is the same way, as the first command of a session goes."""
    warm = CACHE.directory()
    assert warm is not None
    for path in warm.iterdir():
        name = path.read_bytes()[DIGEST_BYTES:].split(b"\n", 2)[1:2]
        if path.name != COMPLETE and MISSING not in b"".join(name):
            (tmp_path / warm.name).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / warm.name)
    told = [process.communicate() for process in [read(CAPTURE, tmp_path), read(CAPTURE, tmp_path)]]
    assert told[0][0] == told[1][0] and "gave up" in told[0][0]
    said = [err.splitlines() for _, err in told]  # that it compiles, and how long that took
    assert max(map(len, said)) == 2, said  # on a busy machine one may begin when the other has it compiled
    assert all(line.startswith(ANNOUNCED) for lines in said for line in lines), said
    third = read(CAPTURE, tmp_path)
    assert third.communicate() == (told[0][0], "")  # the cache is warm: nothing to say
    assert third.returncode == 0


if __name__ == "__main__":
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        np.seterr(over="ignore")  # numbers wrap there as they do in compiled kernels
        with_rows_as_compiled()
    for text in results(sys.argv[1:], BROKEN):
        print(text)
