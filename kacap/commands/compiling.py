"""The first use: all kernels of all commands are compiled at once, in a process of their own, and kept.

``compile_all`` is what that process runs.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kacap.commands.telling import tell
from kacap.kernel_cache import CACHE

if TYPE_CHECKING:
    from kacap.capture.frames import FrameBatch

COMPLETE = "complete"  # kept once everything is
_START = "import sys; sys.path.insert(0, sys.argv[1]); from kacap.commands.compiling import compile_all; compile_all()"


def announce_compilation() -> None:
    """Let the first kernel that is not kept have all of them compiled, and say so, with how long it took."""
    CACHE.on_compile, CACHE.on_fault = _on_first, _on_fault


def _on_first() -> None:
    """Compile everything, if that has not been done; called when a kernel is wanted that is not kept."""
    CACHE.on_compile = None
    where = CACHE.directory()
    if where is None:  # told by _on_fault
        return
    tell("kacap: compiling its kernels once for all commands, about a minute (kept for the next time)")
    if CACHE.is_open:
        began = time.monotonic()
        words = [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])]
        quiet = subprocess.DEVNULL
        with CACHE.alone():
            if not CACHE.has(COMPLETE):
                subprocess.run(words, stdin=quiet, stdout=quiet, stderr=quiet, check=False)  # what fails: here
        tell(f"kacap: compiled in {time.monotonic() - began:.0f} s")


def _on_fault(why: str) -> None:
    """Say that the next run will have to compile again."""
    CACHE.on_compile = None
    tell(f"kacap: compiling its kernels for this run alone, some ten seconds: {why}")


@contextlib.contextmanager
def compiling_here() -> Iterator[None]:
    """Let this process compile what it needs, without starting another."""
    before, CACHE.on_compile = CACHE.on_compile, None
    try:
        yield
    finally:
        CACHE.on_compile = before


def compile_all() -> None:
    """Use every kernel once, so that it is compiled and kept: read, filter, write and annotate a small capture."""
    from kacap.commands.live_ready import probing, warm_up

    with compiling_here(), TemporaryDirectory(prefix="kacap-") as directory:
        warm_up()
        plain, annotated = Path(directory) / "plain.pcap", Path(directory) / "annotated.pcapng"
        _write(plain, annotated, probing())
        for path in (plain, annotated):
            _read(str(path))
    CACHE.save(COMPLETE, b"")


def _write(plain: Path, annotated: Path, frames: FrameBatch) -> None:
    """Write frames as pcap, and that again as pcapng with comments and other addresses."""
    from kacap.annotate.annotated_copy import Changes, annotate
    from kacap.annotate.anonymise import Anonymiser
    from kacap.capture.filters import SNAPLEN
    from kacap.capture.savefile import Savefile

    file = Savefile(str(plain), SNAPLEN)
    file.write(frames)
    file.close()
    with annotated.open("wb") as out:
        annotate(str(plain), out, Changes(headers_only=True, anonymiser=Anonymiser()))
    annotate(str(annotated), io.BytesIO(), Changes(headers_only=True, anonymiser=Anonymiser()))


def _read(path: str) -> None:
    """Read a capture as the commands do: with a filter and without, into text and JSON."""
    from kacap.errors import FilterError
    from kacap.library import analyse
    from kacap.options import Options
    from kacap.report import text
    from kacap.report.records import RecordWriter

    records = RecordWriter(io.StringIO(), [path])
    for expression in (None, "tcp"):
        with contextlib.suppress(FilterError):  # without libpcap there is nothing to compile
            text.render(analyse([path], expression, Options(marks=False)), io.StringIO())
    text.render(analyse([path], None, Options(segments="all", expect="idle=1"), sink=records.news), io.StringIO())
