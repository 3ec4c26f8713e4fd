"""What a drawn chart holds: its words, captions and points, read back from the figure."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.offsetbox import AnnotationBbox, TextArea
from matplotlib.text import Text

from kacap.report.chart.save import write

# Each renderer measures all words anew, a fifth of the work on a page: here they share what one of them has measured.
_measured = RendererAgg.get_text_width_height_descent


@cache
def _size(dpi: float, words: str, font: FontProperties, math: bool | str) -> tuple[float, float, float]:
    return _measured(RendererAgg(1, 1, dpi), words, font, math)


RendererAgg.get_text_width_height_descent = lambda self, s, prop, ismath: _size(self.dpi, s, prop.copy(), ismath)


def words(figure) -> list[str]:
    """Return every text of a figure: headings, labels, captions."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def captions(figure) -> list[str]:
    """Return what is written on the rows, shape by shape."""
    boxes = [box for axes in figure.axes for box in axes.artists if isinstance(box, AnnotationBbox)]
    return [area.get_text() for box in boxes for area in box.findobj(TextArea)]


def points(figure, marker: str) -> np.ndarray:
    """Return the places (x) of all points with a marker, captions left out."""
    lines = [line for axes in figure.axes for line in axes.lines if line.get_marker() == marker]
    return np.concatenate([np.asarray(line.get_xdata(), float) for line in lines]) if lines else np.empty(0)


def bands(axes) -> list[tuple[float, float]]:
    """Return (left, right) of every pale band on a timeline's panel."""
    found = []
    for collection in axes.collections:
        if collection.get_hatch() is None and hasattr(collection, "get_paths"):
            for path in collection.get_paths():
                x, y = path.vertices[:, 0], path.vertices[:, 1]
                if np.ptp(x) and np.ptp(y):
                    found.append((x.min(), x.max()))
    return sorted(found)


def losses(axes) -> list[tuple[float, float]]:
    """Return (left, right) of every cross-hatched span of a panel."""
    spans = [patch for patch in axes.patches if "x" in (patch.get_hatch() or "")]
    return sorted((span.get_x(), span.get_x() + span.get_width()) for span in spans)


def drawn(figure, form: str = "svg") -> bytes:
    """Return the bytes of a figure in a format."""
    out = io.BytesIO()
    write(figure, out, form)
    return out.getvalue()


def misplaced(figure) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the pairs of texts whose boxes lie over each other, and the texts that do not lie wholly on the page."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # places everything
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = np.array([text.get_window_extent(canvas.get_renderer()).extents for text in texts])
    x0, y0, x1, y1 = (boxes + np.array([0.5, 0.5, -0.5, -0.5])).T
    over = (x0[:, None] < x1) & (x0 < x1[:, None]) & (y0[:, None] < y1) & (y0 < y1[:, None])
    pairs = np.argwhere(np.triu(over, 1))
    page = figure.bbox
    before, beyond = boxes[:, :2] < [page.x0 - 1, page.y0 - 1], boxes[:, 2:] > [page.x1 + 1, page.y1 + 1]
    off = before.any(axis=1) | beyond.any(axis=1)
    over_each_other = [(texts[one].get_text(), texts[other].get_text()) for one, other in pairs.tolist()]
    return over_each_other, [texts[place].get_text() for place in np.flatnonzero(off).tolist()]


def longest_title(figure) -> int:
    """Return how many lines the longest title has: they stand below each other."""
    heights = sorted(text.get_position()[1] for text in figure.texts if text.get_weight() == "bold")
    steps = np.diff(heights) * figure.get_figheight() < 0.22
    return 1 + max((len(run) for run in "".join("x" if step else " " for step in steps).split()), default=0)


def outside(figure) -> list[str]:
    """Return the texts that do not lie wholly on the page."""
    return misplaced(figure)[1]
