"""Make ``docs/gallery.md`` and its pictures from shipped captures: each view once, with how to read it.

python docs/make_gallery.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import kacap
from kacap.report import chart
from kacap.report.chart import save
from kacap.timing.expectations import Expectation

DOCS = Path(__file__).resolve().parent
CAPTURES = DOCS.parent / "captures"
WIDTH = 1100


@dataclass(frozen=True)
class Shown:
    """One picture: its name, what it is of, the words that make it, and one sentence on how to read it."""

    name: str
    title: str
    capture: str
    view: str
    how: str
    expect: Expectation | None = None
    dark: bool = False

    @property
    def command(self) -> str:
        """The command that draws it."""
        words = f"kacap chart captures/{self.capture} -o {self.name}.png --view {self.view}"
        if self.expect is not None:
            words += f" --expect idle={self.expect.idle},interval={self.expect.interval},count={self.expect.count}"
        return words + (" --dark" if self.dark else "")


SHOWN = (
    Shown("fleet", "Forty connections, one host cut off", "lab/many/capture.pcapng", "fleet",
          "Each row is a connection, the failed ones first by time of death: orange is silence that nobody "
          "answered, the cross is where its prober gave up, and the bars on top show whether they died together."),
    Shown("population", "680 connections, 193 of them dead", "lab/population/capture.pcapng.gz", "fleet",
          "Above sixty rows the healthy ones become the grey band at the foot, as high as there are connections, "
          "and every failed one keeps its row."),
    Shown("timeline", "A peer that was cut off, against what was configured", "lab/cut-off/capture.pcapng", "timeline",
          "The upper row is what the prober sent, the lower row its peer; a pale band is when a probe was due, "
          "the dashed line when idle + count x interval was over, the boxed number the finding at its frame.",
          Expectation(idle=2, interval=1, count=3, source="--expect")),
    Shown("forged", "An RST that the peer did not send", "lab/forged-rst/capture.pcapng", "timeline",
          "The title says who ended it, the line below why that is known: TTL, IP ID and timestamps of the RST are not "
          "its sender's.", dark=True),
    Shown("idle", "An idle limit on the path, found without a probe", "crafted/77-idle-deaths/capture.pcap", "idle",
          "A circle is a silence that a connection survived, a cross one after which it was dead; the limit lies "
          "in the shaded bracket between them, and the dashed lines are known limits."),
    Shown("silence", "The silence that a connection died in", "lab/recovered/capture.pcapng", "silence",
          "The line climbs while nothing is received and falls when something is: how high it got against idle, the "
          "deadline and the known limits."),
    Shown("residuals", "How late 680 sockets' timers were", "lab/population/capture.pcapng.gz", "residuals",
          "A mark is a probe, its height how much later than due it came; Linux timers are never early and late "
          "by up to the granule of the timer wheel, the blue steps."),
    Shown("ecdf", "The gaps of many connections", "lab/many/capture.pcapng", "ecdf",
          "A step is a cadence that many share: read its length below and the share of gaps up to it at the left."),
)  # fmt: skip


def main() -> None:
    """Draw and write."""
    images = DOCS / "images"
    images.mkdir(exist_ok=True)
    parts = [
        "# Gallery\n\nEach view of `kacap chart` once, drawn from captures in this repository by "
        "`python docs/make_gallery.py`.\n"
    ]
    for one in SHOWN:
        analysis = kacap.read(str(CAPTURES / one.capture), marks=True, expect=one.expect)
        save(chart.draw(analysis, [one.view], dark=one.dark, width=WIDTH), images / f"{one.name}.png")
        picture = f"![{one.title}](images/{one.name}.png)"
        parts.append(f"## {one.title}\n\n{picture}\n\n{one.how}\n\n```\n{one.command}\n```\n")
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
