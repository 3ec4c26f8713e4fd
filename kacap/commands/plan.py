"""``kacap plan``: idle, interval and count that hold at the worst, in each product's own words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from kacap.errors import EXIT_DONE, KacapError, UsageError

if TYPE_CHECKING:
    from kacap.timing.limits import Limit

HZ = ("any", "100", "250", "300", "1000")


@click.command(no_args_is_help=True)
@click.option("--beat", metavar="LIMIT", help="A known box (aws-nlb; see --list), or its idle limit: 350, 6m.")
@click.option("--detect-within", "within", metavar="TIME", help="Give a dead peer up within TIME: 90, 2m.")
@click.option(
    "--for",
    "products",
    default="linux",
    metavar="NAMES",
    show_default=True,
    help="Whose settings to write, separated by commas: linux,libpq,go,kubernetes; or all.",
)
@click.option("--hz", type=click.Choice(HZ), default="any", show_default=True, help="The kernel's CONFIG_HZ.")
@click.option("--rtt", "rtt_ms", type=click.FloatRange(0, 600_000), default=200, show_default=True, metavar="MS",
              help="The longest round trip to the far end, in milliseconds.")  # fmt: skip
@click.option("--limits", "file", metavar="FILE", help="TOML with limits of your own: [[limit]] id, seconds, what ...")
@click.option("--list", "listing", is_flag=True, help="List the known limits with their sources, and the products.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def plan(
    beat: str | None,
    within: str | None,
    products: str,
    hz: str,
    rtt_ms: float,
    file: str | None,
    listing: bool,
    as_json: bool,
) -> int:
    """Choose idle, interval and count that hold even when timers are late, and write each product's settings.

    A probe must come before a box on the path forgets the connection (--beat), and a dead peer must be found in time
    (--detect-within); one of the two is needed.

    \b
    kacap plan --beat aws-nlb --detect-within 90 --for libpq,envoy,go
    kacap plan --beat 900 --for kubernetes --hz 250
    kacap plan --list
    """
    from kacap.commands import plan_view
    from kacap.timing.limits import limit, whole_seconds
    from kacap.timing.planning import Request
    from kacap.timing.planning import plan as best
    from kacap.timing.products import chosen
    from kacap.timing.wheel import HZ_VALUES

    table = _table(file)
    if listing:
        plan_view.write_list(table, sys.stdout)
        return EXIT_DONE
    if beat is None and within is None:
        raise UsageError("what for? give --beat LIMIT, --detect-within TIME, or both")
    box = None if beat is None else limit(beat, table)
    if box is not None and not box.refreshed:
        raise UsageError(_in_vain(box))
    rows = chosen(products)
    request = Request(
        None if box is None else box.seconds,
        None if within is None else whole_seconds(within, "--detect-within"),
        HZ_VALUES if hz == "any" else (int(hz),),
        round(rtt_ms * 1_000_000),
    )
    write = plan_view.write_json if as_json else plan_view.write_text
    write(plan_view.View(request, best(request), rows, box, table), sys.stdout)
    return EXIT_DONE


def _table(file: str | None) -> tuple[Limit, ...]:
    """Return the known limits, with a user's own."""
    from pathlib import Path

    from kacap.timing.limits import LIMITS, parse_limits

    if file is None:
        return LIMITS
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise KacapError(f"{file}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: not valid TOML: not UTF-8") from None
    return parse_limits(text, file)


def _in_vain(box: Limit) -> str:
    """Return why there is nothing to plan for a limit that counts data only."""
    return (
        f"{box.what} ({box.id}): {box.seconds} s without data end a connection, and a bare keepalive does not refresh "
        f"that: send data from the application more often, or raise the limit"
        + (f" ({box.range})" if box.range not in ("", "any", "fixed", "no default") else "")
        + f" [{box.source}, {box.date}]"
    )
