"""Draw the README's chart, light and dark, from a shipped capture: ``python docs/make_readme_picture.py``."""

from __future__ import annotations

from pathlib import Path

import kacap
from kacap.report import chart

DOCS = Path(__file__).resolve().parent
CAPTURE = DOCS.parent / "captures/lab/recovered/capture.pcapng"


def main() -> None:
    """Draw both."""
    analysis = kacap.read(CAPTURE, marks=True, expect="idle=2,interval=1,count=5")
    for name, dark in (("light", False), ("dark", True)):
        out = DOCS / "images" / f"readme-{name}.png"
        chart.save(chart.draw(analysis, ("timeline",), dark=dark, width=1100), str(out))


if __name__ == "__main__":
    main()
