"""What a terminal is told in: lines of so many columns, folded between words, and colours that can be read on it."""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import TextIO

NARROWEST = 40  # columns; on less than that nothing is folded
# A terminal's own yellow and green are too pale for white paper: these two can be read on white and on black.
DOUBT, GOOD = 130, 28  # of 256 colours

_KEYED = re.compile(r"\s*\S+(?: \S+)?\s{2,}(?=\S)|\s*")  # the name of a fact and the blanks behind it, or an indent


def folded(line: str, width: int | None) -> list[str]:
    """Return a line as several of at most ``width`` columns; a word that is longer stays whole. None: as it is."""
    if width is None or width < NARROWEST or len(line) <= width:
        return [line]
    found = _KEYED.match(line)
    hanging = " " * max(len(found[0]) if found else 0, 4)
    head, rest = (found[0], line[len(found[0]) :]) if found else ("", line)
    return textwrap.wrap(
        rest, width, initial_indent=head, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def width_of(out: TextIO) -> int | None:
    """Return how many columns the terminal behind ``out`` has; None: no terminal, lines stay whole."""
    return shutil.get_terminal_size().columns if out.isatty() else None
