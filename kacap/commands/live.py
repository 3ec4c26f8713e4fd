"""``kacap live``: keepalives on an interface as they happen, and the summary at the end."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from kacap.clock import SECOND_NS
from kacap.commands.live_duty import duty_options, wants_sockets
from kacap.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from kacap.capture.rotation import Rotation

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[BPF EXPRESSION]")
@click.option("-i", "interfaces", multiple=True, metavar="IFACE", help="Interface; repeatable; any (the default): all.")
@click.option("-r", "stream", metavar="FILE", help="Read FILE (-: standard input) instead of an interface.")
@click.option("-D", "listing", is_flag=True, help="List the interfaces and end.")
@click.option("-F", "filter_file", metavar="FILE", help="Read the filter expression from FILE.")
@click.option("-c", "packets", type=click.IntRange(min=1), metavar="N", help="End after N packets.")
@click.option("--probes", type=click.IntRange(min=1), metavar="N", help="End when N probes were answered or missed.")
@click.option("--duration", metavar="TIME", help="End after so long: 90, 90s, 10m, 2h, 1d.")
@click.option("--until", type=click.Choice(["verdict"]),
              help="End when a connection died, or answered three probes in a row.")  # fmt: skip
@click.option("-s", "snaplen", type=click.IntRange(0, 262144), default=128, show_default=True,
              help="Bytes kept of each packet (0: all); 128 hold every header and no payload.")  # fmt: skip
@click.option("-p", "passive", is_flag=True, help="Accepted as in tcpdump: never promiscuous, unless --promiscuous.")
@click.option("--promiscuous", is_flag=True, help="Capture what is not addressed to this host as well.")
@click.option("-B", "buffer_kib", type=click.IntRange(min=1), metavar="KIB", help="Size of the kernel's buffer.")
@click.option("-y", "link_type", metavar="TYPE", help="Link type to ask the interface for.")
@click.option("--engine", type=click.Choice(["auto", "ring", "scapy", "dumpcap"]), default="auto", show_default=True,
              help="What captures: libpcap's ring, scapy, or dumpcap or tcpdump.")  # fmt: skip
@click.option("--netns", metavar="NAME|PID", help="Capture inside this network namespace, or that of a process.")
@click.option("-Z", "user", metavar="USER",
              help="Become USER once the device is open; by default root becomes tcpdump, else nobody.")  # fmt: skip
@click.option("-w", "savefile", metavar="FILE", help="Write the packets as pcap as well (-: standard output).")
@click.option("-G", "every_s", type=click.IntRange(min=1), metavar="S",
              help="A new -w FILE (strftime) every S seconds.")  # fmt: skip
@click.option("-C", "size", metavar="MB", help="A new -w FILE after so many millions of bytes.")
@click.option("-W", "files", type=click.IntRange(min=1), metavar="N", help="Bound the number of -w files.")
@click.option("-U", "unbuffered", is_flag=True, help="Write each packet to -w FILE at once.")
@click.option("--micro/--nano", "micro", default=False, help="Times in -w FILE; nanoseconds by default.")
@click.option("--top", is_flag=True, help="On a terminal: one row for each connection, redrawn.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON Lines, one record each.")
@click.option("--segments", type=click.Choice(["events", "all", "none"]), default="events", show_default=True,
              help="Segment records in --json: all, none, or all but data and plain ACKs.")  # fmt: skip
@click.option("-t", "stamps", count=True, help="Times are UTC: -t none, -tt since 1970, -ttt since the line before, "
              "-tttt with date, -ttttt since the first line.")  # fmt: skip
@click.option("-q", "brief", is_flag=True, help="Only what goes wrong; a short summary.")
@click.option("-v", "verbose", count=True, help="Show every run of unanswered probes in the summary.")
@click.option("-l", "lines", is_flag=True, help="Accepted as in tcpdump: lines are never held back.")
@click.option("-n", "numeric", count=True, help="Accepted as in tcpdump: addresses are always numeric.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@duty_options
def live(words: tuple[str, ...], listing: bool, **options: Any) -> int:
    """Show keepalives on an interface as they happen: each probe, its answer or its absence, and who gave up.

    Ends on Ctrl-C with a summary; a second one ends at once. SIGUSR1 shows the counters.

    \b
    kacap live -i lo port 12345
    kacap live --top 'port 5432 or icmp or icmp6'
    ssh host tcpdump -U -s 128 -w - port 5432 | kacap live -r -
    """
    if listing:
        return _list()
    from kacap.capture.privileges import is_privileged, whom_to_become
    from kacap.commands.live_sockets import Sockets

    options["expression"] = _expression(words, options.pop("filter_file"))
    options["duration_ns"] = _duration_ns(options.pop("duration"))
    options["rotation"] = _rotation(options)
    _check(options)
    user = whom_to_become(options["user"])
    if is_privileged():  # numpy's threads would keep rights that this one gives up: let there be none
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
    counting = wants_sockets(options)
    sockets = Sockets(options["netns"], counting=counting) if options["stream"] is None else None
    try:
        from kacap.commands.live_run import watch

        return watch(user, sockets, options)
    finally:
        if sockets is not None:
            sockets.close()


def _list() -> int:
    """Print the interfaces as tcpdump -D does."""
    from kacap.capture.interfaces import interfaces

    for number, interface in enumerate(interfaces(), 1):
        click.echo(f"{number}.{interface}")
    return EXIT_DONE


def _expression(words: tuple[str, ...], filter_file: str | None) -> str | None:
    """Return the filter that the words or the file hold. Raises UsageError for two of them, or a file unread."""
    from kacap.commands.sources import _filter_of

    if filter_file is None:
        return " ".join(words) or None
    if words:
        raise UsageError(f"two filters: -F {filter_file} and '{' '.join(words)}'; give one")
    return _filter_of(filter_file) or None


def _duration_ns(text: str | None) -> int | None:
    """Return ``90``, ``90s``, ``10m``, ``2h`` or ``1d`` in nanoseconds. Raises UsageError."""
    if text is None:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        return round(float(number) * UNITS[unit] * SECOND_NS)
    except ValueError:
        raise UsageError(f"--duration {text}: write 90, 90s, 10m, 2h or 1d") from None


def _rotation(options: dict[str, Any]) -> Rotation:
    """Return what -G, -C and -W ask for."""
    from kacap.capture.rotation import Rotation, megabytes

    every_s, size, files = options.pop("every_s"), options.pop("size"), options.pop("files")
    if (every_s or size) and options["savefile"] is None:
        raise UsageError("-G and -C rotate the file of -w: name one")
    return Rotation(every_s or 0, megabytes(size) if size else 0, files or 0)


def _check(options: dict[str, Any]) -> None:
    """Refuse what contradicts itself before anything is opened."""
    if options["stream"] is not None:
        given = [letter for letter, name in (("-i", "interfaces"), ("--netns", "netns")) if options[name]]
        if given:
            raise UsageError(f"-r reads a file or a pipe: {given[0]} does not go with it")
    if options["top"] and options["as_json"]:
        raise UsageError("--top and --json: choose one")
    if options["savefile"] == "-" and sys.stdout.isatty():
        raise UsageError("-w -: packets do not belong on a terminal; redirect or pipe standard output")
