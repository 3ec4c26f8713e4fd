"""What a command says beside its results: on stderr, with nothing in it that a terminal would act upon."""

from __future__ import annotations

import click

from kacap.units import clean


def tell(words: object) -> None:
    """Write one line on stderr; names of files and interfaces in it may be anybody's."""
    click.echo(clean(" ".join(str(words).split())), err=True)
