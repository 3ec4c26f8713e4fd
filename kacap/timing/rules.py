"""Expectations by connection: a TOML text of rules; the first that matches holds.

::

    [[expect]]
    filter = "port 5432"
    idle = 60
    interval = 10
    count = 6
    from = "10.0.0.5"   # the end that must probe: a, b, an address, a port, address:port
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kacap.errors import KacapError, UsageError
from kacap.model import Connection, Endpoint
from kacap.timing.expectations import Expectation, Stated, combine
from kacap.timing.sides import parse_side

Matches = Callable[[Endpoint, Endpoint], bool]
TABLE = "expect"


@dataclass(frozen=True, slots=True)
class Rule:
    """An expectation, and the connections it is for: those whose ends (a, b) match, all where ``matches`` is None."""

    matches: Matches | None
    expectation: Expectation


class Rules:
    """Rules in order; called with a connection it returns the expectation of the first that matches, or None."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = rules

    def __call__(self, connection: Connection) -> Expectation | None:
        """Return what is expected of ``connection``."""
        for rule in self.rules:
            if rule.matches is None or rule.matches(connection.a, connection.b):
                return rule.expectation
        return None


def parse_rules(text: str, name: str, compiled: Callable[[str], Matches]) -> Rules:
    """Return the rules in a TOML text; ``name`` is the file's, ``compiled`` makes a test of a filter expression.

    Raises UsageError, which names the line or the key, for invalid TOML, an unknown table or key, a value of the
    wrong type or out of range, a filter that ``compiled`` refuses, and a rule that no connection can reach.
    """
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(_syntax(name, str(error))) from None
    for key in document:
        if key != TABLE:
            raise UsageError(f"{name}: unknown key '{key}' (rules are [[{TABLE}]] tables)")
    tables = document.get(TABLE)
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables) or not tables:
        raise UsageError(f'{name}: no rule; write [[{TABLE}]], then filter = "port 5432", idle = 60')
    rules = [_rule(table, f"{name}: {TABLE}[{i}]", compiled) for i, table in enumerate(tables, 1)]
    for i, rule in enumerate(rules[:-1], 1):
        if rule.matches is None:
            raise UsageError(f"{name}: {TABLE}[{i + 1}] is never reached: {TABLE}[{i}] has no filter")
    return Rules(rules)


def _syntax(name: str, message: str) -> str:
    """Return ``name:3: ...`` for tomllib's message, which ends in ``(at line 3, column 5)``."""
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if not found:
        return f"{name}: not valid TOML: {message}"
    return f"{name}:{found[2]}: not valid TOML: {found[1]} (column {found[3]})"


def _rule(table: dict[str, object], origin: str, compiled: Callable[[str], Matches]) -> Rule:
    """Return one rule."""
    values = [Stated(key, value, f"{origin}.{key}") for key, value in table.items() if key not in ("filter", "from")]
    side = parse_side(_text(table, "from", origin), f"{origin}.from") if "from" in table else None
    expectation = combine(values, origin, side)
    if not values:
        raise UsageError(f"{origin} expects nothing: give idle, interval, count or user_timeout")
    if "filter" not in table:
        return Rule(None, expectation)
    expression = _text(table, "filter", origin)
    try:
        return Rule(compiled(expression), expectation)
    except KacapError as error:
        raise UsageError(f"{origin}.filter: {error}") from None


def _text(table: dict[str, object], key: str, origin: str) -> str:
    """Return a value that must be a text; ``from = 5432`` is a port."""
    value = table[key]
    if key == "from" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UsageError(f"{origin}.{key} is not a text in quotes: {value}")
    return value
