"""The kernels that resolve and gather against their plain twin: every shipped capture, random events, any cut."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import analysing
import numpy as np
import pytest
import reference_middle as twin
from analysing import frames_of, pieces
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import event_rows

import kacap.analyzer
from kacap.analyzer import Analyzer
from kacap.classify.emit import EVENT
from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import ENDINGS, GRADE_WORDS, KIND_WORDS
from kacap.classify.resolve import CERTAIN_REPEATS
from kacap.classify.tables import Change, Outcome
from kacap.flows import BEGAN, CONNECTION, NEVER
from kacap.options import Options
from kacap.segments import ACK
from kacap.timing.forgetting import forget
from kacap.timing.gathering import Changes, Gatherer

pytestmark = pytest.mark.slow

OUTCOMES = tuple(outcome.name.lower() for outcome in Outcome)
_NEVER = int(NEVER)


def moment(value: Any) -> int | None:
    return None if int(value) == _NEVER else int(value)


def event_of(row: np.void) -> twin.Event:
    """An EVENT row as the twin takes it."""
    return twin.Event(
        int(row["time_ns"]), (int(row["file"]), int(row["frame"])), bool(row["from_a"]), KIND_WORDS[row["kind"]],
        GRADE_WORDS[row["grade"]], KindReason(row["why"]).name, int(row["seq"]), int(row["ack"]),
        int(row["payload_len"]),
        int(row["window"]), int(row["flags"]), bool(row["answers"]), int(row["hints"]), moment(row["heard_ns"]),
        moment(row["closed_ns"]),
    )  # fmt: skip


class Both(Gatherer):
    """A gatherer whose twin is told the same."""

    def __init__(self, **_: Any) -> None:
        super().__init__(listening=True, reported_from=0)
        self.twins: dict[int, twin.Connection] = {}
        self.ends: dict[int, tuple[twin.Address, twin.Address]] = {}
        self.news: list[Changes] = []

    def introduce(self, connections: np.ndarray) -> None:
        for row in connections:
            number = len(self.twins)
            self.twins[number] = twin.Connection()
            a, b = ((int(row[f"{side}_hi"]), int(row[f"{side}_lo"]), int(row[f"{side}_port"])) for side in "ab")
            self.ends[number] = (a, b)
        super().introduce(connections)

    def take(self, events: np.ndarray) -> None:
        for row in events:
            self.twins[int(row["watched"])].take(event_of(row))
        super().take(events)
        self.news.append(self.changed())

    def close(self, watched: np.ndarray, now_ns: int | None) -> None:
        scans = twin.scans_of(self.twins, self.ends) if now_ns is not None else set()
        for number in watched.tolist():
            self.twins[number].finish(now_ns, ((number, 0) in scans, (number, 1) in scans))
        super().close(watched, now_ns)
        self.news.append(self.changed())


def told(gatherer: Both) -> dict[int, list[tuple]]:
    """What was decided of each connection's segments, in order."""
    found = defaultdict(list)
    for news in gatherer.news:
        for row in news.decided:
            words = KIND_WORDS[row["kind"]], GRADE_WORDS[row["grade"]], KindReason(row["why"]).name
            found[int(row["watched"])].append(((int(row["file"]), int(row["frame"])), *words))
    return found


def changes(gatherer: Both) -> dict[int, list[tuple]]:
    """What else was new of each connection, in order, as the twin tells it."""
    found = defaultdict(list)
    for news in gatherer.news:
        for row in news.rows[news.rows["what"] != Change.SEGMENT]:
            what, time_ns = Change(row["what"]), int(row["time_ns"])
            one: tuple = (what.name.lower(), time_ns)
            if what in (Change.SENT, Change.ANSWERED, Change.REFUSED):
                probe = gatherer.probes.rows[row["row"]]
                one = (*one, (int(probe["file"]), int(probe["frame"])))
            if what == Change.ENDED:
                episode = gatherer.episodes.rows[row["row"]]
                first = gatherer.probes.rows[episode["first"]]
                one = (*one, (int(first["file"]), int(first["frame"])), str(ENDINGS[episode["ending"]]))
            if what in (Change.SENT, Change.SUSPECTED):
                one = (*one, int(row["number"]))
            if what in (Change.SENT, Change.SUSPECTED, Change.ANSWERED):
                one = (*one, int(row["gap_ns"]))
            found[int(row["watched"])].append(one)
    return found


