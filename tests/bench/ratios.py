"""Hold what reading costs beside ``capinfos -c``, in one run on one machine, against what it was.

    python tests/bench/ratios.py [--check | --record]

Processor time of the whole command is compared (others may use the machine), the least of several runs that take turns.
``--check`` fails where a ratio is more than a quarter above the recorded one in ``ratios.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from generate import generate

RECORDED = Path(__file__).with_name("ratios.json")
ALLOWED, RUNS = 1.25, 7
CAPTURES = {"full": (400_000, 1000, 262_144), "snaps": (400_000, 1000, 96)}  # packets, size, snaplen


def processor_s(command: list[str]) -> float:
    """Return the processor time that a command takes, its children included."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def measured() -> dict[str, float]:
    """Return for each capture the processor time of ``kacap read`` over that of ``capinfos -c``."""
    found = {}
    read = [sys.executable, "-c", "from kacap.commands import program; program()", "read", "-q"]
    with tempfile.TemporaryDirectory() as directory:
        for name, (packets, size, snaplen) in CAPTURES.items():
            path = Path(directory) / f"{name}.pcap"
            generate(path, packets, 2_000, size, snaplen, False)
            commands = {"kacap": [*read, str(path)], "capinfos": ["capinfos", "-c", str(path)]}
            subprocess.run(commands["kacap"], check=True, stdout=subprocess.DEVNULL)  # kernels are compiled now
            taken: dict[str, list[float]] = {each: [] for each in commands}
            for _ in range(RUNS):
                for each, command in commands.items():
                    taken[each].append(processor_s(command))
            found[name] = round(min(taken["kacap"]) / min(taken["capinfos"]), 2)
    return found


def main() -> int:
    """Parse the command line, measure, compare or record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    found = measured()
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    worse = []
    for name, ratio in found.items():
        print(f"{name}: {ratio} times capinfos -c (recorded: {recorded.get(name, 'none')})")
        if ratio > ALLOWED * recorded.get(name, ratio):
            worse.append(name)
    if args.record:
        RECORDED.write_text(json.dumps(found, indent=1) + "\n")
    if args.check and worse:
        print(f"more than a quarter above what is recorded: {', '.join(worse)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
