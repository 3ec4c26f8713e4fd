"""Branch coverage of what decides: ``python tests/bench/coverage_core.py [--lines]``.

Kernels are seen by coverage only as plain Python, which is slow: so they run on small captures. The rest runs compiled,
on more of the tests. What both runs reached is put together and told for each package, with ``--lines`` for each file.
The first run keeps which test reached which line, for mutate.py.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import coverage
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PACKAGES = ("classify", "timing", "facts", "findings")
SETTINGS = ["--branch", "--source=" + ",".join(f"kacap/{each}" for each in PACKAGES)]
BUILT = ROOT / "build"
PLAIN, DROPPING, COMPILED, BOTH = (BUILT / f"coverage-{each}" for each in ("plain", "dropping", "compiled", "both"))
# Where captures are small, and each is read once.
SMALL = (
    "whole/test_expected.py",
    "whole/test_crafted_episodes.py",
    "findings",
    "unit/test_breaks.py",
    "unit/test_expectations.py",
    "unit/test_limits.py",
    "unit/test_products.py",
    "unit/test_states.py",
    "unit/test_verdicts.py",
)
MORE = (
    *SMALL, "unit/test_dropping.py", "unit/test_forgetting.py", "unit/test_estimate.py", "unit/test_planning.py",
    "unit/test_timing_lives.py", "unit/test_rows.py", "unit/test_capture_drops.py", "whole/test_state.py",
    "whole/test_one_fact.py", "whole/test_reference_middle.py", "commands/test_check.py", "commands/test_plan.py",
    "compare", "report", "survey", "library", "live/test_live_lines.py", "live/test_live_screen.py",
    "live/test_duty.py",
)  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let coverage note which test reaches a line."""
    if measured := coverage.Coverage.current():
        measured.switch_context(item.nodeid)
    return (yield)


def pytest_configure() -> None:
    """Be the plugin of the run without numba's compiler: kernels take rows as compiled ones do."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        for path in sorted((ROOT / "kacap").rglob("*.py")):
            if "@entry\n" in path.read_text(encoding="utf-8"):
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        from plain_rows import with_rows_as_compiled

        np.seterr(over="ignore")  # numbers wrap as they do in compiled kernels
        with_rows_as_compiled()


def run(data: Path, tests: tuple[str, ...], marked: str, **environment: str) -> None:
    """Run the tests ``marked`` so in a process of their own, and keep what they reached."""
    places = os.pathsep.join(map(str, (ROOT, TESTS, TESTS / "bench", TESTS / "unit")))
    options = ["-n0", "-q", "-p", "no:cacheprovider", "-p", "coverage_core", "-m", marked]
    command = ["coverage", "run", *SETTINGS, f"--data-file={data}", "-m", "pytest", *options]
    named = [str(TESTS / each) for each in tests]
    subprocess.run(
        [sys.executable, "-m", *command, *named],
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONPATH": places, **environment},
    )


def main(arguments: list[str]) -> None:
    """Run both; print the figure of each package, or of each file and what it lacks."""
    BUILT.mkdir(exist_ok=True)
    run(PLAIN, SMALL, "not slow and not namespaces", NUMBA_DISABLE_JIT="1")
    run(DROPPING, ("unit/test_dropping.py",), "not namespaces", NUMBA_DISABLE_JIT="1")
    run(COMPILED, MORE, "not namespaces")
    measured = coverage.Coverage(data_file=str(BOTH), branch=True)
    measured.combine([str(each) for each in (PLAIN, DROPPING, COMPILED)], keep=True)
    for package in PACKAGES:
        print(f"kacap/{package}")
        measured.report(include=[f"*/kacap/{package}/*"], show_missing="--lines" in arguments, skip_covered=True)


if __name__ == "__main__":
    main(sys.argv[1:])
