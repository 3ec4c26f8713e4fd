"""The compiled kernels of a session of tests: one worker makes them, the others wait; and how they are checked."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

CAPTURES = Path(__file__).resolve().parent.parent / "captures"


def checked(setting: str) -> dict[str, str]:
    """What an environment holds where kernels check their bounds, or are not compiled.

    Optimised less, they are compiled in two thirds of the time, and kept for every test that asks for the same.
    """
    return {setting: "1", "NUMBA_OPT": "1"}


@cache
def kernels_are_compiled() -> None:
    """Compile the kernels that reading needs, where that is still to be done: no command under test tells of it.

    With bounds checks, or without the compiler, nothing is kept.
    """
    if os.environ.get("NUMBA_BOUNDSCHECK") or os.environ.get("NUMBA_DISABLE_JIT"):
        return
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for capture in ("lab/up/capture.pcapng", "broken/no-frames.pcap"):  # one of each format
            subprocess.run(
                [sys.executable, "-m", "kacap", "read", CAPTURES / capture], capture_output=True, check=False
            )