def episodes(gatherer: Both, number: int) -> list[tuple]:
    """The runs of a prober, from its rows, as the twin tells them."""
    found, row = [], int(gatherer.probers.rows[number]["last_episode"])
    while row:
        episode = gatherer.episodes.rows[row]
        probes, at = [], int(episode["last"])
        for _ in range(int(episode["probes"])):
            probe = gatherer.probes.rows[at]
            reply: tuple = (None, None, None)
            if probe["reply_frame"]:
                frame = (int(probe["reply_file"]), int(probe["reply_frame"]))
                reply = (frame, int(probe["reply_after_ns"]), KIND_WORDS[probe["answer"]])
            probes.insert(0, (
                (int(probe["file"]), int(probe["frame"])), int(probe["time_ns"]), GRADE_WORDS[probe["grade"]],
                int(probe["payload"]), OUTCOMES[probe["outcome"]], *reply,
            ))  # fmt: skip
            at = int(probe["previous"])
        assert probes[0][0] == (
            int(gatherer.probes.rows[episode["first"]]["file"]),
            int(gatherer.probes.rows[episode["first"]]["frame"]),
        )
        ending = (int(episode["ending_file"]), int(episode["ending_frame"])) if episode["ending_frame"] else None
        since_ns, closed_ns = moment(episode["silent_since_ns"]), moment(episode["closed_ns"])
        found.insert(0, (probes, since_ns, closed_ns, str(ENDINGS[episode["ending"]]), ending))
        row = int(episode["previous"])
    return found


def numbers(gatherer: Both, number: int) -> dict:
    """The numbers of a prober's row, as the twin counts them."""
    row, history = gatherer.probers.rows[number], gatherer.histories.rows[number]
    spans = {name: (int(row[f"{name}_least_ns"]), int(row[f"{name}_most_ns"])) for name in ("reply", "gap")}
    counted = ("probes", "replies", "missed", "reset", "longest_run", "episodes", "unheard", "payload", "survived_ns",
               "first_ns", "last_ns")  # fmt: skip
    return {
        **{name: int(row[name]) for name in counted},
        "ending": str(ENDINGS[row["ending"]]),
        "grade": GRADE_WORDS[row["grade"]],
        "gaps": spans["gap"] if row["probes"] > 1 else None,
        "reply": spans["reply"] if row["replies"] else None,
        "firings": int(history["firings"]),
        "longest_in_history": int(history["longest_run"]),
        "exhausted": tuple(int(history[f"exhausted_{name}"]) for name in ("n", "min", "max")),
    }


def agree(gatherer: Both) -> None:
    """Hold everything that the tables say against the twins, connection by connection."""
    segments, others = told(gatherer), changes(gatherer)
    for number, connection in gatherer.twins.items():
        assert segments[number] == connection.told
        untimed = [one[1] is None for one in connection.changes]  # runs that end with their connection
        found = [(one[0], None if no else one[1], *one[2:]) for one, no in zip(others[number], untimed, strict=True)]
        assert found == connection.changes
        assert not connection.queue
        for side, prober in enumerate(connection.probers):
            row = int(gatherer.sides.rows[2 * number + side]["prober"])
            assert bool(row) == bool(prober)
            if prober:
                assert episodes(gatherer, row) == [run.numbers() for run in prober.episodes]
                assert numbers(gatherer, row) == prober.numbers()


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> list[Both]:
    """The gatherers that analyzers make from now on, each with its twin."""
    made: list[Both] = []

    def make(**options: Any) -> Both:
        made.append(Both(**options))
        return made[-1]

    monkeypatch.setattr(kacap.analyzer, "Gatherer", make)
    return made


@pytest.mark.parametrize("case", analysing.small_cases())
def test_on_every_shipped_capture_kernels_and_twin_agree(case: str, both: list[Both]) -> None:
    frames = frames_of(case)
    places = random.Random(5).choices(range(1, max(len(frames.frames), 2)), k=7)
    for segments in ("all", "events", "none"):
        analyzer = Analyzer(Options(segments=segments))  # which events there are depends on it
        for batch in pieces(frames, places):
            analyzer.feed(batch)
        analyzer.finish()
        agree(both.pop())


