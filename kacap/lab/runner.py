"""Runs processes, one or many at once, and passes on what they tell."""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal, Required, TypedDict

from kacap.environment import of_user
from kacap.errors import KacapError
from kacap.lab.scenario import Site


@dataclass(frozen=True, slots=True)
class Request:
    """One run: which scenario, where its files go, and what differs from the scenario as written.

    ``settings``: idle, interval (seconds) and count for the ends that probe; ``family`` 4 or 6; ``where`` a
    ``kacap.lab.scenario.Site`` or ``both``. ``None``: as written. ``population``: (sockets, seconds) of a
    population instead. ``companion``: the words of a program that watches with every recorder, see
    ``kacap.lab.companion``.
    """

    scenario: str
    directory: Path
    settings: tuple[int | None, int | None, int | None] = (None, None, None)
    family: int | None = None
    where: str | None = None
    population: tuple[int, int] | None = None
    companion: tuple[str, ...] = ()


class Step(TypedDict, total=False):
    """What a run tells: ``seconds`` that it takes, or what happens ``at`` so many seconds, or ``why`` it failed."""

    step: Required[Literal["building", "running", "event", "failed", "done"]]
    seconds: float
    at: float
    what: str
    why: str


class Asked(TypedDict):
    """A request as it reaches the scenario's process: JSON, and the id of the process that asks."""

    scenario: str
    directory: str
    settings: tuple[int | None, int | None, int | None]
    family: Literal[4, 6] | None
    where: Site | Literal["both"] | None
    population: tuple[int, int] | None
    companion: tuple[str, ...]
    parent: int


Listener = Callable[[Request, Step], None]
_TICK_S = 0.1


def play(
    requests: Iterable[Request], jobs: int, tell: Listener, tick: Callable[[], None] = lambda: None
) -> dict[str, str]:
    """Run every request, at most ``jobs`` at once; return what failed: scenario to reason.

    ``tell(request, step)`` gets each step of each run. A ``tick()`` is called a few times a second. A
    ``KeyboardInterrupt`` ends the runs early but properly (captures closed, truth written) and is raised again.
    Call it from a thread that outlives the runs: a scenario run ends with the thread that started it.
    """
    waiting, failed = list(requests), {}
    running: dict[subprocess.Popen[str], Request] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    request = waiting.pop(0)
                    process = _start(request)
                    running[process] = request
                    selector.register(_stdout(process), selectors.EVENT_READ, process)
                tick()
                for key, _ in selector.select(_TICK_S):
                    why = _pass_on(key.data, running, selector, tell)
                    if why:
                        failed[why[0]] = why[1]
        except KeyboardInterrupt:
            _end(list(running))
            raise
        except BaseException:
            for process in running:
                process.kill()
            raise
    return failed


def _start(request: Request) -> subprocess.Popen[str]:
    request.directory.mkdir(parents=True, exist_ok=True)
    mine = _lock(request.directory)
    for pattern in ("*.pcapng", "truth.toml", "*.out", "*.err"):
        for old in request.directory.glob(pattern):
            old.unlink()
    asked = asdict(request) | {"directory": str(request.directory), "parent": os.getpid()}
    command = [sys.executable, "-m", "kacap.lab.scenario_run", json.dumps(asked)]
    try:
        kept = () if mine is None else (mine,)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=kept,
            env=of_user(),
        )
    finally:
        if mine is not None:
            os.close(mine)


def _lock(directory: Path) -> int | None:
    """Return a descriptor that keeps other labs out of a directory until the last process that holds it has ended.

    None where the file system has no locks. Raises ``KacapError`` when another lab is in there.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise KacapError(f"{directory}: another lab writes there; name another directory with -o") from None
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _stdout(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def _pass_on(
    process: subprocess.Popen[str],
    running: dict[subprocess.Popen[str], Request],
    selector: selectors.BaseSelector,
    tell: Listener,
) -> tuple[str, str] | None:
    """Pass on one line of a scenario run; when it has ended without "done", return (scenario, reason)."""
    request = running[process]
    line = _stdout(process).readline()
    if not line:
        selector.unregister(_stdout(process))
        del running[process]
        return (request.scenario, "it ended without a word") if process.wait() > 1 or process.returncode < 0 else None
    step: Step = json.loads(line)
    tell(request, step)
    return (request.scenario, step["why"]) if step["step"] == "failed" else None


def _end(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.communicate(timeout=20)
