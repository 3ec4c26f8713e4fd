"""Every probe of some connections as columns: when and in which frame it was sent, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kacap.classify.tables import Outcome
from kacap.connections import Connections
from kacap.flows import NEVER
from kacap.model import Connection, Prober

SENT = np.dtype(
    [
        ("time_ns", "<i8"),
        ("frame", "<i8"),
        ("reply_ns", "<i8"),  # NEVER: no reply
        ("since_ns", "<i8"),  # when the peer was last heard, for the first of a run; NEVER: not known
        ("prober", "<i4"),  # which of the probers that were asked for
        ("file", "<u2"),
        ("first", "?"),  # of its run
        ("missed", "?"),
    ]
)
SentRows = NDArray[np.void]  # of SENT


def sent_by(connections: Sequence[Connection], probers: Sequence[Prober], most: int) -> SentRows:
    """Return the probes (SENT) of some probers of a capture, by prober and then by time.

    Of more than ``most`` every prober keeps its newest, as many as there is room for, and every probe that was missed.
    """
    if isinstance(connections, Connections):
        return _from_tables(connections, probers, most)
    rows = _from_objects(probers)
    return rows[_chosen(rows["prober"], rows["time_ns"], rows["missed"], most)]


def _chosen(
    prober: NDArray[np.integer], time_ns: NDArray[np.int64], missed: NDArray[np.bool_], most: int
) -> NDArray[np.int64]:
    """Return which probes are kept, by prober and then by time; see ``sent_by``."""
    order = np.lexsort((time_ns, prober))
    if len(order) <= most:
        return order
    prober, missed = prober[order], missed[order]
    numbers, begins = np.unique(prober, return_index=True)
    each = max(most // len(numbers), 1)
    ends = np.append(begins[1:], len(prober))
    kept = np.repeat(ends, ends - begins) - np.arange(len(prober)) <= each
    lost = np.flatnonzero(missed & ~kept)[-most:]
    kept[lost] = True
    return order[kept]


def _from_tables(connections: Connections, probers: Sequence[Prober], most: int) -> SentRows:
    """Return the rows of probers that are kept, from the tables that these are views of."""
    gatherer = connections.views.gatherer
    asked = np.full(gatherer.probers.used, -1, np.int32)
    asked[[prober.row for prober in probers]] = np.arange(len(probers))
    asked[0] = -1
    probes = gatherer.probes.filled
    prober = asked[probes["prober"]]
    kept = np.flatnonzero(prober >= 0)
    missed = probes["outcome"] == Outcome.MISSED
    kept = kept[_chosen(prober[kept], probes["time_ns"][kept], missed[kept], most)]
    found = np.zeros(len(kept), SENT)
    found["prober"], found["missed"] = prober[kept], missed[kept]
    for name in ("time_ns", "frame", "file"):
        found[name] = probes[name][kept]
    replied = probes["reply_frame"][kept] != 0
    found["reply_ns"] = np.where(replied, found["time_ns"] + probes["reply_after_ns"][kept], NEVER)
    since = np.full(gatherer.probes.used, NEVER, np.int64)
    first = np.zeros(gatherer.probes.used, np.bool_)
    episodes = gatherer.episodes.filled[1:]
    since[episodes["first"]], first[episodes["first"]] = episodes["silent_since_ns"], True
    found["since_ns"], found["first"] = since[kept], first[kept]
    return found


def _from_objects(probers: Sequence[Prober]) -> SentRows:
    """Return the rows of probers, from their episodes."""
    rows = []
    for number, prober in enumerate(probers):
        for episode in prober.episodes:
            for nth, probe in enumerate(episode.probes):
                reply = NEVER if probe.reply_after_ns is None else probe.time_ns + probe.reply_after_ns
                since = NEVER if nth or episode.silent_since_ns is None else episode.silent_since_ns
                frame = probe.frame
                missed = probe.outcome == "missed"
                rows.append((probe.time_ns, frame.number, reply, since, number, frame.file, nth == 0, missed))
    return np.array(rows, SENT)
