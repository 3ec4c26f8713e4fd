"""The options that say what is expected: the same in every command that compares observed with configured."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kacap.commands.reading import FILE, together
from kacap.errors import UsageError

if TYPE_CHECKING:
    from kacap.timing.expectations import Expectation, Stated
    from kacap.timing.rules import Rule, Rules

# model.SETTINGS, once more: no command imports the model to declare its options.
SINGLE = ("idle", "interval", "count", "user_timeout")

# The options; ``Expecting`` holds what a command gets of them.
expecting = together(
    click.option(
        "--expect", multiple=True, metavar="SETTINGS", help="What is configured: idle=60,interval=10,count=6."
    ),
    click.option("--idle", metavar="N", help="Expected silence before the first probe: 60, 60s, 2h."),
    click.option("--interval", metavar="N", help="Expected time between unanswered probes."),
    click.option("--count", metavar="N", help="Expected number of unanswered probes before giving up."),
    click.option("--user-timeout", metavar="N", help="Expected TCP_USER_TIMEOUT, with its unit: 30s, 30000ms."),
    click.option(
        "--rules",
        type=FILE,
        metavar="FILE.toml",
        help="Expectations by connection: [[expect]] tables, the first match holds.",
    ),
    click.option(
        "--from", "side", metavar="SIDE", help="Which end must probe: a, b, an address, a port or address:port."
    ),
)


@dataclass(frozen=True, kw_only=True)
class Expecting:
    """What is expected, as it was written on the command line."""

    expect: tuple[str, ...]
    idle: str | None
    interval: str | None
    count: str | None
    user_timeout: str | None
    rules: str | None
    side: str | None

    def expected(self) -> Rules | None:
        """Return what the options expect of a connection; None when they expect nothing.

        Rules come first, in their order; what is stated on the command line holds for the connections that no rule
        matches. Raises UsageError.
        """
        from kacap.timing.rules import Rule, Rules

        rules = _rules_in(self.rules) if self.rules else []
        stated = self._stated()
        if stated is not None:
            if rules and rules[-1].matches is None:
                last = rules[-1].expectation.source
                raise UsageError(
                    f"{last} has no filter and takes every connection: what the options expect is never used"
                )
            rules.append(Rule(None, stated))
        elif self.side is not None:
            raise UsageError("--from says who must probe, not what is expected: add --expect or --idle")
        return Rules(rules) if rules else None

    def _stated(self) -> Expectation | None:
        """Return what ``--expect``, ``--idle`` and the like state together."""
        from kacap.timing.expectations import Stated, combine, stated
        from kacap.timing.sides import parse_side

        values: list[Stated] = [value for text in self.expect for value in stated(text, "--expect")]
        for name in SINGLE:
            if (value := getattr(self, name)) is not None:
                values.append(Stated(name, value, f"--{name.replace('_', '-')}"))
        side = None if self.side is None else parse_side(self.side)
        origins = {value.origin for value in values}
        return combine(values, origins.pop() if len(origins) == 1 else "command line", side) if values else None

    def as_written(self) -> list[str]:
        """Return the options that were given, as words of a command line."""
        found = []
        for field in fields(Expecting):
            value = getattr(self, field.name)
            flag = "--from" if field.name == "side" else f"--{field.name.replace('_', '-')}"
            found += [
                word
                for each in (value if isinstance(value, tuple) else (value,))
                if each is not None
                for word in (flag, str(each))
            ]
        return found


def _rules_in(path: str) -> list[Rule]:
    """Return the rules that a TOML file holds."""
    from kacap.capture.endpoints import EndpointsFilter
    from kacap.timing.rules import parse_rules

    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot read the rules: {getattr(error, 'strerror', None) or error}") from error
    return parse_rules(text, path, EndpointsFilter).rules
