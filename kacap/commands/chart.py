"""``kacap chart``: a capture as a picture with the configuration in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from kacap.commands.expecting import Expecting, expecting
from kacap.commands.reading import FILE, Reading, ended, reading
from kacap.commands.telling import tell
from kacap.report.chart import VIEWS, check_target, draw, save
from kacap.report.chart.style import import_matplotlib


@dataclass(frozen=True, kw_only=True)
class ChartOptions(Reading, Expecting):
    """What ``kacap chart`` is asked for."""

    out: str
    view: str
    connection: int | None
    dark: bool
    width: int


@click.command(no_args_is_help=True)
@click.option("-o", "out", required=True, type=FILE, metavar="OUT", help="Draw into OUT: .png, .svg or .pdf.")
@click.option(
    "--view", type=click.Choice([*VIEWS, "all"]), default="timeline", show_default=True,
    help="What to draw; all: one below the other.",
)  # fmt: skip
@click.option("--connection", type=int, metavar="N", help="Only connection N, as kacap read numbers them.")
@click.option("--dark", is_flag=True, help="On dark paper.")
@click.option(
    "--width", type=click.IntRange(400, 10_000), default=1200, show_default=True, metavar="PX",
    help="Width of a PNG in pixels; below 1200 everything shrinks with it, above it there is more room.",
)  # fmt: skip
@reading
@expecting
def chart(**given: Any) -> int:
    """Draw what a capture shows, with what is configured in the same picture.

    timeline: what each side sent, when each probe was due, what became of it. silence: for how long nothing was
    received, against idle and the known limits of boxes. residuals: observed minus configured, against what the
    timer may be late. ecdf: the gaps of many connections. FILE and the filter are as in kacap read. What is not
    stated is guessed from the gaps, and drawn as a guess.

    \b
    kacap chart incident.pcap -o incident.png --expect idle=60,interval=10,count=6
    kacap chart 'night.pcap*' port 5432 -o night.svg --view silence --dark
    kacap chart incident.pcap -o one.pdf --view all --connection 7

    Exit code 0, or 1 when the capture was damaged (what precedes the damage is drawn).
    """
    import kacap

    options = ChartOptions(**given)
    files, expression = options.sources()
    check_target(options.out, files)  # before an hour of reading, not after it
    analysis = kacap.read(
        files, expression, expect=options.expected(), marks=True, keep_all=options.connection is not None,
        engine=options.engine,
    )  # fmt: skip
    import_matplotlib()
    views = tuple(VIEWS) if options.view == "all" else (options.view,)
    save(draw(analysis, views, options.connection, dark=options.dark, width=options.width), options.out, files)
    tell(f"kacap: {options.view if options.view != 'all' else 'four views'} written to {options.out}")
    return ended(analysis.damages)
