"""Read the same content in several forms, each beside what else reads it, in one run: a gigabyte, snaps, pcapng,
compressed, a thousand rotated files, a million connections.

    python tests/bench/bench_forms.py [--packets N] [--rounds N] [--only FORM ...] [--directory DIR]

Whole commands with warm caches; of each the round with the least processor time counts, which is what is compared where
others use the machine. Prints; judges nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench_read import Run, frames_in, measure, tshark

GENERATOR = Path(__file__).with_name("generate.py")
READ = [sys.executable, "-c", "from kacap.__main__ import program; program()", "read", "-q"]
FILES, CONNECTIONS, SNAPLEN = 1000, 5_000, 96


class Forms:
    """The captures, each made when it is asked for the first time."""

    def __init__(self, directory: Path, packets: int) -> None:
        self.directory, self.packets = directory, packets

    def _made(self, name: str, make: Callable[[Path], object]) -> str:
        path = self.directory / name
        if not path.exists():
            part = path.with_name(f"part-{name}")
            make(part)
            part.rename(path)
        return str(path)

    def _written(self, name: str, *options: str, packets: int, connections: int = CONNECTIONS) -> str:
        """Generate a capture in another process, whose memory this one's children do not inherit."""
        numbers = "--packets", str(packets), "--connections", str(connections)
        command = [sys.executable, str(GENERATOR), *numbers, *options]
        return self._made(name, lambda path: subprocess.run([*command, path], check=True))

    def full(self) -> str:
        """Full-size frames: a gigabyte of two million."""
        return self._written("full.pcap", packets=self.packets)

    def snaps(self) -> str:
        """The same cut to 96 bytes."""
        return self._written("snaps.pcap", "--snaplen", str(SNAPLEN), packets=self.packets)

    def pcapng(self) -> str:
        """The same as pcapng."""
        return self._written("full.pcapng", "--format", "pcapng", packets=self.packets)

    def packed(self, tool: str) -> str:
        """The same, compressed."""

        def pack(path: Path) -> None:
            with path.open("wb") as out:
                subprocess.run([tool, "-1", "-c", self.full()], check=True, stdout=out)

        return self._made(f"full.pcap.{tool}", pack)

    def rotated(self) -> str:
        """The same in many files."""

        def split(path: Path) -> None:
            path.mkdir()
            each = str(-(-self.packets // FILES))
            subprocess.run(["editcap", "-F", "nsecpcap", "-c", each, self.full(), path / "r.pcap"], check=True)

        return self._made("rotated", split) + "/*"

    def connections(self) -> str:
        """A million connections of four segments each, headers only."""
        number = self.packets // 2
        return self._written("many.pcap", "--size", "100", packets=4 * number, connections=number)


def least(command: list[str], rounds: int) -> Run:
    """Return the run with the least processor time, after one that warms up."""
    measure(command)
    return min((measure(command) for _ in range(rounds)), key=lambda run: run.cpu)


def beside(forms: Forms, form: str) -> tuple[str, list[str]]:
    """Return the capture of a form, and the command that it is compared with."""
    full = forms.full()
    if form in ("gzip", "zstd"):
        packed = forms.packed(form)
        return packed, [form, "-dc", packed]
    if form in ("pcapng", "rotated"):
        return getattr(forms, form)(), [*READ, full]
    capture = getattr(forms, form)()
    return capture, ["tcpdump", "-r", capture, "-w", "/dev/null", "tcp"]


def main() -> None:
    """Parse the command line, measure, print."""
    known = ["full", "snaps", "pcapng", "gzip", "zstd", "rotated", "connections"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--packets", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=known, default=known)
    parser.add_argument("--directory", type=Path, help="keep the captures there, and use those that are there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        forms = Forms(args.directory or Path(temporary), args.packets)
        forms.directory.mkdir(parents=True, exist_ok=True)
        columns = f"{'seconds':>9}{'cpu':>7}"
        print(f"{'form':12}{columns}{'peak MB':>9}  {'beside':16}{columns}{'cpu ratio':>11}")
        for form in args.only:
            capture, command = beside(forms, form)
            run, other = least([*READ, capture], args.rounds), least(command, args.rounds)
            name = "plain pcap" if command[0] == sys.executable else command[0]
            print(
                f"{form:12}{run.seconds:9.2f}{run.cpu:7.2f}{run.megabytes:9.0f}  {name:16}{other.seconds:9.2f}"
                f"{other.cpu:7.2f}{run.cpu / other.cpu:11.2f}",
                flush=True,
            )
            if form == "snaps":
                scaled = tshark(capture, frames_in(capture))
                print(f"{'':39}{'tshark, scaled':16}{scaled.seconds:9.1f}{scaled.cpu:7.1f}{run.cpu / scaled.cpu:11.4f}")


if __name__ == "__main__":
    main()
