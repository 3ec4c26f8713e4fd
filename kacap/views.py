"""Objects made of rows, when somebody asks for them: endpoints, probes, episodes, probers, connections."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_text
from kacap.classify.kind_reasons import SENTENCES, KindReason
from kacap.classify.kinds import ENDINGS, GRADE_WORDS, KIND_WORDS, Ending
from kacap.classify.tables import EpisodeRow, Outcome, ProbeRow, ProberRow
from kacap.flows import BEGAN, NEVER
from kacap.model import Connection, Endpoint, Episode, FrameRef, Probe, Prober, SegmentRecord
from kacap.rows import chain, chains
from kacap.timing.gathering import Gatherer

OUTCOMES = tuple(outcome.name.lower() for outcome in Outcome)
_NEVER = int(NEVER)


def endpoints(row: Any) -> tuple[Endpoint, Endpoint]:
    """Return sides a and b of a row that names them (CONNECTION, WATCHED)."""
    return (
        Endpoint(address_text(int(row["a_hi"]), int(row["a_lo"])), int(row["a_port"])),
        Endpoint(address_text(int(row["b_hi"]), int(row["b_lo"])), int(row["b_port"])),
    )


def seen_ns(value: Any) -> int | None:
    """Return a time of a row, None where nothing was seen."""
    time_ns = int(value)
    return None if time_ns == _NEVER else time_ns


class Views:
    """The objects of one gatherer's rows. A prober is named by its row of PROBER."""

    def __init__(self, gatherer: Gatherer) -> None:
        self.gatherer = gatherer

    def connection_of(self, prober: int) -> tuple[int, Endpoint, Endpoint]:
        """Return (serial number, prober's side, its peer) of a prober."""
        row = self.gatherer.probers.rows[prober]
        watched = self.gatherer.watched.rows[row["watched"]]
        a, b = endpoints(watched)
        return (int(watched["id"]), a, b) if row["side"] == 0 else (int(watched["id"]), b, a)

    def probes(self, prober: int, rows: NDArray[np.int64]) -> list[Probe]:
        """Return the probes of a prober in these rows of PROBE."""
        number, side, peer = self.connection_of(prober)
        made = []
        for row in map(ProbeRow._make, self.gatherer.probes.rows[rows].tolist()):
            reply = FrameRef(row.reply_file, row.reply_frame) if row.reply_frame else None
            made.append(
                Probe(
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
            )
        return made

    def _made(self, prober: int, rows: NDArray[np.int64]) -> list[Episode]:
        """Return the episodes of a prober in these rows of EPISODE, in order."""
        found, previous = self.gatherer.episodes.rows[rows], self.gatherer.probes.rows["previous"]
        probes = iter(self.probes(prober, chains(previous, found["last"], found["probes"])))
        return [_episode(row, list(islice(probes, row.probes))) for row in map(EpisodeRow._make, found.tolist())]

    def episode(self, row: int) -> Episode:
        """Return the episode in a row of EPISODE."""
        return self._made(int(self.gatherer.episodes.rows["prober"][row]), np.array([row]))[0]

    def episodes(self, prober: int) -> list[Episode]:
        """Return every episode of a prober, in order."""
        row = self.gatherer.probers.rows[prober]
        previous = self.gatherer.episodes.rows["previous"]
        return self._made(prober, chain(previous, int(row["last_episode"]), int(row["episodes"])))

    def last(self, prober: int) -> Episode:
        """Return the last episode of a prober."""
        return self._made(prober, self.gatherer.probers.rows["last_episode"][[prober]])[0]

    def runs(self, prober: int) -> list[Episode]:
        """Return the episodes of a prober that are more than one probe answered, in order."""
        previous, found = self.gatherer.episodes.rows["previous_run"], []
        row = int(self.gatherer.probers.rows[prober]["last_run"])
        while row:
            found.append(row)
            row = int(previous[row])
        return self._made(prober, np.array(found[::-1], np.int64))

    def prober(self, number: int) -> Prober:
        """Return a prober with its numbers; its settings are not estimated yet."""
        row = ProberRow._make(self.gatherer.probers.rows[number].item())
        connection, side, peer = self.connection_of(number)
        return Prober(
            side, peer, probes=row.probes, replies=row.replies, missed=row.missed, ending=str(ENDINGS[row.ending]),
            grade=GRADE_WORDS[row.grade], payload_bytes=row.payload, first_probe_ns=row.first_ns,
            last_probe_ns=row.last_ns, survived_ns=row.survived_ns, longest_run=row.longest_run, unheard=row.unheard,
            reply_after_ns=(row.reply_least_ns, row.reply_most_ns) if row.replies else None,
            gaps_ns=(row.gap_least_ns, row.gap_most_ns) if row.probes > 1 else None,
            connection=connection, row=number, frames=self._frames(row), lone=row.episodes - row.runs,
            path_ns=row.path_ns, _rows=self,
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

    def _silences(self, episodes: NDArray[Any]) -> NDArray[np.int64]:
        """Return the silences before those of some rows of EPISODE that have one."""
        known = episodes[episodes["silent_since_ns"] != NEVER]
        silences_ns: NDArray[np.int64] = self.gatherer.probes.rows["time_ns"][known["first"]] - known["silent_since_ns"]
        return silences_ns

    def _frames(self, prober: ProberRow) -> tuple[FrameRef, FrameRef]:
        """Return the frames of the first and the last probe of a row of PROBER."""
        found = self.gatherer.probes.rows[[prober.first_probe, prober.last_probe]].tolist()
        first, last = (FrameRef(probe.file, probe.frame) for probe in map(ProbeRow._make, found))
        return first, last

    def end(self, number: int, ending: str) -> None:
        """Let a prober's last episode have ended in another way."""
        row = self.gatherer.probers.rows[number]
        row["ending"] = code = ENDINGS.index(Ending(ending))
        self.gatherer.episodes.rows["ending"][row["last_episode"]] = code

    def segment(self, row: Any) -> SegmentRecord:
        """Return the record of a row of DECIDED."""
        watched = self.gatherer.watched.rows[row["watched"]]
        a, b = endpoints(watched)
        return SegmentRecord(
            FrameRef(int(row["file"]), int(row["frame"])),
            int(row["time_ns"]),
            int(watched["id"]),
            *((a, b) if row["from_a"] else (b, a)),
            KIND_WORDS[row["kind"]],
            GRADE_WORDS[row["grade"]],
            SENTENCES[KindReason(row["why"])],
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


def begun(row: Any) -> Connection:
    """Return who a connection is and when it began, without its numbers: the view of a row of WATCHED."""
    a, b = endpoints(row)
    first_ns = int(row["first_ns"])
    return Connection(int(row["id"]), a, b, first_ns, first_ns, 0, began_in_capture=bool(row["began"]))


def connection(row: Any) -> Connection:
    """Return a connection without its probers: the view of a row of CONNECTION."""
    a, b = endpoints(row)
    return Connection(
        int(row["id"]),
        a,
        b,
        first_ns=int(row["first_ns"]),
        last_ns=int(row["last_ns"]),
        longest_silence_ns=int(row["longest_silence_ns"]),
        segments=int(row["segments"]),
        began_in_capture=bool(row["state"] & BEGAN),
        window_probes=int(row["window_probes"]),
        retransmissions=int(row["retransmissions"]),
    )
