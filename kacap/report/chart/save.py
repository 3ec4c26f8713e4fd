"""A figure into a file: always the same bytes for the same figure, and never half of one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kacap.errors import UsageError
from kacap.outputs import check, output
from kacap.report.chart.style import styled
from kacap.units import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


def format_of(path: str | Path) -> str:
    """Return ``png``, ``svg`` or ``pdf`` by the suffix of ``path``; raises UsageError for any other."""
    form = Path(path).suffix.lower().lstrip(".")
    if form not in FORMATS:
        raise UsageError(f"{clean(str(path))}: a chart is a .png, .svg or .pdf file")
    return form


def check_target(path: str | Path, inputs: Iterable[str] = ()) -> None:
    """Raise UsageError, before anything is drawn, for an unknown suffix and a path that cannot be written."""
    format_of(path)
    check(path, inputs)


def save(figure: Figure, path: str | Path, inputs: Iterable[str] = ()) -> None:
    """Write ``figure`` to ``path`` in the format that its suffix names; errors as ``outputs.output`` raises them."""
    form = format_of(path)
    with output(path, inputs) as out:
        write(figure, out, form)


def write(figure: Figure, out: BinaryIO, form: str) -> None:
    """Write ``figure`` as ``form`` without anything that changes from run to run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    title, words = getattr(figure, "said", ("", ""))
    metadata = {
        "png": {"Title": title, "Description": words, "Software": "kacap"},
        "svg": {"Title": title, "Description": words, "Creator": "kacap", "Date": None},
        "pdf": {"Title": title, "Subject": words, "Creator": "kacap", "Producer": "kacap", "CreationDate": None},
    }[form]
    canvases = {"png": FigureCanvasAgg, "svg": FigureCanvasSVG, "pdf": FigureCanvasPdf}
    with styled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a file name in a script that no font here has
        getattr(canvases[form](figure), f"print_{form}")(out, metadata=metadata)
