"""A user's program that runs during a recording: in the same namespace, on the same interface."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from kacap.errors import KacapError
from kacap.lab.process import die_with_parent

_READY_S, _ENDED_S = 60, 30
_TICK_S = 0.02


class Companion:
    """One such program; what it writes goes into files with the recorder's name, ``.out`` and ``.err``."""

    def __init__(self, words: Sequence[str], interface: str, recorded: Path) -> None:
        """Start ``words``, in which ``{interface}`` is the recorder's interface, ``{stem}`` its file without a suffix.

        Returns once it has named the interface on stderr, as kacap, tcpdump and tshark do when they listen. Raises
        ``KacapError`` when it cannot be started or ends before that.
        """
        self._errors = recorded.with_suffix(".err")
        stem = str(recorded.with_suffix(""))
        argv = [word.replace("{interface}", interface).replace("{stem}", stem) for word in words]
        self._name, parent = argv[0], os.getpid()
        try:
            with recorded.with_suffix(".out").open("wb") as out, self._errors.open("wb") as err:
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=lambda: _begin(parent)
                )
        except OSError as error:
            raise KacapError(f"{self._name} cannot be started: {error.strerror}") from error
        self._wait_until_it_names(interface)

    def _wait_until_it_names(self, interface: str) -> None:
        deadline = time.monotonic() + _READY_S
        while True:
            over = self._process.poll() is not None or time.monotonic() > deadline
            said = self._errors.read_text(errors="replace")  # after the look: what has ended has said all
            if re.search(rf"\b{interface}\b.*\n", said):
                return
            if over:
                self._process.kill()
                last = (said.strip().splitlines() or ["it says nothing"])[-1]
                raise KacapError(f"{self._name} does not watch {interface}: {last}")
            time.sleep(_TICK_S)

    def stop(self) -> None:
        """End it as Ctrl-C does. Raises ``KacapError`` when it does not end, or fails."""
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(_ENDED_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise KacapError(f"{self._name} did not end within {_ENDED_S} s") from None
        if code:
            raise KacapError(f"{self._name} ended with {code}: see {self._errors}")


def _begin(parent: int) -> None:
    """Take back, in the child, what a host of the lab has set for itself: signals ignored and blocked."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    die_with_parent(parent)
