"""Compare `kacap read` with what else reads a capture, in one run: wall time, peak memory, and ratios.

    python tests/bench/bench_read.py [CAPTURE] [--rounds N] [--tshark]

Without CAPTURE a 1 GB one is generated in the temporary directory. Each command runs whole, start-up included, after a
first run that warms the file cache and compiles kernels; the fastest of the rounds counts. tshark, slow and hungry, is
given the first 50,000 frames, and its time is scaled. Prints; judges nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

TSHARK_FRAMES = 50_000
GENERATOR = Path(__file__).with_name("generate.py")

# kacap's own source, no decoding.
WALK = """
import sys
from kacap.capture import open_captures
print(sum(len(batch.frames) for batch in open_captures(sys.argv[1:2], filter=(sys.argv + [None])[2])))
"""


# Measures in a small process: what one has started is never said to have taken less memory than it had itself.
MEASURED = """
import json, os, subprocess, sys, time
begin = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
child.returncode = os.waitstatus_to_exitcode(status)
took = time.perf_counter() - begin
print(json.dumps([child.returncode, took, usage.ru_maxrss, usage.ru_utime + usage.ru_stime]))
"""


class Run(NamedTuple):
    """The wall time in seconds, the peak resident memory in MB and the processor time in seconds of one command."""

    seconds: float
    megabytes: float
    cpu: float


def measure(command: list[str]) -> Run:
    """Run a command to its end."""
    done = subprocess.run([sys.executable, "-S", "-c", MEASURED, *command], capture_output=True, check=True)
    code, seconds, kilobytes, cpu = json.loads(done.stdout)
    if code != 0:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return Run(seconds, kilobytes / 1024, cpu)


def fastest(command: list[str], rounds: int) -> Run:
    """Return the fastest of several runs after one that warms up."""
    measure(command)
    return min(measure(command) for _ in range(rounds))


def frames_in(capture: str) -> int:
    """Count the frames, in another process: a child's peak memory is never below that of the process it came from."""
    return int(subprocess.run([sys.executable, "-c", WALK, capture], capture_output=True, check=True).stdout)


def commands(capture: str) -> dict[str, list[str]]:
    """Return what to compare, the anchor first."""
    found = {
        "tcpdump -w /dev/null tcp": ["tcpdump", "-r", capture, "-w", "/dev/null", "tcp"],
        "capinfos -c": ["capinfos", "-c", capture],
        "kacap read": [sys.executable, "-m", "kacap", "read", capture],
        "kacap read FILE tcp": [sys.executable, "-m", "kacap", "read", capture, "tcp"],
        "kacap's source alone": [sys.executable, "-c", WALK, capture],
        "kacap's source, filtered": [sys.executable, "-c", WALK, capture, "tcp port 12345"],
    }
    return {name: command for name, command in found.items() if shutil.which(command[0])}


def tshark(capture: str, frames: int) -> Run:
    """Return what tshark's keepalive filter takes for all frames, scaled up from the first ones."""
    run = measure(["tshark", "-r", capture, "-c", str(TSHARK_FRAMES), "-Y", "tcp.analysis.keep_alive"])
    scale = frames / min(frames, TSHARK_FRAMES)
    return Run(run.seconds * scale, run.megabytes, run.cpu * scale)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("capture", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tshark", action="store_true", help="include tshark (about 10 s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        capture = args.capture or Path(directory) / "bench.pcap"
        if args.capture is None:
            subprocess.run([sys.executable, GENERATOR, capture], check=True)
        frames, size = frames_in(str(capture)), capture.stat().st_size
        runs = {name: fastest(command, args.rounds) for name, command in commands(str(capture)).items()}
        if args.tshark:
            runs["tshark -Y keep_alive (scaled)"] = tshark(str(capture), frames)
    print(f"{frames:,} frames, {size:,} bytes, {os.cpu_count()} processors")
    anchor = next(iter(runs.values())).seconds
    print(f"{'':32}{'seconds':>9}{'frames/s':>14}{'peak MB':>9}{'to the first':>14}")
    for name, run in runs.items():
        print(
            f"{name:32}{run.seconds:9.2f}{frames / run.seconds:14,.0f}{run.megabytes:9.0f}{run.seconds / anchor:14.2f}"
        )


if __name__ == "__main__":
    main()
