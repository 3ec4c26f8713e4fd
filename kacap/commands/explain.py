"""``kacap explain``: what one frame is, why, and what it could be mistaken for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from kacap.commands.sources import sources
from kacap.commands.telling import tell
from kacap.errors import EXIT_DONE, EXIT_FAILED, UsageError

if TYPE_CHECKING:
    from kacap.analysis import Analysis
    from kacap.model import FrameRef


@click.command(no_args_is_help=True)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="FILE...")
@click.option("--frame", "frame", required=True, metavar="N", help="The frame's number, or name:N with several files.")
def explain(words: tuple[str, ...], frame: str) -> int:
    """Say what one frame is, why, and what it could be mistaken for.

    Frames are numbered from 1 within a file, as Wireshark and tcpdump -# number them.

    \b
    kacap explain incident.pcap --frame 18
    kacap explain 'rotated.pcap*' --frame rotated.pcap3:18
    """
    import kacap
    from kacap.capture.source import expand
    from kacap.report.frame import Neighbourhood, render

    files, expression = sources(words)
    if expression is not None:
        raise UsageError(f"'{expression}': explain looks at every frame and takes no filter")
    files = expand(files)
    wanted = frame_of(frame, files)
    heard = Neighbourhood(wanted)
    analysis: Analysis = kacap.read(files, sink=heard, segments="all")
    if wanted.number > analysis.capture.frames:
        raise UsageError(f"frame {frame}: {files[wanted.file]} has only {analysis.capture.frames:,} frames")
    render(analysis, sys.stdout, heard)
    for damage in analysis.damages:
        tell(f"kacap: {damage}")
    return EXIT_FAILED if analysis.damages else EXIT_DONE


def frame_of(words: str, files: list[str]) -> FrameRef:
    """Return the frame that ``12`` or ``name:12`` means; a name may leave out its directories.

    Raises UsageError for a number below 1, an unknown or ambiguous name, and a bare number with several files.
    """
    from kacap.model import FrameRef

    name, _, number = words.rpartition(":")
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"--frame {words}: frames are numbered from 1")
    named = [i for i, file in enumerate(files) if name in ("", file, file.rpartition("/")[2])]
    exact = [i for i in named if files[i] == name]
    if len(exact or named) != 1:
        what = "which file? write name:number" if named else f"no file of that name among {', '.join(files)}"
        raise UsageError(f"--frame {words}: {what}")
    return FrameRef((exact or named)[0], int(number))
