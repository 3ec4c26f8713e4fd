"""Commands in processes of their own that begin with kacap imported: importing takes most of a short command's time.

They are forked from one process for each test run, which this file is when Python runs it. From there on each is as
``python -m kacap``: its own streams, directory, environment, signals and limits, and it ends as every Python does. What
concerns the start itself is tested with ``python -m kacap``.

A script gets one by ``KACAP`` in the place of ``python -m kacap`` (``forked_here.py``), in the script's own namespaces.
"""

from __future__ import annotations

import atexit
import ctypes
import io
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Thread
from typing import NoReturn

from kacap import interrupts
from kacap.commands import COMMANDS, program
from kacap.interrupts import ASKING

ROOT = Path(__file__).resolve().parents[1]
WARM = ROOT / "captures" / "lab" / "mid-connection" / "capture.pcapng"
MESSAGE_BYTES = 1 << 18
KACAP = (sys.executable, "-IS", str(Path(__file__).with_name("forked_here.py")))
DOOR = "KACAP_FORKED"  # the variable that tells where ``forked_here.py`` asks
NAMESPACES = {"user": 0x10000000, "mnt": 0x00020000, "net": 0x40000000}  # each with its flag of setns(2)


class Pipe(Thread):
    """The end of a pipe that a command writes, read to its end meanwhile."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._reading, self.writing = os.pipe()
        self.data = b""

    def run(self) -> None:
        with open(self._reading, "rb") as pipe:  # noqa: PTH123 (a pipe)
            self.data = pipe.read()

    def whole(self) -> bytes:
        self.join()
        return self.data


class Running:
    """A command under way."""

    def __init__(self, channel: socket.socket, words: list[str], pipes: list[Pipe | None]) -> None:
        self._channel, self._words, self._pipes = channel, words, pipes
        self.pid = int(channel.recv(MESSAGE_BYTES))

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if not select.select([self._channel], [], [], 0)[0]:
            with suppress(ProcessLookupError):  # it is told of in a moment
                os.kill(self.pid, number)

    def ended(self, *, text: bool = True, timeout: float = 120) -> subprocess.CompletedProcess:
        """Return how it ended. Raises TimeoutError, and ends it, where that takes too long."""
        with self._channel:
            self._channel.settimeout(timeout)
            try:
                code = int(self._channel.recv(MESSAGE_BYTES))
            except TimeoutError:
                os.kill(self.pid, signal.SIGKILL)
                raise
        told = [None if pipe is None else pipe.whole() for pipe in self._pipes]
        if text:
            told = [None if data is None else data.decode() for data in told]
        return subprocess.CompletedProcess(self._words, code, *told)


def start(
    *words: object,
    stdin: object = None,
    stdout: object = None,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    umask: int | None = None,
    file_bytes: int | None = None,
) -> Running:
    """Start ``kacap WORDS``; ``file_bytes``: no file that it writes gets longer.

    Streams are files or descriptors; without them there is nothing to read, and what is written is told at the end.
    """
    asked = {
        "words": [os.fsdecode(word) if isinstance(word, bytes | Path) else str(word) for word in words],
        "cwd": str(cwd or Path.cwd()),
        "env": dict(env or os.environ),
        "umask": umask,
        "file_bytes": file_bytes,
        "ignored": [],
        "like": None,
    }
    pipes = [Pipe() if stdout is None else None, Pipe()]
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, Path(os.devnull).open("rb") as nothing:
        streams = [nothing if stdin is None else stdin, *(pipe.writing if pipe else stdout for pipe in pipes)]
        numbers = [stream if isinstance(stream, int) else stream.fileno() for stream in streams]
        socket.send_fds(_origin()[0], [json.dumps(asked).encode()], [*numbers, theirs.fileno()])
    for pipe in filter(None, pipes):
        os.close(pipe.writing)
        pipe.start()
    return Running(mine, asked["words"], pipes)


def run(*words: object, text: bool = True, timeout: float = 120, **more: object) -> subprocess.CompletedProcess:
    """Run ``kacap WORDS`` to its end."""
    return start(*words, **more).ended(text=text, timeout=timeout)


def door() -> dict[str, str]:
    """Return what an environment has to hold for ``KACAP`` to be run in it."""
    return {DOOR: _origin()[1]}


@cache
def _origin() -> tuple[socket.socket, str]:
    """Return the way to the process that all are forked from, and its door; started now, it ends with this one."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = tempfile.TemporaryDirectory()
    place = f"{directory.name}/door"
    with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.bind(place)
        asking.listen()
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), str(asking.fileno())],
            pass_fds=[theirs.fileno(), asking.fileno()],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
        )
    atexit.register(lambda: (mine.close(), process.wait(), directory.cleanup()))
    return mine, place


