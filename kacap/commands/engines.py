"""``--engine``: who decodes, the same for every command that reads captures."""

from __future__ import annotations

import click

engine = click.option(
    "--engine", type=click.Choice(["auto", "kacap", "tshark"]), default="auto", show_default=True,
    help="Who decodes: kacap, tshark, or tshark only what kacap does not know.",
)  # fmt: skip
