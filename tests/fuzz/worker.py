"""One worker: cases by number, one after the other, each on its road; what fails is made small and kept."""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from roads import ROADS, WITHOUT_CAPTURE, CostError, Road, measured
from shrink import place, smallest
from stories import CAPTURES, Capture, Chance, capture

CHECKED = os.environ.get("NUMBA_BOUNDSCHECK") == "1"  # which costs time: no bounds on it
FOUND = 3  # the exit code
SHRINK_S = 60
WARM = [CAPTURES / "lab/up/capture.pcapng", CAPTURES / "lab/cut-off/capture.pcapng", CAPTURES / "broken/no-frames.pcap"]


class Worker:
    """Does cases and remembers what they found."""

    def __init__(self, keep: Path, scratch: Path) -> None:
        self.keep, self.scratch = keep, scratch
        self.done: Counter[str] = Counter()
        self.found: list[str] = []
        self.known: set[str] = set()
        self.checked = CHECKED

    def warm(self) -> None:
        """Have every kernel and module in memory before anything is measured."""
        for path in WARM:
            for name, road in ROADS.items():
                if name not in ("labels", "tshark"):
                    self.state(f"{name}-warming")  # compiling takes minutes on a machine that is busy
                    copy = self.scratch / f"warm{path.suffix}"
                    shutil.copyfile(path, copy)
                    for seed in range(2):
                        road.walk(Chance(seed), str(copy))

    def state(self, now: object) -> None:
        """Let the one who watches know what is done, and that it goes on."""
        beside = self.scratch / "state.new"
        beside.write_text(json.dumps({"done": self.done, "found": self.found, "now": now}))
        beside.replace(self.scratch / "state.json")

    def case(self, seed: int) -> str:
        """Do one case; return the name of what failed, or nothing."""
        self.state(seed)
        c = Chance(seed)
        name = c.choices(list(ROADS), [road.often for road in ROADS.values()])[0]
        made = Capture([]) if name in WITHOUT_CAPTURE else capture(c)
        return self.walk(name, made, c.getrandbits(64), seed)

    def walk(self, name: str, made: Capture, turns: int, seed: object) -> str:
        """Send a capture down a road, with what the number ``turns`` decides; return the name of what failed."""
        self.done[name] += 1
        error = self.failure(ROADS[name], made, turns)
        if error is None:
            return ""
        what = f"{name}-{place(error)}"
        if what not in self.known:
            self.known.add(what)
            self.save(what, name, made, turns, seed, error)
        return what

    def failure(self, road: Road, made: Capture, turns: int) -> BaseException | None:
        """Return what a capture raises on a road, or that it costs too much."""
        path = self.scratch / f"case{made.suffix}"
        data = made.data
        path.write_bytes(data)
        (self.scratch / "case").write_bytes(data)
        used = []
        try:
            for _ in range(3):  # a kernel may be compiled, another process may be busy: the best of three counts
                used.append(measured(lambda: road.walk(Chance(turns), str(path))))
                if self.checked or road.cost is None or road.cost.allows(*used[-1], len(data)):
                    return None
                gc.collect()
        except BaseException as error:
            return error
        least = min(used), min(mb for _, mb in used)
        try:
            raise CostError(f"costs {least[0][0]:.2f} s and {least[1]:.0f} MB for {len(data):,} bytes")
        except CostError as error:
            return error

    def save(self, what: str, name: str, made: Capture, turns: int, seed: object, error: BaseException) -> None:
        """Make small what fails, and keep it under its name."""
        print(f"case {seed}, {what}: {error}", file=sys.stderr)
        traceback.print_exception(error, limit=-8, file=sys.stderr)
        self.found.append(what)
        if name in WITHOUT_CAPTURE:
            return

        def fails(pieces: list[bytes]) -> bool:
            self.state(seed)
            again = self.failure(ROADS[name], Capture(pieces, made.suffix, made.packed), turns)
            return again is not None and f"{name}-{place(again)}" == what

        pieces = smallest(made.pieces, fails, SHRINK_S)
        self.keep.mkdir(parents=True, exist_ok=True)
        end = made.suffix + (".gz" if made.packed else "")
        kept = self.keep / f"found-{what.lower()}{end}"
        kept.write_bytes(Capture(pieces, made.suffix, made.packed).data)
        print(f"kept as {kept}", file=sys.stderr, flush=True)


def main() -> None:
    """``worker.py SEED SECONDS SCRATCH KEEP``."""
    seed, seconds, scratch, keep = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    faulthandler.enable()
    ends_s = time.monotonic() + seconds
    worker = Worker(keep, scratch)
    worker.warm()
    while time.monotonic() < ends_s:
        worker.case(seed)
        seed += 1
    worker.state(None)
    shutil.rmtree(scratch / "warm", ignore_errors=True)
    sys.stderr.flush()
    os._exit(FOUND if worker.found else 0)


if __name__ == "__main__":
    main()
