"""Keeps the memory of a long watch flat: older episodes of a prober are forgotten, its numbers stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.classify.kinds import ENDINGS, Ending
from kacap.rows import Table, chains
from kacap.timing.gathering import Gatherer

_ANSWERED = ENDINGS.index(Ending.ANSWERED)

Places = NDArray[np.int64]


def forget(gatherer: Gatherer, kept: int) -> Places:
    """Forget all but the last ``kept`` episodes of each prober, and the last ``kept`` of more than one probe answered.

    Rows of PROBE and EPISODE move: return the new row of each EPISODE by its old one, 0 where it is forgotten. Whoever
    holds the number of a PROBE has to ask for it again.
    """
    episodes, probers = gatherer.episodes.filled, gatherer.probers.filled
    runs = (episodes["probes"] > 1) | (episodes["ending"] != _ANSWERED)
    runs[0] = False
    keep = (_from_the_end(episodes["prober"]) < kept) & (episodes["prober"] > 0)
    of_runs = np.flatnonzero(runs)
    keep[of_runs] |= _from_the_end(episodes["prober"][of_runs]) < kept
    moved = _keep_probes(gatherer, np.flatnonzero(keep))
    keep[0] = True
    numbers = np.cumsum(keep) - 1
    found, run = episodes[keep], runs[keep]
    for name in ("first", "last"):
        found[name][1:] = moved[found[name][1:]]
    found["previous"] = _before(found["prober"], np.ones(len(found), np.bool_))
    found["previous_run"] = _before(found["prober"], run)
    _shrink(gatherer, "episodes", found)
    number = np.bincount(found["prober"][1:], minlength=len(probers))
    probers["episodes"], probers["runs"] = number, np.bincount(found["prober"][run], minlength=len(probers))
    for name in ("last_episode", "last_run"):
        probers[name] = numbers[probers[name]]
    return np.where(keep, numbers, 0)


def _from_the_end(groups: NDArray[np.integer]) -> Places:
    """Return for each row how many of its group follow it."""
    order = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[order], groups[order], side="right")
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = ends - 1 - np.arange(len(groups))
    return ranks


def _before(groups: NDArray[np.integer], members: NDArray[np.bool_]) -> Places:
    """Return for each row the last member of its group before it, 0 where there is none."""
    if not len(groups):
        return np.zeros(0, np.int64)
    order = np.argsort(groups, kind="stable")
    number = np.where(members[order], np.arange(len(order)), -1)
    last = np.maximum.accumulate(np.concatenate([[-1], number[:-1]]))
    starts = np.searchsorted(groups[order], groups[order])
    found = np.zeros(len(groups), np.int64)
    found[order] = np.where(last >= starts, order[last], 0)
    return found


def _keep_probes(gatherer: Gatherer, episodes: Places) -> Places:
    """Forget the probes of all episodes but those given; return the new row of each that is kept, by its old one.

    A prober's first probe is kept, and those of its run under way.
    """
    probes, probers = gatherer.probes.filled, gatherer.probers.filled
    found = gatherer.episodes.rows[episodes]
    keep = np.zeros(len(probes), np.bool_)
    keep[found["last"]] = True
    keep[probers["first_probe"][1:]] = True
    open_runs = probers[probers["run_n"] > 0]
    long = found[found["probes"] > 1]
    for lasts, numbers in ((long["last"], long["probes"]), (open_runs["last_probe"], open_runs["run_n"])):
        keep[chains(probes["previous"], lasts, numbers)] = True
    moved = np.cumsum(keep) - 1
    left = probes[keep]
    left["previous"] = _before(left["prober"], np.ones(len(left), np.bool_))
    firsts = np.unique(left["prober"], return_index=True)[1]
    left["previous"][firsts] = -1
    for name in ("first_probe", "last_probe", "run_first"):
        probers[name][1:] = moved[probers[name][1:]]
    probers["rows"] = np.bincount(left["prober"], minlength=len(probers))
    _shrink(gatherer, "probes", left)
    return moved


def _shrink(gatherer: Gatherer, name: str, rows: NDArray[np.void]) -> None:
    """Let a table hold just these rows; what comes after them is zero again."""
    table: Table = getattr(gatherer, name)
    table.replace(rows)
    gatherer.counts[name] = len(rows)
