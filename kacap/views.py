"""Objects made of rows, when somebody asks for them: endpoints, probes, episodes, probers, connections."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_text
from kacap.classify.kind_reasons import SENTENCES
from kacap.classify.kinds import ENDINGS, GRADE_WORDS, KIND_WORDS, Ending
from kacap.classify.tables import DecidedRows, EpisodeRow, EpisodeRows, Outcome, ProbeRow, ProberRow
from kacap.flows import BEGAN, NEVER
from kacap.model import Connection, Endpoint, Episode, FrameRef, Probe, Prober, SegmentRecord
from kacap.rows import chain, chains, in_parts
from kacap.timing.gathering import Gatherer
from kacap.timing.giving_up import GIVEN_UP

# Fields of rows that become objects: all rows of an array at once are read far faster than one after the other.
_ENDS = ["a_hi", "a_lo", "a_port", "b_hi", "b_lo", "b_port"]
_CONNECTION = [
    "id", "first_ns", "last_ns", "longest_silence_ns", "segments", "state", "window_probes", "retransmissions",
]  # fmt: skip
Named = tuple[int, Endpoint, Endpoint]  # a prober: its connection's serial number, its side, its peer

OUTCOMES = tuple(outcome.name.lower() for outcome in Outcome)
_NEVER = int(NEVER)
_GIVEN_UP = [ENDINGS.index(one) for one in GIVEN_UP]


def endpoints(rows: NDArray[np.void]) -> list[tuple[Endpoint, Endpoint]]:
    """Return sides a and b of each of some rows that name them (CONNECTION, WATCHED)."""
    return [_sides(*row) for row in rows[_ENDS].tolist()]


def _sides(a_hi: int, a_lo: int, a_port: int, b_hi: int, b_lo: int, b_port: int) -> tuple[Endpoint, Endpoint]:
    """Return sides a and b."""
    return Endpoint(address_text(a_hi, a_lo), a_port), Endpoint(address_text(b_hi, b_lo), b_port)


def seen_ns(value: int | np.integer) -> int | None:
    """Return a time of a row, None where nothing was seen."""
    time_ns = int(value)
    return None if time_ns == _NEVER else time_ns


class Views:
    """The objects of one gatherer's rows. A prober is named by its row of PROBER."""

    def __init__(self, gatherer: Gatherer) -> None:
        self.gatherer = gatherer

    def named(self, probers: NDArray[np.integer]) -> list[Named]:
        """Return (serial number, side, peer) of some probers."""
        rows = self.gatherer.probers.rows[probers]
        watched = self.gatherer.watched.rows[rows["watched"]]
        ends = zip(watched["id"].tolist(), rows["side"].tolist(), endpoints(watched), strict=True)
        return [(number, b, a) if side else (number, a, b) for number, side, (a, b) in ends]

    def connection_of(self, prober: int) -> Named:
        """Return (serial number, side, peer) of a prober."""
        return self.named(np.array([prober]))[0]

    def made(self, rows: NDArray[np.integer], named: dict[int, Named] | None = None) -> list[Episode]:
        """Return the episodes in these rows of EPISODE, in order; ``named`` are their probers, where they are known."""
        found, table = self.gatherer.episodes.rows[rows], self.gatherer.probes.rows
        if named is None:
            numbers = list(set(found["prober"].tolist()))
            named = dict(zip(numbers, self.named(np.array(numbers, np.int64)), strict=True))
        sent = table[chains(table["previous"], found["last"], found["probes"])].tolist()
        probes = (_probe(row, named[row.prober]) for row in map(ProbeRow._make, sent))
        return [_episode(row, list(islice(probes, row.probes))) for row in map(EpisodeRow._make, found.tolist())]

    def passing(self, rows: NDArray[np.integer]) -> Iterator[Episode]:
        """Yield the episodes in these rows of EPISODE, in order, some at a time: runs may be long."""
        for some in in_parts(rows.tolist()):
            yield from self.made(np.array(some, np.int64))

    def episode(self, row: int) -> Episode:
        """Return the episode in a row of EPISODE."""
        return self.made(np.array([row]))[0]

    def episodes(self, prober: int) -> list[Episode]:
        """Return every episode of a prober, in order."""
        row = self.gatherer.probers.rows[prober]
        previous = self.gatherer.episodes.rows["previous"]
        return self.made(chain(previous, int(row["last_episode"]), int(row["episodes"])))

    def last(self, prober: int) -> Episode:
        """Return the last episode of a prober."""
        return self.made(self.gatherer.probers.rows["last_episode"][[prober]])[0]

    def runs(self, prober: int) -> list[Episode]:
        """Return the episodes of a prober that are more than one probe answered, in order."""
        row, previous = self.gatherer.probers.rows[prober], self.gatherer.episodes.rows["previous_run"]
        return self.made(chain(previous, int(row["last_run"]), int(row["runs"])))

    def probers(self, numbers: NDArray[np.integer]) -> list[Prober]:
        """Return some probers with their numbers; their settings are not estimated yet.

        The runs of those that gave up, without which nobody can say how their connections ended, are made with them.
        """
        rows, named = self.gatherer.probers.rows[numbers], self.named(numbers)
        sent = [self.gatherer.probes.rows[rows[name]][["file", "frame"]] for name in ("first_probe", "last_probe")]
        frames = zip(*([FrameRef(*one) for one in found.tolist()] for found in sent), strict=True)
        known = zip(numbers.tolist(), map(ProberRow._make, rows.tolist()), named, frames, strict=True)
        made = [self._prober(*one) for one in known]
        over = np.isin(rows["ending"], _GIVEN_UP)
        own, previous = rows[over], self.gatherer.episodes.rows["previous_run"]
        who = dict(zip(numbers.tolist(), named, strict=True))
        runs = iter(self.made(chains(previous, own["last_run"], own["runs"]), who))
        for place in np.flatnonzero(over).tolist():
            own_runs = list(islice(runs, int(rows["runs"][place])))
            made[place].give(own_runs, own_runs[-1] if own_runs else None)  # giving up was the last of it
        return made

    def _prober(self, number: int, row: ProberRow, named: Named, frames: tuple[FrameRef, FrameRef]) -> Prober:
        """Return the prober of a row of PROBER; ``frames`` are those of its first and its last probe."""
        connection, side, peer = named
        return Prober(
            side, peer, probes=row.probes, replies=row.replies, missed=row.missed, ending=str(ENDINGS[row.ending]),
            grade=GRADE_WORDS[row.grade], payload_bytes=row.payload, first_probe_ns=row.first_ns,
            last_probe_ns=row.last_ns, survived_ns=row.survived_ns, longest_run=row.longest_run, unheard=row.unheard,
            reply_after_ns=(row.reply_least_ns, row.reply_most_ns) if row.replies else None,
            gaps_ns=(row.gap_least_ns, row.gap_most_ns) if row.probes > 1 else None,
            connection=connection, row=number, frames=frames, lone=row.episodes - row.runs, path_ns=row.path_ns,
            _rows=self,
        )  # fmt: skip

    def gaps(self, probers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the silences before the runs of some probers, and the gaps within their runs, nanoseconds."""
        episodes, probes = self.gatherer.episodes.filled, self.gatherer.probes.rows
        wanted = np.zeros(self.gatherer.probers.used, np.bool_)
        wanted[probers] = True
        wanted[0] = False
        own = wanted[episodes["prober"]]
        first = self._silences(episodes[own])
        later = [np.zeros(0, np.int64)]
        for run in episodes[own & ((episodes["probes"] > 1) | (episodes["closed_ns"] != NEVER))]:
            times = probes["time_ns"][chain(probes["previous"], int(run["last"]), int(run["probes"]))].tolist()
            closed = [] if (closed_ns := seen_ns(run["closed_ns"])) is None else [closed_ns]
            later.append(np.diff([*times, *closed]))
        return first, np.concatenate(later)

    def times_ns(self, number: int) -> list[int]:
        """Return when the probes of a prober were sent, in order."""
        row, probes = self.gatherer.probers.rows[number], self.gatherer.probes.rows
        rows = chain(probes["previous"], int(row["last_probe"]), int(row["rows"]))
        times: list[int] = probes["time_ns"][rows].tolist()
        return times

    def silences_ns(self, number: int) -> list[int]:
        """Return the silences before the episodes of a prober, in order, where they are known."""
        row, episodes = self.gatherer.probers.rows[number], self.gatherer.episodes.rows
        own = episodes[chain(episodes["previous"], int(row["last_episode"]), int(row["episodes"]))]
        silences_ns: list[int] = self._silences(own).tolist()
        return silences_ns

    def _silences(self, episodes: EpisodeRows) -> NDArray[np.int64]:
        """Return the silences before those of some rows of EPISODE that have one."""
        known = episodes[episodes["silent_since_ns"] != NEVER]
        silences_ns: NDArray[np.int64] = self.gatherer.probes.rows["time_ns"][known["first"]] - known["silent_since_ns"]
        return silences_ns

    def end(self, number: int, ending: str) -> None:
        """Let a prober's last episode have ended in another way."""
        row = self.gatherer.probers.rows[number]
        row["ending"] = code = ENDINGS.index(Ending(ending))
        self.gatherer.episodes.rows["ending"][row["last_episode"]] = code

    def segments(self, rows: DecidedRows) -> list[SegmentRecord]:
        """Return the records of rows of DECIDED, in order."""
        numbers, which = np.unique(rows["watched"], return_inverse=True)
        watched = self.gatherer.watched.rows[numbers]
        known = list(zip(watched["id"].tolist(), endpoints(watched), strict=True))
        columns = (rows[name].tolist() for name in ("file", "frame", "time_ns", "from_a", "kind", "grade", "why"))
        made = []
        for at, file, frame, time_ns, from_a, kind, grade, why in zip(which.tolist(), *columns, strict=True):
            number, (a, b) = known[at]
            ref, (source, target) = FrameRef(file, frame), (a, b) if from_a else (b, a)
            words = KIND_WORDS[kind], GRADE_WORDS[grade], SENTENCES[why]
            made.append(SegmentRecord(ref, time_ns, number, source, target, *words))
        return made


def _probe(row: ProbeRow, named: Named) -> Probe:
    """Return the probe of a row of PROBE."""
    number, side, peer = named
    reply = FrameRef(row.reply_file, row.reply_frame) if row.reply_frame else None
    return Probe(
        number,
        FrameRef(row.file, row.frame),
        row.time_ns,
        side,
        peer,
        GRADE_WORDS[row.grade],
        row.payload,
        reply,
        row.reply_after_ns if reply else None,
        OUTCOMES[row.outcome],
        KIND_WORDS[row.answer] if reply else None,
    )


def _episode(row: EpisodeRow, probes: list[Probe]) -> Episode:
    """Return the episode of a row of EPISODE with its probes."""
    times = [probe.time_ns for probe in probes]
    if (closed_ns := seen_ns(row.closed_ns)) is not None:
        times.append(closed_ns)
    since_ns, frame = seen_ns(row.silent_since_ns), row.ending_frame
    return Episode(
        probes[0].connection,
        probes[0].prober,
        probes,
        since_ns,
        None if since_ns is None else times[0] - since_ns,
        [b - a for a, b in pairwise(times)],
        str(ENDINGS[row.ending]),
        FrameRef(row.ending_file, frame) if frame else None,
    )


def begun(row: np.void) -> Connection:
    """Return who a connection is and when it began, without its numbers: the view of a row of WATCHED."""
    ((a, b),) = endpoints(np.atleast_1d(row))
    first_ns = int(row["first_ns"])
    return Connection(int(row["id"]), a, b, first_ns, first_ns, 0, began_in_capture=bool(row["began"]))


def unprobed(rows: NDArray[np.void]) -> list[Connection]:
    """Return connections without their probers: the views of rows of CONNECTION."""
    return [
        Connection(
            number, a, b, first_ns, last_ns, silence_ns, segments, began_in_capture=bool(state & BEGAN),
            window_probes=window_probes, retransmissions=retransmissions,
        )
        for (a, b), (number, first_ns, last_ns, silence_ns, segments, state, window_probes, retransmissions) in zip(
            endpoints(rows), rows[_CONNECTION].tolist(), strict=True
        )
    ]  # fmt: skip
