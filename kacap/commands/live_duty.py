"""What ``kacap live`` does besides showing: metrics, a log, programs that are told. Nothing of it is loaded unasked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from kacap.commands.reading import together
from kacap.errors import UsageError

if TYPE_CHECKING:
    from kacap.capture.live_source import LiveSource
    from kacap.capture.privileges import User
    from kacap.commands.live_log import EventLog
    from kacap.commands.live_sockets import Sockets
    from kacap.report.live_events import LiveTracker
    from kacap.report.live_rows import LiveEvent
    from kacap.report.metrics import Snapshot

MOST_SETTINGS = 20  # of sockets, that have a series of their own
MEGABYTE = 1_000_000

# The options that watching for days takes; ``DutyOptions`` holds what ``kacap live`` gets of them.
duty_options = together(
    click.option("--metrics", metavar="[ADDRESS:]PORT", help="Serve Prometheus at /metrics; the loopback by default."),
    click.option("--textfile", metavar="FILE", help="Write the same to FILE, for node_exporter, every 15 s."),
    click.option("--destinations", type=click.IntRange(min=1, max=1000), default=20, show_default=True, metavar="N",
                 help="How many destinations, the busiest, have series of their own; the rest is `other`."),
    click.option("--by", type=click.Choice(["process"]), help="Add the name of the socket's process to the labels."),
    click.option("--on", "hooks", type=(click.Choice(["dead", "missing"]), str), multiple=True,
                 metavar="dead|missing COMMAND", help="Run COMMAND, the event as JSON on its stdin; no shell."),
    click.option("--log", "log_file", metavar="FILE", help="Write what goes wrong as JSON Lines; SIGHUP reopens it."),
    click.option("--log-size", type=click.IntRange(min=1), default=10, show_default=True, metavar="MB",
                 help="Begin another --log FILE after MB million bytes."),
    click.option("--log-files", type=click.IntRange(min=1, max=999), default=5, show_default=True, metavar="N",
                 help="How many older ones to keep: FILE.1 is the newest."),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DutyOptions:
    """What is asked for besides showing."""

    metrics: str | None
    textfile: str | None
    destinations: int
    by: str | None
    hooks: tuple[tuple[str, str], ...]
    log_file: str | None
    log_size: int
    log_files: int

    @property
    def wants_metrics(self) -> bool:
        """Whether metrics are asked for, which count the sockets as well."""
        return self.metrics is not None or self.textfile is not None


class Duty:
    """All that was asked for. Make it while there are rights: a port is opened, and who may write what is looked at."""

    def __init__(self, options: DutyOptions, user: User | None) -> None:
        """Raises UsageError, KacapError where something cannot be had."""
        self._options, self._metrics, self._hooks = options, None, None
        self._log: EventLog | None = None
        for option, path in (("--textfile", options.textfile), ("--log", options.log_file)):
            _check_file(path, option, user)
        if options.log_file is not None:
            import kacap.commands.live_log  # noqa: F401 (whom this process becomes may not read it)
        if options.hooks:
            from kacap.commands.live_hooks import Hooks

            self._hooks = Hooks(options.hooks)
        if options.wants_metrics:
            with _extra():
                from kacap.commands.live_metrics import Metrics
            self._metrics = Metrics(options.metrics, options.textfile)
        self.lock: AbstractContextManager[object] = (
            contextlib.nullcontext() if self._metrics is None else self._metrics.lock
        )

    @property
    def url(self) -> str | None:
        """Where the metrics are served."""
        return None if self._metrics is None else self._metrics.url

    @property
    def can_reopen(self) -> bool:
        """Whether SIGHUP means that the log's file was moved away."""
        return self._options.log_file is not None

    def start(self, source: LiveSource, live: LiveTracker, sockets: Sockets | None) -> None:
        """Begin, without rights: open the log, answer for the metrics."""
        options = self._options
        if options.log_file is not None:
            from kacap.commands.live_log import EventLog

            self._log = EventLog(options.log_file, options.log_size * MEGABYTE, options.log_files)
            self._log.note("started", time.time_ns(), f"watching {', '.join(source.files)}")
        if self._metrics is None:
            return
        from kacap.report.metrics import Snapshot
        from kacap.report.tallies import Tallies

        by_process = options.by == "process" and sockets is not None
        tallies = Tallies(options.destinations, sockets.process_of if by_process and sockets else None)
        self._tallies = tallies

        def look() -> Snapshot:
            counters, rows = source.counters(), live.open_rows()
            lost = {"kernel": counters.dropped_kernel, "interface": counters.dropped_interface}
            dropped = {where: number for where, number in lost.items() if number is not None}
            states = tallies.states(rows, source.now_ns)
            return Snapshot(source.now_ns, tallies.by_label, states, counters.captured, dropped)

        self._metrics.start(look, lambda: _census(sockets), by_process=by_process)

    def take(self, events: Sequence[LiveEvent]) -> None:
        """Pass on what happened in a batch, which may be nothing."""
        if self._metrics is not None:
            self._tallies.take(events)
        if self._log is not None:
            self._log.take(events)
        if self._hooks is not None:
            self._hooks.take(events)

    def trouble(self, sentence: str) -> None:
        """Log what happened to the watch itself."""
        if self._log is not None:
            self._log.note("trouble", time.time_ns(), sentence)

    def reopen(self) -> None:
        """Open the log's file anew."""
        if self._log is not None:
            self._log.reopen()

    def close(self) -> None:
        """End: write what is to be written last, let programs end."""
        if self._metrics is not None:
            self._metrics.close()
        if self._hooks is not None:
            self._hooks.close()
        if self._log is not None:
            self._log.note("stopped", time.time_ns(), "the watch has ended")
            self._log.close()


def _check_file(path: str | None, option: str, user: User | None) -> None:
    """Refuse a file that ``user`` (None: this one) may not write and replace. Raises UsageError."""
    if path is None:
        return
    from kacap.capture.privileges import check_directory
    from kacap.outputs import check

    if path == "-":
        raise UsageError(f"{option} -: name a file")
    check(path)
    check_directory(path, option, user, opens="it is written")


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    """Say which extra to install where prometheus_client is not."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'kacap[metrics]'") from error


def _census(sockets: Sockets | None) -> dict[tuple[str, ...], int] | None:
    """Return how many sockets are set to what, by the labels of ``kacap_sockets``; rare settings are ``other``."""
    found = sockets.census() if sockets is not None else None
    if found is None:
        return None
    numbers: dict[tuple[str, ...], int] = {("off", "", "", ""): 0}
    for number, ((keepalive, *values), n) in enumerate(found):
        state = {True: "on", False: "off", None: "unknown"}[keepalive]
        label = (state, *("" if value is None else str(value) for value in values))
        label = label if number < MOST_SETTINGS or keepalive is not True else ("on", "other", "other", "other")
        numbers[label] = numbers.get(label, 0) + n
    return numbers
