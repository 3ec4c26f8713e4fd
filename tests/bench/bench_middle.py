"""Time whole commands on captures of connections that probe, beside tcpdump, in one run; and each stage by itself.

    python tests/bench/bench_middle.py [--frames N] [--rounds N] [--only NAME ...] [--series] [--stages [NAME]]

Without more, every row of the table: read, read --json and report on the captures of captures.py. Commands run whole,
start included, with warm caches; the fastest of the rounds counts. --series reads balancer captures of 0.5 to 4 million
frames: time and memory should grow linearly. --stages tells the processor time of each stage in this process, on one
thread where commands use three; a stage's time leaves out the stages that it calls. Prints; judges nothing.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_read import Run, fastest, measure

CAPTURES = Path(__file__).with_name("captures.py")
SERIES = (500_000, 1_000_000, 2_000_000, 4_000_000)

# What is measured: the capture, then what kacap is asked to do with it.
ROWS = [
    ("balancer", ("read",)),
    ("many", ("read",)),
    ("long", ("read",)),
    ("long", ("read", "--json")),
    ("data", ("read",)),
    ("balancer", ("report",)),
    ("balancer", ("explain", "--frame", "60000")),
    ("balancer", ("annotate", "-o", "/dev/null")),
]

# Each stage: the functions whose time is its own, as module:name or module:class.name. A function that is called from
# another stage's counts for itself.
STAGES = {
    "read": ["kacap.capture.source:Captures.__iter__"],
    "decode": ["kacap.analyzer:Analyzer.decode"],
    "classify": ["kacap.analyzer:Analyzer.track"],
    "gather": ["kacap.analyzer:Analyzer.gather", "kacap.analyzer:Analyzer.finish"],
    "estimate": ["kacap.analyzer:Estimating.result"],
    "findings": ["kacap.analyzer:Analyzer._find"],
    "text": ["kacap.report.text:render"],
}


def make(directory: Path, name: str, frames: int | None) -> str:
    """Write a capture in another process, whose memory this one's children do not inherit; return its path."""
    path = directory / f"{name}-{frames or 'full'}.pcap"
    if not path.exists():
        count = [] if frames is None else ["--frames", str(frames)]
        subprocess.run([sys.executable, str(CAPTURES), str(path), name, *count], check=True)
    return str(path)


def tcpdump(capture: str, rounds: int) -> Run:
    """Return what the anchor takes."""
    return fastest(["tcpdump", "-r", capture, "-w", "/dev/null", "tcp"], rounds)


def kacap(words: tuple[str, ...], capture: str, rounds: int) -> Run:
    """Return what a command of kacap takes for a capture."""
    target = ["-o", str(Path(capture).with_suffix(".html"))] if words[0] == "report" else []
    command = [sys.executable, "-m", "kacap", *words, *target, capture]
    return fastest(command, rounds) if rounds > 1 else measure(command)


def line(name: str, run: Run, anchor: Run) -> None:
    """Print one measurement."""
    print(
        f"{name:34}{run.seconds:9.2f}{run.cpu:9.2f}{anchor.seconds:9.2f}{anchor.cpu:9.2f}{run.cpu - anchor.cpu:9.2f}"
        f"{run.megabytes:9.0f}",
        flush=True,
    )


def head(first: str) -> None:
    """Print the names of the columns."""
    print(f"{first:34}{'seconds':>9}{'cpu':>9}{'tcpdump':>9}{'its cpu':>9}{'more cpu':>9}{'peak MB':>9}")


def table(directory: Path, args: argparse.Namespace) -> None:
    """Print every row."""
    head("whole commands, warm")
    for name, words in ROWS:
        if args.only and name not in args.only:
            continue
        capture = make(directory, name, args.frames)
        anchor = tcpdump(capture, args.rounds)
        line(f"{name}: {' '.join(words)}", kacap(words, capture, args.rounds), anchor)


def series(directory: Path, args: argparse.Namespace) -> None:
    """Print how time and memory grow with the capture."""
    head("read, balancer")
    for frames in SERIES:
        capture = make(directory, "balancer", frames)
        anchor = tcpdump(capture, args.rounds)
        line(f"{frames:,} frames", kacap(("read",), capture, args.rounds), anchor)


