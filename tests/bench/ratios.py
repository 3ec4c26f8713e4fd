"""Hold what reading, --json and a report cost beside ``capinfos -c``, in one run on one machine, against what it was.

    python tests/bench/ratios.py [--check | --record]

Compared are the instructions that the frames cost, as ``perf stat`` counts them: those of a command on a whole capture
less those of the same on its first tenth, so that starting it counts for nothing (how long Python takes to start
depends on the machine, and on whether it may keep bytecode). ``--check`` fails where a ratio is more than a quarter
above the recorded one in ``ratios.json``. A machine that counts no instructions holds nothing, and says so: times of
some tenths of a second differ by more than that from run to run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from generate import generate

import captures

RECORDED = Path(__file__).with_name("ratios.json")
ALLOWED = 1.25
FRAMES = 400_000
DATA = {"full": 262_144, "snaps": 96}  # packets of 1000 bytes, and the most that is captured of each
KACAP = [sys.executable, "-c", "from kacap.__main__ import program; program()"]
HELD = {  # name: (capture, command)
    "full": ("full", ["read"]),
    "snaps": ("snaps", ["read"]),
    "many": ("many", ["read"]),
    "json": ("long", ["read", "--json"]),
    "report": ("balancer", ["report", "-o", "-"]),
}


def instructions(command: list[str]) -> float | None:
    """Return how many instructions a command takes, its children included, not the kernel's; None: not counted here."""
    try:
        counted = ["perf", "stat", "-x", ",", "-e", "instructions:u", *command]
        run = subprocess.run(counted, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        return None
    told = next((line.split(",")[0] for line in run.stderr.splitlines() if "instructions" in line), "")
    return float(told) if told.isdigit() else None


def ratio_of(words: list[str], capture: Path, start: Path) -> float | None:
    """Return the cost of ``kacap WORDS`` over that of ``capinfos -c``, of the frames that ``start`` does not hold."""
    commands = [
        [*command, str(path)] for command in ([*KACAP, *words], ["capinfos", "-c"]) for path in (capture, start)
    ]
    subprocess.run(commands[0], check=True, stdout=subprocess.DEVNULL)  # kernels are compiled now
    counted = [instructions(command) for command in commands]
    if None in counted:
        return None
    read, read_start, walked, walked_start = filter(None, counted)
    return round((read - read_start) / (walked - walked_start), 2)


def make(path: Path, name: str, frames: int) -> None:
    """Write a capture: of data, or of many connections that probe."""
    if name in DATA:
        generate(path, frames, 2_000, 1000, DATA[name], False)
    else:
        captures.write(path, captures.make(name, frames))


def main() -> int:
    """Parse the command line, measure, compare or record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    recorded: dict[str, float] = json.loads(RECORDED.read_text())
    ratios = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, (capture, words) in HELD.items():
            paths = Path(directory) / f"{name}.pcap", Path(directory) / f"{name}-start.pcap"
            for path, frames in zip(paths, (FRAMES, FRAMES // 10), strict=True):
                make(path, capture, frames)
            ratio = ratio_of(words, *paths)
            if ratio is None:
                print("perf counts no instructions here: nothing is compared")
                return 0
            ratios[name] = ratio
            print(f"{name}: {ratio} times the instructions of capinfos -c (recorded: {recorded.get(name)})", flush=True)
    if args.record:
        RECORDED.write_text(json.dumps(ratios, indent=1) + "\n")
    elif worse := [name for name, ratio in ratios.items() if ratio > ALLOWED * recorded[name]]:
        print(f"more than a quarter above what is recorded: {', '.join(worse)}")
        return 1 if args.check else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
