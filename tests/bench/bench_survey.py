"""Measure surveys: two workers beside one, and what a small file costs beside its reading.

    python tests/bench/bench_survey.py [--gigabytes N] [--files N] [--small N]

Writes rotated files of four sensors into a temporary directory, surveys them with one worker process and with two, and
prints the ratio; then many small files, and what each of them took. Both are told per run on this machine.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from generate import generate

from kacap.survey import run, work

SENSORS, FRAME_BYTES, SMALL_PACKETS = 4, 1000, 20
TIMES = 5  # of the large lake, with one worker and with two


def fill(directory: Path, files: int, packets: int) -> int:
    """Write so many files of so many packets, spread over the sensors; return their bytes."""
    size = 0
    for number in range(files):
        path = directory / f"sensor-{number % SENSORS}" / f"rotated-{number:06}.pcap"
        path.parent.mkdir(parents=True, exist_ok=True)
        generate(path, packets, max(packets // 400, 2), FRAME_BYTES, 262_144, False)
        shift(path, number * 10_000)
        size += path.stat().st_size
    return size


def shift(path: Path, seconds: int) -> None:
    """Let a little-endian pcap begin so many seconds later: the files of a sensor follow on one another."""
    data = bytearray(path.read_bytes())
    at = 24
    while at < len(data):
        data[at : at + 4] = (int.from_bytes(data[at : at + 4], "little") + seconds).to_bytes(4, "little")
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
    path.write_bytes(data)


def warm(urls: list[str]) -> None:
    """Do in a worker, twice, what its tasks will do: kernels are loaded then, and its memory has grown."""
    for _ in range(2):
        with tempfile.TemporaryDirectory() as results:
            where = ("warm", "part", f"{results}/checkpoint")
            work.go_on(None, work.Undecoded(urls, 0), work.END, results, where)
            work.end(where[2], results, "warm", "warm")


def surveyed(lake: Path, workers: int, times: int = 1) -> float:
    """Return the seconds that a survey takes with so many workers that are warm, the least of so many."""
    client = run.connected(None, workers)
    first = [str(path) for path in sorted((lake / "sensor-0").glob("*.pcap"))[:3]]
    took = []
    try:
        client.wait_for_workers(workers)
        for task in [client.submit(warm, first, workers=[each], pure=False) for each in client.nthreads()]:
            task.result()
        for _ in range(times):
            with tempfile.TemporaryDirectory() as results:
                began = time.perf_counter()
                run.survey(client, [str(lake)], f"{results}/cold", None, lambda *_: None)
                took.append(time.perf_counter() - began)
        return min(took)
    finally:
        client.close()
        client.cluster.close()


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--files", type=int, default=80)
    parser.add_argument("--small", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        lake = Path(made) / "large"
        packets = int(args.gigabytes * 1e9 / args.files / (FRAME_BYTES / 2 + 50))
        size = fill(lake, args.files, packets)
        one, two = surveyed(lake, 1, TIMES), surveyed(lake, 2, TIMES)
        what = f"{size / 1e9:.2f} GB in {args.files} files"
        print(f"{what}: 1 worker {one:.1f} s, 2 workers {two:.1f} s: {one / two:.2f} times")
        shutil.rmtree(lake)
        lake = Path(made) / "small"
        fill(lake, args.small, SMALL_PACKETS)
        took = surveyed(lake, 2)
        each_ms = 1000 * took / args.small
        print(f"{args.small:,} files of {SMALL_PACKETS} packets: {took:.1f} s, {each_ms:.2f} ms a file")


if __name__ == "__main__":
    main()
