"""How an analysis shows itself: in a notebook as HTML, at a prompt as text."""

from __future__ import annotations

from io import StringIO

from kacap.analysis import Analysis
from kacap.report import text
from kacap.report.html import fragment


def text_of(analysis: Analysis) -> str:
    """Return the text report, one line for each connection."""
    out = StringIO()
    text.render(analysis, out, brief=True)
    return out.getvalue().rstrip("\n")


def html_of(analysis: Analysis) -> str:
    """Return an HTML fragment that brings its style along and runs no script."""
    return fragment(analysis)
