"""``kacap live --log FILE``: what goes wrong, and what becomes of it, as JSON Lines that rotate."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from contextlib import suppress
from logging.handlers import RotatingFileHandler

from kacap.commands.telling import tell
from kacap.outputs import check
from kacap.report.event_records import LOGGED, event_line, note_line
from kacap.report.live_rows import LiveEvent


class _File(RotatingFileHandler):
    """Tells of a failure once, and tries again with the next line."""

    _fault: BaseException | None = None
    _told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self._fault = None
        super().emit(record)
        if self._fault is not None and not self._told:
            tell(f"kacap: --log {self.baseFilename}: cannot be written: {self._fault}; trying again with each event")
        self._told = self._fault is not None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Note why a line could not be written."""
        self._fault = sys.exception()


class EventLog:
    """A file of events; it begins another after ``size`` bytes and keeps ``files`` older ones, FILE.1 the newest."""

    def __init__(self, path: str, size: int, files: int) -> None:
        """Open the file. Raises UsageError where it cannot be written."""
        check(path)
        self._file = _File(path, maxBytes=size, backupCount=files, encoding="utf-8")

    def take(self, events: Iterable[LiveEvent]) -> None:
        """Write a line for each event that a log is read for."""
        for event in events:
            if event.prober is not None and event.what in LOGGED:
                self._write(event_line(event))

    def note(self, what: str, time_ns: int, sentence: str) -> None:
        """Write that something happened to the watch itself."""
        self._write(note_line(what, time_ns, sentence))

    def _write(self, line: str) -> None:
        self._file.emit(logging.LogRecord("kacap", logging.INFO, "", 0, line, None, None))

    def reopen(self) -> None:
        """Open the file anew by its name: logrotate has moved the old one away."""
        self.close()  # the next line opens it

    def close(self) -> None:
        """Close the file; what could not be written was told."""
        with suppress(OSError):
            self._file.close()