def _serve(control: socket.socket, asking: socket.socket) -> None:
    """Fork a command for each message, and tell on its channel its number, and how it ended. Ends with ``control``.

    A command whose channel is closed is killed: whoever asked for it is gone.
    """
    channels: dict[int, socket.socket] = {}
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking)
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)  # a command hears of them once it can take them
    while True:
        ready = select.select([control, asking, woken, *channels.values()], [], [])[0]
        for pid in [pid for pid, channel in channels.items() if channel in ready]:
            os.kill(pid, signal.SIGKILL)
        if woken in ready:
            os.read(woken, MESSAGE_BYTES)
        for pid in list(channels):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with channels.pop(pid) as channel, suppress(BrokenPipeError):
                    channel.send(str(os.waitstatus_to_exitcode(status)).encode())
        for each in {control, asking}.intersection(ready):
            came = control if each is control else asking.accept()[0]
            message, descriptors, *_ = socket.recv_fds(came, MESSAGE_BYTES, 4)
            if not message and each is control:
                return
            if each is asking:
                descriptors.append(came.detach())
            if not message:
                os.close(descriptors.pop())
                continue
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                others = (control, asking, *channels.values())
                for descriptor in (woken, waking, *(each.detach() for each in others)):
                    os.close(descriptor)
                _become(json.loads(message), descriptors)
            channels[pid] = socket.socket(fileno=descriptors.pop())
            channels[pid].send(str(pid).encode())
            for descriptor in descriptors:
                os.close(descriptor)


def _become(asked: dict, descriptors: list[int]) -> NoReturn:
    """Be the command that was asked for."""
    if asked["like"] is not None:
        _join(asked["like"])
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = map(_stream, range(3), (sys.stdin, sys.stdout, sys.stderr))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    if asked["umask"] is not None:
        os.umask(asked["umask"])
    if asked["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_bytes"],) * 2)
    for number in asked["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    sys.argv = ["kacap", *asked["words"]]
    interrupts.install()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
    program()


def _join(pid: int) -> None:
    """Go into the namespaces of another process. Raises OSError."""
    theirs, flags = os.pidfd_open(pid), 0
    for name, flag in NAMESPACES.items():
        if Path(f"/proc/{pid}/ns/{name}").readlink() != Path(f"/proc/self/ns/{name}").readlink():
            flags |= flag
    if flags and ctypes.CDLL(None, use_errno=True).setns(theirs, flags):
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")
    os.close(theirs)


def _stream(number: int, like: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return a stream as Python makes those that it begins with."""
    binary = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115 (it stays open)
    return io.TextIOWrapper(
        binary,
        encoding=like.encoding,
        errors=like.errors,
        write_through=number == 2,
        line_buffering=number == 2 or os.isatty(number),
    )


def _load() -> None:
    """Import every command, and read and draw something: what they import on the way is there afterwards."""
    import importlib

    import kacap
    from kacap.commands.live_ready import warm_up
    from kacap.kernels import rehearse
    from kacap.report import html, text
    from kacap.report.chart import render

    for where, _ in COMMANDS.values():
        importlib.import_module(where.split(":")[0])
    analysis = kacap.read(str(WARM))
    text.render(analysis, io.StringIO())
    for form in ("svg", "png"):
        render(analysis, io.BytesIO(), format=form)
    warm_up()
    rehearse()
    assert html


if __name__ == "__main__":
    del sys.path[0]
    _load()
    _serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
