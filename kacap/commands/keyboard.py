"""The keys of the live screen, read from the terminal without waiting."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import suppress

# What terminals send for keys that are no letters (terminfo of xterm, and VT100).
SEQUENCES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
}
SINGLE = {"\r": "enter", "\n": "enter", "\x1b": "escape", "\x7f": "delete", "\x08": "delete"}
OTHER = re.compile("\x1b[\\[O][0-9;]*[A-Za-z~]")  # a key that has no meaning here


class Keyboard:
    """The terminal's keys while this is entered; without a terminal there are none. A context manager."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._before: list[int | list[bytes | int]] = []

    @staticmethod
    def prepare() -> None:
        """Import what a terminal needs, while it may be read."""
        with suppress(ImportError):
            import termios  # noqa: F401
            import tty  # noqa: F401

    def __enter__(self) -> Keyboard:
        """Let keys come one by one; Ctrl-C still interrupts."""
        try:
            import termios
            import tty

            descriptor = sys.stdin.fileno()
            if os.isatty(descriptor):
                self._before = termios.tcgetattr(descriptor)
                tty.setcbreak(descriptor)
                self._descriptor = descriptor
        except (ImportError, OSError, ValueError):
            self._descriptor = None
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self._descriptor is not None:
            import termios

            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
            self._descriptor = None

    def keys(self) -> Iterator[str]:
        """Yield the names of the keys that were pressed since the last call."""
        if self._descriptor is None or not select.select([self._descriptor], [], [], 0)[0]:
            return
        yield from named(os.read(self._descriptor, 1024).decode(errors="replace"))


def named(text: str) -> Iterator[str]:
    """Yield the names of the keys for which a terminal sent ``text``."""
    while text:
        found = next((sequence for sequence in SEQUENCES if text.startswith(sequence)), None)
        if found is not None:
            yield SEQUENCES[found]
            text = text[len(found) :]
        elif (other := OTHER.match(text)) is not None:
            text = text[other.end() :]
        else:
            yield SINGLE.get(text[0], text[0])
            text = text[1:]
