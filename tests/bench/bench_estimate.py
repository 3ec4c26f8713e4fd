"""What estimating costs: microseconds a prober by how long its idle is, and by how many probers there are.

python tests/bench/bench_estimate.py [--probers 200000]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc

import numpy as np

from kacap.timing.estimate import Estimates, Estimating
from kacap.timing.history import FIRING, FIRINGS_KEPT, HISTORY, POOL, STEP, take_firings

SECOND_NS = 1_000_000_000


def firings_of(probers: int, idle: float, probes: int, *, answered: bool, jitter_ns: int, seed: int = 1) -> np.ndarray:
    """FIRING rows in order of time: probers that fire every ``idle`` seconds, late by up to ``jitter_ns``."""
    random = np.random.default_rng(seed)
    gaps = np.round(idle * SECOND_NS).astype(np.int64) + random.integers(0, jitter_ns + 1, (probes, probers))
    times = 10**18 + gaps.cumsum(axis=0)
    rows = np.zeros((probes, probers), FIRING)
    rows["time_ns"], rows["prober"] = times, np.arange(probers)
    rows["since_ns"] = times - gaps + 200_000 if answered else times[0] - gaps[0]
    rows["heard_n"] = 1 if answered else 0
    rows["heard_ns"][..., 0] = rows["since_ns"]
    return rows.reshape(-1)


def kept(firings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HISTORY and STEP rows of some firings."""
    histories, pool = np.zeros(firings["prober"].max() + 1, HISTORY), np.zeros(1, POOL)
    histories["began"] = 1
    steps = np.zeros(min(len(firings), FIRINGS_KEPT * len(histories)), STEP)
    take_firings(histories, pool, steps, firings)
    return histories, steps[: pool["used"][0]]


def timed(histories: np.ndarray, steps: np.ndarray) -> tuple[float, Estimates]:
    """Seconds of one processor that estimating takes, each prober on a host of its own, and the estimates."""
    n = len(histories)
    started = time.thread_time()
    found = Estimating(histories, steps, np.zeros(n, np.uint8), np.full(n, 200_000)).result(np.arange(n))
    return time.thread_time() - started, found


def show(name: str, firings: np.ndarray) -> None:
    """Print the cost of some probers."""
    histories, steps = kept(firings)
    timed(histories[:1], steps[steps["prober"] == 0])
    tracemalloc.start()
    timed(histories, steps)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    seconds = min(timed(histories, steps)[0] for _ in range(3))
    n = len(histories)
    print(f"{name:44s}{n:9,d} probers {seconds * 1e6 / n:9.1f} us each {peak / n:9.0f} bytes each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probers", type=int, default=200_000)
    probers = parser.parse_args().probers
    for share in (8, 4, 2, 1):
        show("healthy, idle 60 s, 6 probes", firings_of(probers // share, 61.44, 6, answered=True, jitter_ns=2_000_000))
    for idle in (1.02, 15.36, 61.44, 302.08, 1802.24, 7208.96, 86_507.52, 604_800.0, 86_400.0 * 3650):
        for answered in (True, False):
            firings = firings_of(200, idle, 6, answered=answered, jitter_ns=2_000_000)
            show(f"{'answered' if answered else 'unanswered'} every {idle:,.0f} s", firings)
    for idle in (60, 7200, 86_400):
        firings = firings_of(20, idle, 100, answered=True, jitter_ns=idle * SECOND_NS // 3)
        show(f"a gap of {idle:,} s or a third more, no two alike", firings)


if __name__ == "__main__":
    main()
