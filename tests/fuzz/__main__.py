"""Fuzz kacap: ``python tests/fuzz --minutes 3``, or ``--hours 8``; ``--seed N --once`` does one case again.

Each case is a number, which makes a capture, a road through kacap and its options. Workers do them one after the other;
a worker that dies, hangs or grows without end is ended, and its case kept. Every third worker checks bounds in kernels
(NUMBA_BOUNDSCHECK); every fourth is guided by coverage where atheris is installed. What fails is made small and kept,
by default in captures/broken/, under a name that says what failed and where.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BROKEN = HERE.parents[1] / "captures" / "broken"
WORKER_S = 300  # how long a worker lives; a new one has forgotten what the old one held
HANG_S = 240  # without a sign of life


def main() -> int:
    """Run workers until the time is over; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--hours", type=float, default=0)
    parser.add_argument("--seed", type=int, default=0, help="the first case's number; 0: by the time")
    parser.add_argument("--once", action="store_true", help="do the case --seed alone, in this process")
    parser.add_argument("--keep", type=Path, default=BROKEN, help="where what fails is kept")
    parser.add_argument("--log", type=Path, help="append a line for each worker here")
    options = parser.parse_args()
    if options.once:
        from worker import Worker

        return 1 if Worker(options.keep, Path(tempfile.mkdtemp(prefix="fuzz-"))).case(options.seed) else 0
    seconds = options.minutes * 60 + options.hours * 3600 or 180
    return run(options, seconds)


def run(options: argparse.Namespace, seconds: float) -> int:
    """Start one worker after the other, and say what they did."""
    ends_s, seed = time.monotonic() + seconds, options.seed or time.time_ns() // 10**6 % 10**9 * 1000
    total: dict[str, int] = {}
    found: list[str] = []
    number = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as scratch:
        while (left_s := ends_s - time.monotonic()) > 1:
            mode = "bounds" if number % 3 == 2 else "guided" if number % 4 == 1 and has_atheris() else "plain"
            with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as own:
                lives_s = WORKER_S * (4 if mode == "bounds" else 1)  # whose kernels are compiled each time anew
                done = one_worker(mode, seed, min(left_s, lives_s), Path(own), options.keep)
            for name, count in done["done"].items():
                total[name] = total.get(name, 0) + count
            found += done["found"]
            cases = sum(done["done"].values())
            line = f"{time.strftime('%H:%M:%S')} {mode:6} from {seed}: {cases} cases {done['found'] or ''}"
            print(line, flush=True)
            if options.log:
                with options.log.open("a") as log:
                    log.write(line + "\n")
            if cases == 0 and any(name.startswith("failed") for name in done["found"]):
                return 1  # a worker cannot begin: none will
            seed, number = seed + 1_000_000, number + 1
    print(f"{sum(total.values())} cases in {seconds:.0f} s:", ", ".join(f"{n} {c}" for n, c in sorted(total.items())))
    print("\n".join(sorted(set(found))) or "nothing found")
    return 1 if found else 0


def has_atheris() -> bool:
    """Return whether coverage can guide."""
    return subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True, check=False).returncode == 0


def one_worker(mode: str, seed: int, seconds: float, scratch: Path, keep: Path) -> dict:
    """Run a worker, end it if it hangs; return what it did and found."""
    state = scratch / "state.json"
    state.write_text(json.dumps({"done": {}, "found": [], "now": None}))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HERE.parents[1], HERE, *sys.path)))}
    if mode == "bounds":
        environment["NUMBA_BOUNDSCHECK"] = "1"
    words = [sys.executable, str(HERE / ("guided.py" if mode == "guided" else "worker.py")), str(seed), str(seconds)]
    with (scratch / "said").open("wb") as said:
        worker = subprocess.Popen([*words, str(scratch), str(keep)], env=environment, stdout=said, stderr=said)
        try:
            why = watch(worker, state, seconds)
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
    done = json.loads(state.read_text())
    if why:
        name = f"{why}-{mode}-{done['now']}"
        done["found"].append(name)
        case = scratch / "case"
        if case.exists():
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"found-{name}.pcap").write_bytes(case.read_bytes())
        tail = (scratch / "said").read_bytes()[-4000:].decode(errors="replace")
        print(f"worker of {done['now']} {why}:\n{tail}", flush=True)
    return done


def watch(worker: subprocess.Popen[bytes], state: Path, seconds: float) -> str:
    """Wait for a worker; return why it had to be ended, or what it died of; empty where all is well."""
    began_s = time.monotonic()
    while worker.poll() is None:
        time.sleep(0.2)
        idle_s = time.time() - state.stat().st_mtime
        if idle_s > HANG_S * (4 if b"-warming" in state.read_bytes() else 1):  # compiling, perhaps on a busy machine
            worker.send_signal(signal.SIGABRT)  # faulthandler says where
            time.sleep(1)
            return "hang"
        if time.monotonic() - began_s > seconds + 4 * HANG_S:
            return ""
    return (
        f"died-{-worker.returncode}" if worker.returncode < 0 else "failed" if worker.returncode not in (0, 3) else ""
    )


if __name__ == "__main__":
    sys.exit(main())
