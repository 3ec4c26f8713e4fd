"""A worker that coverage guides: atheris (libFuzzer) changes the bytes of chance, and keeps those that reach new code.

What Python runs is looked at: findings, facts, reports, charts. Kernels are machine code, which numbers alone reach.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kacap"]):
    import kacap.commands
    import kacap.commands.annotate
    import kacap.commands.chart
    import kacap.commands.check
    import kacap.commands.compare
    import kacap.commands.explain
    import kacap.commands.live
    import kacap.commands.read
    import kacap.commands.report
    import kacap.report.html
    import kacap.report.text

from roads import ROADS, WITHOUT_CAPTURE
from stories import Capture, Chance, FromBytes, capture
from worker import FOUND, Worker

PROGRAMS = ("labels", "tshark")  # other processes: no coverage of ours in them


def main() -> None:
    """``guided.py SEED SECONDS SCRATCH KEEP``."""
    seed, seconds, scratch, keep = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    faulthandler.enable()
    worker = Worker(keep, scratch)
    worker.checked = True  # instrumented code is slower: no bounds on its cost
    worker.warm()
    ends_s = time.monotonic() + seconds
    roads = {name: road.often for name, road in ROADS.items() if name not in PROGRAMS}

    def one(data: bytes) -> None:
        if time.monotonic() > ends_s:
            worker.state(None)
            os._exit(FOUND if worker.found else 0)
        (scratch / "bytes").write_bytes(data)
        worker.state(seed)
        c = FromBytes(data)
        name = c.choices(list(roads), list(roads.values()))[0]
        made = Capture([]) if name in WITHOUT_CAPTURE else capture(c)
        worker.walk(name, made, c.getrandbits(64), seed)

    corpus = scratch / "corpus"
    corpus.mkdir(exist_ok=True)
    for number in range(64):
        (corpus / f"seed-{number}").write_bytes(Chance(seed + number).randbytes(2000))
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-seed={seed % 2**31}",
            "-max_len=8192",
            "-timeout=600",
            "-rss_limit_mb=6000",
            "-len_control=0",
            "-verbosity=0",
            "-report_slow_units=1000",
            f"-artifact_prefix={scratch}/",
        ],
        one,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    assert kacap.commands
    main()
