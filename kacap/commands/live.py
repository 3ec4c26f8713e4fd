"""``kacap live``: keepalives on an interface as they happen, and the summary at the end."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

import click

from kacap.clock import SECOND_NS
from kacap.commands.live_duty import DutyOptions, duty_options
from kacap.commands.reading import FILE, options_of, words
from kacap.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from kacap.capture.rotation import Rotation
    from kacap.options import Segments

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class LiveOptions(DutyOptions):
    """What ``kacap live`` is asked for."""

    words: tuple[str, ...]
    interfaces: tuple[str, ...]
    stream: str | None
    listing: bool
    filter_file: str | None
    lean: bool
    packets: int | None
    probes: int | None
    duration: str | None
    until: str | None
    timeout: str | None
    snaplen: int
    passive: bool
    promiscuous: bool
    buffer_kib: int | None
    link_type: str | None
    engine: str
    netns: str | None
    user: str | None
    savefile: str | None
    every_s: int | None
    size: str | None
    files: int | None
    unbuffered: bool
    micro: bool
    top: bool
    as_json: bool
    segments: Segments
    stamps: int
    brief: bool
    verbose: int
    lines: bool
    numeric: int
    color: str

    @cached_property
    def expression(self) -> str | None:
        """The filter that the words or the file hold. Raises UsageError for two of them, or a file unread."""
        from kacap.commands.sources import filter_in

        if self.filter_file is None:
            return " ".join(self.words) or None
        if self.words:
            raise UsageError(f"two filters: -F {self.filter_file} and '{' '.join(self.words)}'; give one")
        return filter_in(self.filter_file) or None

    @property
    def passing(self) -> str | None:
        """The filter that frames have to pass: the expression, of that only what is needed with --lean."""
        from kacap.capture.lean import lean

        return lean(self.expression) if self.lean else self.expression

    @cached_property
    def duration_ns(self) -> int | None:
        """How long to watch at most: the shorter of --duration and --timeout. Raises UsageError."""
        given = (("--duration", self.duration), ("--timeout", self.timeout))
        return min((_span_ns(option, text) for option, text in given if text is not None), default=None)

    @cached_property
    def rotation(self) -> Rotation:
        """What -G, -C and -W ask for. Raises UsageError."""
        from kacap.capture.rotation import Rotation, megabytes

        if (self.every_s or self.size) and self.savefile is None:
            raise UsageError("-G and -C rotate the file of -w: name one")
        return Rotation(self.every_s or 0, megabytes(self.size) if self.size else 0, self.files or 0)

    @property
    def out(self) -> TextIO:
        """Where the lines go: standard output, unless the packets go there."""
        return sys.stderr if self.savefile == "-" else sys.stdout

    def check(self) -> None:
        """Refuse what cannot be read or contradicts itself before anything is opened. Raises UsageError."""
        _ = self.expression, self.duration_ns, self.rotation
        if self.stream is not None:
            given = [letter for letter, value in (("-i", self.interfaces), ("--netns", self.netns)) if value]
            if given:
                raise UsageError(f"-r reads a file or a pipe: {given[0]} does not go with it")
        if self.top and self.as_json:
            raise UsageError("--top and --json: choose one")
        if self.timeout is not None and self.until is None:
            raise UsageError("--timeout bounds --until verdict; --duration ends a watch")
        if self.savefile == "-" and sys.stdout.isatty():
            raise UsageError("-w -: packets do not belong on a terminal; redirect or pipe standard output")


def _span_ns(option: str, text: str) -> int:
    """Return ``90``, ``90s``, ``10m``, ``2h`` or ``1d`` in nanoseconds. Raises UsageError."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        return round(float(number) * UNITS[unit] * SECOND_NS)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text}: write 90, 90s, 10m, 2h or 1d") from None