@pytest.mark.slow
def test_on_a_population_kernels_and_twin_agree(both: list[Both]) -> None:
    analyzer = Analyzer()
    analyzer.feed(frames_of(analysing.POPULATION))
    analyzer.finish()
    agree(both.pop())


def gathered(rows: np.ndarray, cuts: Iterable[int], now_ns: int) -> Both:
    """Kernels and twin after EVENT rows of four connections, fed in pieces; the second one is closed before the end.

    All have one end in common; the third and the fourth are one, seen in two VLANs.
    """
    gatherer = Both()
    gatherer.introduce(four_connections())
    for piece in np.split(rows, sorted(cuts)):
        gatherer.take(piece)
    gatherer.close(np.array([1]), None)
    gatherer.close(np.array([0, 2, 3]), now_ns)
    return gatherer


def four_connections() -> np.ndarray:
    """CONNECTION rows, one of which began in the capture."""
    connections = np.zeros(4, CONNECTION)
    connections["id"], connections["watched"] = [1, 2, 3, 4], [0, 1, 2, 3]
    connections["a_lo"], connections["a_port"], connections["b_lo"] = 1, [7, 7, 8, 8], [2, 3, 2, 2]
    connections["state"] = [BEGAN, 0, 0, 0]
    return connections


@settings(max_examples=300, deadline=None)
@given(event_rows(4, EVENT), st.lists(st.integers(0, 60), max_size=6), st.sampled_from([0, 10**8, 10**9, 10**12]))
def test_whatever_events_come_and_however_they_are_cut_kernels_and_twin_agree(
    rows: np.ndarray, cuts: list[int], later_ns: int
) -> None:
    now_ns = int(rows["time_ns"].max(initial=0)) + later_ns
    agree(gathered(rows, [cut for cut in cuts if cut < len(rows)], now_ns))


def test_equal_acks_of_one_time_make_no_gap_that_others_are_like() -> None:
    rows = np.zeros(CERTAIN_REPEATS, EVENT)
    rows["time_ns"] = 10**18
    rows["time_ns"][-1] += 10**6
    rows["frame"], rows["id"], rows["from_a"], rows["seq"], rows["ack"] = np.arange(len(rows)) + 1, 1, 1, 1000, 1001
    rows["heard_ns"] = rows["closed_ns"] = NEVER
    rows["kind"], rows["grade"] = KIND_WORDS.index("probe"), GRADE_WORDS.index("patterned")
    rows["why"], rows["flags"] = KindReason.REPEATS, ACK
    gatherer = gathered(rows, [], 10**18 + 10**12)
    agree(gatherer)
    assert {grade for told_of in told(gatherer).values() for _, _, grade, _ in told_of} == {"ambiguous"}


def kept_of(runs: list[twin.Run], kept: int) -> list[twin.Run]:
    """The episodes that are not forgotten: the last, and the last that are more than one answered probe."""
    long = [run for run in runs if len(run.probes) > 1 or run.ending != "answered"]
    wanted = {id(run) for run in (*runs[-kept:], *long[-kept:])}
    return [run for run in runs if id(run) in wanted]


@settings(max_examples=150, deadline=None)
@given(event_rows(2, EVENT, 20), st.lists(st.integers(0, 60), max_size=6), st.integers(1, 3))
def test_however_often_older_episodes_are_forgotten_the_rest_and_all_numbers_are_the_same(
    rows: np.ndarray, cuts: list[int], kept: int
) -> None:
    gatherer = Both()
    gatherer.introduce(four_connections())
    for piece in np.split(rows, sorted(cut for cut in cuts if cut < len(rows))):
        gatherer.take(piece)
        forget(gatherer, kept)
    gatherer.close(np.arange(4), int(rows["time_ns"].max(initial=0)))
    forget(gatherer, kept)
    for number, connection in gatherer.twins.items():
        for side, prober in enumerate(connection.probers):
            if prober:
                row = int(gatherer.sides.rows[2 * number + side]["prober"])
                left = kept_of(prober.episodes, kept)
                assert episodes(gatherer, row) == [run.numbers() for run in left]
                assert numbers(gatherer, row) == {**prober.numbers(), "episodes": len(left)}
    expected = sum(len(run.probes) for c in gatherer.twins.values() for p in c.probers if p for run in p.episodes)
    assert gatherer.probes.used <= expected
