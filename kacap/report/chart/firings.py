"""A prober's timer firings as columns: when each came, when it was due, by which timer, and what became of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kacap.facts.runs import UNCAPTURED
from kacap.model import Episode, Prober
from kacap.report.chart.expected import Terms
from kacap.timing.wheel import EARLY_NS

IDLE, INTERVAL = 0, 1
TIMERS = ("idle", "interval")
UNKNOWN_NS = -1  # a time that is not known

FIRING = np.dtype(
    [
        ("time_ns", "<i8"),
        ("since_ns", "<i8"),  # when the peer was last heard, for the first of a run; or UNKNOWN_NS
        ("before_ns", "<i8"),  # the firing before, UNKNOWN_NS for the first
        ("reply_ns", "<i8"),  # when the reply came, UNKNOWN_NS: none did
        ("due_ns", "<i8"),  # the earliest moment by the settings, UNKNOWN_NS: no setting is known
        ("timer", "u1"),  # IDLE or INTERVAL: which timer governs it
        ("abort", "?"),  # the firing at which the prober gave up instead of probing
        ("missed", "?"),
        ("waiting", "?"),  # an answer may still come: the capture ended too soon
        ("uncaptured", "?"),  # answered by what the capture lacks
    ]
)
FiringRows = NDArray[np.void]  # of FIRING


def firings_of(prober: Prober, terms: Terms) -> FiringRows:
    """Return a FIRING row for each probe of a prober, and for each time it gave up, in time order.

    After a miss the next firing is due one interval after the last. After anything was heard it is due when idle has
    passed since then, and not before one interval after the last firing (tcp_keepalive_timer, net/ipv4/tcp_timer.c).
    """
    rows: list[tuple[int, ...]] = []
    before = UNKNOWN_NS
    for episode in prober.episodes:
        for row in _rows(episode, before):
            rows.append(row)
            before = row[0]
    found = np.array(rows, FIRING)
    _fill_due(found, terms)
    _drop_contradicted(found, terms)
    return found


def _rows(episode: Episode, before_ns: int) -> list[tuple[int, ...]]:
    """Return the rows of one episode, not yet due."""
    rows: list[tuple[int, ...]] = []
    since = UNKNOWN_NS if episode.silent_since_ns is None else episode.silent_since_ns
    for nth, probe in enumerate(episode.probes):
        reply = UNKNOWN_NS if probe.reply_after_ns is None else probe.time_ns + probe.reply_after_ns
        first = nth == 0
        timer = IDLE if first else INTERVAL
        rows.append(
            (
                probe.time_ns,
                since if first else UNKNOWN_NS,
                before_ns,
                reply,
                UNKNOWN_NS,
                timer,
                False,
                probe.outcome == "missed",
                probe.outcome == "waiting",
                probe.outcome == UNCAPTURED,
            )
        )
        before_ns = probe.time_ns
    if len(episode.gaps_ns) >= len(episode.probes):
        abort_ns = before_ns + episode.gaps_ns[-1]
        rows.append((abort_ns, UNKNOWN_NS, before_ns, UNKNOWN_NS, UNKNOWN_NS, INTERVAL, True, False, False, False))
    return rows


def _fill_due(found: FiringRows, terms: Terms) -> None:
    """Write when each firing was due at the earliest, and which timer governs the first of a run."""
    first = found["timer"] == IDLE
    idle, interval = terms.idle, terms.interval
    after_last = np.full(len(found), UNKNOWN_NS, np.int64)
    if interval is not None:
        known = found["before_ns"] != UNKNOWN_NS
        after_last[known] = found["before_ns"][known] + interval.ns
        found["due_ns"][~first] = after_last[~first]
    if idle is None:
        return
    begun = first & (found["since_ns"] != UNKNOWN_NS)
    after_heard = found["since_ns"] + idle.ns
    later = begun & (after_last > after_heard)
    found["due_ns"][begun] = after_heard[begun]
    found["due_ns"][later] = after_last[later]
    found["timer"][later] = INTERVAL


def _drop_contradicted(found: FiringRows, terms: Terms) -> None:
    """Take the due time from firings that came before it by a guess: a timer is never early, so the guess is off.

    It may still be right of the other firings: the timer may have been started before the peer was last heard.
    """
    for timer, term in ((IDLE, terms.idle), (INTERVAL, terms.interval)):
        if term is not None and not term.stated:
            early_ns = np.where(found["timer"] == timer, found["due_ns"] - found["time_ns"], 0)
            found["due_ns"][early_ns > EARLY_NS] = UNKNOWN_NS
            within = (early_ns > 0) & (early_ns <= EARLY_NS)  # no more than the capture's own error
            found["due_ns"][within] = found["time_ns"][within]


def thinned(xs: ArrayLike, columns: int, heights: ArrayLike | None = None) -> NDArray[np.intp]:
    """Return which of many points to draw: per column the lowest and the highest, and always both ends.

    ``xs`` are sorted; without ``heights`` a column keeps its first. Up to ``columns`` points are all kept.
    """
    x = np.asarray(xs, np.float64)
    if len(x) <= columns:
        return np.arange(len(x))
    span = float(x[-1] - x[0]) or 1.0
    column = ((x - x[0]) / span * (columns - 1)).astype(np.int64)
    chosen = [np.array([0, len(x) - 1])]
    for y in (x,) if heights is None else (np.asarray(heights), -np.asarray(heights)):
        order = np.lexsort((y, column))
        _, first = np.unique(column[order], return_index=True)
        chosen.append(order[first])
    return np.unique(np.concatenate(chosen))
