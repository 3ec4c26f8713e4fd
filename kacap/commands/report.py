"""``kacap report``: one HTML page to send to whoever has to be convinced."""

from __future__ import annotations

from dataclasses import dataclass

import click

from kacap.commands.expecting import Expecting, expecting
from kacap.commands.reading import FILE, Reading, ended, options_of, reading
from kacap.commands.telling import tell


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Reading, Expecting):
    """What ``kacap report`` is asked for."""

    target: str


@click.command(no_args_is_help=True)
@click.option(
    "-o", "target", required=True, type=FILE, metavar="OUT.html", help="Write to OUT.html; - is standard output."
)
@reading
@expecting
def report(**given: object) -> int:
    """Write one self-contained HTML page: verdicts, findings with filters for Wireshark, charts, connections.

    The page needs no network and holds no payload. It says what it was made from (SHA-256), how to repeat it and what
    was left out.

    \b
    kacap report incident.pcap -o report.html
    kacap report 'rotated.pcap*' port 5432 --idle 60 -o report.html

    Exit code 0, or 1 when the capture was damaged (what precedes the damage is still reported).
    """
    import kacap
    from kacap.outputs import check, output
    from kacap.report.chart.style import import_matplotlib
    from kacap.report.html import provenance, render

    options = options_of(ReportOptions, given)
    files, expression = options.sources()
    check(options.target, files)
    analysis = kacap.read(files, expression, marks=True, expect=options.expected(), engine=options.engine)
    import_matplotlib()
    made_from = provenance(files, expression, _words(options))
    with output(options.target, files) as out:
        render(analysis, out, made_from)
    tell(f"kacap: report written to {options.target}")
    return ended(analysis.damages)


def _words(options: ReportOptions) -> list[str]:
    """Return the options that change what is read or judged, as they were written."""
    return options.as_written() + ([] if options.engine == "auto" else ["--engine", options.engine])
