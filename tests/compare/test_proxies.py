"""Two legs of a proxy, joined by the times of their data: on a real proxy, and against chance."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from namespaced import inside

from kacap.classify.emit import LABEL
from kacap.classify.kinds import Kind
from kacap.facts.legs import BY_CHANCE, ENOUGH, FEWEST, QUIET_NS, Holder, Leg, Messages, join
from kacap.model import Connection, Ended, Endpoint
from kacap.report.records import schema
from kacap.segments import SEGMENT

SECOND = 1_000_000_000


@pytest.mark.namespaces
@pytest.mark.tool("tcpdump")
def test_the_legs_of_a_real_proxy_are_joined_and_it_is_told_which_is_bare_and_which_died_first(tmp_path):
    tmp_path.chmod(0o777)
    script = Path(__file__).with_name("through_a_proxy.py")
    compare = f"cd {tmp_path}; kacap compare front.pcap rear.pcap; kacap compare --json front.pcap rear.pcap >&2"
    done = inside(f"{sys.executable} {script} {tmp_path} && {compare}", timeout=500)
    pid, _, text = done.stdout.partition("\n")
    assert text.count("goes on as") == 2, text + done.stderr
    pattern = r"proxy +\S+:\d+ > 127\.0\.0\.1:8000 goes on as \S+:\d+ > 127\.0\.0\.1:9000: \d+ of \d+ "
    assert len(re.findall(pattern, text)) == 2
    assert len(re.findall(r"only the first leg is probed \(by 127\.0\.0\.1:\d+\); the second is bare", text)) == 1
    assert "the second leg ended first (reset), " in text
    assert "neither leg is probed" in text
    assert check_records(done.stderr) == {(None, None)}
    assert check_records((tmp_path / "live.json").read_text()) == {("python", int(pid))}
    told = (tmp_path / "live.txt").read_text()
    joined = r"> 127\.0\.0\.1:8000: proxy: goes on as \S+ > 127\.0\.0\.1:9000: "
    assert len(re.findall(rf"{joined}same process \(python\S*, {pid}\), \d+ of \d+ ", told)) == 2, told
    live, summary = told.split("\n\n", 1)
    for words in ("only the first leg is probed (by ", "the second leg ended first (reset), "):
        assert words in live and words in summary
    assert len(re.findall(r"^proxy +\S+ > \S+:8000 goes on as ", summary, re.M)) == 2


def check_records(text: str) -> set[tuple]:
    """Require the records of two conversations, the first probed on one leg; return who is said to hold the sockets."""
    records = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    proxies = [record for record in records if record["type"] == "proxy"]
    assert len(proxies) == 2
    for record in proxies:
        jsonschema.Draft202012Validator(schema()).validate(record)
    (probed,) = [record for record in proxies if record["front_probers"]]
    assert (probed["rear_probers"], probed["died_first"]) == ([], "rear")
    assert probed["before_ns"] > SECOND and probed["passed"] >= 0.8 * probed["messages"]
    assert probed["chance"] < BY_CHANCE
    return {(record["process"] and record["process"][:6], record["pid"]) for record in proxies}


def leg(number: int, towards, back, *, port: int = 80) -> Leg:
    ends = Endpoint(f"10.0.0.{number}", 40000 + number), Endpoint("10.0.1.1", port)
    made = Connection(number, *ends, 0, 0, 0, began_in_capture=True)
    return Leg(made, *(np.sort(np.array(times, np.int64)) for times in (towards, back)))


def conversation(chance: np.random.Generator, first: int, messages: int) -> list[Leg]:
    """Return a client's leg and the proxy's, which passes on after a millisecond, and the answers after ten more."""
    asked = np.sort(chance.integers(0, 600 * SECOND, messages))
    late = chance.integers(100_000, 2_000_000, messages)
    answered = asked + late + chance.integers(1_000_000, 30_000_000, messages)
    return [leg(first, asked, answered + late), leg(first + 1, asked + late, answered, port=5432)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_conversations_through_one_proxy_are_told_apart(seed):
    chance = np.random.default_rng(seed)
    legs = [each for number in range(20) for each in conversation(chance, 2 * number + 1, 12)]
    order = chance.permutation(len(legs))
    found = {(one.front.connection, one.rear.connection) for one in join([legs[place] for place in order])}
    assert found == {(2 * number + 1, 2 * number + 2) for number in range(20)}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_connections_that_have_nothing_to_do_with_each_other_are_not_joined(seed):
    chance = np.random.default_rng(seed)
    span = 600 * SECOND
    legs = [leg(n + 1, *(chance.integers(0, span, chance.integers(1, 400)) for _ in range(2))) for n in range(60)]
    assert join(legs) == []


def test_a_busy_connection_follows_everything_and_proves_nothing():
    chance = np.random.default_rng(1)
    busy = leg(1, np.arange(0, 60 * SECOND, 10_000_000), np.arange(0, 60 * SECOND, 10_000_000))
    quiet = leg(2, chance.integers(0, 60 * SECOND, 50), chance.integers(0, 60 * SECOND, 50))
    assert join([busy, quiet]) == []


def test_what_two_processes_hold_is_no_proxy_and_one_process_needs_fewer_messages():
    legs = conversation(np.random.default_rng(3), 1, 12)
    front, rear = legs[0].connection, legs[1].connection
    holders = {front.b: Holder(7, "proxy"), rear.a: Holder(8, "other")}
    assert join(legs, lambda end, other: holders.get(end)) == []
    holders[rear.a] = Holder(7, "proxy")
    (one,) = join(legs, lambda end, other: holders.get(end))
    assert (one.front, one.rear, one.process) == (front, rear, Holder(7, "proxy"))
    (alone,) = join(legs, lambda end, other: None)
    assert alone.process is None
    said = np.arange(4) * SECOND  # so little may well be chance
    few = [leg(1, said, []), leg(2, said + 1_000_000, [], port=5432)]
    assert join(few) == [] == join(few, lambda end, other: None)
    assert [one.process for one in join(few, lambda end, other: Holder(7, "proxy"))] == [Holder(7, "proxy")]


def test_messages_are_bounded_and_who_is_quiet_or_follows_nobody_makes_room():
    messages = Messages(2)
    for number, count in ((1, 200), (2, 3), (3, 3)):
        put(messages, number, [number * SECOND + i for i in range(count)])
    assert messages.numbers == [1, 2]
    kept = messages.leg(leg(1, [], []).connection)
    assert (len(kept.towards), len(kept.back), kept.since_ns) == (ENOUGH, 0, SECOND + 200 - ENOUGH)
    messages.give_up([1, 2])  # the second may yet say enough
    put(messages, 3, [9 * SECOND])
    assert messages.numbers == [2, 3]
    put(messages, 4, [9 * SECOND + QUIET_NS])
    assert messages.numbers == [3, 4]


def put(messages: Messages, number: int, times: list[int]) -> None:
    """Let a connection's client say something at these times."""
    segments, labels = np.zeros(len(times), SEGMENT), np.zeros(len(times), LABEL)
    segments["time_ns"] = times
    labels["id"], labels["kind"], labels["from_a"] = number, int(Kind.DATA), 1
    messages.take(segments, labels)


