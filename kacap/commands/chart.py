"""``kacap chart``: a capture as a picture with the configuration in it."""

from __future__ import annotations

from dataclasses import dataclass

import click

from kacap.commands.expecting import Expecting, expecting
from kacap.commands.reading import FILE, Reading, ended, options_of, reading
from kacap.commands.telling import tell
from kacap.report.chart import VIEWS, check_target, default_view, draw, save
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
    "--view",
    type=click.Choice(["auto", *VIEWS, "all"]),
    default="auto",
    show_default=True,
    help="What to draw; auto: what suits the capture; all: one below the other.",
)
@click.option("--connection", type=int, metavar="N", help="Only connection N, as kacap read numbers them.")
@click.option("--dark", is_flag=True, help="A dark background.")
@click.option(
    "--width",
    type=click.IntRange(400, 10_000),
    default=1200,
    show_default=True,
    metavar="PX",
    help="Width of a PNG in pixels; text keeps its size: 500 suits one of two columns of a paper.",
)
@reading
@expecting
def chart(**given: object) -> int:
    """Draw what a capture shows, with what is configured in the same picture.

    fleet (above six connections): a row for each, by fate and time of death. timeline (up to six): what each side
    sent, when each probe was due, what became of it. idle (where nobody probes): silences survived and silences that
    killed, between the known limits of boxes. silence: for how long nothing was received. residuals: observed minus
    configured, against what the timer may be late. ecdf: the gaps of many connections. FILE and the filter are as in
    kacap read. What is not stated is guessed from the gaps, and drawn as a guess.

    \b
    kacap chart incident.pcap -o incident.png --expect idle=60,interval=10,count=6
    kacap chart 'night.pcap*' port 5432 -o night.svg --view silence --dark
    kacap chart incident.pcap -o one.pdf --view all --connection 7

    Exit code 0, or 1 when the capture was damaged (what precedes the damage is drawn).
    """
    import kacap

    options = options_of(ChartOptions, given)
    files, expression = options.sources()
    check_target(options.out, files)  # before an hour of reading, not after it
    analysis = kacap.read(
        files,
        expression,
        expect=options.expected(),
        marks=True,
        keep_all=options.connection is not None,
        engine=options.engine,
    )
    import_matplotlib()
    views = {"all": tuple(VIEWS), "auto": ()}.get(options.view, (options.view,))
    save(draw(analysis, views, options.connection, dark=options.dark, width=options.width), options.out, files)
    suits = default_view(analysis, options.connection)
    shown = {"all": f"{len(VIEWS)} charts", "auto": f"{suits} chart"}.get(options.view, f"{options.view} chart")
    tell(f"kacap: {shown} written to {options.out}")
    return ended(analysis.damages)
