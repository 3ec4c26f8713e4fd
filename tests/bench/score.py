"""Score kacap and tshark on captures whose frames were labelled by hand.

    python tests/bench/score.py [DIRECTORY]

DIRECTORY holds captures and ``truth.csv`` (file, frame, stream, wireshark_label, true_label, reason). Labels are of
whole streams: a frame of a labelled stream without a row is none of what is scored; frames of other streams, and those
labelled uncertain, are left out. Prints precision and recall of both for probes, replies and zero-window probes.

The labels call the copy of a frame that was captured twice by the name of the frame; kacap says that it is a copy. Such
a one counts as missed all the same, and is told as "a copy".
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

SHARED = Path(__file__).resolve().parents[3] / "shared" / "captures"

Frame = tuple[str, int]

# What is scored: the true label, kacap's kind, tshark's field.
WANTED = {
    "probe": ("keepalive", "probe", "keep_alive"),
    "reply": ("keepalive_reply", "reply", "keep_alive_ack"),
    "zero-window probe": ("zero_window_probe", "window-probe", "zero_window_probe"),
}


@dataclass
class Truth:
    """What is true: the frames of each label, those nobody is scored on, and the streams that were looked at."""

    frames: dict[str, set[Frame]] = field(default_factory=lambda: defaultdict(set))
    uncertain: set[Frame] = field(default_factory=set)
    streams: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


@dataclass
class Score:
    """How many of the true ones were found, and how many found ones are not true."""

    hits: int = 0
    false: int = 0
    missed: int = 0
    copies: int = 0  # of the missed, those said to be copies of a frame captured twice
    examples: list[tuple[str, Frame]] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """Of what was found, the share that is true."""
        return self.hits / (self.hits + self.false) if self.hits + self.false else 1.0

    @property
    def recall(self) -> float:
        """Of what is true, the share that was found."""
        return self.hits / (self.hits + self.missed) if self.hits + self.missed else 1.0


def read_truth(directory: Path) -> Truth:
    """Read ``truth.csv``."""
    truth = Truth()
    with (directory / "truth.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            frame = (row["file"], int(row["frame"]))
            truth.streams[row["file"]].add(int(row["stream"]))
            truth.frames[row["true_label"]].add(frame)
            if row["true_label"] == "uncertain":
                truth.uncertain.add(frame)
    return truth


def by_tshark(directory: Path, name: str) -> tuple[dict[int, int], dict[str, set[Frame]]]:
    """Return each frame's stream, and the frames that bear each of tshark's labels."""
    labels = [label for _, _, label in WANTED.values()]
    fields = ["frame.number", "tcp.stream", *(f"tcp.analysis.{label}" for label in labels)]
    command = ["tshark", "-n", "-r", str(directory / name), "-Y", "tcp", "-T", "fields"]
    command += [word for each in fields for word in ("-e", each)]
    streams, found = {}, defaultdict(set)
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        number, stream, *flags = line.split("\t")
        streams[int(number)] = int(stream.split(",")[0])
        for label, flag in zip(labels, flags, strict=True):
            if flag:
                found[label].add((name, int(number)))
    return streams, found


def by_kacap(directory: Path, name: str, engine: str) -> dict[str, set[Frame]]:
    """Return the frames of each of kacap's kinds."""
    import kacap
    from kacap.model import SegmentRecord

    found: dict[str, set[Frame]] = defaultdict(set)

    def take(record: object) -> None:
        if isinstance(record, SegmentRecord):
            found[record.kind].add((name, record.frame.number))

    kacap.read(str(directory / name), sink=take, segments="events", engine=engine)  # type: ignore[arg-type]
    return found


def score(directory: Path, engine: str = "auto") -> dict[str, dict[str, Score]]:
    """Return, for kacap and for tshark, the score of everything ``WANTED``."""
    truth = read_truth(directory)
    scores = {who: {what: Score() for what in WANTED} for who in ("kacap", "tshark")}
    for name, labelled in sorted(truth.streams.items()):
        streams, theirs = by_tshark(directory, name)
        mine = by_kacap(directory, name, engine)
        judged = {(name, n) for n, stream in streams.items() if stream in labelled} - truth.uncertain
        for what, (label, kind, flag) in WANTED.items():
            true = truth.frames[label] & judged
            for who, found in (("kacap", mine[kind] & judged), ("tshark", theirs[flag] & judged)):
                add(scores[who][what], true, found)
            scores["kacap"][what].copies += len((true - mine[kind]) & mine["duplicate-frame"])
    return scores


def add(to: Score, true: set[Frame], found: set[Frame]) -> None:
    """Add the frames of one capture."""
    to.hits += len(true & found)
    to.false += len(found - true)
    to.missed += len(true - found)
    to.examples += [("false", frame) for frame in sorted(found - true)]
    to.examples += [("missed", frame) for frame in sorted(true - found)]


def main() -> None:
    """Print the table, and every frame on which kacap is wrong."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED
    scores = score(directory)
    print(f"{'':20}{'':8}{'true':>6}{'found':>7}{'false':>7}{'missed':>8}{'copies':>8}{'precision':>11}{'recall':>8}")
    for what in WANTED:
        for who, by in scores.items():
            one = by[what]
            print(
                f"{what:20}{who:8}{one.hits + one.missed:6}{one.hits:7}{one.false:7}{one.missed:8}"
                f"{one.copies if who == 'kacap' else '':>8}{one.precision:11.3f}{one.recall:8.3f}"
            )
    for what, one in scores["kacap"].items():
        for how, (name, number) in one.examples:
            print(f"kacap {how} {what}: {name} frame {number}")


if __name__ == "__main__":
    main()
