"""Hold what commands cost beside ``capinfos -c``, in one run on one machine, against what it was.

    python tests/bench/ratios.py [--check | --record]

Compared are the instructions that the frames cost, as valgrind counts them: those of a command on a whole capture
less those of the same on its first tenth, so that starting it counts for nothing. Kernels are compiled for a plain
processor, so that the counts are the same on every machine, to a hundredth. ``--check`` fails where a ratio is more
than a quarter above the recorded one in ``ratios.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from generate import generate

import captures

RECORDED = Path(__file__).with_name("ratios.json")
ALLOWED = 1.25
FRAMES = 100_000
DATA = {"full": 262_144, "snaps": 96}  # packets of 1000 bytes, and the most that is captured of each
KACAP = [sys.executable, "-c", "from kacap.__main__ import program; program()"]
SAME = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "PYTHONHASHSEED": "0"}
HELD = {  # name: (capture, command)
    "full": ("full", ["read"]),
    "snaps": ("snaps", ["read"]),
    "many": ("many", ["read"]),
    "json": ("long", ["read", "--json"]),
    "report": ("long", ["report", "-o", "-"]),
    "explain": ("long", ["explain", "--frame", "9"]),
    "annotate": ("long", ["annotate", "-o", "/dev/null"]),
}


def instructions(command: list[str]) -> int:
    """Return how many instructions a command takes, the kernel's not counted."""
    counting = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", *command]
    run = subprocess.run(counting, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=SAME)
    return int(re.findall(r"I\s+refs:\s+([\d,]+)", run.stderr)[0].replace(",", ""))


def ratio_of(words: list[str], capture: Path, start: Path) -> float:
    """Return the cost of ``kacap WORDS`` over that of ``capinfos -c``, of the frames that ``start`` does not hold."""
    commands = [
        [*command, str(path)] for command in ([*KACAP, *words], ["capinfos", "-c"]) for path in (capture, start)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as at_once:
        read, read_start, walked, walked_start = at_once.map(instructions, commands)
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
            if not ratios:  # kernels are compiled now, at full speed
                subprocess.run([*KACAP, "read", paths[1]], check=True, stdout=subprocess.DEVNULL, env=SAME)
            ratio = ratios[name] = ratio_of(words, *paths)
            print(f"{name}: {ratio} times the instructions of capinfos -c (recorded: {recorded.get(name)})", flush=True)
    if args.record:
        RECORDED.write_text(json.dumps(ratios, indent=1) + "\n")
    elif worse := [name for name, ratio in ratios.items() if ratio > ALLOWED * recorded[name]]:
        print(f"more than a quarter above what is recorded: {', '.join(worse)}")
        return 1 if args.check else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
