"""680 recorded Linux sockets, HZ 250: what they had configured is in every estimated set."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import numpy as np
import pytest
from analysing import CAPTURES, POPULATION, frames_of, pieces, segments_of, spelled

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer
from kacap.model import Connection, Prober
from kacap.options import Options
from kacap.segments import HAS_TIMESTAMPS

OPTIONS = {"idle": "tcp_keepidle", "interval": "tcp_keepintvl", "count": "tcp_keepcnt"}
# What is measured on this capture; a change that tells less must say why.
LEAST = {
    "idle": {"single": 298, "told": 680},
    "interval": {"single": 154, "told": 346},
    "count": {"single": 193, "told": 193},
}


@pytest.fixture(scope="module")
def sockets() -> dict[tuple[str, str], dict[str, str]]:
    with (CAPTURES / POPULATION / "sockets.csv").open() as file:
        return {(row["address"], row["peer"]): row for row in csv.DictReader(file)}


def analysed(segments: np.ndarray, **options) -> Analysis:
    analyzer = Analyzer(Options(**options))
    analyzer.gather(analyzer.track(segments.copy()))
    return analyzer.finish()


@pytest.fixture(scope="module")
def connections() -> list[Connection]:
    return analysed(segments_of(POPULATION)).connections


def probers_of(connections: list[Connection]) -> Iterator[Prober]:
    return (prober for connection in connections for prober in connection.probers)


def wrong_sets(connections: list[Connection], sockets: dict) -> list[str]:
    found = []
    for prober in probers_of(connections):
        had = sockets[str(prober.side), str(prober.peer)]
        for name, option in OPTIONS.items():
            candidates = getattr(prober, name).candidates
            if candidates is not None and int(had[option]) not in candidates:
                found.append(f"{prober.side}: {option} {had[option]} is not in {candidates}")
    return found


def test_every_socket_that_probes_had_keepalive_on(connections: list[Connection], sockets: dict) -> None:
    assert all(sockets[str(p.side), str(p.peer)]["so_keepalive"] == "1" for p in probers_of(connections))
    assert sum(1 for _ in probers_of(connections)) == sum(row["so_keepalive"] == "1" for row in sockets.values())


def test_no_set_is_wrong(connections: list[Connection], sockets: dict) -> None:
    assert wrong_sets(connections, sockets) == []


@pytest.mark.slow
def test_no_set_is_wrong_for_one_connection_alone(sockets: dict) -> None:
    segments = segments_of(POPULATION)
    ends = np.sort(segments[["src_port", "dst_port"]].tolist(), axis=1)
    _, place = np.unique(ends, axis=0, return_inverse=True)
    for one in range(0, place.max() + 1, 7):
        assert wrong_sets(analysed(segments[place.reshape(-1) == one]).connections, sockets) == []


@pytest.mark.slow
def test_the_clock_rate_is_inferred() -> None:
    assert analysed(segments_of(POPULATION)).clocks == {"10.1.0.2": {250}, "10.2.0.2": {250}}


@pytest.mark.parametrize("name", OPTIONS)
def test_sets_are_single_values_as_often_as_measured(connections: list[Connection], name: str) -> None:
    sets = [getattr(prober, name).candidates for prober in probers_of(connections)]
    told = [candidates for candidates in sets if candidates is not None]
    single = [candidates for candidates in told if len(candidates) == 1]
    print(f"{name}: {len(sets)} probers, {len(told)} told, {len(single)} a single value")
    assert len(single) >= LEAST[name]["single"] and len(told) >= LEAST[name]["told"]


def test_every_idle_below_sixteen_seconds_that_shows_twice_is_a_single_value(
    connections: list[Connection], sockets: dict
) -> None:
    for prober in probers_of(connections):
        had = sockets[str(prober.side), str(prober.peer)]
        usual = int(had["tcp_keepintvl"]) <= int(had["tcp_keepidle"]) < 16  # the lateness is below a second
        if usual and prober.idle.n > 1 and prober.interval.candidates is None:
            assert prober.idle.candidates == [int(had["tcp_keepidle"])], str(prober.side)


@pytest.mark.slow
@pytest.mark.parametrize("minute", [1, 2, 4, 7])
def test_no_set_is_wrong_when_the_capture_begins_later(minute: int, sockets: dict) -> None:
    segments = segments_of(POPULATION)
    later = segments[segments["time_ns"] >= segments["time_ns"][0] + minute * 60_000_000_000]
    found = [
        connection
        for connection in analysed(later).connections
        if not any(unusual(p, sockets) and p.idle.assumes for p in connection.probers)
    ]
    assert len(found) > 300
    assert wrong_sets(found, sockets) == []


def unusual(prober: Prober, sockets: dict) -> bool:
    """Whether its interval exceeds idle, which is what the assumptions exclude."""
    had = sockets[str(prober.side), str(prober.peer)]
    return int(had["tcp_keepintvl"]) > int(had["tcp_keepidle"])


@pytest.mark.slow
def test_the_estimates_are_the_same_wherever_the_capture_is_cut(connections: list[Connection]) -> None:
    batch = frames_of(POPULATION)
    analyzer = Analyzer()
    for piece in pieces(batch, range(997, len(batch.frames), 997)):
        analyzer.feed(piece)
    assert spelled(analyzer.finish().connections) == spelled(connections)


def test_one_gap_says_what_it_takes_for_granted(connections: list[Connection]) -> None:
    single = [prober.idle.assumes for prober in probers_of(connections) if prober.idle.n == 1]
    assert single and all("enabled-at-connect" in assumes for assumes in single)


@pytest.mark.slow
def test_without_timestamps_one_gap_may_hold_frames_that_are_missing() -> None:
    segments = segments_of(POPULATION).copy()
    segments["has"] &= 0xFF ^ HAS_TIMESTAMPS
    single = [prober.idle for prober in probers_of(analysed(segments).connections) if prober.idle.n == 1]
    assert single and all("no-frame-missing" in idle.assumes for idle in single)
