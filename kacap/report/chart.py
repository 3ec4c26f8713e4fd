"""The probe timeline as a picture: one panel for each connection that probes, a lane for each direction.

Shape says what an event is, colour repeats it (Okabe-Ito), so that greyscale and colour-blind eyes lose nothing. The
same analysis gives the same bytes. matplotlib is imported by the functions that draw.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kacap.analysis import Analysis
from kacap.errors import KacapError, UsageError
from kacap.model import Connection
from kacap.report.panel import INK, SHAPES, SOFT, draw, title
from kacap.report.ranking import by_severity
from kacap.report.sentences import verdict
from kacap.units import clean, counted, duration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
LIMIT = 6  # panels

WIDTH, PANEL, ABOVE, LINE, BELOW, FOOT, MARGIN = 8.0, 1.25, 0.58, 0.17, 0.42, 0.48, 0.35  # inches
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.linewidth": 0.6,
    "svg.hashsalt": "kacap",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "path.simplify": False,
}


def timeline(analysis: Analysis, connection: int | None = None, *, limit: int = LIMIT) -> Figure:
    """Return the timeline of one connection, or of the ``limit`` gravest of those that probe.

    Data, retransmissions, resets and the like come from ``analysis.marks``; without marks only probes and replies are
    drawn. Raises UsageError for a connection that the analysis does not hold.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    chosen = _chosen(analysis, connection)
    shown = chosen[:limit]
    above = [ABOVE + LINE * title(one).count("\n") for one in shown]
    height = sum(above or [ABOVE]) + max(len(shown), 1) * (PANEL + BELOW) + FOOT
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), dpi=150, facecolor="white")
        used: set[str] = set()
        for row, one in enumerate(shown):
            bottom = height - sum(above[: row + 1]) - (row + 1) * PANEL - row * BELOW
            box = (MARGIN / WIDTH, bottom / height, 1 - 2 * MARGIN / WIDTH, PANEL / height)
            used |= draw(figure.add_axes(box), analysis, one)
        if not shown:
            _say_nothing(figure, analysis)
        _foot(figure, analysis, used, len(chosen) - len(shown), height)
    figure.set_label(verdict_line(analysis, shown))
    return figure


def _chosen(analysis: Analysis, connection: int | None) -> list[Connection]:
    """Return the connections to draw, gravest first, or the one asked for."""
    if connection is None:
        return by_severity(analysis.connections)
    chosen = [c for c in analysis.connections if c.connection == connection]
    if not chosen:
        raise UsageError(f"connection {connection}: the analysis holds no connection of that number")
    return chosen


def verdict_line(analysis: Analysis, shown: list[Connection]) -> str:
    """Return what the picture says, for readers that cannot see it."""
    said = [verdict(prober).sentence for c in shown for prober in c.probers]
    return "; ".join(said) or "no keepalive probe seen"


def _say_nothing(figure: Figure, analysis: Analysis) -> None:
    """Write that no probe was seen, and for how long was watched: an empty chart would be a riddle."""
    capture = analysis.capture
    watched = ""
    if capture.first_ns is not None and capture.last_ns is not None:
        watched = f" in {duration(capture.last_ns - capture.first_ns)}"
    quiet = analysis.quiet
    figure.text(0.5, 0.62, f"no keepalive probe seen{watched}", ha="center", size=13, weight="bold", color=INK)
    silence = f"{counted(quiet.connections, 'connection')}, longest silence {duration(quiet.longest_silence_ns)}"
    figure.text(0.5, 0.5, silence, ha="center", color=SOFT)


def _foot(figure: Figure, analysis: Analysis, used: set[str], left_out: int, height: float) -> None:
    """Write the legend of what was drawn, the source, and how many connections were left out."""
    handles = [shape.handle(name) for name, shape in SHAPES.items() if name in used]
    if handles:
        figure.legend(
            handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.2 / height), ncols=len(handles),
            frameon=False, fontsize=8, handletextpad=0.3, columnspacing=1.2, borderaxespad=0,
        )  # fmt: skip
    files = analysis.capture.files
    source = clean(Path(files[0]).name) if len(files) == 1 else counted(len(files), "file")
    note = f"{source}, {counted(analysis.capture.frames, 'frame')}"
    if left_out:
        note += f"; {left_out:,} more probing connections not drawn"
    figure.text(0.5, 0.08 / height, note, ha="center", size=7, color=SOFT, parse_math=False)


def render(analysis: Analysis, out: BinaryIO, *, format: str = "png") -> None:
    """Write the timeline of the gravest connections to ``out`` as ``png``, ``svg`` or ``pdf``."""
    _write(timeline(analysis), out, format)


def save(figure: Figure, path: str | Path) -> None:
    """Write ``figure`` to ``path`` in the format that its suffix names, aside first, then in one step.

    Raises UsageError for a suffix that is none of png, svg and pdf, KacapError when the file cannot be written.
    """
    target = Path(path)
    form = format_of(target)
    aside = target.with_name(f".{target.name}.{os.getpid()}~")
    try:
        with aside.open("xb") as out:
            _write(figure, out, form)
        aside.replace(target)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise KacapError(f"{clean(str(target))}: cannot write the chart: {error.strerror or error}") from error


def format_of(path: str | Path) -> str:
    """Return ``png``, ``svg`` or ``pdf`` by the suffix of ``path``; raises UsageError for any other."""
    form = Path(path).suffix.lower().lstrip(".")
    if form not in FORMATS:
        raise UsageError(f"{clean(str(path))}: a chart is written as {', '.join('.' + f for f in FORMATS)}")
    return form


def _write(figure: Figure, out: BinaryIO, form: str) -> None:
    """Write ``figure`` without anything that changes from run to run."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    said = str(figure.get_label())
    metadata: Any = {
        "png": {"Title": said, "Software": "kacap"},
        "svg": {"Title": said, "Creator": "kacap", "Date": None},
        "pdf": {"Title": said, "Creator": "kacap", "Producer": "kacap", "CreationDate": None},
    }[form]
    canvases: dict[str, Any] = {"png": FigureCanvasAgg, "svg": FigureCanvasSVG, "pdf": FigureCanvasPdf}
    with mpl.rc_context(STYLE):
        getattr(canvases[form](figure), f"print_{form}")(out, metadata=metadata)
