"""Makes what fails small: drops pieces of a capture, then bytes, as long as it fails in the same place."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
HERE = Path(__file__).resolve().parent


def place(error: BaseException) -> str:
    """Return what failed and where: the error's type, and the innermost function of kacap's own."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "kacap" in Path(f.filename).parts[:-1]]
    frames = [f for f in frames if Path(f.filename).parent != HERE] or traceback.extract_tb(error.__traceback__)[-1:]
    at = frames[-1]
    return f"{type(error).__name__}-{Path(at.filename).stem}-{at.name}".strip("<>").replace("<", "").replace(">", "")


def smallest(pieces: Sequence[T], fails: Callable[[list[T]], bool], seconds: float) -> list[T]:
    """Return pieces that still fail, as few as are found in so many seconds (ddmin: Zeller, Hildebrandt 2002)."""
    kept, size, ends_s = list(pieces), max(1, len(pieces) // 2), time.monotonic() + seconds
    while size and time.monotonic() < ends_s:
        at, before = 0, len(kept)
        while at < len(kept) and time.monotonic() < ends_s:
            less = kept[:at] + kept[at + size :]
            if fails(less):
                kept = less
            else:
                at += size
        if size > 1 or len(kept) == before:
            size //= 2
    return kept
