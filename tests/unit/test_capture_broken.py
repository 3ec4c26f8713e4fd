"""Broken captures: what precedes the damage is read, the damage is named, and no byte beyond a file is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import make_broken
import pytest
from compiled import checked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_broken import BEYOND, BROKEN, DAMAGED, FIRST_S, NG_TWO, NOTHING, TWO, WHOLE, Case

from kacap.capture import open_captures
from kacap.errors import CaptureError, Damage

TESTS = Path(__file__).resolve().parents[1]


def read(path: Path | str) -> tuple[list[int], list[Damage]]:
    """Return the frames' times in seconds after the first, and the damages."""
    captures = open_captures([str(path)])
    times: list[int] = []
    for batch in captures:
        ends = batch.frames["offset"] + batch.frames["captured_len"]
        assert (batch.frames["offset"] >= 0).all() and (ends <= len(batch.buffer)).all()
        assert batch.frames["frame"].tolist() == list(range(len(times) + 1, len(times) + len(ends) + 1))
        times += (batch.frames["time_ns"] // 1_000_000_000 - FIRST_S).tolist()
    return times, list(captures.damages)


def test_broken_captures_in_the_tree_are_those_that_the_script_writes() -> None:
    written = {path.name: path.read_bytes() for path in BROKEN.iterdir() if not path.name.startswith("found-")}
    assert written == make_broken.FILES  # what begins with found- is what a fuzzer found


@pytest.mark.parametrize("name", NOTHING)
def test_a_file_of_which_nothing_can_be_read_is_refused_with_its_name_and_why(name: str) -> None:
    with pytest.raises(CaptureError) as refused:
        open_captures([str(BROKEN / name)])
    assert str(refused.value).startswith(f"{BROKEN / name}: ")
    assert NOTHING[name][1] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", DAMAGED)
def test_what_precedes_the_damage_is_read_and_the_damage_is_named(name: str) -> None:
    case: Case = DAMAGED[name]
    times, (damage,) = read(BROKEN / name)
    assert times == case.times
    assert (damage.file, damage.offset, damage.frame) == (str(BROKEN / name), case.offset, len(case.times))
    assert case.what in damage.what


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_odd_but_whole_is_read_without_damage(name: str) -> None:
    assert read(BROKEN / name) == (WHOLE[name].times, [])


@pytest.mark.parametrize("name", BEYOND)
def test_frames_with_times_out_of_range_are_read_and_that_is_said(name: str) -> None:
    case: Case = BEYOND[name]
    times, (damage,) = read(BROKEN / name)
    assert times == case.times
    assert (damage.file, damage.offset, damage.frame) == (str(BROKEN / name), case.offset, 2)
    assert case.what in damage.what


def test_a_damaged_file_does_not_stop_the_others(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pcap"
    whole.write_bytes(make_broken.pcap_header() + b"".join(make_broken.record(s) for s in range(4)))
    captures = open_captures([str(BROKEN / "length-2-32-1.pcap"), str(whole)])
    times = [t for batch in captures for t in (batch.frames["time_ns"] // 1_000_000_000 - FIRST_S).tolist()]
    assert times == [0, 0, 1, 1, 2, 3]
    assert [damage.frame for damage in captures.damages] == [2]


def test_what_is_missing_forbidden_or_a_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    for name, what in [
        (str(tmp_path / "absent.pcap"), "no such file"),
        (str(tmp_path), "is a directory"),
        (str(tmp_path / "*.pcap"), "no file matches"),
    ]:
        with pytest.raises(CaptureError, match=what):
            open_captures([name])
    with pytest.raises(CaptureError, match="no capture named"):
        open_captures([])


@pytest.mark.slow
def test_a_section_with_endless_interfaces_is_damage_not_memory(tmp_path: Path) -> None:
    path = tmp_path / "interfaces.pcapng"
    path.write_bytes(NG_TWO + make_broken.interface() * 65_537)
    times, (damage,) = read(path)
    assert times == [0, 1]
    assert "more than 65,536 interfaces" in damage.what


SEEDS = [TWO + make_broken.record(2), NG_TWO + make_broken.packet(2), NG_TWO + NG_TWO, make_broken.GZIP]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid capture with some bytes replaced, removed or repeated."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        piece = draw(st.sampled_from([b"", b"\0" * 4, b"\xff" * 4, b"\x01\0\0\0"]) | st.binary(max_size=4))
        data[at : at + draw(st.sampled_from([0, len(piece), len(piece), 7]))] = piece
        if not data:
            break
    return bytes(data)


@pytest.mark.slow
@given(data=mutations())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mutation_yields_frames_damage_or_a_refusal_and_nothing_else(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mutated"
    path.write_bytes(data)
    try:
        times, damages = read(path)
    except CaptureError as refused:
        assert str(refused).startswith(str(path))
        return
    ending = [damage for damage in damages if "the time of frame" not in damage.what]
    assert len(ending) <= 1 and len(damages) <= len(ending) + 1
    assert len(times) <= len(data) // 16 + 16 or data[:2] == b"\x1f\x8b"


EVERY_FILE = """
import os, sys
import kacap.capture.pcap, kacap.capture.pcapng, kacap.capture.filters
from kacap.capture import open_captures
from kacap.errors import CaptureError
if os.environ.get("NUMBA_DISABLE_JIT"):
    from plain_rows import with_rows_as_compiled
    with_rows_as_compiled()
for name in sys.argv[1:]:
    try:
        captures = open_captures([name], filter="len >= 0 and not tcp[2000] = 1 or ip[0] & 15 > 7")
        print(name, sum(len(batch.frames) for batch in captures), captures.frames, captures.damages)
    except CaptureError as refused:
        print(refused)
"""


@pytest.mark.slow
@pytest.mark.xdist_group("bounds")
@pytest.mark.parametrize("setting", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
def test_with_bounds_checked_and_without_the_compiler_broken_captures_read_the_same(setting: str) -> None:
    names = [str(BROKEN / name) for name in sorted(make_broken.FILES) if "unknown-link" not in name]

    def run(**extra: str) -> str:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))), **extra}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", EVERY_FILE, *names],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    expected = run()
    assert expected.count("Damage(") == len(DAMAGED) + len(BEYOND)
    assert run(**checked(setting)) == expected
