"""Runs the whole lab once for a session: every scenario at the same time, as they mostly wait."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kacap.lab.runner import Request, play
from kacap.lab.scenarios import SCENARIOS

JOBS = 14


def namespaces_missing() -> str:
    """Return why no network namespace can be made here; empty if one can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are a Linux feature"
    script = "from kacap.lab.process import own_user_namespace; own_user_namespace()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skip, with the reason, where no network namespace can be made."""
    if why := namespaces_missing():
        pytest.skip(why)


@pytest.fixture(scope="session")
def lab_runs(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return scenario -> directory (capture and truth.toml) of one live run of every scenario.

    Workers of pytest-xdist share one run. A scenario that failed fails the session's lab tests with its reason.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "lab"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "done").exists():
            failed = play([Request(name, shared / name) for name in SCENARIOS], JOBS, lambda *_: None)
            (shared / "done").write_text("\n".join(f"{name}: {why}" for name, why in failed.items()))
        failures = (shared / "done").read_text()
    assert not failures, failures
    return {name: shared / name for name in SCENARIOS}
