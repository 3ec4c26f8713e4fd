"""``kacap read``: capture files in, every keepalive probe and its ending out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, TextIO

import click

from kacap.commands.expecting import Expecting, expecting
from kacap.commands.progress import Progress
from kacap.commands.reading import FILE, Reading, ended, options_of, reading
from kacap.commands.telling import colored, tell
from kacap.errors import EXIT_INTERRUPTED, UsageError
from kacap.interrupts import ASKING, interrupt
from kacap.timing.systems import NAMES

if TYPE_CHECKING:
    from kacap.capture.savefile import Savefile
    from kacap.library import Analysis
    from kacap.news import Sink
    from kacap.options import Options, Segments
    from kacap.report.parquet import Writer

ETHERNET = 1  # of a file without a frame


@dataclass(frozen=True, kw_only=True)
class ReadOptions(Reading, Expecting):
    """What ``kacap read`` is asked for."""

    packets: int | None
    savefile: str | None
    as_json: bool
    segments: Segments
    system: str
    chart_file: str | None
    state: str | None
    parquet: str | None
    everything: bool
    follow: bool
    brief: bool
    verbose: int
    numeric: int
    color: str

    @property
    def out(self) -> TextIO:
        """Where the report goes: standard output, unless the packets go there."""
        return sys.stderr if self.savefile == "-" else sys.stdout

    def how(self) -> Options:
        """Return how the capture is to be read and judged."""
        from kacap.options import Options

        return Options(
            expect=self.expected(),
            system=self.system,
            segments=self.segments if self.as_json else "none",
            keep_all=self.everything,
            marks=self.chart_file is not None,
            engine=self.engine,
            follow=self.follow,
            frames=self.packets,
            state=self.state,
        )


@click.command(no_args_is_help=True)
@reading
@click.option("-c", "packets", type=click.IntRange(min=1), metavar="N", help="End after N packets.")
@click.option(
    "-w",
    "savefile",
    type=FILE,
    metavar="OUT",
    help="Write the packets that were read to OUT as pcap as well (-: standard output).",
)
@expecting
@click.option("--json", "as_json", is_flag=True, help="Write JSON Lines, one record each.")
@click.option(
    "--segments",
    type=click.Choice(["events", "all", "none"]),
    default="events",
    show_default=True,
    help="Segment records in --json: all, none, or all but data and plain ACKs.",
)
@click.option(
    "--system",
    type=click.Choice(NAMES),
    default="auto",
    show_default=True,
    help="Whose timers to assume: auto takes Linux where a Linux timer explains the gaps.",
)
@click.option(
    "--chart", "chart_file", type=FILE, metavar="FILE", help="Draw the probe timeline into FILE (.png, .svg or .pdf)."
)
@click.option(
    "--state",
    type=FILE,
    metavar="FILE",
    help="Continue from FILE of an earlier run, and update it: the result is that of one run over everything.",
)
@click.option(
    "--parquet", metavar="DIR", help="Write connections, probers, probes, episodes and findings as Parquet into DIR."
)
@click.option("--all", "everything", is_flag=True, help="Show every connection, also those without a probe.")
@click.option("--follow", is_flag=True, help="Keep reading while the file grows; Ctrl-C ends with the report.")
@click.option("-q", "brief", is_flag=True, help="One line for each connection.")
@click.option("-v", "verbose", count=True, help="All details: each connection of a group, every run and finding.")
@click.option("-n", "numeric", count=True, help="Accepted as in tcpdump: addresses are always numeric.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def read(**given: object) -> int:
    """Show every keepalive probe in capture files: who sent it, whether it was answered, how it ended.

    FILE is pcap or pcapng, plain, gzip or zstd; - is standard input; several files (or a quoted 'glob*') are one
    capture in time order. The first word that is not a file begins a tcpdump filter.

    \b
    kacap read incident.pcap
    kacap read 'rotated.pcap*' port 5432 --chart timeline.png
    kacap read today.pcap --state watch.state --parquet tables/
    tcpdump -U -s 128 -w - tcp | kacap read -

    Exit code 0, or 1 when the capture was damaged (what precedes the damage is still reported). Ctrl-C ends with what
    was read, exit code 130.
    """
    options = options_of(ReadOptions, given)
    files, expression = options.sources()
    _check_outputs(options, files)
    analysis = _analyse(files, expression, options)
    if not options.as_json:
        _print(analysis, options)
    if options.chart_file is not None:
        _draw(analysis, options.chart_file)
    if analysis.interrupted:
        tell(_interrupted_words(analysis, options))
    code = ended(analysis.damages)
    return EXIT_INTERRUPTED if analysis.interrupted else code


def _check_outputs(options: ReadOptions, files: list[str]) -> None:
    """Refuse an output that cannot be written before an hour of reading, not after it."""
    if options.chart_file is not None:
        from kacap.report.chart import check_target

        check_target(options.chart_file, files)
    if options.savefile is not None:
        from kacap.outputs import check

        check(options.savefile, files)
        if options.savefile == "-" and sys.stdout.isatty():
            raise UsageError("-w -: packets do not belong on a terminal; redirect or pipe standard output")


def _analyse(files: list[str], expression: str | None, options: ReadOptions) -> Analysis:
    """Read the files; with ``--json`` every record is written as soon as it is final."""
    from kacap.library import analyse
    from kacap.news import together

    sinks: list[Sink] = []
    named = files
    if options.as_json or options.parquet is not None:
        named = [*_files_before(options.state), *files]
    if options.as_json:
        from kacap.report.records import RecordWriter

        live = options.follow or "-" in files or options.out.isatty()
        sinks.append(RecordWriter(options.out, named, flush=live).news)
    with ExitStack() as stack:
        tables = None if options.parquet is None else stack.enter_context(_tables(options.parquet, named))
        if tables is not None:
            sinks.append(tables.news)
        file = None if options.savefile is None else _opened(options.savefile, options.follow)
        if file is not None:
            stack.callback(file.close)
        progress = stack.enter_context(Progress())
        with _until_interrupted(progress if not options.follow else None) as asked:
            analysis = analyse(
                files,
                expression,
                options.how(),
                sink=together(sinks),
                tap=None if file is None else file.write,
                stop=asked,
                begun=progress.begun,
            )
        progress.end()
        if file is not None and not file.begun:
            file.open(next(iter(analysis.capture.link_types), ETHERNET), 0)
        if tables is not None:
            tables.finish(analysis)
    return analysis


def _files_before(state: str | None) -> list[str]:
    """Return the files that a state was made of; none without one."""
    if state is None:
        return []
    from kacap.continuing import files_before

    return files_before(state)


def _tables(directory: str, files: list[str]) -> Writer:
    """Return what writes the tables as Parquet."""
    from kacap.report.parquet import Writer

    return Writer(directory, files)


def _opened(path: str, at_once: bool) -> Savefile:
    """Return the file that packets are written to; its header comes with the first of them."""
    from kacap.capture.filters import SNAPLEN
    from kacap.capture.savefile import Savefile

    return Savefile(path, SNAPLEN, flush=at_once or path == "-")


def _interrupted_words(analysis: Analysis, options: ReadOptions) -> str:
    """Return what an interrupt means for the result."""
    state = f"; {options.state} is as it was" if options.state else ""
    return f"kacap: interrupted: what is reported is of the first {analysis.capture.frames:,} frames{state}"


@contextmanager
def _until_interrupted(progress: Progress | None) -> Iterator[Callable[[], bool]]:
    """Yield what says whether Ctrl-C, SIGTERM or SIGHUP asked for the end of reading; a second one ends at once.

    So does the first one before anything was read, where ``progress`` shows that: there is nothing to report. After
    the reading each is taken as everywhere.
    """
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked or (progress is not None and not progress.reading):
            interrupt(number, frame)
        asked.append(number)

    before = {number: signal.getsignal(number) for number in ASKING}
    heard = [number for number in ASKING if before[number] not in (signal.SIG_IGN, None)]
    for number in heard:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number in heard:
            signal.signal(number, before[number])


def _print(analysis: Analysis, options: ReadOptions) -> None:
    """Write the text report."""
    from kacap.report import text
    from kacap.report.terminal import width_of

    text.render(
        analysis,
        options.out,
        all_connections=options.everything,
        color=colored(options.color, options.out),
        brief=options.brief,
        verbose=options.verbose > 0,
        width=width_of(options.out),
    )


def _draw(analysis: Analysis, chart_file: str) -> None:
    """Draw the timeline and say so on stderr."""
    from kacap.report import chart
    from kacap.report.chart.style import import_matplotlib

    import_matplotlib()
    chart.save(chart.timeline(analysis), chart_file)
    tell(f"kacap: timeline chart written to {chart_file}")
