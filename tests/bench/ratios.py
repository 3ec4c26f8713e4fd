"""Hold what reading costs beside ``capinfos -c``, in one run on one machine, against what it was.

    python tests/bench/ratios.py [--check | --record]

Instructions of whole commands are compared where ``perf stat`` counts them, else their processor time (others may use
the machine), the least of several runs that take turns. ``--check`` fails where a ratio is more than a quarter above
the recorded one in ``ratios.json``; one of times is measured once more before that.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from generate import generate

RECORDED = Path(__file__).with_name("ratios.json")
ALLOWED, RUNS = 1.25, 9
CAPTURES = {"full": (400_000, 1000, 262_144), "snaps": (400_000, 1000, 96)}  # packets, size, snaplen
READ = [sys.executable, "-c", "from kacap.commands import program; program()", "read", "-q"]

Cost = Callable[[list[str]], float]


def instructions(command: list[str]) -> float:
    """Return how many instructions a command takes, its children included; not those of the kernel."""
    counted = ["perf", "stat", "-x", ",", "-e", "instructions:u", *command]
    told = subprocess.run(counted, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr
    return float(next(line for line in told.splitlines() if "instructions" in line).split(",")[0])


def processor_s(command: list[str]) -> float:
    """Return the processor time that a command takes, its children included."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime


def unit() -> tuple[str, Cost]:
    """Return what is compared here, and what measures it."""
    if shutil.which("perf"):
        try:
            if instructions([sys.executable, "-c", ""]) > 0:
                return "instructions", instructions
        except (subprocess.CalledProcessError, StopIteration, ValueError):
            pass  # not allowed, or this machine does not count them
    return "processor time", processor_s


def ratio_of(capture: Path, cost: Cost) -> float:
    """Return the cost of ``kacap read`` over that of ``capinfos -c``, the least of several runs of each."""
    commands = [*READ, str(capture)], ["capinfos", "-c", str(capture)]
    subprocess.run(commands[0], check=True, stdout=subprocess.DEVNULL)  # kernels are compiled now
    taken = [[cost(command) for command in commands] for _ in range(RUNS if cost is processor_s else 2)]
    read, walked = map(min, zip(*taken, strict=True))
    return round(read / walked, 2)


def over(ratio: float, recorded: float | None) -> bool:
    """Return whether a ratio has risen by more than a quarter."""
    return recorded is not None and ratio > ALLOWED * recorded


def main() -> int:
    """Parse the command line, measure, compare or record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    name_of_unit, cost = unit()
    recorded = json.loads(RECORDED.read_text())
    of_unit = recorded.setdefault(name_of_unit, {})
    worse = []
    with tempfile.TemporaryDirectory() as directory:
        for name, (packets, size, snaplen) in CAPTURES.items():
            capture = Path(directory) / f"{name}.pcap"
            generate(capture, packets, 2_000, size, snaplen, False)
            ratio, before = ratio_of(capture, cost), of_unit.get(name)
            if args.check and over(ratio, before) and cost is processor_s:
                ratio = min(ratio, ratio_of(capture, cost))
            print(f"{name}: {ratio} times the {name_of_unit} of capinfos -c (recorded: {before})", flush=True)
            worse += [name] if over(ratio, before) else []
            of_unit[name] = ratio if args.record else before
    if args.record:
        RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")
    if args.check and worse:
        print(f"more than a quarter above what is recorded: {', '.join(worse)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
