"""How commands speak: what they say beside their results on stderr, and whether in colour."""

from __future__ import annotations

import os
from typing import TextIO

import click

from kacap.units import clean


def tell(words: object) -> None:
    """Write one line on stderr, without control characters; names of files and interfaces in it may be anybody's."""
    click.echo(clean(" ".join(str(words).split())), err=True)


def colored(choice: str, out: TextIO) -> bool:
    """Return whether to colour: asked for, or a terminal that has not said no (NO_COLOR, TERM=dumb)."""
    if choice != "auto":
        return choice == "always"
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
