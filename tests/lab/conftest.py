"""Runs the whole lab for a session: every scenario at the same time, as they mostly wait.

Once by itself, and once with `kacap live` beside the lab's recorders, which must not disturb what is held against the
kernel's clock.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest

from kacap.lab.runner import Request, play
from kacap.lab.scenarios import SCENARIOS

JOBS = 14
LIVE = (*forked.KACAP, "live", "--json", "--segments", "all", "--engine", "ring")
BESIDE = (*LIVE, "-w", "{stem}.pcap", "-i", "{interface}")
# Recorder and watcher of mid-connection begin in its midst: its first probe leaves the watcher time to start.
AS_WRITTEN = (None, None, None)
SLOWED = {"mid-connection": (10, 1, 3)}


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
    """Return scenario -> directory (capture and truth.toml) of one live run of every scenario."""
    base = _shared(tmp_path_factory) / "lab"
    return _played(base, [Request(name, base / name) for name in SCENARIOS])


@pytest.fixture(scope="session")
def watched_runs(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return scenario -> directory of a run `kacap live` watched; ``.out`` is what it told, ``.pcap`` what it kept."""
    base = _shared(tmp_path_factory) / "watched"
    os.environ.update(forked.door())
    subprocess.run([*LIVE, "-i", "no-such"], capture_output=True, check=False)  # its kernels are compiled now
    told = {name: scenario.with_settings(*SLOWED.get(name, AS_WRITTEN)) for name, scenario in SCENARIOS.items()}
    longest_first = sorted(told, key=lambda name: -told[name].seconds)
    return _played(base, [Request(n, base / n, SLOWED.get(n, AS_WRITTEN), companion=BESIDE) for n in longest_first])


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the session's directory, the same for all workers of pytest-xdist: they share one run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


def _played(base: Path, requests: list[Request]) -> dict[str, Path]:
    """Play the requests unless another worker has; a scenario that failed fails the tests with its reason."""
    base.mkdir(exist_ok=True)
    with (base.parent / "lab.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / "done").exists():
            failed = play(requests, JOBS, lambda *_: None)
            (base / "done").write_text("\n".join(f"{name}: {why}" for name, why in failed.items()))
        failures = (base / "done").read_text()
    assert not failures, failures
    return {request.scenario: request.directory for request in requests}
