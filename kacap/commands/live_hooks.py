"""``kacap live --on dead|missing COMMAND``: a program that is told, with the event as JSON on its standard input."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kacap.commands.telling import tell
from kacap.environment import of_user
from kacap.errors import UsageError
from kacap.report.event_records import event_line
from kacap.report.live_rows import LiveEvent, What

AT_ONCE = 4  # programs that run at the same time
WAITING = 64  # events that wait for one to end; what comes then is counted and passed over
PATIENCE_S = 30.0  # then a program is killed


class _Running(NamedTuple):
    process: subprocess.Popen[bytes]
    since_s: float
    name: str


class Hooks:
    """Starts the programs of ``--on``; neither they nor their number can hold up the watch."""

    def __init__(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Take (what, command) pairs; a command is split as a shell would, and no shell runs it. Raises UsageError."""
        self._commands: list[tuple[str, list[str]]] = []
        for what, command in wanted:
            try:
                words = shlex.split(command)
            except ValueError as error:
                raise UsageError(f"--on {what} {command}: {error}") from None
            program = shutil.which(words[0]) if words else None
            if program is None:
                raise UsageError(f"--on {what} {command}: no such program; name one that can be run, no shell is used")
            self._commands.append((what, [program, *words[1:]]))
        self.running: list[_Running] = []
        self._waiting: deque[tuple[list[str], str]] = deque()
        self._skipped = 0

    def take(self, events: Iterable[LiveEvent]) -> None:
        """Start a program for each event that one is wanted for, or have it wait; look after those that run."""
        for event in events:
            for what, command in self._commands:
                if event.what == what and (what != What.MISSING or event.run <= 1):  # the first miss of a run
                    self._put(command, event)
        self._look()

    def _put(self, command: list[str], event: LiveEvent) -> None:
        if len(self._waiting) >= WAITING:
            self._skipped += 1
            return
        self._waiting.append((command, event_line(event, skipped=self._skipped)))
        self._skipped = 0

    def _look(self) -> None:
        """Kill what runs for too long, forget what has ended, start what waits."""
        now_s, running = time.monotonic(), []
        for one in self.running:
            if one.process.poll() is None and now_s - one.since_s >= PATIENCE_S:
                with suppress(ProcessLookupError):
                    os.killpg(one.process.pid, signal.SIGKILL)
                one.process.wait()
                tell(f"kacap: --on: {one.name} did not end within {PATIENCE_S:g} s: killed")
            elif one.process.poll() is None:
                running.append(one)
            elif one.process.returncode:
                tell(f"kacap: --on: {one.name} ended with {one.process.returncode}")
        self.running = running
        while self._waiting and len(self.running) < AT_ONCE:
            command, line = self._waiting.popleft()
            self._start(command, line)

    def _start(self, command: list[str], line: str) -> None:
        """Start a program; a pipe holds the whole line, so that nobody waits for it to be read."""
        reading, writing = os.pipe()
        try:
            os.write(writing, f"{line}\n".encode())
            os.close(writing)
            process = subprocess.Popen(command, stdin=reading, stdout=2, start_new_session=True, env=of_user())
            self.running.append(_Running(process, time.monotonic(), Path(command[0]).name))
        except OSError as error:
            tell(f"kacap: --on: {command[0]}: {error.strerror}")
        finally:
            os.close(reading)

    def close(self) -> None:
        """Let what waits run and end; what takes too long is killed."""
        until_s = time.monotonic() + PATIENCE_S
        while (self.running or self._waiting) and time.monotonic() < until_s:
            self._look()
            time.sleep(0.02)
        for one in self.running:
            with suppress(ProcessLookupError):
                os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()
        if lost := self._skipped + len(self._waiting):
            tell(f"kacap: --on: {lost} events came too fast for the programs to be told")
