"""The plain twins on real traffic: the kernel's own counters, hand-made labels, and the decoder frame by frame."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from reference import Segment, classify, decode_frame
from test_reference_decode import Frame, compare

from kacap.capture import open_captures

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "captures"
LAB = ROOT / "captures" / "lab"
CASES = sorted(path.parent.name for path in LAB.glob("*/truth.toml"))
# Where the wire holds more or fewer probes than the kernels counted: a raw socket sent them; a filter dropped them.
BEYOND_THE_KERNELS = {"one-byte-probe": 4, "output-drop": -2}
NAMES = {"keepalive": "probe", "keepalive_reply": "reply", "zero_window_probe": "window-probe"}


@cache
def frames_of(*paths: Path) -> list[tuple[int, int, Frame]]:
    """Return (time_ns, number, frame) of files taken together in time order."""
    found = []
    for batch in open_captures([str(path) for path in paths]):
        data = np.asarray(batch.buffer)
        for row in batch.frames:
            start, length = int(row["offset"]), int(row["captured_len"])
            frame = (data[start : start + length].tobytes(), int(row["wire_len"]), int(row["link_type"]))
            found.append((int(row["time_ns"]), int(row["frame"]), frame))
    return found


def verdicts_of(*paths: Path) -> list[tuple[Segment, tuple[str, str]]]:
    segments = []
    for time_ns, number, frame in frames_of(*paths):
        segment = decode_frame(*frame)
        if isinstance(segment, Segment):
            segment.time_ns, segment.frame = time_ns, number
            segments.append(segment)
    return list(zip(segments, classify(segments), strict=True))


def files_of(case: str, truth: dict[str, list[dict[str, list[str]]]]) -> list[list[Path]]:
    return [[LAB / case / name for name in capture["files"]] for capture in truth["capture"]]


@pytest.mark.parametrize("case", CASES)
def test_the_twin_counts_as_many_probes_as_the_kernels_did(case: str) -> None:
    truth = tomllib.loads((LAB / case / "truth.toml").read_text())
    grown = [host["grew"] for host in truth["host"].values()]
    for paths in files_of(case, truth):
        kinds = Counter(kind for _, (kind, _) in verdicts_of(*paths))
        assert kinds["probe"] == sum(host["TCPKeepAlive"] for host in grown) + BEYOND_THE_KERNELS.get(case, 0)
        assert kinds["window-probe"] == sum(host["TCPWinProbe"] for host in grown)


@pytest.mark.parametrize("case", CASES)
def test_decoder_and_twin_agree_on_every_frame_of_the_lab(case: str) -> None:
    for paths in files_of(case, tomllib.loads((LAB / case / "truth.toml").read_text())):
        compare([frame for _, _, frame in frames_of(*paths)])


@pytest.mark.shared
def test_decoder_and_twin_agree_on_every_frame_of_the_public_captures() -> None:
    for path in sorted(SHARED.iterdir()):
        if path.suffix not in (".md", ".csv"):
            compare([frame for _, _, frame in frames_of(path)])


@pytest.mark.shared
def test_the_twin_gives_the_hand_made_labels_of_the_public_captures() -> None:
    rows = list(csv.DictReader((SHARED / "truth.csv").open()))
    wrong = []
    for name in sorted({row["file"] for row in rows}):
        labels = {int(row["frame"]): row["true_label"] for row in rows if row["file"] == name}
        for segment, (kind, grade) in verdicts_of(SHARED / name):
            label = labels.get(segment.frame, "")
            allowed = (
                {NAMES[label], "duplicate-frame"} if label in NAMES else {"ack", "duplicate-frame", "abort", "rst"}
            )
            if label == "uncertain":
                right = grade == "ambiguous"
            else:
                right = kind in allowed if label else kind not in ("probe", "reply", "window-probe")
            if not right:
                wrong.append((name, segment.frame, label, kind, grade))
    assert not wrong
