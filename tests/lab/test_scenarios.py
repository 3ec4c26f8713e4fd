"""Scenarios as data: what can be checked without running one."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest

from kacap.errors import UsageError
from kacap.lab import merge, record, truth
from kacap.lab.actions import Actions
from kacap.lab.population import population
from kacap.lab.scenarios import SCENARIOS, boxes, capture_points, clocks, data, find, states

SHIPPED = Path(__file__).resolve().parents[2] / "captures" / "lab"
EVERY = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))


def test_no_name_is_used_twice() -> None:
    families = (states, clocks, data, boxes, capture_points)
    assert sum(len(family.SCENARIOS) for family in families) == len(SCENARIOS) >= 40


@EVERY
def test_every_event_is_a_verb_with_the_words_it_takes(scenario) -> None:
    for event in (*scenario.events, *scenario.without_nft):
        verb = getattr(Actions, event.verb)
        inspect.signature(verb).bind(None, *event.words)
        assert 0 <= event.seconds < scenario.seconds


@EVERY
def test_every_scenario_says_what_happens_what_to_look_for_and_what_is_true(scenario) -> None:
    for words in (scenario.happens, scenario.look_for, scenario.then):
        assert words.endswith(".") and len(words) < 130
    assert scenario.seconds <= 20


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean cut-off"):
        find("cutoff")
    with pytest.raises(UsageError, match="kacap lab list"):
        find("zzz")


def test_other_settings_reach_every_probing_end_and_slow_the_story_down() -> None:
    scenario = SCENARIOS["cut-off"].with_settings(4, None, 2)
    (pair,) = scenario.pairs
    assert (pair.client.idle, pair.client.interval, pair.client.count) == (4, 1, 2)
    assert pair.server is None
    assert scenario.seconds == 2 * SCENARIOS["cut-off"].seconds
    assert [event.seconds for event in scenario.events] == [2 * e.seconds for e in SCENARIOS["cut-off"].events]


def test_shorter_settings_do_not_hurry_the_story() -> None:
    assert SCENARIOS["cut-off"].with_settings(1, 1, 1).seconds == SCENARIOS["cut-off"].seconds


def test_settings_out_of_range_are_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="looks like milliseconds"):
        SCENARIOS["up"].with_settings(60_000, None, None)


def test_a_population_is_the_same_each_time_and_of_all_sorts() -> None:
    one, other = population(200, 100), population(200, 100)
    assert one == other
    assert sum(pair.lost for pair in one.pairs) == 60
    assert sum(pair.server is not None for pair in one.pairs) > 30
    assert {event.verb for event in one.events} == {"cut", "send"}


def test_what_is_written_as_truth_is_read_back(tmp_path: Path) -> None:
    told = {
        "text": 'a "quoted" line\\ with\nbreaks, and ü',
        "number": 1795172446103205533,
        "yes": True,
        "empty": [],
        "list": ["a", "b"],
        "table": {"a": {"b": 1}, "c": {"d": 2}},
        "many": [{"x": {"y": {"z": 1}}}, {"x": {"y": {"z": 2}}}],
    }
    path = tmp_path / "truth.toml"
    truth.write(path, told | {"unknown": None})
    assert tomllib.loads(path.read_text()) == told == truth.read(path)


def test_merged_captures_are_in_the_order_of_time(tmp_path: Path) -> None:
    captures = []
    for name, times in (("a", [1, 5, 9]), ("b", [2, 3, 10])):
        writer = record.PcapngWriter(tmp_path / name, [("eth0", 1, 256)])
        for time_ns in times:
            writer.frame(0, time_ns + 2**40, name.encode() * 60, 60)
        writer.close([(3, 1)], 2**40)
        told = {"host": name, "interface": "eth0", "files": [name], "frames": 3, "dropped": 1}
        captures.append(told | {"started_ns": 0, "stopped_ns": 2**40})
    told = merge.merge(tmp_path, captures)
    frames = list(merge.frames_in(tmp_path / "capture.pcapng"))
    assert [(time_ns - 2**40, data[:1]) for time_ns, data, _ in frames] == [
        (1, b"a"),
        (2, b"b"),
        (3, b"b"),
        (5, b"a"),
        (9, b"a"),
        (10, b"b"),
    ]
    assert (told["frames"], told["dropped"]) == (6, 2)
    assert not (tmp_path / "a").exists()


@EVERY
def test_every_scenario_ships_with_its_truth_and_captures(scenario) -> None:
    directory = SHIPPED / scenario.name
    told = truth.read(directory / "truth.toml")
    assert told["scenario"] == scenario.name and not told["ended_early"]
    named = {name for capture in told["capture"] for name in capture["files"]}
    assert named == {path.name for path in directory.glob("*.pcapng")}


def test_nothing_ships_that_is_no_scenario_and_all_of_it_is_small() -> None:
    assert {path.name for path in SHIPPED.iterdir()} - set(SCENARIOS) <= {"population"}
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 3_500_000
