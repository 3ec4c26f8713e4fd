"""Score what kacap says against what is known to be true: every score in one run.

    python tests/bench/score.py [DIRECTORY] [--only probes|findings|once|statements|timers ...] [--list] [--seed N]
                                [--page kacap/docs/accuracy.md]

DIRECTORY (default: `shared` beside the checkout) holds one folder for each score; an absent one is skipped:
    captures/    probes: captures and ``truth.csv`` (file, frame, stream, wireshark_label, true_label, reason)
    findings/    findings: precision and recall of what is stated about real captures, by the scorer in it; once: the
                 same with all findings of one kind in one capture counted as one
    statements/  statements: sentences known to have been wrong; timers: synthetic probers; by the scorers in it

Probe labels are of whole streams: a frame of a labelled stream without a row has none of the scored labels; frames of
other streams, and those labelled uncertain, are left out. Precision and recall are printed for kacap and for tshark.
``--page`` writes what is printed into the page of the documentation.
The labels name a frame that was captured twice both times; kacap calls the second one a copy: it counts as missed, and
in a column of its own.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"

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


@cache
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


def probes(directory: Path) -> None:
    """Print precision and recall of kacap and tshark, and every frame on which kacap is wrong."""
    scores = score(directory / "captures")
    print(f"{'':20}{'':8}{'true':>6}{'found':>7}{'false':>7}{'missed':>8}{'copies':>8}{'precision':>11}{'recall':>8}")
    for what in WANTED:
        for who, by in scores.items():
            tally = by[what]
            print(
                f"{what:20}{who:8}{tally.hits + tally.missed:6}{tally.hits:7}{tally.false:7}{tally.missed:8}"
                f"{tally.copies if who == 'kacap' else '':>8}{tally.precision:11.3f}{tally.recall:8.3f}"
            )
    for what, tally in scores["kacap"].items():
        for how, (name, number) in tally.examples:
            print(f"kacap {how} {what}: {name} frame {number}")


def run(script: Path, *words: str | Path) -> None:
    """Run a scorer that takes the command `kacap` as its first argument, and let it print."""
    with tempfile.TemporaryDirectory() as directory:
        command = Path(directory) / "kacap"
        words_of_kacap = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m kacap"
        command.write_text(f'#!/bin/sh\n{words_of_kacap} "$@"\n')
        command.chmod(0o755)
        done = subprocess.run([sys.executable, script, command, *words], check=False)
    if done.returncode not in (0, 3):  # 3: something is wrong, as the rows say
        print(f"{script.name} failed with exit code {done.returncode}")


def write_page(page: Path, directory: Path, seed: str) -> None:
    """Run every score, print it, and put it into the page between its marks; the words around them stay."""
    command = [sys.executable, __file__, str(directory), "--seed", seed]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout)
    text = page.read_text(encoding="utf-8")
    for part in done.stdout.split("\n== ")[1:]:
        name, _, scores = part.partition("\n")
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}```\n{scores.rstrip()}\n```\n{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Parse the command line and print every score that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ("probes", "findings", "once", "statements", "timers")
    parser.add_argument("directory", nargs="?", type=Path, default=SHARED)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--list", action="store_true", help="print everything that is wrong, with the truth")
    parser.add_argument("--seed", default="1", help="of the synthetic probers")
    parser.add_argument("--page", type=Path, help="write the page of the documentation with all scores")
    args = parser.parse_args()
    if args.page:
        return write_page(args.page, args.directory, args.seed)
    more = ["--list"] if args.list else []
    top = args.directory
    scorers: dict[str, tuple[Path, Callable[[], None]]] = {
        "probes": (top / "captures" / "truth.csv", lambda: probes(top)),
        "findings": (script := top / "findings" / "score_findings.py", lambda script=script: run(  # type: ignore[misc]
            script, script.parent / "captures", script.parent / "findings-truth.csv", *more)),
        "once": (script := top / "findings" / "score_findings.py", lambda script=script: run(  # type: ignore[misc]
            script, script.parent / "captures", script.parent / "findings-truth.csv", "--once", *more)),
        "statements": (script := top / "statements" / "score_statements.py", lambda script=script: run(  # type: ignore[misc]
            script, script.parent, *more)),
        "timers": (script := top / "statements" / "timers.py", lambda script=script: run(  # type: ignore[misc]
            script, "--seed", args.seed, *more)),
    }  # fmt: skip
    for name in args.only:
        needed, scorer = scorers[name]
        print(f"\n== {name}", flush=True)
        if not needed.is_file():
            print(f"skipped: {needed} is absent")
        elif name == "probes" and not shutil.which("tshark"):
            print("skipped: tshark is not installed")
        else:
            scorer()


if __name__ == "__main__":
    main()
