"""``kacap sockets``: what the TCP sockets of this machine are really set to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from kacap.commands.reading import options_of
from kacap.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from kacap.commands.sockets_view import Behind
    from kacap.sockets.state import SocketState

    Look = Callable[[], list[SocketState]]

PERIOD_S = 1.0
SHORT_NAMES = {"azure": "azure-lb", "gcp": "gcp-firewall"}


@dataclass(frozen=True, kw_only=True)
class SocketsOptions:
    """What ``kacap sockets`` is asked for."""

    port: int | None
    pid: int | None
    netns: str | None
    everything: bool
    behind: str | None
    as_json: bool
    watch: bool


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Only sockets with this port on either side.")
@click.option("--pid", type=click.IntRange(min=1), metavar="N", help="Only sockets of this process, wherever it lives.")
@click.option("--netns", metavar="NAME|PID", help="Sockets of this network namespace (ip netns), or of a process's.")
@click.option("--all", "everything", is_flag=True, help="Show LISTEN, TIME-WAIT, SYN-RECV and closed sockets too.")
@click.option(
    "--behind",
    metavar="LIMIT",
    help="Warn of sockets that an idle limit cuts: aws-nlb, azure, gcp, ipvs, seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON Lines, one socket each.")
@click.option("--watch", is_flag=True, help="Look every second: redrawn on a terminal, else what changes; Ctrl-C ends.")
def sockets(**given: object) -> int:
    """Show which TCP sockets keep alive, with what values, and who set them.

    Reads the options from the sockets themselves, without stopping or changing any process. Sockets of other users
    need root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; without, the row says so and shows what its timer tells.

    \b
    sudo kacap sockets --port 5432 --behind aws-nlb
    kacap sockets --pid 4121
    sudo kacap sockets --netns web --json

    NEXT is when the next probe is due, MISS how many went unanswered, DETECT how long a dead peer stays unnoticed.
    """
    from kacap.commands.sockets_view import NOT_CONNECTED
    from kacap.sockets.reader import Reader

    options = options_of(SocketsOptions, given)
    limit = _behind(options.behind)
    reader = Reader(port=options.port, pid=options.pid, netns=options.netns)

    def look() -> list[SocketState]:
        return [state for state in reader.read() if options.everything or state.state not in NOT_CONNECTED]

    with suppress(KeyboardInterrupt):
        if options.as_json:
            _write_records(look, options.netns, limit, watch=options.watch)
        elif not options.watch:
            _print(look(), limit)
        elif _is_screen():
            _redraw(look, limit)
        else:
            _print_changes(look, limit)
    return EXIT_DONE


def _behind(words: str | None) -> Behind | None:
    """Return the limit that ``--behind`` names, with this kernel's timer frequency where it can be read."""
    if words is None:
        return None
    from kacap.commands.sockets_view import Behind
    from kacap.lab.truth import hz
    from kacap.timing.limits import limit
    from kacap.timing.wheel import HZ_VALUES

    try:
        found = limit(SHORT_NAMES.get(words.lower(), words))
    except UsageError as error:
        raise UsageError(str(error).replace("--beat", "--behind").replace("--list", "kacap plan --list")) from None
    here = hz()
    return Behind(found.id, found, HZ_VALUES if here is None else (here,))


def _is_screen() -> bool:
    """Return whether stdout is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _write_records(look: Look, netns: str | None, limit: Behind | None, *, watch: bool) -> None:
    """Write a record of each socket; then, watching, of each that changed or went (its state is GONE)."""
    from kacap.commands.sockets_view import record

    for _, state in _changes(look) if watch else (("", state) for state in look()):
        click.echo(record(state, time.time_ns(), netns, limit))


def _print(states: list[SocketState], limit: Behind | None) -> None:
    """Print the table and its summary."""
    from kacap.commands.sockets_view import summary, table
    from kacap.report.terminal import DOUBT

    coloured = _is_screen() and not os.environ.get("NO_COLOR")
    for line, warned in table(states, limit):
        click.secho(line, fg=DOUBT if warned and coloured else None)
    click.echo("\n".join(summary(states, limit)))


def _print_changes(look: Look, limit: Behind | None) -> None:
    """Print a line for each socket that there is, and from then on for each that comes (+), changes (~) or goes (-)."""
    from kacap.commands.sockets_view import head, row

    click.echo("  ".join(["UTC     ", " ", *head(limit)]))
    for sign, state in _changes(look):
        click.echo("  ".join([time.strftime("%H:%M:%S", time.gmtime()), sign, *row(state, limit)]))


def _changes(look: Look) -> Iterator[tuple[str, SocketState]]:
    """Yield what is new since the last look, a second apart, without end: sign and state."""
    from kacap.commands.sockets_view import fixed_part

    known: dict[int, SocketState] = {}
    while True:
        now = {state.cookie: state for state in look()}
        for cookie, state in now.items():
            if cookie not in known:
                yield "+", state
            elif fixed_part(state) != fixed_part(known[cookie]):
                yield "~", state
        yield from (("-", replace(state, state="GONE")) for cookie, state in known.items() if cookie not in now)
        known = now
        sys.stdout.flush()
        time.sleep(PERIOD_S)


def _redraw(look: Look, limit: Behind | None) -> None:
    """Draw the table anew each second until Ctrl-C, fitted to the terminal; what misses answers is the loudest."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from kacap.commands.sockets_view import fitted, summary
    from kacap.report.terminal import DOUBT

    styles = {"missing": "bold white on red", "warned": f"color({DOUBT})", "": ""}
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as screen:
        while True:
            states = look()
            lines = [*fitted(states, limit, console.size.width), *((line, "") for line in summary(states, limit))]
            drawn = [Text(line, styles[style], no_wrap=True, overflow="ellipsis") for line, style in lines]
            screen.update(Group(*drawn), refresh=True)
            time.sleep(PERIOD_S)
