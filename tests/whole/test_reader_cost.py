"""Captures that make work for the reader cost no more than a bound, which a capture of nothing sets in the same run.

The curves are printed (pytest -s). Bound: for each megabyte 0.2 s more than a capture without a frame, on a
machine on which that one takes the processor a second, on a slower one in proportion; 200 MB, and 8 for each megabyte.
Processor time is compared, as others may use the machine; what is over the bound is measured once more.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from bench_read import Run
from bench_reader import CAPTURES, COMMANDS, MB, run

pytestmark = pytest.mark.slow
SIZES_MB = (2, 9)  # nine are the most ACKs of strangers of which none is let go
SECONDS_A_MB = 0.2
ALL_TOLD = "given-up", "annotate --anonymise"  # four of five frames get sentences of their own: no bound by size
SPARE_S = 0.5  # what differs from run to run
BASE_MB = 200


@pytest.fixture(scope="module")
def nothing(captures: Path) -> Run:
    """What a capture without a frame costs here and now."""
    empty = captures / "broken" / "no-frames.pcapng"
    return min((run(COMMANDS["read"], empty) for _ in range(3)), key=lambda taken: taken.cpu)


@pytest.mark.parametrize(("name", "command"), [pair for pair in product(CAPTURES, COMMANDS) if pair != ALL_TOLD])
def test_reading_costs_no_more_than_its_bound_whatever_the_blocks_say(
    name: str, command: str, nothing: Run, tmp_path: Path
) -> None:
    machine = max(nothing.cpu, 1)
    passes = 1 if command == "read" else 2  # annotate reads once for the comments, once for the copy
    for size in SIZES_MB:
        path = tmp_path / f"{name}-{size}"
        path.write_bytes(CAPTURES[name](size * MB))
        megabytes = max(size, path.stat().st_size / MB)
        limit = nothing.cpu + (SPARE_S + SECONDS_A_MB * passes * megabytes) * machine
        taken = run(COMMANDS[command], path)
        if taken.cpu > limit:
            taken = run(COMMANDS[command], path)
        print(f"{name} {command} {megabytes:.1f} MB: {taken.cpu:.2f} of {limit:.2f} s, {taken.megabytes:.0f} MB")
        assert taken.cpu <= limit
        assert taken.megabytes <= max(BASE_MB, nothing.megabytes) + 8 * megabytes
