"""A file written aside and put in its place in one step: nobody ever sees half of it, and a failure leaves nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kacap.errors import UsageError
from kacap.units import clean


@contextmanager
def aside(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file that becomes ``path`` (``-``: standard output) when the block ends well. Raises UsageError."""
    if path == "-":
        yield sys.stdout.buffer
        return
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}~") if target.name else target
    try:
        if target.is_dir():
            raise IsADirectoryError(None, "is a directory")
        with beside.open("xb") as out:
            yield out
        beside.replace(target)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{clean(str(path))}: cannot be written: {why}") from error
    finally:
        with suppress(OSError, ValueError):
            beside.unlink(missing_ok=True)


def check_target(path: str | Path, inputs: list[str]) -> None:
    """Refuse a path that cannot be written or is one of the inputs, before anything is read. Raises UsageError."""
    if path == "-":
        return
    target = Path(path)
    for name in inputs:
        if name != "-" and target.exists() and Path(name).exists() and target.samefile(name):
            raise UsageError(f"{clean(str(path))}: is what is read; name another file")
    with suppress(_Fine), aside(path):
        raise _Fine


class _Fine(Exception):  # noqa: N818 (nothing went wrong: it only leaves the block without a file)
    """The file could be made."""
