"""Print how long the HTML report of 2,000 and of 10,000 connections takes to build and to open, and how large it is.

    python tests/bench/bench_report.py [--connections 2000,10000]

The captures are those of ``captures.py`` (balancer: 98 probes on each connection). Building is timed from the analysis
(by the clock, and in seconds of processor); where Chromium is installed the page is opened in it, until its table can
be searched, and beside it stands how long a page with nothing but a table of as many rows takes on this machine.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import captures
import kacap
from kacap.report.html import render

FRAMES, COLUMNS = 200, 12  # of a connection; of the table


def measured(connections: int, home: Path) -> str:
    """Return a line of the table."""
    path = home / f"{connections}.pcap"
    captures.write(path, captures.make("balancer", connections * FRAMES))
    began = time.perf_counter()
    analysis = kacap.read(str(path), marks=True)
    read_s = time.perf_counter() - began
    out, began, spent = io.BytesIO(), time.perf_counter(), time.process_time()
    render(analysis, out)
    built_s, cpu_s = time.perf_counter() - began, time.process_time() - spent
    page = home / f"{connections}.html"
    page.write_bytes(out.getvalue())
    plain = home / "plain.html"
    cells = "".join(f"<td>{number:,}</td>" for number in range(COLUMNS))
    plain.write_text(f"<!DOCTYPE html><p id=found>all</p><table>{f'<tr>{cells}</tr>' * connections}</table>")
    times_s = [opens_s(one, home) for one in (page, plain)] if shutil.which("chromium") else []
    opened = " ".join(f"{one_s:8.2f}" for one_s in times_s) or "       -        -"
    path.unlink()
    times = f"{read_s:8.2f} {built_s:8.2f} {cpu_s:8.2f}"
    return f"{connections:11,} {analysis.capture.frames:10,} {times} {len(out.getvalue()) / 1e6:8.2f} {opened}"


def opens_s(page: Path, home: Path) -> float:
    """Return how long a browser needs until the table can be read and searched, seconds."""
    from browser import Browser

    with Browser(home / f"profile-{page.stem}") as browser:
        began = time.perf_counter()
        browser.open(page)
        assert browser.ask("document.getElementById('found').textContent.length > 0")
        return time.perf_counter() - began


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", default="2000,10000")
    args = parser.parse_args()
    print("connections     frames   read s  build s    cpu s       MB   open s  plain s")
    with tempfile.TemporaryDirectory() as home:
        for number in map(int, args.connections.split(",")):
            print(measured(number, Path(home)), flush=True)


if __name__ == "__main__":
    main()
