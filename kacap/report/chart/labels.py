"""Words on a chart that never lie over each other: each is put where there is room, the most important first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Unpack

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.transforms import Bbox, Transform
from numpy.typing import ArrayLike

from kacap.report.chart.style import WordStyle
from kacap.units import clean

Spot = tuple[float, float, str, str]  # offset in points from where it belongs, horizontal and vertical alignment
ABOVE: Spot = (0, 4, "center", "bottom")
BELOW: Spot = (0, -4, "center", "top")
LEFT: Spot = (-4, 0, "right", "center")
RIGHT: Spot = (4, 0, "left", "center")
AROUND = (ABOVE, RIGHT, LEFT, BELOW)
MARKS = 200  # that labels keep clear of, of one sort
STEP = 20.0  # pixels of a line that one box stands for
GAP, APART = 1.0, 5.0  # pixels between two boxes above one another, and beside one another


@dataclass(slots=True)
class _Label:
    """One label that waits for its place."""

    words: Sequence[str]
    at: tuple[float, float]
    spots: Sequence[Spot]
    priority: int
    room: float
    style: WordStyle
    coordinates: str | Transform


@dataclass(slots=True)
class Labels:
    """The labels of one panel; ``place`` draws them, those with the highest priority first.

    A label for which no spot is free is left out: what it says stands in the caption or the title as well.
    """

    axes: Axes
    left: float = 0.0  # pixels from the page's edge, of which labels keep clear
    _waiting: list[_Label] = field(default_factory=list)
    _taken: list[Bbox] = field(default_factory=list)
    _drawn: list[Bbox] = field(default_factory=list)

    def add(
        self,
        words: str | Sequence[str],
        at: tuple[float, float],
        spots: Sequence[Spot] = AROUND,
        priority: int = 0,
        room: float = np.inf,
        **style: Unpack[WordStyle],
    ) -> None:
        """Let words stand at one of some spots around ``at``, in the coordinates of the data.

        Of several words the first that are no wider than ``room`` (pixels) and find a place are written.
        """
        coordinates = style.pop("coordinates", "data")
        several = (words,) if isinstance(words, str) else words
        self._waiting.append(_Label(several, at, spots, priority, room, style, coordinates))

    def keep_clear_of_marks(self, x: ArrayLike, y: ArrayLike, wide: float, high: float) -> None:
        """Let no label lie over marks at some places, all at one height or each at its own, so many points large."""
        to_pixels = self.axes.transData.transform
        half, tall = (points * self.axes.figure.dpi / 144 for points in (wide, high))
        for at, height in to_pixels(np.column_stack(np.broadcast_arrays(np.asarray(x), y))[:MARKS]):
            self._drawn.append(Bbox.from_extents(at - half, height - tall, at + half, height + tall))

    def keep_clear_of_line(self, x: ArrayLike, y: ArrayLike) -> None:
        """Let no label lie over the straight pieces between some places."""
        ends = self.axes.transData.transform(np.column_stack([x, y]))
        for (left, low), (right, high) in pairwise(ends):
            pieces = np.linspace((left, low), (right, high), 2 + int(np.hypot(right - left, high - low) / STEP))
            for one, other in pairwise(pieces):
                lowest, highest = sorted((one[1], other[1]))
                self._drawn.append(Bbox.from_extents(one[0], lowest - GAP, other[0], highest + GAP))

    def keep_clear_of(self, artist: Artist) -> None:
        """Let no label lie over something drawn."""
        self._drawn.append(artist.get_window_extent(_renderer(self.axes)))

    def place(self) -> None:
        """Draw every label for which there is room on the page."""
        for label in sorted(self._waiting, key=lambda one: -one.priority):
            any(self._try(label, words, spot) for words in label.words for spot in label.spots)
        self._waiting.clear()

    def _try(self, label: _Label, words: str, spot: Spot) -> bool:
        """Draw a label at a spot if there is room; return whether there was."""
        dx, dy, ha, va = spot
        plain = "\n".join(map(clean, words.split("\n")))
        drawn = self.axes.annotate(
            plain, label.at, (dx, dy), xycoords=label.coordinates, textcoords="offset points", ha=ha, va=va,
            annotation_clip=False, parse_math=False, **label.style,
        )  # fmt: skip
        renderer, page, around = _renderer(self.axes), self.axes.figure.bbox, drawn.get_bbox_patch()
        drawn.update_positions(renderer)
        drawn.update_bbox_position_size(renderer)
        box = (around or drawn).get_window_extent(renderer)
        inside = box.x0 >= max(page.x0, self.left) and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1
        free = not any(_overlap(box, other) for other in self._taken) and not any(map(box.overlaps, self._drawn))
        if inside and box.width <= label.room and free:
            self._taken.append(box)
            return True
        drawn.remove()
        return False


def _renderer(axes: Axes) -> RendererBase:
    """Return what measures words as they will be drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = axes.figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    renderer: RendererBase = canvas.get_renderer()  # type: ignore[no-untyped-call]
    return renderer


def _overlap(one: Bbox, other: Bbox) -> bool:
    """Return whether two boxes, in pixels, lie over each other or nearly."""
    return bool(
        one.x0 < other.x1 + APART and other.x0 < one.x1 + APART and one.y0 < other.y1 + GAP and other.y0 < one.y1 + GAP
    )