@click.command()
@words("[BPF EXPRESSION]")
@click.option("-i", "interfaces", multiple=True, metavar="IFACE", help="Interface; repeatable; any (the default): all.")
@click.option("-r", "stream", type=FILE, metavar="FILE", help="Read FILE (-: standard input) instead of an interface.")
@click.option("-D", "listing", is_flag=True, help="List the interfaces and end.")
@click.option("-F", "filter_file", type=FILE, metavar="FILE", help="Read the filter expression from FILE.")
@click.option(
    "--lean", is_flag=True, help="Let the kernel pass only what is needed: short segments, flags and ICMP errors."
)
@click.option("-c", "packets", type=click.IntRange(min=1), metavar="N", help="End after N packets.")
@click.option("--probes", type=click.IntRange(min=1), metavar="N", help="End when N probes were answered or missed.")
@click.option("--duration", metavar="TIME", help="End after TIME: 90, 90s, 10m, 2h, 1d.")
@click.option(
    "--until",
    type=click.Choice(["verdict"]),
    help="End when a connection died (exit code 1), or answered three probes in a row (0).",
)
@click.option("--timeout", metavar="TIME", help="With --until verdict: end after TIME without one (exit code 3).")
@click.option(
    "-s",
    "snaplen",
    type=click.IntRange(0, 262144),
    metavar="BYTES",
    default=128,
    show_default=True,
    help="Bytes kept of each packet (0: all); 128 hold every header and no payload.",
)
@click.option("-p", "passive", is_flag=True, help="Accepted as in tcpdump: never promiscuous, unless --promiscuous.")
@click.option("--promiscuous", is_flag=True, help="Capture what is not addressed to this host as well.")
@click.option("-B", "buffer_kib", type=click.IntRange(min=1), metavar="KIB", help="Size of the kernel's buffer.")
@click.option("-y", "link_type", metavar="TYPE", help="Link type to ask the interface for.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "ring", "scapy", "dumpcap"]),
    default="auto",
    show_default=True,
    help="What captures: libpcap's ring, scapy, or dumpcap or tcpdump.",
)
@click.option("--netns", metavar="NAME|PID", help="Capture inside this network namespace, or that of a process.")
@click.option(
    "-Z",
    "user",
    metavar="USER",
    help="Become USER once the device is open; by default root becomes tcpdump, or nobody where no user has that name.",
)
@click.option(
    "-w", "savefile", type=FILE, metavar="FILE", help="Write the packets as pcap as well (-: standard output)."
)
@click.option(
    "-G", "every_s", type=click.IntRange(min=1), metavar="S", help="A new -w FILE (strftime) every S seconds."
)
@click.option("-C", "size", metavar="MB", help="A new -w FILE after MB million bytes.")
@click.option("-W", "files", type=click.IntRange(min=1), metavar="N", help="Bound the number of -w files.")
@click.option("-U", "unbuffered", is_flag=True, help="Write each packet to -w FILE at once.")
@click.option("--micro/--nano", "micro", default=False, help="Times in -w FILE; nanoseconds by default.")
@click.option("--top", is_flag=True, help="On a terminal: one row for each connection, redrawn.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON Lines, one record each.")
@click.option(
    "--segments",
    type=click.Choice(["events", "all", "none"]),
    default="events",
    show_default=True,
    help="Segment records in --json: all, none, or all but data and plain ACKs.",
)
@click.option(
    "-t",
    "stamps",
    count=True,
    help="Times are UTC: -t none, -tt since 1970, -ttt since the line before, "
    "-tttt with date, -ttttt since the first line.",
)
@click.option("-q", "brief", is_flag=True, help="Only what goes wrong; a short summary.")
@click.option("-v", "verbose", count=True, help="Show every run of unanswered probes in the summary.")
@click.option("-l", "lines", is_flag=True, help="Accepted as in tcpdump: lines are never held back.")
@click.option("-n", "numeric", count=True, help="Accepted as in tcpdump: addresses are always numeric.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@duty_options
def live(**given: object) -> int:
    """Show keepalives on an interface as they happen: each probe, its answer or its absence, and who gave up.

    Ends on Ctrl-C with a summary; a second one ends at once. SIGUSR1 shows the counters. docs/duty.md explains how to
    watch for days.

    \b
    kacap live -i lo port 12345
    kacap live --top 'port 5432 or icmp or icmp6'
    ssh host tcpdump -U -s 128 -w - port 5432 | kacap live -r -
    """
    options = options_of(LiveOptions, given)
    if options.listing:
        return _list()
    from kacap.capture.privileges import whom_to_become
    from kacap.commands.live_sockets import Sockets

    options.check()
    user = whom_to_become(options.user)
    sockets = Sockets(options.netns, counting=options.wants_metrics) if options.stream is None else None
    try:
        from kacap.commands.live_run import watch

        return watch(user, sockets, options)
    finally:
        if sockets is not None:
            sockets.close()


def _list() -> int:
    """Print the interfaces as tcpdump -D does."""
    from kacap.capture.interfaces import interfaces
    from kacap.units import clean

    for number, interface in enumerate(interfaces(), 1):
        click.echo(clean(f"{number}.{interface}"))
    return EXIT_DONE
