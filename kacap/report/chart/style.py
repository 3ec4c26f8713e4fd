"""How matplotlib is set up: by this file alone, whatever a matplotlibrc says.

The settings of a user, or of whoever owns the current directory, could let a chart start LaTeX, and would make the same
analysis look different from one machine to the next.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from matplotlib.transforms import Transform


# What artists are drawn with, by the names of matplotlib's keywords.
class MarkStyle(TypedDict, total=False):
    """Marks."""

    linestyle: Literal["none"]
    marker: str
    markersize: float
    markeredgewidth: float
    markerfacecolor: str
    color: str


class PatchStyle(TypedDict, total=False):
    """Filled shapes, and the boxes around words."""

    facecolor: str
    edgecolor: str
    hatch: str
    linewidth: float
    alpha: float
    zorder: float
    pad: float


class WordStyle(TypedDict, total=False):
    """Words; ``coordinates`` are those of the place that they belong to."""

    size: float
    color: str
    weight: str
    bbox: PatchStyle
    zorder: float
    coordinates: Transform


STYLE = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "kacap",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "path.simplify": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw with matplotlib's own defaults and ``STYLE``; what is set outside is neither used nor changed."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


def import_matplotlib() -> None:
    """Import matplotlib, which looks for a matplotlibrc in the current directory first, from the root directory.

    For the program alone: the current directory of a process is everybody's.
    """
    if "matplotlib" in sys.modules:
        return
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it has no directory of its own, it does without
    here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    try:
        os.chdir("/")
        import matplotlib  # noqa: F401
    finally:
        os.chdir(here)
        os.close(here)