class Clock:
    """Adds up the time of each stage, without that of stages within."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within: list[float] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time until the end of the block for a stage."""
        begin = time.process_time()
        self._within.append(0.0)
        try:
            yield
        finally:
            took = time.process_time() - begin
            self.seconds[name] += took - self._within.pop()
            if self._within:
                self._within[-1] += took

    def calls(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose calls are counted for a stage; of a generator, each step."""

        @functools.wraps(function)
        def counted(*args: Any, **options: Any) -> Any:
            with self.stage(name):
                result = function(*args, **options)
            return self._steps(name, result) if isinstance(result, Iterator) else result

        return counted

    def _steps(self, name: str, items: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self.stage(name):
                item = next(items, self)
            if item is self:
                return
            yield item


def watch(clock: Clock) -> None:
    """Count the calls of everything in ``STAGES``. Raises AttributeError for a name that is not there any more."""
    for stage, functions in STAGES.items():
        for each in functions:
            module, _, path = each.partition(":")
            owner: Any = importlib.import_module(module)
            *classes, name = path.split(".")
            for inner in classes:
                owner = getattr(owner, inner)
            setattr(owner, name, clock.calls(stage, getattr(owner, name)))


def import_seconds() -> float:
    """Return what importing all that `kacap read` needs takes, in a new process, beside an empty one."""
    modules = ("analyzer", "capture.source", "capture.tshark.engine", "pipeline", "report.text")
    words = "; ".join(f"import kacap.{module}" for module in modules)
    return fastest([sys.executable, "-c", words], 3).seconds - fastest([sys.executable, "-c", ""], 3).seconds


def stages(directory: Path, name: str, frames: int | None) -> None:
    """Print what each stage costs for one capture."""
    capture, small = make(directory, name, frames), make(directory, name, 2000)
    clock = Clock()
    clock.seconds["import"] = import_seconds()
    import io

    import kacap as library
    from kacap.analyzer import Analyzer
    from kacap.capture import open_captures
    from kacap.pipeline import conclude
    from kacap.report import text
    from kacap.timing import estimate

    estimate.MANY_PROBERS = 1 << 60  # no second thread

    def analyse(path: str) -> None:
        source, analyzer = open_captures([path]), Analyzer()
        for batch in source:
            analyzer.feed(batch)
        text.render(conclude(source, analyzer), io.StringIO())

    analyse(small)  # compiles, if nobody has
    once = [sys.executable, __file__, "--load", small]
    clock.seconds["cache load"] = float(subprocess.run(once, capture_output=True, text=True, check=True).stdout)
    watch(clock)
    begin = time.process_time()
    analyse(capture)
    whole = time.process_time() - begin
    print(f"{name}, kacap {library.__version__}, one thread, {whole:.2f} s of processor time after import and load")
    for stage in ("import", "cache load", *STAGES):
        print(f"{stage:14}{clock.seconds[stage]:9.3f} s")
    print(f"{'the rest':14}{whole - sum(clock.seconds[stage] for stage in STAGES):9.3f} s")


def load(small: str) -> None:
    """Print how long the first analysis of a process takes more than the second: what loads the kernels."""
    import kacap as library
    import kacap.analyzer
    import kacap.capture.tshark.engine
    import kacap.pipeline

    times = []
    for _ in range(2):
        begin = time.perf_counter()
        repr(library.read(small))
        times.append(time.perf_counter() - begin)
    print(times[0] - times[1])


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, help="frames of each capture (connections grow with them)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=sorted({name for name, _ in ROWS}))
    parser.add_argument("--series", action="store_true")
    parser.add_argument("--stages", nargs="?", const="balancer", choices=sorted({name for name, _ in ROWS}))
    parser.add_argument("--directory", type=Path, help="keep the captures there, and use those that are there")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        return load(args.load)
    with tempfile.TemporaryDirectory() as temporary:
        directory = args.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        if args.stages:
            stages(directory, args.stages, args.frames)
        elif args.series:
            series(directory, args)
        else:
            table(directory, args)


if __name__ == "__main__":
    main()
