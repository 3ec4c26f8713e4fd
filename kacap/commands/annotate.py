"""``kacap annotate``: the capture again, with what kacap knows of its frames written into it as packet comments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import click

from kacap.commands.expecting import Expecting, expecting
from kacap.commands.reading import FILE, ended, options_of, words
from kacap.commands.sources import sources
from kacap.commands.telling import tell
from kacap.errors import UsageError

if TYPE_CHECKING:
    from kacap.annotate.annotated_copy import Annotated


@dataclass(frozen=True, kw_only=True)
class AnnotateOptions(Expecting):
    """What ``kacap annotate`` is asked for."""

    words: tuple[str, ...]
    target: str
    only: bool
    headers_only: bool
    anonymise: bool


@click.command(no_args_is_help=True)
@words("FILE...")
@click.option(
    "-o", "target", required=True, type=FILE, metavar="OUT.pcapng", help="Write to OUT.pcapng; - is standard output."
)
@click.option("--only", is_flag=True, help="Keep only the frames that carry a comment.")
@click.option("--headers-only", is_flag=True, help="Cut every frame after its headers; no payload is left.")
@click.option(
    "--anonymise",
    "--anonymize",
    "anonymise",
    is_flag=True,
    help="Replace addresses consistently (prefixes stay shared, ports stay); drop names and comments.",
)
@expecting
def annotate(**given: object) -> int:
    """Write captures as pcapng with a comment on every frame of evidence, for Wireshark and for support cases.

    Wireshark shows the comments beside the packets (filter: frame.comment). Everything else stays byte for byte as
    it was; a classic pcap becomes pcapng with its times and link type. Several files follow one another.

    \b
    kacap annotate incident.pcap -o annotated.pcapng --idle 60 --interval 10
    kacap annotate incident.pcap -o share.pcapng --only --headers-only --anonymise

    With --anonymise private addresses stay private, loopback and multicast stay; what is not TCP is cut after its
    headers. TCP payload stays unless --headers-only cuts it.

    Exit code 0, or 1 when a capture was damaged (what precedes the damage is still written).
    """
    from kacap.annotate.annotated_copy import Changes
    from kacap.annotate.annotated_copy import annotate as write
    from kacap.annotate.anonymise import Anonymiser
    from kacap.capture.source import expand
    from kacap.outputs import check, output

    options = options_of(AnnotateOptions, given)
    files, expression = sources(options.words)
    if expression is not None:
        raise UsageError(f"'{expression}': annotate copies every frame and takes no filter; --only keeps the evidence")
    _check_name(options.target)
    files = expand(files)
    check(options.target, files)
    anonymiser = Anonymiser() if options.anonymise else None
    changes = Changes(options.only, options.headers_only, anonymiser)
    expect = options.expected()
    with output(options.target, files) as out:
        done = write(files, out, changes, expect=expect)
    return _say(done, changes.headers_only or anonymiser is None, options.target)


def _check_name(target: str) -> None:
    """Refuse a name that promises classic pcap: only pcapng has room for comments."""
    path = PurePath(target)
    if path.suffix.lower() in (".pcap", ".cap"):
        better = path.with_suffix(".pcapng")
        raise UsageError(f"{target}: comments need pcapng, a pcap has no room for them: -o {better}")


def _say(done: Annotated, nothing_left: bool, target: str) -> int:
    """Say on stderr what was written and return the exit code."""
    from kacap.units import counted

    tell(f"kacap: {target}: {counted(done.frames, 'frame')}, {done.commented:,} with a comment")
    if not nothing_left:
        tell("kacap: TCP payload is still there and may hold names; --headers-only cuts it")
    if done.without_room:
        tell(f"kacap: {done.without_room:,} frames in Simple Packet Blocks can carry no comment")
    return ended(done.damages)
