"""``kacap compare``: a second opinion on one capture, or one connection seen from two sites."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

import click

from kacap.commands.telling import tell
from kacap.errors import EXIT_DONE, EXIT_FAILED, Damage, UsageError


@click.command(no_args_is_help=True)
@click.argument("words", nargs=-1, metavar="A [B]")
@click.option("--json", "as_json", is_flag=True, help="Write JSON Lines.")
@click.option("-v", "verbose", is_flag=True, help="A line for every frame, or for every probe.")
def compare(words: tuple[str, ...], as_json: bool, verbose: bool) -> int:
    """Say where kacap and Wireshark differ on one capture; or follow each probe from one capture to another.

    With one capture, tshark's labels beside kacap's: how many segments they agree on, and every one on which they
    differ, with the reason. With two captures of the same traffic, taken at two sites (client and server, both sides
    of a NAT, a firewall or a proxy): where each probe or its answer was lost, what was rewritten on the way, and
    whether the answer came from the far end. A quoted 'glob*' is one capture of several files.

    \b
    kacap compare incident.pcap
    kacap compare client.pcap server.pcap
    kacap compare 'client.pcap*' 'server.pcap*' --json

    Exit code 0, or 1 when a capture was damaged (what precedes the damage is still compared).
    """
    if not 1 <= len(words) <= 2 or "-" in words:
        raise UsageError("name one capture file, or two; a pipe cannot be read twice")
    first, *more = words
    lines, damages = _places(first, more[0], as_json, verbose) if more else _opinions(first, as_json, verbose)
    for line in lines:
        click.echo(line if as_json else _clean(line))
    for damage in damages:
        tell(f"kacap: {damage}")
    return EXIT_FAILED if damages else EXIT_DONE


def _clean(line: str) -> str:
    from kacap.units import clean

    return clean(line)


def _opinions(word: str, as_json: bool, verbose: bool) -> tuple[Iterable[str], list[Damage]]:
    """Compare kacap with tshark on one capture."""
    from kacap.capture.source import expand
    from kacap.capture.tshark.program import find
    from kacap.compare import label_records, label_text
    from kacap.compare.label_differences import compare

    version = find().version
    found = compare(expand([word]))
    if as_json:
        return label_records.lines(found, version), found.analysis.damages
    return label_text.lines(found, version, every=verbose), found.analysis.damages


def _places(first: str, second: str, as_json: bool, verbose: bool) -> tuple[Iterable[str], list[Damage]]:
    """Follow the probes between two captures."""
    from kacap.capture.source import expand
    from kacap.compare import path_records, path_text
    from kacap.compare.paths import cross
    from kacap.compare.site import damages, read

    names = _names(first, second)
    one, two = (read(expand([word]), name) for word, name in zip((first, second), names, strict=True))
    found = cross(one, two)
    if as_json:
        return path_records.lines(found), damages(one, two)
    return path_text.lines(found, every=verbose), damages(one, two)


def _names(first: str, second: str) -> tuple[str, str]:
    """Return short names for the two sites: the file names where they differ, else the whole paths."""
    if first == second:
        raise UsageError(f"{first} is named twice; name the captures of two sites")
    short = PurePath(first).name, PurePath(second).name
    return short if short[0] != short[1] else (first, second)
