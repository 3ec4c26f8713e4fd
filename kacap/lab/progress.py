"""Shows runs as they go: bars that count down on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from kacap.lab.runner import Request, Step

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


class Shown(Protocol):
    """What a runner calls: ``on_step`` with each step, ``tick`` now and then, and an end."""

    def on_step(self, request: Request, step: Step) -> None:
        """Take one step of one run."""

    def tick(self) -> None:
        """Look at the clock."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def shown(stream: TextIO | None = None) -> Shown:
    """Return bars if ``stream`` (stderr) is a terminal that can draw them, else lines."""
    stream = stream or sys.stderr
    from rich.console import Console

    console = Console(file=stream)
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines(stream)


class Lines:
    """A line for each step."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def on_step(self, request: Request, step: Step) -> None:
        """Write the step down."""
        words = {
            "building": "builds its network",
            "running": f"runs for {step.get('seconds', 0):.0f} s",
            "event": f"{step.get('at', 0):5.1f} s  {step.get('what')}",
            "failed": "failed",
            "done": "done",
        }
        print(f"{request.scenario}: {words[step['step']]}", file=self._stream, flush=True)

    def tick(self) -> None:
        """Lines have no clock."""

    def close(self) -> None:
        """Lines leave nothing behind."""


class Bars:
    """A bar for each run that is on, with the seconds left and the last event."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]:>6}"))
        self.progress = Progress(*columns, TextColumn("{task.fields[what]}"), console=console, transient=True)
        self.progress.start()
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}

    def on_step(self, request: Request, step: Step) -> None:
        """Start, label or finish a bar."""
        name = request.scenario
        if step["step"] == "building":
            self._tasks[name] = self.progress.add_task(name, total=None, left="", what="builds its network")
        elif step["step"] == "running":
            self.progress.update(self._tasks[name], total=step["seconds"], what="")
            self._begun[name] = time.monotonic()
        elif step["step"] == "event":
            self.progress.update(self._tasks[name], what=step["what"][:60])
        elif name in self._tasks:
            self.progress.remove_task(self._tasks.pop(name))
            self._begun.pop(name, None)

    def tick(self) -> None:
        """Move every bar to where the clock is."""
        for name, begun in self._begun.items():
            spent = time.monotonic() - begun
            task = self.progress.tasks[self.progress.task_ids.index(self._tasks[name])]
            left = max(0.0, (task.total or 0.0) - spent)
            self.progress.update(self._tasks[name], completed=spent, left=f"{left:.1f} s")

    def close(self) -> None:
        """Take the bars off the terminal."""
        self.progress.stop()
