"""Markers that skip with a reason, and the captures that tests share."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from compiled import kernels_are_compiled
from hypothesis import settings

# A machine may be busy, so that no case has a deadline. Each run looks at the same cases, and says of a change what it
# broke; new ones are looked at on request, and by the fuzzer.
settings.register_profile("kacap", deadline=None, derandomize=not os.environ.get("KACAP_NEW_CASES"))
settings.load_profile("kacap")

ROOT = Path(__file__).resolve().parent.parent
# Where bytecode is not to be kept beside the sources (as in containers), the processes that tests start would compile
# all of kacap each time, which takes half of a short command's time: it is kept with what pytest keeps.
if sys.dont_write_bytecode:
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "bytecode")
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
LONGEST = (
    "tests/fuzz/",
    "tests/whole/test_notebooks",
    "tests/whole/test_reference_captures.py::test_the_twin_gives_the_hand_made",
    "tests/whole/test_score",
)
# What measures real time on real links keeps to one worker for each of two groups, which mostly wait: two of a group at
# once would wait for each other, and look for what the other left behind.
ON_LINKS = {"lab": "lab", "sockets": "lab", "compare": "watches", "live": "watches"}
# What these fixtures make takes many seconds: the tests that look at it keep to one worker.
MADE_ONCE = {
    "tests/commands/test_outputs.py": "whole",
    "tests/unit/test_kernel_cache.py": "warm",
    "tests/whole/test_package.py": "built",
}
SHARED = ROOT.parent / "shared" / "captures"


@cache
def namespaces_forbidden() -> str:
    """Return why network namespaces cannot be made here; empty when they can."""
    if not sys.platform.startswith("linux") or not shutil.which("unshare"):
        return "no unshare(1) on this machine"
    options = ["--net"] if os.geteuid() == 0 else ["--net", "--user", "--map-root-user"]
    tried = subprocess.run(["unshare", *options, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with its reason, a test whose tool, namespaces or captures are absent.

    With KACAP_REQUIRE_TOOLS=1 a missing tool is a failure: the machine was meant to have it.
    """
    missing = [mark.args[0] for mark in item.iter_markers("tool") if not shutil.which(mark.args[0])]
    if missing:
        reason = f"needs {', '.join(missing)}"
        if os.environ.get("KACAP_REQUIRE_TOOLS") == "1":
            pytest.fail(f"{reason}, and KACAP_REQUIRE_TOOLS=1", pytrace=False)
        pytest.skip(reason)
    if item.get_closest_marker("namespaces") and (reason := namespaces_forbidden()):
        pytest.skip(f"needs network namespaces: {reason}")
    if item.get_closest_marker("shared") and not SHARED.is_dir():
        pytest.skip(f"needs the labelled public captures in {SHARED}")
    if not item.get_closest_marker("early"):
        kernels_are_compiled()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return how many workers ``-n auto`` is: two more than processors, as the groups on links mostly wait.

    In the fast lane none waits, and collecting is a good part of what a worker has to do.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return len(os.sched_getaffinity(0)) + 2 * ("not slow" not in config.option.markexpr)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what need not wait for the kernels, then with what takes longest: no worker ends long after all."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        if item.get_closest_marker("namespaces"):
            item.add_marker(pytest.mark.slow)
            if group := ON_LINKS.get(file.split("/")[1]):
                item.add_marker(pytest.mark.xdist_group(group))
        elif (made := MADE_ONCE.get(file)) in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(made))
    items.sort(key=_place)


def pytest_collection_finish() -> None:
    """Leave what stays for the whole run out of every search for garbage, which takes a twentieth of the time."""
    gc.collect()
    gc.freeze()


def _place(item: pytest.Item) -> int:
    """Return where a test stands among the others: the less, the earlier."""
    if item.get_closest_marker("early"):
        return 0
    group = item.get_closest_marker("xdist_group")
    if group:
        return 1 if group.args[0] in ON_LINKS.values() else 2
    return 2 if item.nodeid.startswith(LONGEST) else 3


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of the labelled public captures; mark the test ``shared`` as well."""
    return SHARED


@pytest.fixture(scope="session")
def captures() -> Path:
    """The directory of the captures that kacap ships."""
    return ROOT / "captures"
