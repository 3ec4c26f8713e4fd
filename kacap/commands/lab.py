"""``kacap lab``: real keepalive traffic on demand."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from kacap.commands.reading import together
from kacap.errors import KacapError, UsageError

if TYPE_CHECKING:
    from kacap.lab.runner import Request
    from kacap.sockets.keepalive import Keepalive


@click.group()
def lab() -> None:
    """Make real keepalive traffic on demand, and record it.

    Scenarios run in network namespaces of their own, without root where the system allows user namespaces; nothing
    outside them is touched, and everything is gone when the command ends.
    """


_settings = together(
    click.option("-d", "--idle", type=int, metavar="SECONDS", help="Silence before the first probe (TCP_KEEPIDLE)."),
    click.option("-i", "--interval", type=int, metavar="SECONDS", help="Between unanswered probes (TCP_KEEPINTVL)."),
    click.option("-c", "--count", type=int, metavar="N", help="Unanswered probes before giving up (TCP_KEEPCNT)."),
)


@lab.command("list")
def list_() -> None:
    """List the scenarios: what happens, and what to look for."""
    from rich.console import Console
    from rich.table import Table

    from kacap.lab.scenarios import SCENARIOS

    console = Console()
    if not console.is_terminal:  # a pipe gets whole lines, whatever the width
        for scenario in SCENARIOS.values():
            click.echo(f"{scenario.name}\t{scenario.happens}\t{scenario.look_for}")
        return
    table = Table("Scenario", "What happens", "Look for", box=None, pad_edge=False, row_styles=["", "dim"])
    for scenario in SCENARIOS.values():
        table.add_row(scenario.name, scenario.happens, scenario.look_for)
    console.print(table)


@lab.command()
@click.argument("scenario")
@_settings
@click.option("-4", "family", flag_value=4, type=int, help="Over IPv4.")
@click.option("-6", "family", flag_value=6, type=int, help="Over IPv6.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kacap-lab"),
    show_default=True,
    help="Directory; each scenario gets its own inside.",
)
@click.option(
    "--where",
    type=click.Choice(["prober", "peer", "any", "both"]),
    help="Capture at this site instead; both: prober.pcapng and peer.pcapng.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", default=8, show_default=True, help="At once, with `all`."
)
def run(
    scenario: str,
    idle: int | None,
    interval: int | None,
    count: int | None,
    family: int | None,
    output: Path,
    where: str | None,
    jobs: int,
) -> None:
    """Run SCENARIO (or `all`) and record it with its truth.

    Leaves capture.pcapng and truth.toml in OUTPUT/SCENARIO. Ctrl-C ends it early, with both written.
    """
    from kacap.lab.runner import Request
    from kacap.lab.scenarios import SCENARIOS, find

    chosen = list(SCENARIOS.values()) if scenario == "all" else [find(scenario)]
    for each in chosen:
        each.with_settings(idle, interval, count)  # an impossible value is told before anything starts
    _play([Request(s.name, output / s.name, (idle, interval, count), family, where) for s in chosen], jobs)


def _play(requests: list[Request], jobs: int) -> None:
    """Run the requests with progress on stderr; then say on stdout what they left behind."""
    from kacap.lab import summary
    from kacap.lab.progress import shown
    from kacap.lab.runner import play
    from kacap.lab.scenarios import find

    view, failed = shown(), {}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            failed = play(requests, jobs, view.on_step, view.tick)
    finally:
        view.close()
    for request in requests:
        if (request.directory / "truth.toml").exists() and not request.population:
            click.echo("\n".join(summary.lines(find(request.scenario), request.directory)))
    if failed:
        raise KacapError("; ".join(f"{name}: {why}" for name, why in failed.items()))


@lab.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("kacap-lab"),
    show_default=True,
    help="Directory; the population gets its own inside.",
)
@click.option("--sockets", type=click.IntRange(1, 20_000), metavar="N", default=680, show_default=True)
@click.option("--seconds", type=click.IntRange(min=10), metavar="N", default=640, show_default=True)
def population(output: Path, sockets: int, seconds: int) -> None:
    """Record many connections with settings of all sizes, to measure timers by.

    Leaves capture.pcapng.gz, truth.toml and sockets.csv (each socket's settings and end) in OUTPUT/population.
    """
    from kacap.lab.population import compress
    from kacap.lab.runner import Request

    directory = output / "population"
    _play([Request("population", directory, population=(sockets, seconds))], jobs=1)
    compress(directory)


@lab.command()
@click.argument("address")
@click.argument("port", type=click.IntRange(1, 65535))
@_settings
def server(address: str, port: int, idle: int | None, interval: int | None, count: int | None) -> None:
    """Listen on ADDRESS PORT, set keepalive on what connects, and stay silent.

    Any of -d, -i and -c turns keepalive on. Ctrl-C ends it.
    """
    from kacap.lab.local_pair import serve

    _until_signalled(lambda: serve(address, port, _wanted(idle, interval, count), _say), port)


@lab.command()
@click.argument("target", metavar="HOST:PORT")
@_settings
def client(target: str, idle: int | None, interval: int | None, count: int | None) -> None:
    """Connect to HOST:PORT with keepalive set, and stay silent.

    Any of -d, -i and -c turns keepalive on. Ctrl-C ends it.
    """
    from kacap.lab.local_pair import connect

    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise UsageError(f"{target} is not HOST:PORT, for example 127.0.0.1:12345 or [::1]:12345")
    _until_signalled(lambda: connect(host.strip("[]"), int(port), _wanted(idle, interval, count), _say), int(port))


@lab.command()
@click.argument("address", default="127.0.0.1")
@click.option("-p", "--port", type=click.IntRange(1, 65535), metavar="PORT", default=12345, show_default=True)
@click.option(
    "-d", "--idle", type=int, metavar="SECONDS", default=1, show_default=True, help="Silence before the first probe."
)
@click.option(
    "-i",
    "--interval",
    type=int,
    metavar="SECONDS",
    default=1,
    show_default=True,
    help="Between unanswered probes.",
)
@click.option("-c", "--count", type=int, metavar="N", default=10, show_default=True, help="Probes before giving up.")
def pair(address: str, port: int, idle: int, interval: int, count: int) -> None:
    """Run both ends on ADDRESS: the server probes, the client answers. Ctrl-C ends them."""
    from kacap.lab.local_pair import pair as both
    from kacap.sockets.keepalive import Keepalive

    _until_signalled(lambda: both(address, port, Keepalive(idle, interval, count), _say), port)


def _wanted(idle: int | None, interval: int | None, count: int | None) -> Keepalive | None:
    from kacap.sockets.keepalive import Keepalive

    wanted = Keepalive(idle, interval, count)
    wanted.check()
    return None if wanted == Keepalive() else wanted


def _until_signalled(work: Callable[[], None], port: int) -> None:
    """Run ``work`` until it ends or SIGINT, SIGTERM or SIGHUP ends it: a clean end, and no second one counts."""

    heard = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]

    def end(*_: object) -> NoReturn:
        for number in heard:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in heard:
        signal.signal(number, end)
    click.echo(f"watch with: kacap live -i lo port {port}", err=True)
    with suppress(KeyboardInterrupt):
        work()


def _say(line: str) -> None:
    click.echo(line)
