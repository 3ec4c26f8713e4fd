"""Says in a few lines what a run left behind, from its truth."""

from __future__ import annotations

from pathlib import Path

from kacap.lab import truth
from kacap.lab.scenario import Scenario


def lines(scenario: Scenario, directory: Path) -> list[str]:
    """Return what happened, what the ends saw, the files, what to look for, and the next command."""
    truth_facts = truth.read(directory / "truth.toml")
    files = [str(directory / name) for capture in truth_facts["capture"] for name in capture["files"]]
    counted = [f"{capture['frames']} frames, {capture['dropped']} dropped" for capture in truth_facts["capture"]]
    ended = " (ended early)" if truth_facts["ended_early"] else ""
    return [
        f"{scenario.name}{ended}: {scenario.happens}",
        f"  seen by the ends  {_ends(truth_facts)}",
        f"  captured          {', '.join(files)} ({'; '.join(counted)})",
        f"  look for          {scenario.look_for}",
        f"  read it           kacap read {' '.join(files)}",
    ]


def _ends(truth_facts: truth.Truth) -> str:
    if len(truth_facts["connection"]) > 1:
        ends = [end for pair in truth_facts["connection"] for end in pair.values()]
        errors = [error for end in ends if (error := end.get("error"))]
        counts = ", ".join(f"{errors.count(name)} {name}" for name in sorted(set(errors)))
        return f"{len(truth_facts['connection'])} connections: {counts or 'no error'}"
    (pair,) = truth_facts["connection"]
    return ", ".join(f"{name} {end.get('error', 'no error')}" for name, end in pair.items())
