"""Draw every view of every shipped capture, light and dark, on sheets that a person can look through.

    python tests/bench/contact_sheet.py OUT [--views fleet,timeline] [--cases lab] [--width 900]

OUT gets a PNG for each family of captures, view and paper (``lab-fleet-dark.png``), a picture under the name of its
capture; what is printed is how many pictures were drawn, and how long that took.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from multiprocessing import Pool
from pathlib import Path

from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from make_expected import cases, goldens_of

import kacap
from kacap.report import chart
from kacap.report.chart.save import write

COLUMNS, TITLE = 3, 18  # pictures side by side; pixels of a name
Drawn = dict[tuple[str, bool], bytes]


def pictures(work: tuple[str, list[str], list[str], int]) -> tuple[str, Drawn]:
    """Draw the views of one capture, light and dark."""
    case, files, views, width = work
    analysis = kacap.read(files, marks=True)
    drawn: Drawn = {}
    for view in views:
        for dark in (False, True):
            out = io.BytesIO()
            write(chart.draw(analysis, [view], dark=dark, width=width), out, "png")
            drawn[view, dark] = out.getvalue()
    return case, drawn


def sheet(named: list[tuple[str, bytes]], dark: bool) -> Image.Image:
    """Put pictures into columns, each under its name, always into the shortest column."""
    images = [(name, Image.open(io.BytesIO(data)).convert("RGB")) for name, data in named]
    wide = max(image.width for _, image in images)
    heights = [0] * min(COLUMNS, len(images))
    places = []
    for name, image in images:
        column = heights.index(min(heights))
        places.append((column * wide, heights[column], name, image))
        heights[column] += image.height + TITLE
    paper, ink = ("#14171a", "#ececec") if dark else ("#ffffff", "#202020")
    whole = Image.new("RGB", (wide * len(heights), max(heights)), paper)
    pen = ImageDraw.Draw(whole)
    for x, y, name, image in places:
        pen.text((x + 8, y + 3), name, fill=ink)
        whole.paste(image, (x, y + TITLE))
    return whole


def main() -> None:
    """Parse the command line, draw and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--views", default=",".join(chart.VIEWS))
    parser.add_argument("--cases", default="", help="only captures whose name holds this")
    parser.add_argument("--width", type=int, default=900)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    views = args.views.split(",")
    work = [
        (f"{case}/{path.stem}", files, views, args.width)
        for case in cases()
        if args.cases in case
        for path, files in goldens_of(case).items()
    ]
    began = time.monotonic()
    with Pool(2) as pool:
        drawn = pool.map(pictures, work, chunksize=1)
    for family in sorted({case.partition("/")[0] for case, _ in drawn}):
        for view in views:
            for dark in (False, True):
                own = [(case, one[view, dark]) for case, one in drawn if case.startswith(f"{family}/")]
                sheet(own, dark).save(args.out / f"{family}-{view}-{'dark' if dark else 'light'}.png")
    number = sum(len(one) for _, one in drawn)
    print(f"{number} pictures of {len(drawn)} captures in {time.monotonic() - began:.0f} s: {args.out}")


if __name__ == "__main__":
    main()
