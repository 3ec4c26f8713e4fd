"""``kacap chart``: a capture as a picture with the configuration in it."""

from __future__ import annotations

from typing import Any

import click

from kacap.commands.engines import engine
from kacap.commands.expecting import expected, expecting
from kacap.commands.sources import sources
from kacap.commands.telling import tell
from kacap.errors import EXIT_DONE, EXIT_FAILED
from kacap.report.chart import VIEWS, check_target, default_view, draw, save
from kacap.report.chart.style import import_matplotlib


@click.command(no_args_is_help=True)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="FILE... [BPF EXPRESSION]")
@click.option("-r", "named", multiple=True, metavar="FILE", help="Read FILE; the same as naming it.")
@click.option("-F", "filter_file", metavar="FILE", help="Read the filter expression from FILE.")
@click.option("-o", "out", required=True, metavar="OUT", help="Draw into OUT: .png, .svg or .pdf.")
@click.option(
    "--view", type=click.Choice(["auto", *VIEWS, "all"]), default="auto", show_default=True,
    help="What to draw; auto: what suits the capture; all: one below the other.",
)  # fmt: skip
@click.option("--connection", type=int, metavar="N", help="Only connection N, as kacap read numbers them.")
@click.option("--dark", is_flag=True, help="On dark paper.")
@click.option(
    "--width", type=click.IntRange(400, 10_000), default=1200, show_default=True, metavar="PX",
    help="Width of a PNG in pixels; words keep their size: 500 suits a column of a paper with two.",
)  # fmt: skip
@engine
@expecting
def chart(
    words: tuple[str, ...], named: tuple[str, ...], filter_file: str | None, out: str, view: str, **options: Any
) -> int:
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
    from kacap.capture.source import expand

    files, expression = sources(words, named, filter_file)
    files = expand(files)
    check_target(out, files)  # before an hour of reading, not after it
    number = options["connection"]
    analysis = kacap.read(
        files, expression, expect=expected(options), marks=True, keep_all=number is not None,
        engine=options["engine"],
    )
    import_matplotlib()
    views = {"all": tuple(VIEWS), "auto": ()}.get(view, (view,))
    save(draw(analysis, views, number, dark=options["dark"], width=options["width"]), out, files)
    shown = {"all": f"{len(VIEWS)} views", "auto": default_view(analysis, number)}.get(view, view)
    tell(f"kacap: {shown} written to {out}")
    for damage in analysis.damages:
        tell(f"kacap: {damage}")
    return EXIT_FAILED if analysis.damages else EXIT_DONE
