"""All scenarios by name, in the order in which a reader should meet them."""

from __future__ import annotations

import difflib

from kacap.errors import UsageError
from kacap.lab.scenario import Scenario
from kacap.lab.scenarios import boxes, capture_points, clocks, data, states

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for family in (states, clocks, data, boxes, capture_points) for scenario in family.SCENARIOS
}


def find(name: str) -> Scenario:
    """Return the scenario of that name; raises ``UsageError`` with the nearest names."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    near = difflib.get_close_matches(name, SCENARIOS)
    hint = f"did you mean {' or '.join(near)}?" if near else "kacap lab list shows them all"
    raise UsageError(f"no scenario is named {name}: {hint}")
