"""A figure into a file: always the same bytes for the same figure, and never half a file."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kacap.errors import UsageError
from kacap.report.chart.style import styled
from kacap.units import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


def format_of(path: str | Path) -> str:
    """Return ``png``, ``svg`` or ``pdf`` by the suffix of ``path``; raises UsageError for any other."""
    form = Path(path).suffix.lower().lstrip(".")
    if form not in FORMATS:
        raise UsageError(f"{clean(str(path))}: a chart is written as {', '.join('.' + f for f in FORMATS)}")
    return form


def check_target(path: str | Path) -> None:
    """Raise UsageError, before anything is drawn, for a suffix that is no format and a place that takes no file."""
    target = Path(path)
    format_of(target)
    if target.is_dir():
        raise _cannot(target, "it is a directory")
    if not target.parent.is_dir():
        raise _cannot(target, f"there is no directory {target.parent}")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise _cannot(target, f"no permission to write in {target.parent}")


def save(figure: Figure, path: str | Path) -> None:
    """Write ``figure`` to ``path`` in the format that its suffix names, aside first, then in one step.

    Raises UsageError for a suffix that is none of png, svg and pdf, and when the file cannot be written.
    """
    target = Path(path)
    form = format_of(target)
    aside = target.with_name(f".kacap-{os.getpid()}~")
    try:
        with aside.open("xb") as out:
            write(figure, out, form)
        aside.replace(target)
    except OSError as error:
        raise _cannot(target, error.strerror or str(error)) from error
    finally:
        aside.unlink(missing_ok=True)


def _cannot(target: Path, why: str) -> UsageError:
    """Return the error for a file that cannot be written."""
    return UsageError(f"{clean(str(target))}: cannot write the chart: {clean(why)}")


def write(figure: Figure, out: BinaryIO, form: str) -> None:
    """Write ``figure`` as ``form`` without anything that changes from run to run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    title, words = getattr(figure, "said", ("", ""))
    metadata: Any = {
        "png": {"Title": title, "Description": words, "Software": "kacap"},
        "svg": {"Title": title, "Description": words, "Creator": "kacap", "Date": None},
        "pdf": {"Title": title, "Subject": words, "Creator": "kacap", "Producer": "kacap", "CreationDate": None},
    }[form]
    canvases: dict[str, Any] = {"png": FigureCanvasAgg, "svg": FigureCanvasSVG, "pdf": FigureCanvasPdf}
    with styled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a file name in a script that no font here has
        getattr(canvases[form](figure), f"print_{form}")(out, metadata=metadata)
