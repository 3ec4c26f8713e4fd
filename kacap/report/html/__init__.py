"""An analysis as one HTML page that needs nothing else: no network, no other file, no payload.

What comes from a packet, a file name or a rules file is hostile: every string goes through Jinja2's autoescape, and a
Content-Security-Policy lets only the page's own style and script run, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, BinaryIO

from kacap.analysis import Analysis
from kacap.report.html.svg import dark_rules
from kacap.report.html.view import page_of
from kacap.units import clean

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the report was made from: for each file its name, size in bytes and SHA-256 (None: a pipe)."""

    files: Sequence[tuple[str, int | None, str | None]]
    expression: str | None = None
    options: Sequence[str] = ()  # further words of the command line, for the reader who repeats it


def provenance(files: Sequence[str], expression: str | None = None, options: Sequence[str] = ()) -> Provenance:
    """Return the provenance of a report on ``files``; each is read once more for its digest."""
    return Provenance([_digest(name) for name in files], expression, options)


def _digest(name: str) -> tuple[str, int | None, str | None]:
    """Return the name, size and SHA-256 of a file; of a pipe, or a file gone since, only the name."""
    if name == "-":
        return "standard input", None, None
    try:
        with open(name, "rb") as file:  # noqa: PTH123 (a name may hold bytes that are no text)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return name, file.tell(), digest
    except OSError:
        return name, None, None


def render(analysis: Analysis, out: BinaryIO, made_from: Provenance | None = None) -> None:
    """Write the page. The same analysis and provenance give the same bytes."""
    page = page_of(analysis, made_from or Provenance([(name, None, None) for name in analysis.capture.files]))
    style, script = _style(), f"{_part('timeline.js')}\n{_part('page.js')}"
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    out.write(_fill("report.html", page=page, style=style, script=script, policy=policy))


def fragment(analysis: Analysis) -> str:
    """Return what a notebook shows of an analysis: verdicts, the timeline and findings, without any script."""
    page = page_of(analysis, Provenance([(name, None, None) for name in analysis.capture.files]), brief=True)
    return _fill("notebook.html", page=page, style=_style()).decode()


@cache
def _part(name: str) -> str:
    """Return a style sheet or a script of the package."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8").strip()


@cache
def _style() -> str:
    """Return the style sheet, with the colours that the charts take on dark paper."""
    return f"{_part('style.css')}\n@media (prefers-color-scheme: dark) {{ {' '.join(dark_rules('.kacap .chart'))} }}"


def _hash(text: str) -> str:
    """Return a source expression of a Content-Security-Policy for an inline element (CSP 3, section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    """Return the templates: every value is cleaned of what is not printable, then escaped, unless it is Markup."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    return Environment(
        loader=PackageLoader("kacap.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else clean(str(value)),
    )


def _fill(template: str, style: str, script: str = "", **names: object) -> bytes:
    """Return a template filled in; what cannot be encoded becomes ``?``. Style and script are the package's own."""
    from markupsafe import Markup

    text = _environment().get_template(template).render(style=Markup(style), script=Markup(script), **names)
    return text.encode("utf-8", "replace")
