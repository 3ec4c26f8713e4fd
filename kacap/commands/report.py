"""``kacap report``: one HTML page to send to whoever has to be convinced."""

from __future__ import annotations

from typing import Any

import click

from kacap.commands.engines import engine
from kacap.commands.expecting import OPTIONS, expected, expecting
from kacap.commands.sources import sources
from kacap.commands.telling import tell
from kacap.errors import EXIT_DONE, EXIT_FAILED


@click.command(no_args_is_help=True)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="FILE... [BPF EXPRESSION]")
@click.option("-o", "target", required=True, metavar="OUT.html", help="Write to OUT.html; - is standard output.")
@click.option("-r", "named", multiple=True, metavar="FILE", help="Read FILE; the same as naming it.")
@click.option("-F", "filter_file", metavar="FILE", help="Read the filter expression from FILE.")
@engine
@expecting
def report(
    words: tuple[str, ...], target: str, named: tuple[str, ...], filter_file: str | None, **options: Any
) -> int:
    """Write one self-contained HTML page: verdicts, findings with filters for Wireshark, charts, connections.

    The page needs no network and holds no payload. It says what it was made from (SHA-256), how to repeat it and what
    was left out.

    \b
    kacap report incident.pcap -o report.html
    kacap report 'rotated.pcap*' port 5432 --idle 60 -o report.html

    Exit code 0, or 1 when the capture was damaged (what precedes the damage is still reported).
    """
    import kacap
    from kacap.capture.source import expand
    from kacap.outputs import check, output
    from kacap.report.chart.style import import_matplotlib
    from kacap.report.html import provenance, render

    files, expression = sources(words, named, filter_file)
    files = expand(files)
    check(target, files)
    analysis = kacap.read(files, expression, marks=True, expect=expected(options), engine=options["engine"])
    import_matplotlib()
    made_from = provenance(files, expression, _words(options))
    with output(target, files) as out:
        render(analysis, out, made_from)
    tell(f"kacap: report written to {target}")
    for damage in analysis.damages:
        tell(f"kacap: {damage}")
    return EXIT_FAILED if analysis.damages else EXIT_DONE


def _words(options: dict[str, Any]) -> list[str]:
    """Return the options that say what is expected, as they were written."""
    found = []
    for name in OPTIONS:
        values = options[name] if isinstance(options[name], tuple) else (options[name],)
        flag = "--from" if name == "side" else f"--{name.replace('_', '-')}"
        found += [word for value in values if value is not None for word in (flag, str(value))]
    return found if options["engine"] == "auto" else [*found, "--engine", options["engine"]]
