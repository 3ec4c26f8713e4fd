"""The options that say what is expected: the same in every command that compares observed with configured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kacap.errors import UsageError

if TYPE_CHECKING:
    from kacap.timing.expectations import Expectation, Stated
    from kacap.timing.rules import Rule, Rules

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = ("expect", "idle", "interval", "count", "user_timeout", "rules", "side")
_SINGLE = OPTIONS[1:5]

_DECLARED = (
    click.option(
        "--expect", multiple=True, metavar="SETTINGS", help="What is configured: idle=60,interval=10,count=6."
    ),
    click.option("--idle", metavar="N", help="Expected silence before the first probe: 60, 60s, 2h."),
    click.option("--interval", metavar="N", help="Expected time between unanswered probes."),
    click.option("--count", metavar="N", help="Expected number of unanswered probes before giving up."),
    click.option("--user-timeout", metavar="N", help="Expected TCP_USER_TIMEOUT, with its unit: 30s, 30000ms."),
    click.option(
        "--rules", metavar="FILE.toml", help="Expectations by connection: [[expect]] tables, the first match holds."
    ),
    click.option(
        "--from", "side", metavar="SIDE", help="Which end must probe: a, b, an address, a port or address:port."
    ),
)


def expecting(command: Command) -> Command:
    """Give a command the options; it passes what it gets of them to ``expected``."""
    for option in reversed(_DECLARED):
        command = option(command)
    return command


def expected(options: Mapping[str, Any]) -> Rules | None:
    """Return what the options expect of a connection; None when they expect nothing.

    Rules come first, in their order; what is stated on the command line holds for the connections that no rule
    matches. Raises UsageError.
    """
    from kacap.timing.rules import Rule, Rules

    rules = _rules_in(options["rules"]) if options["rules"] else []
    stated = _stated(options)
    if stated is not None:
        if rules and rules[-1].matches is None:
            last = rules[-1].expectation.source
            raise UsageError(f"{last} has no filter and takes every connection: what the options expect is never used")
        rules.append(Rule(None, stated))
    elif options["side"] is not None:
        raise UsageError("--from says who must probe, not what is expected: add --expect or --idle")
    return Rules(rules) if rules else None


def _stated(options: Mapping[str, Any]) -> Expectation | None:
    """Return what ``--expect``, ``--idle`` and the like state together."""
    from kacap.timing.expectations import Stated, combine, stated
    from kacap.timing.sides import parse_side

    values: list[Stated] = [value for text in options["expect"] for value in stated(text, "--expect")]
    for name in _SINGLE:
        if options[name] is not None:
            values.append(Stated(name, options[name], f"--{name.replace('_', '-')}"))
    side = None if options["side"] is None else parse_side(options["side"])
    origins = {value.origin for value in values}
    return combine(values, origins.pop() if len(origins) == 1 else "command line", side) if values else None


def _rules_in(path: str) -> list[Rule]:
    """Return the rules that a TOML file holds."""
    from kacap.capture.endpoints import EndpointsFilter
    from kacap.timing.rules import parse_rules

    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot read the rules: {getattr(error, 'strerror', None) or error}") from error
    return parse_rules(text, path, EndpointsFilter).rules
