"""(Re)build ``captures/crafted/*/capture.pcap`` from the timelines beside them: ``python tests/make_crafted.py``."""

from __future__ import annotations

from pathlib import Path

from timelines import parse

CRAFTED = Path(__file__).resolve().parent.parent / "captures" / "crafted"


def main() -> None:
    """Write each capture anew; the same timeline gives the same bytes."""
    for timeline in sorted(CRAFTED.glob("*/timeline.txt")):
        parse(timeline.read_text()).write_pcap(timeline.with_name("capture.pcap"))


if __name__ == "__main__":
    main()
