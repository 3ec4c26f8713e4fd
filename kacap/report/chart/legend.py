"""What stands above a panel: what each shape on it is, and how many there are; wrapped to the width of the panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, DrawingArea, HPacker, OffsetBox, TextArea, VPacker

from kacap.report.chart.page import short
from kacap.report.chart.palette import Theme
from kacap.report.chart.style import WordStyle

SIZE, LETTER = 7.5, 0.0655  # points, and inches of a letter of that size
SHAPE, APART = 0.21, 0.125  # inches: a drawn sample with its space, and the space between two entries

Entry = tuple[Sequence[Artist], str]  # what is drawn (none: a heading), and its words


def legend(axes: Axes, theme: Theme, entries: Sequence[Entry], height: float = 1.0, *, below: bool = False) -> Artist:
    """Draw entries above (or below) a height, a share of the panel, the first on top; return what was drawn."""
    lines = wrapped(entries, axes.get_window_extent().width / axes.figure.dpi)
    rows: list[OffsetBox] = [
        HPacker(children=[_entry(theme, *entry) for entry in line], pad=0, sep=9, align="center") for line in lines
    ]
    packed = rows[0] if len(rows) == 1 else VPacker(children=[*rows], pad=0, sep=2, align="left")
    corner = 0.0, float(below)
    box = AnnotationBbox(
        packed, (0, height), xycoords="axes fraction", box_alignment=corner, frameon=False, pad=0, annotation_clip=False
    )
    axes.add_artist(box)
    return box


def wrapped(entries: Sequence[Entry], inches: float) -> list[list[Entry]]:
    """Return entries in lines that are no wider than so many inches."""
    lines: list[list[Entry]] = [[]]
    left = inches
    for drawn, whole in entries:
        letter, sample = (LETTER, SHAPE) if drawn else (1.12 * LETTER, 0)
        words = whole if len(whole) * letter + sample <= inches else short(whole)
        wide = len(words) * letter + sample + APART
        if lines[-1] and wide - APART > left:
            lines.append([])
            left = inches
        lines[-1].append((drawn, words))
        left -= wide
    return lines


def _entry(theme: Theme, drawn: Sequence[Artist], words: str) -> OffsetBox:
    """Return something drawn in a box of 11 points with words beside it, or a heading."""
    if not drawn:
        return _text(theme, words, weight="bold")
    drawing = DrawingArea(11, 6.4)
    for artist in drawn:
        drawing.add_artist(artist)
    return HPacker(children=[drawing, _text(theme, words)], pad=0, sep=4, align="center")


def _text(theme: Theme, words: str, **style: Unpack[WordStyle]) -> TextArea:
    """Return a piece of text."""
    return TextArea(words, textprops={"size": SIZE, "color": theme.soft, "parse_math": False, **style})
