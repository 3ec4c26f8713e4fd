"""Keeps the memory of a long watch flat: connections that are over go with all their rows, the others move up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kacap.rows import Table
from kacap.timing.gathering import Gatherer

Places = NDArray[np.int64]


class Moved(NamedTuple):
    """The new row of each old one: of WATCHED (-1: forgotten), of PROBER and of EPISODE (0: forgotten)."""

    watched: Places
    probers: Places
    episodes: Places


def drop(gatherer: Gatherer, gone: NDArray[np.bool_]) -> Moved:
    """Forget connections that are closed, a flag for each row of WATCHED, and all that belongs to them.

    Rows of WATCHED, PROBER, PROBE, EPISODE and STEP move: whoever holds the number of one has to take the new one.
    """
    probers, probes, episodes, steps = (
        getattr(gatherer, name).filled for name in ("probers", "probes", "episodes", "steps")
    )
    stays = ~np.append(gone, False)[probers["watched"]]
    stays[0] = True  # row 0 is nobody
    with_episode = stays[episodes["prober"]]
    with_episode[0] = True
    with_probe, with_step = stays[probes["prober"]], stays[steps["prober"]]
    watched, number, episode, probe, step = map(_places, (~gone, stays, with_episode, with_probe, with_step))
    number, episode = np.where(stays, number, 0), np.where(with_episode, episode, 0)
    _renumber(probers, {"watched": watched, "first_probe": probe, "last_probe": probe, "run_first": probe,
                        "last_episode": episode, "last_run": episode})  # fmt: skip
    probers["watched"][0] = 0
    _renumber(probes, {"prober": number, "previous": probe})
    _renumber(episodes, {"prober": number, "first": probe, "last": probe, "previous": episode, "previous_run": episode})
    _renumber(steps, {"prober": number})
    _renumber(gatherer.histories.filled, {"newest_step": step})
    _renumber(gatherer.sides.filled, {"prober": number})
    _renumber(gatherer.waiting.filled, {"watched": watched})
    kept = {"watched": ~gone, "sides": np.repeat(~gone, 2), "probers": stays, "histories": stays, "probes": with_probe,
            "episodes": with_episode, "steps": with_step}  # fmt: skip
    for name, flags in kept.items():
        _shrink(gatherer, name, flags)
    return Moved(watched, number, episode)


def _places(kept: NDArray[np.bool_]) -> Places:
    """Return the new row of each old one, -1 where it goes."""
    return np.where(kept, np.cumsum(kept) - 1, -1)


def _renumber(rows: NDArray[np.void], columns: dict[str, Places]) -> None:
    """Replace row numbers by new ones; what is negative names nothing."""
    for name, moved in columns.items():
        before = rows[name]
        if len(moved) and len(before):
            rows[name] = np.where(before >= 0, moved[np.clip(before, 0, len(moved) - 1)], before)


def _shrink(gatherer: Gatherer, name: str, kept: NDArray[np.bool_]) -> None:
    """Let a table hold only these rows; what comes after them is zero again."""
    table: Table = getattr(gatherer, name)
    rows = table.filled[kept[: table.used]]  # before the first prober there is no HISTORY for nobody
    table.rows[: len(rows)] = rows
    table.rows[len(rows) : table.used] = np.zeros((), table.dtype)
    table.used = len(rows)
    if name in (gatherer.counts.dtype.names or ()):
        gatherer.counts[name] = len(rows)
