"""Colours and shapes: Okabe-Ito on light and on dark paper; a shape says what an event is, colour repeats it.

So greyscale and colour-blind eyes lose nothing. matplotlib is imported by what needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kacap.classify.kinds import Kind

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

    from kacap.report.chart.style import MarkStyle

ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
YELLOW = "#F0E442"


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of one paper. ``band``: when a timer may fire; ``probe`` is blue enough for the paper.

    ``hatch``: outside the capture; ``lost``: where the capture lost frames.
    """

    paper: str
    ink: str
    soft: str
    rule: str
    probe: str
    band: str
    hatch: str
    lost: str

    def colour(self, name: str) -> str:
        """Return the colour of a shape by name."""
        own = {"probe": self.probe, "SYN": self.ink, "FIN": self.ink}
        return own.get(name) or COLOURS.get(name, self.soft)


LIGHT = Theme("#ffffff", "#202020", "#5c5c5c", "#c4c4c4", BLUE, "#d3e8f6", "#d0d0d0", "#a39e63")
DARK = Theme("#14171a", "#ececec", "#a9afb5", "#4b5157", SKY, "#1d4258", "#3a3f45", "#b3ae5c")

COLOURS = {
    "reply": GREEN,
    "no reply": VERMILLION,
    "reset": VERMILLION,
    "unreachable": VERMILLION,
    "retransmission": ORANGE,
    "window probe": PURPLE,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """How one sort of event is drawn, and what several of them are called."""

    marker: str
    size: float
    plural: str
    filled: bool = True
    edge: float = 1.0
    single: str = ""  # what one is called, where not by the shape's name

    def style(self, name: str, theme: Theme, marker: str | None = None, scale: float = 1.0) -> MarkStyle:
        """Return matplotlib's keywords for it."""
        colour = theme.colour(name)
        return {
            "linestyle": "none",
            "marker": marker or self.marker,
            "color": colour,
            "markersize": self.size * scale,
            "markerfacecolor": colour if self.filled else theme.paper,
            "markeredgewidth": self.edge,
        }


# In the order in which a row's caption names them.
SHAPES = {
    "probe": Shape("v", 7.5, "probes"),
    "reply": Shape("o", 6.5, "replies", filled=False, edge=1.4),
    "no reply": Shape("x", 7.5, "not answered", edge=2.0, single="not answered"),
    "waiting": Shape("$?$", 7.5, "that may still be answered", edge=0.6, single="that may still be answered"),
    "uncaptured": Shape("o", 6.5, "replies not captured", filled=False, edge=0.8, single="reply not captured"),
    "retransmission": Shape("s", 5.5, "retransmissions"),
    "window probe": Shape("D", 5.5, "window probes"),
    "unreachable": Shape("*", 9, "ICMP errors in answer", filled=False, edge=1.2, single="ICMP error in answer"),
    "data": Shape("|", 9, "data"),
    "ACK": Shape(".", 5, "ACKs that restart the other side's clock", single="ACK that restarts the other side's clock"),
    "SYN": Shape("|", 14, "SYN", edge=1.6),
    "FIN": Shape("|", 15, "FIN", edge=3.0),
    "reset": Shape("|", 28, "RST", edge=4.0, single="RST"),
}

BY_KIND = {
    Kind.DATA: "data",
    Kind.SYN: "SYN",
    Kind.FIN: "FIN",
    Kind.RST: "reset",
    Kind.RESET: "reset",
    Kind.ABORT: "reset",
    Kind.RETRANSMISSION: "retransmission",
    Kind.WINDOW_PROBE: "window probe",
    Kind.UNREACHABLE: "unreachable",
}


def sample(name: str, theme: Theme, marker: str | None = None) -> Line2D:
    """Return a shape as a caption shows it beside its name, in a box of 11 points."""
    from matplotlib.lines import Line2D

    shape = SHAPES[name]
    scale = min(1.0, 9 / shape.size)
    return Line2D([5.5], [3.2], **shape.style(name, theme, marker, scale))
