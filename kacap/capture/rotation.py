"""When a savefile gives way to the next one, and what that is called: tcpdump's -G, -C and -W."""

from __future__ import annotations

import time
from dataclasses import dataclass

from kacap.clock import SECOND_NS
from kacap.errors import UsageError


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a new file begins: after ``every_s`` seconds (-G), beyond ``size`` bytes (-C); ``files`` is -W."""

    every_s: int = 0
    size: int = 0
    files: int = 0

    @property
    def rotates(self) -> bool:
        """Whether there will be more than one file."""
        return bool(self.every_s or self.size)

    def name(self, pattern: str, count: int, opened_ns: int) -> str:
        """Return the name of the ``count``-th file of a period that began at ``opened_ns`` (tcpdump's MakeFilename)."""
        stem = time.strftime(pattern, time.localtime(opened_ns // SECOND_NS)) if self.every_s else pattern
        width = len(str(self.files - 1)) if self.size and self.files > 1 else 0
        return f"{stem}{count:0{width}d}" if count or width else stem


def megabytes(text: str) -> int:
    """Return a size as tcpdump's -C has it, in bytes: millions of bytes, or KiB, MiB, GiB with k, m, g."""
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    number, unit = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1_000_000)
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"-C {text}: a size is a number of millions of bytes, or of k, m, g")
    return int(number) * unit
