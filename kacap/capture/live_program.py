"""dumpcap or tcpdump captures and kacap reads its pipe: for a user who may start them and may not capture."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO

from kacap.capture.live_source import CaptureOptions
from kacap.capture.live_stream import StreamInterface, WaitingStream
from kacap.capture.privileges import FOR_CAPTURE, User, drop
from kacap.capture.rights import CannotCaptureError, no_rights
from kacap.errors import FilterError
from kacap.netns import inside
from kacap.trusted import find_program, plain_environment

START_MS = 10_000  # a program that has not begun by then hangs
COUNTS = re.compile(r"^(\d+) packets? (received by filter|dropped by kernel|dropped by interface)", re.M)
DUMPCAP_COUNTS = re.compile(r"received/dropped on interface .*?: (\d+)/(\d+)(?: \(.*ps_ifdrop:(\d+)\))?")


class ProgramInterface(StreamInterface):
    """An interface that a program captures on, read through its pipe."""

    engine = "dumpcap"

    def __init__(self, interface: str, index: int, process: subprocess.Popen[bytes], errors: IO[bytes]):
        """Read what ``process`` writes; its counters come at its end, in ``errors``."""
        self._process, self._errors = process, errors
        assert process.stdout is not None
        output = process.stdout
        super().__init__(interface, index, lambda stop: WaitingStream(output.fileno(), stop, output.close))

    def halt(self) -> None:
        """Let the program end properly, and read what it still has to say."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self.begin()
        self._thread.join(2)
        super().halt()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)

    def counts(self) -> tuple[int | None, int | None, int | None]:
        """Return what the program counted; it says so when it ends."""
        return counts_in(_text(self._errors))

    def close(self) -> None:
        """End the program."""
        super().close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def counts_in(words: str) -> tuple[int | None, int | None, int | None]:
    """Return (received by filter, dropped by kernel, dropped by interface) from tcpdump's or dumpcap's last words."""
    if found := DUMPCAP_COUNTS.search(words):
        passed, dropped, interface = (int(number or 0) for number in found.groups())
        return passed + dropped, dropped, interface
    said = {what: int(number) for number, what in COUNTS.findall(words)}
    return tuple(said.get(f"{what}") for what in ("received by filter", "dropped by kernel", "dropped by interface"))  # type: ignore[return-value]


def open_program(interface: str, index: int, options: CaptureOptions) -> ProgramInterface:
    """Start the first program that may capture on ``interface``. Raises CannotCaptureError, FilterError."""
    failures = []
    for command in commands(interface, options):
        try:
            return inside(options.netns, lambda command=command: _start(command, interface, index, options.user))  # type: ignore[misc]
        except CannotCaptureError as error:
            failures.append(error)
    if not failures:
        raise CannotCaptureError(f"{interface}: neither dumpcap nor tcpdump is installed", "missing")
    if any(failure.why == "rights" for failure in failures):
        raise no_rights(interface, options.filter)
    raise failures[0]


def commands(interface: str, options: CaptureOptions) -> Iterator[list[str]]:
    """Yield the command lines worth trying; sudo only where it asks for no password."""
    passive = [] if options.promiscuous else ["-p"]
    buffer = str(options.buffer_kib) if options.buffer_kib else None
    if dumpcap := find_program("dumpcap"):
        size = ["-B", str(max(int(buffer) // 1024, 1))] if buffer else []
        link = ["-y", options.link_type] if options.link_type else []
        expression = ["-f", options.filter] if options.filter else []
        flags = ["-q", "-i", interface, "-s", str(options.snaplen), *passive, *size, *link, *expression]
        yield [dumpcap, *flags, "-P", "-w", "-"]
    if tcpdump := find_program("tcpdump"):
        size = ["-B", buffer] if buffer else []
        link = ["-y", options.link_type] if options.link_type else []
        expression = ["--", options.filter] if options.filter else []
        flags = ["-n", "-U", "-i", interface, "-s", str(options.snaplen), *passive, *size, *link]
        yield [tcpdump, "--nano", *flags, "-w", "-", *expression]
        if os.geteuid() and (sudo := find_program("sudo")):
            yield [sudo, "-n", tcpdump, "--nano", *flags, "-w", "-", *expression]


def _start(command: list[str], interface: str, index: int, user: User | None) -> ProgramInterface:
    """Start one program, as ``user``; it works if its first bytes come. Raises CannotCaptureError, FilterError."""
    errors = tempfile.TemporaryFile()  # noqa: SIM115 (read until the program has ended)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env=plain_environment(),
            preexec_fn=(lambda: drop(user, FOR_CAPTURE, ambient=True)) if user is not None else None,
        )
    except (OSError, subprocess.SubprocessError) as error:
        why = "rights" if isinstance(error, PermissionError) else "failed"
        message = getattr(error, "strerror", error)
        raise CannotCaptureError(f"{interface}: cannot start {command[0]}: {message}", why) from None
    assert process.stdout is not None
    waiting = select.poll()
    waiting.register(process.stdout, select.POLLIN)
    began = any(event & select.POLLIN for _, event in waiting.poll(START_MS))
    if began:
        return ProgramInterface(interface, index, process, errors)
    process.kill()
    process.wait()
    raise refusal(command[0], interface, _text(errors))


def _text(errors: IO[bytes]) -> str:
    """Return what a program has said on stderr so far."""
    return os.pread(errors.fileno(), 1 << 16, 0).decode(errors="replace") if not errors.closed else ""


def refusal(program: str, interface: str, words: str) -> Exception:
    """Return the error for what a program said before it ended."""
    chatter = ("Running as", "Capturing on")
    lines = [line for line in words.splitlines() if line.strip() and not line.startswith(chatter)]
    message = " ".join(lines).removeprefix("dumpcap: ").removeprefix("tcpdump: ") or "ended without a word"
    if re.search(r"permission|not permitted|password is required|a terminal is required", message, re.I):
        return CannotCaptureError(f"{interface}: {program}: {message}", "rights")
    if re.search(r"No such device|no interface|doesn't exist", message, re.I):
        return CannotCaptureError(f"{interface}: no such interface (kacap live -D lists them)", "interface")
    if re.search(r"syntax error|Invalid capture filter|can't parse filter", message):
        return FilterError(f"filter is refused by {program}: {message}")
    return CannotCaptureError(f"{interface}: {program}: {message}")
