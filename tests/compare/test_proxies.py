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

from kacap.facts.legs import BY_CHANCE, FEWEST, Leg, join
from kacap.model import Connection, Endpoint
from kacap.report.records import schema

SECOND = 1_000_000_000


@pytest.mark.namespaces
@pytest.mark.tool("tcpdump")
def test_the_legs_of_a_real_proxy_are_joined_and_it_is_told_which_is_bare_and_which_died_first(tmp_path):
    tmp_path.chmod(0o777)
    script = Path(__file__).with_name("through_a_proxy.py")
    compare = f"cd {tmp_path}; kacap compare front.pcap rear.pcap; kacap compare --json front.pcap rear.pcap >&2"
    done = inside(f"{sys.executable} {script} {tmp_path} >/dev/null && {compare}", timeout=300)
    text = done.stdout
    assert text.count("goes on as") == 2, text + done.stderr
    pattern = r"proxy +\S+:\d+ > 127\.0\.0\.1:8000 goes on as \S+:\d+ > 127\.0\.0\.1:9000: \d+ of \d+ "
    assert len(re.findall(pattern, text)) == 2
    assert len(re.findall(r"only the first leg is probed \(by 127\.0\.0\.1:\d+\); the second is bare", text)) == 1
    assert "the second leg ended first (reset), " in text
    assert "neither leg is probed" in text
    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    proxies = [record for record in records if record["type"] == "proxy"]
    assert len(proxies) == 2
    for record in proxies:
        jsonschema.Draft202012Validator(schema()).validate(record)
    (probed,) = [record for record in proxies if record["front_probers"]]
    assert (probed["rear_probers"], probed["died_first"]) == ([], "rear")
    assert probed["before_ns"] > SECOND and probed["passed"] == probed["messages"] and probed["chance"] < BY_CHANCE


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


@pytest.mark.parametrize("seed", range(5))
def test_conversations_through_one_proxy_are_told_apart(seed):
    chance = np.random.default_rng(seed)
    legs = [each for number in range(20) for each in conversation(chance, 2 * number + 1, 12)]
    order = chance.permutation(len(legs))
    found = {(one.front.connection, one.rear.connection) for one in join([legs[place] for place in order])}
    assert found == {(2 * number + 1, 2 * number + 2) for number in range(20)}


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


def test_too_few_messages_join_nothing():
    legs = conversation(np.random.default_rng(3), 1, 1)
    assert len(legs[0].towards) + len(legs[1].back) < FEWEST
    assert join(legs) == []
