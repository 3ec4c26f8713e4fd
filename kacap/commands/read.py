"""``kacap read``: capture files in, every keepalive probe and its ending out."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from kacap.commands.engines import engine
from kacap.commands.expecting import expected, expecting
from kacap.commands.sources import sources
from kacap.commands.telling import tell
from kacap.errors import EXIT_DONE, EXIT_FAILED
from kacap.timing.systems import NAMES

if TYPE_CHECKING:
    from kacap.analysis import Analysis
    from kacap.news import Sink


@click.command(no_args_is_help=True)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="FILE... [BPF EXPRESSION]")
@click.option("-r", "named", multiple=True, metavar="FILE", help="Read FILE; the same as naming it.")
@click.option("-F", "filter_file", metavar="FILE", help="Read the filter expression from FILE.")
@engine
@expecting
@click.option("--json", "as_json", is_flag=True, help="Write JSON Lines, one record each.")
@click.option(
    "--segments", type=click.Choice(["events", "all", "none"]), default="events", show_default=True,
    help="Segment records in --json: all, none, or all but data and plain ACKs.",
)  # fmt: skip
@click.option(
    "--system", type=click.Choice(NAMES), default="auto", show_default=True,
    help="Whose timers to assume: auto takes Linux where a Linux timer explains the gaps.",
)  # fmt: skip
@click.option("--chart", "chart_file", metavar="FILE", help="Draw the probe timeline into FILE (.png, .svg or .pdf).")
@click.option(
    "--state", metavar="FILE",
    help="Go on from FILE, where an earlier run ended, and leave FILE for the next: as if all had been read at once.",
)  # fmt: skip
@click.option(
    "--parquet", metavar="DIR", help="Write connections, probers, probes, episodes and findings as Parquet into DIR."
)
@click.option("--all", "everything", is_flag=True, help="Show every connection, also those without a probe.")
@click.option("--follow", is_flag=True, help="Go on reading while the file grows; Ctrl-C ends with the report.")
@click.option("-q", "brief", is_flag=True, help="One line for each connection.")
@click.option("-v", "verbose", count=True, help="Show every run of unanswered probes, not only the last.")
@click.option("-n", "numeric", count=True, help="Accepted as in tcpdump: addresses are always numeric.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def read(
    words: tuple[str, ...], named: tuple[str, ...], filter_file: str | None, chart_file: str | None, **options: Any
) -> int:
    """Show every keepalive probe in capture files: who sent it, whether it was answered, how it ended.

    FILE is pcap or pcapng, plain, gzip or zstd; - is standard input; several files (or a quoted 'glob*') are one
    capture in time order. The first word that is not a file begins a tcpdump filter.

    \b
    kacap read incident.pcap
    kacap read 'rotated.pcap*' port 5432 --chart timeline.png
    tcpdump -U -s 128 -w - tcp | kacap read -
    kacap read today.pcap --state watch.state

    Exit code 0, or 1 when the capture was damaged (what precedes the damage is still reported).
    """
    files, expression = sources(words, named, filter_file)
    _check_chart(chart_file, files)
    analysis = _analyse(files, expression, chart_file is not None, options)
    if not options["as_json"]:
        _print(analysis, options)
    if chart_file is not None:
        _draw(analysis, chart_file)
    for damage in analysis.damages:
        tell(f"kacap: {damage}")
    return EXIT_FAILED if analysis.damages else EXIT_DONE


def _check_chart(chart_file: str | None, files: list[str]) -> None:
    """Refuse an unknown chart format before an hour of reading, not after it."""
    if chart_file is not None:
        from kacap.report.chart import check_target

        check_target(chart_file, files)


def _analyse(files: list[str], expression: str | None, marks: bool, options: dict[str, Any]) -> Analysis:
    """Read the files; with ``--json`` every record is written as soon as it is final."""
    from kacap.capture.source import expand
    from kacap.continuing import files_before

    files = expand(files)
    live = options["follow"] or "-" in files or sys.stdout.isatty()
    named = [*(files_before(options["state"]) if options["state"] else []), *files]
    news: Sink | None = None
    tables: Any = nullcontext()
    if options["as_json"]:
        from kacap.report.records import RecordWriter

        news = RecordWriter(sys.stdout, named, flush=live).news
    if options["parquet"]:
        from kacap.report import parquet

        tables = parquet.Writer(options["parquet"], named)
        news = parquet.together(news, tables.news)
    with tables:
        analysis = _read(files, expression, marks, news, options)
        if options["parquet"]:
            tables.finish(analysis)
    return analysis


def _read(
    files: list[str], expression: str | None, marks: bool, news: Sink | None, options: dict[str, Any]
) -> Analysis:
    """Read the files as the options say."""
    import kacap

    analysis: Analysis = kacap.read(
        files,
        expression,
        keep_all=options["everything"],
        marks=marks,
        news=news,
        segments=options["segments"] if options["as_json"] else "none",
        expect=expected(options),
        engine=options["engine"],
        system=options["system"],
        follow=options["follow"],
        stop=_until_interrupted() if options["follow"] else None,
        state=options["state"],
    )
    return analysis


def _until_interrupted() -> Callable[[], bool]:
    """Return what says whether Ctrl-C, SIGTERM or SIGHUP asked for the end; a second one ends at once."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), ask)
    return lambda: bool(asked)


def _print(analysis: Analysis, options: dict[str, Any]) -> None:
    """Write the text report on stdout."""
    from kacap.report import text

    text.render(
        analysis,
        sys.stdout,
        all_connections=options["everything"],
        color=_colored(options["color"]),
        brief=options["brief"],
        verbose=options["verbose"] > 0,
    )


def _draw(analysis: Analysis, chart_file: str) -> None:
    """Draw the timeline and say so on stderr."""
    from kacap.report import chart
    from kacap.report.chart.style import import_matplotlib

    import_matplotlib()
    chart.save(chart.timeline(analysis), chart_file)
    tell(f"kacap: timeline written to {chart_file}")


def _colored(choice: str) -> bool:
    """Return whether to colour: asked for, or a terminal that has not said no (NO_COLOR, TERM=dumb)."""
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
