"""``kacap explain``: what one frame is, why, and what it could be mistaken for."""

from __future__ import annotations

import re
import sys
from itertools import chain
from typing import TYPE_CHECKING

import click

from kacap.commands.reading import ended, words
from kacap.commands.sources import files_named, sources
from kacap.errors import UsageError

if TYPE_CHECKING:
    from kacap.model import FrameRef
    from kacap.news import News

MOST = 100  # frames explained in one run


@click.command(no_args_is_help=True)
@words("FILE... [frame N | frames N-M]")
@click.option(
    "--frame",
    "--frames",
    "frames",
    multiple=True,
    metavar="N",
    help="A frame's number, several (8,10), a range (8-10); name:N with several files.",
)
def explain(words: tuple[str, ...], frames: tuple[str, ...]) -> int:
    """Say what one frame is, or each of several, why, and what it could be mistaken for.

    Frames are numbered from 1 within a file, as Wireshark and tcpdump -# number them.

    \b
    kacap explain incident.pcap --frame 18
    kacap explain incident.pcap frames 8-10
    kacap explain 'rotated.pcap*' --frame rotated.pcap3:18
    """
    from kacap.capture.source import expand
    from kacap.library import analyse
    from kacap.options import Options
    from kacap.report.frame import Neighbourhood, render

    names, more = _parted(words)
    files, expression = sources(names)
    if expression is not None:
        raise UsageError(f"'{expression}': explain looks at every frame and takes no filter; write frames 8-10")
    files = expand(files)
    wanted = [ref for text in [*frames, *more] for ref in frames_of(text, files)]
    if not wanted:
        raise UsageError("which frame? write --frame 18, or --frames 8-10")
    if len(wanted) > MOST:
        raise UsageError(f"{len(wanted):,} frames: ask for at most {MOST:,} at a time")
    heard = {ref: Neighbourhood(ref) for ref in wanted}

    def hear(news: News) -> None:
        for record in chain(news.segments(), news.late()):
            for one in heard.values():
                one(record)

    analysis = analyse(files, None, Options(segments="all"), sink=hear)
    for ref in heard:
        if ref.number > analysis.capture.frames:
            raise UsageError(f"frame {ref.number}: {files[ref.file]} has only {analysis.capture.frames:,} frames")
    for at, one in enumerate(heard.values()):
        sys.stdout.write("\n" if at else "")
        render(analysis, sys.stdout, one)
    return ended(analysis.damages)


def _parted(words: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the files among the words, and the frames: what follows the word ``frame`` or ``frames``."""
    for at, word in enumerate(words):
        if word in ("frame", "frames") and not files_named(word):
            return list(words[:at]), list(words[at + 1 :])
    return list(words), []


def frames_of(words: str, files: list[str]) -> list[FrameRef]:
    """Return the frames that ``12``, ``8-10``, ``8,10`` or ``name:12`` means; a name may leave out its directories.

    Raises UsageError for a number below 1, an unknown or ambiguous name, and a bare number with several files.
    """
    from kacap.model import FrameRef

    name, _, numbers = words.rpartition(":")
    found: list[int] = []
    for part in filter(None, numbers.split(",")):
        match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", part.strip())
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= low <= high:
            raise UsageError(f"--frame {words}: frames are numbered from 1: 8, or 8-10, or 8,10")
        if high - low >= MOST:
            raise UsageError(f"--frame {words}: {high - low + 1:,} frames: ask for at most {MOST:,} at a time")
        found += range(low, high + 1)
    if not found:
        raise UsageError(f"--frame {words}: frames are numbered from 1: 8, or 8-10, or 8,10")
    file = _file_of(name, words, files)
    return [FrameRef(file, number) for number in found]


def _file_of(name: str, words: str, files: list[str]) -> int:
    """Return which of the files a name means; empty where there is only one."""
    named = [i for i, file in enumerate(files) if name in ("", file, file.rpartition("/")[2])]
    exact = [i for i in named if files[i] == name]
    if len(exact or named) != 1:
        what = "which file? write name:number" if named else f"no file of that name among {', '.join(files)}"
        raise UsageError(f"--frame {words}: {what}")
    return (exact or named)[0]