@pytest.mark.parametrize("cut", [0, 5, 20])
def test_legs_of_which_only_the_newest_messages_are_known_are_joined(cut):
    """One leg's messages were cut in two on the way, so that fewer of them are left."""
    front, rear = conversation(np.random.default_rng(2), 1, 40)
    since_ns = int(rear.towards[cut])
    short = Leg(rear.connection, rear.towards[cut:], rear.back[rear.back >= since_ns], since_ns)
    (one,) = join([front, short])
    assert one.passed == one.messages


def test_which_leg_ended_first_is_told_where_one_did():
    (one,) = join(conversation(np.random.default_rng(2), 1, 40))
    front, rear = one.front, one.rear
    front.last_ns = rear.last_ns = front.observed_until_ns = rear.observed_until_ns = 900 * SECOND
    assert one.died_first is None
    rear.ended = Ended("reset", "b", None, 700 * SECOND)
    assert one.died_first == (rear, 200 * SECOND)  # the other is open
    front.ended = Ended("fin", "a", None, 650 * SECOND)
    assert one.died_first == (front, 50 * SECOND)
    front.ended = Ended("fin", "a", None, 700 * SECOND)
    assert one.died_first is None  # at once


def test_too_few_messages_join_nothing():
    legs = conversation(np.random.default_rng(3), 1, 1)
    assert len(legs[0].towards) + len(legs[1].back) < FEWEST
    assert join(legs) == []
