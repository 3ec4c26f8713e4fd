"""Ctrl-C, SIGTERM and SIGHUP as one interrupt: never lost, never a traceback, and what was begun is cleared away.

Python raises KeyboardInterrupt wherever its main thread happens to be. In a callback that C calls (the compiler's
cache, a destructor) nobody can take it: Python writes a traceback and goes on as if nothing had been asked. Such an
interrupt is asked for again a moment later, until it comes where it is heard. And what C calls in the middle of its own
work may make another error of it (pybind11 a TypeError), so that it is kept that one was asked for.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType

ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
AGAIN_S = 0.001  # by then the callback has returned, or the same happens once more
_asked: list[int] = []  # the signals that came


def install() -> None:
    """Take SIGTERM and SIGHUP as Ctrl-C is taken; where they are ignored (nohup) they stay so."""
    for number in ASKING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, interrupt)
        sys.unraisablehook = _unheard
    sys.excepthook = _uncaught


def was_asked() -> bool:
    """Return whether somebody has asked to end, whatever became of the exception."""
    return bool(_asked)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt, and remember it. Raises KeyboardInterrupt."""
    _asked.append(number)
    signal.default_int_handler(number, frame)


def let_go() -> None:
    """Let signals end the process as they end any other: all is written, and nothing is left to clear away."""
    for number in ASKING:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_DFL)


def _unheard(what: sys.UnraisableHookArgs) -> None:
    """Ask again for an interrupt that came where no exception can be raised; say all else as Python does."""
    if not issubclass(what.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(what)
        return
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S)  # not at once: this, too, is a place where nobody would hear it


def _uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Say an interrupt in one line, wherever it came; all else as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        os.write(2, b"kacap: interrupted\n")
    else:
        sys.__excepthook__(kind, error, where)
