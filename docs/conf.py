"""Sphinx, with furo and MyST: how the documentation is built. ``sphinx-build -W -b html docs site``.

Sphinx and not mkdocs: docstrings, cross references and the checking of every link are its own, so that -W alone keeps
the pages true; furo is light and dark without a line of ours, and myst-nb renders the notebooks.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generated  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import kacap  # noqa: E402

project, author = "kacap", "kacap developers"
copyright = "kacap developers, GPL-2.0-or-later"
version = release = kacap.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"kacap {release}"
templates_path: list[str] = []
exclude_patterns = ["man", "_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # what a command prints is no code
# Executed by tests/whole/test_notebooks.py; rendered with their results only when asked for, which takes a minute.
nb_execution_mode = "force" if os.environ.get("KACAP_DOCS_RUN_NOTEBOOKS") else "off"
nb_execution_raise_on_error = True
nb_execution_timeout = 300

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
python_use_unqualified_type_names = True


def write_notebooks() -> None:
    """Copy the notebooks to where Sphinx sees them; they find the captures one directory higher up."""
    target = HERE / "notebooks"
    target.mkdir(exist_ok=True)
    for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        text = notebook.read_text(encoding="utf-8").replace("../captures", "../../captures")
        (target / notebook.name).write_text(text, encoding="utf-8")
    names = "\n".join(path.stem for path in sorted(target.glob("*.ipynb")))
    index = f"# Notebooks\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    (target / "index.md").write_text(index, encoding="utf-8")


def write_included() -> None:
    """Make pages of the files at the top that are there."""
    for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"):
        if (HERE.parent / f"{name}.md").exists():
            page = f"```{{include}} ../../{name}.md\n```\n"
            (HERE / "generated" / f"{name.lower()}.md").write_text(page, encoding="utf-8")


def drop_absent(app: Sphinx, name: str, source: list[str]) -> None:
    """Leave out of the index what this checkout has no page for."""
    if name == "index":
        known = app.env.found_docs
        kept = [line for line in source[0].split("\n") if line in known or not re.fullmatch(r"[a-z][a-z0-9/-]*", line)]
        source[0] = "\n".join(kept)


def setup(app: Sphinx) -> None:
    """Register it; the index is read each time."""
    app.connect("source-read", drop_absent)
    app.connect("env-get-outdated", lambda *_: ["index"])


generated.write_pages(HERE / "generated")
write_notebooks()
write_included()
