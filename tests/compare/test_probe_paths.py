"""Two captures of the same traffic at two sites: connections matched, clocks, each probe's way there and back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from timelines import parse, write_pcap

from kacap.compare import path_records, path_text
from kacap.compare.fates import SENTENCES, Fate
from kacap.compare.offset import ClockOffset
from kacap.compare.paths import SiteComparison, cross
from kacap.compare.site import Site, read
from kacap.report.records import schema

MS = 1_000_000
AT_A, AT_B, BOTH = "A", "B", "AB"

# A connection seen at two sites. The letters say which site shows a line; one hop lies between, 5 ms long.
STORY = [
    ("0", "C > S S win 64240 <mss 1460, sackOK, nop, wscale 7>", BOTH),
    ("+0.02", "S > C S. win 65160 <mss 1460, sackOK, nop, wscale 7>", BOTH),
    ("+0.01", "C > S . win 502", BOTH),
    ("+0.1", "C > S P. len 9", BOTH),
    ("+0.02", "S > C . win 509", BOTH),
]
PROBE, REPLY = "C > S . seq nxt-1", "S > C ."
CLIENT, SERVER = "10.0.0.1:40000", "192.0.2.9:443"
NAT = "203.0.113.7:61001"


def view(site: str, story: list[tuple[str, str, str]], path: Path, **other: str | int) -> str:
    """Write what one site shows of a story. ``other``: client (its address there), ahead_ns, shift, timestamps."""
    client, ttls = other.get("client", CLIENT), ("ttl 64", "ttl 63") if site == AT_A else ("ttl 63", "ttl 64")
    isn = 1000 + int(other.get("shift", 0))
    lines = [f"C {client} isn {isn} {ttls[0]}", f"S {SERVER} isn 5000 {ttls[1]}", str(other.get("timestamps", "")), ""]
    lines += [f"{when} {what}{'' if site in where else ' uncaptured'}" for when, what, where in story]
    timeline = parse("\n".join(["# A story.", *lines]) + "\n")
    times = []
    for event, (time_ns, data) in zip((e for e in timeline.events if e.captured), timeline.frames(), strict=True):
        late = (event.sender == "C") == (site == AT_B)  # it comes from beyond the other site
        times.append((time_ns + (5 * MS if late else 0) + int(other.get("ahead_ns", 0)), data))
    write_pcap(path, times, 1)
    return str(path)


def crossed(
    story: list[tuple[str, str, str]], tmp_path: Path, at_a: dict | None = None, at_b: dict | None = None
) -> SiteComparison:
    one = read([view(AT_A, STORY + story, tmp_path / "a.pcap", **(at_a or {}))], "a")
    two = read([view(AT_B, STORY + story, tmp_path / "b.pcap", **(at_b or {}))], "b")
    return cross(one, two)


def fates(comparison: SiteComparison) -> list[str]:
    return [path.fate.value for prober_paths in comparison.prober_paths for path in prober_paths.paths]


ANSWERED = [("+60", PROBE, BOTH), ("+0.02", REPLY, BOTH)] * 3
NO_REPLY_AT_A = [("+60", PROBE, BOTH), ("+0.02", REPLY, AT_B)]
LOST = [("+60", PROBE, AT_A), ("+60", PROBE, AT_A), ("+60", PROBE, BOTH), ("+0.02", REPLY, BOTH)]
SILENT = [("+60", PROBE, BOTH), ("+10", PROBE, BOTH), ("+10", "C > S R.", BOTH)]
BETWEEN = [("+60", PROBE, AT_A), ("+0.001", f"{REPLY} ttl 64", AT_A), ("+60", PROBE, BOTH), ("+0.02", REPLY, BOTH)]
SPOOFED = [("+60", f"{PROBE} ttl 255", AT_B), ("+0.01", REPLY, AT_B), ("+60", PROBE, BOTH), ("+0.02", REPLY, BOTH)]
RESET = [("+60", PROBE, BOTH), ("+0.02", "S > C R seq nxt", BOTH)]
FORGED = [("+60", PROBE, AT_A), ("+0.01", "S > C R seq nxt ttl 64", AT_A), ("+90", "C > S . seq nxt", BOTH)]


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        (ANSWERED, ["answered"] * 3),
        (NO_REPLY_AT_A, ["reply-lost"]),
        (LOST, ["probe-lost", "probe-lost", "answered"]),
        (SILENT, ["peer-silent", "peer-silent"]),
        (BETWEEN, ["not-end-to-end", "answered"]),
        (SPOOFED, ["probe-from-between", "answered"]),
        (RESET, ["reset"]),
        (FORGED, ["reset-between"]),
    ],
    ids=["answered", "reply lost", "probe lost", "silent", "between", "spoofed", "reset", "forged"],
)
@pytest.mark.parametrize("timestamps", ["", "timestamps"])
def test_each_probe_is_followed_to_the_place_where_it_or_its_answer_ended(
    story: list[tuple[str, str, str]], expected: list[str], timestamps: str, tmp_path: Path
) -> None:
    found = crossed(story, tmp_path, {"timestamps": timestamps}, {"timestamps": timestamps})
    assert fates(found) == expected
    (prober_paths,) = found.prober_paths
    assert (prober_paths.near, prober_paths.far) == (1, 2)
    assert (str(prober_paths.prober), str(prober_paths.peer)) == (CLIENT, SERVER)


@pytest.mark.slow
def test_the_order_in_which_the_captures_are_named_changes_no_fate(tmp_path: Path) -> None:
    for story in (ANSWERED, LOST, BETWEEN, SPOOFED):
        one, two = (read([view(p, STORY + story, tmp_path / f"{p}.pcap")], p) for p in (AT_A, AT_B))
        forth, back = cross(one, two), cross(two, one)
        assert fates(forth) == fates(back)
        assert back.prober_paths[0].near == 2
        assert back.clocks.ahead_ns == -forth.clocks.ahead_ns


@pytest.mark.slow
def test_probes_that_are_all_alike_cost_as_much_each_however_many_there_are(tmp_path: Path) -> None:
    def taken_s(probes: int) -> float:
        story = [part for _ in range(probes) for part in (("+10", PROBE, BOTH), ("+0.02", REPLY, BOTH))]
        one, two = (read([view(p, STORY + story, tmp_path / f"{p}.pcap")], p) for p in (AT_A, AT_B))
        began_s = time.process_time()
        assert fates(cross(one, two)) == ["answered"] * probes
        return time.process_time() - began_s

    few_s, many_s = min(taken_s(300) for _ in range(2)), min(taken_s(2400) for _ in range(2))
    print(f"compare: {few_s:.3f} s for 300 probes, {many_s:.3f} s for 2,400")
    assert many_s < 3 * 8 * few_s  # eight times as many; each with each of the others would be 64 times


@pytest.mark.parametrize("ahead_ns", [0, 250 * MS, -90_000 * MS, 3_600_000 * MS])
def test_clocks_that_are_apart_are_brought_together(ahead_ns: int, tmp_path: Path) -> None:
    found = crossed(LOST, tmp_path, at_b={"ahead_ns": ahead_ns})
    assert found.clocks.doubt_ns == 5 * MS
    assert abs(found.clocks.ahead_ns - ahead_ns) <= found.clocks.doubt_ns
    assert fates(found) == ["probe-lost", "probe-lost", "answered"]


def test_clocks_seen_in_one_direction_only_are_bounded_on_one_side(tmp_path: Path) -> None:
    story = [("0", "C > S P. len 5", BOTH), ("+60", PROBE, BOTH), ("+60", PROBE, BOTH)]
    one, two = (read([view(p, story, tmp_path / f"{p}.pcap", ahead_ns=0)], p) for p in (AT_A, AT_B))
    found = cross(one, two)
    assert found.clocks.doubt_ns is None
    assert "in one direction only" in "\n".join(path_text.lines(found))


def test_through_a_nat_the_connection_is_known_by_its_sequence_numbers(tmp_path: Path) -> None:
    found = crossed(LOST, tmp_path, at_b={"client": NAT})
    ((pair, _),) = found.pairs.values()
    assert (pair.how, pair.shift) == ("sequence numbers", (0, 0))
    assert [str(end) for end in pair.endpoints_two()] == [NAT, SERVER]
    assert fates(found) == ["probe-lost", "probe-lost", "answered"]
    assert f"{CLIENT} at a is {NAT} at b" in "\n".join(path_text.lines(found))


@pytest.mark.parametrize(("client", "how"), [(CLIENT, "addresses and ports"), (NAT, "timestamps")])
def test_a_box_that_rewrites_sequence_numbers_is_seen_through(client: str, how: str, tmp_path: Path) -> None:
    stamped = {"timestamps": "timestamps"}
    found = crossed(ANSWERED, tmp_path, stamped, {**stamped, "client": client, "shift": 77_000})
    ((pair, _),) = found.pairs.values()
    assert (pair.how, pair.shift) == (how, (77_000, 0))
    assert fates(found) == ["answered"] * 3
    assert "+77,000 on the sequence numbers" in "\n".join(path_text.lines(found))


def test_a_capture_that_ends_before_the_probe_leaves_a_doubt(tmp_path: Path) -> None:
    story = [("+60", PROBE, AT_A), ("+60", PROBE, AT_A)]
    found = crossed(story, tmp_path)
    assert fates(found) == ["probe-lost", "probe-lost"]
    assert [p.unsure_ns // 1_000_000_000 for p in found.prober_paths[0].paths] == [60, 120]
    assert "provided that b was being captured then" in "\n".join(path_text.lines(found))
    assert "provided" not in "\n".join(path_text.lines(crossed(LOST, tmp_path)))


def test_an_answer_from_between_is_told_with_its_ttl(tmp_path: Path) -> None:
    said = "\n".join(path_text.lines(crossed(BETWEEN, tmp_path)))
    assert "NOT END TO END" in said
    assert "its TTL is 64, that of the peer's other segments 63: nearer" in said


def test_equal_addresses_without_a_common_segment_are_not_one_connection(captures: Path) -> None:
    one, two = (read([str(captures / "lab" / name / "capture.pcapng")], name) for name in ("cut-off", "up"))
    found = cross(one, two)
    assert not found.pairs
    assert [len(alone) for alone in found.alone] == [1, 1]
    said = "\n".join(path_text.lines(found))
    assert "no connection that probes is seen both at cut-off and at up" in said


def both_ends(captures: Path, case: str) -> tuple[Site, Site]:
    directory = captures / ("lab" if case == "both-ends" else "both") / case
    one, two = (read([str(directory / f"{name}.pcapng")], name) for name in ("prober", "peer"))
    return one, two


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("both-ends", ["reply-lost"] * 3),
        ("recovered", ["probe-lost"] * 2 + ["answered"] * 4),
        ("firewall-drops", ["probe-lost"] * 3),
        ("firewall-resets", ["reset-between"]),
        ("nat-forgot-inside", ["reset"]),
        ("nat-forgot-outside", ["reset-between"]),
        ("nat-forgot-recreated", ["answered"] * 2),
        ("forged-rst", ["answered"]),
    ],
)
def test_recordings_at_both_ends_show_who_did_what(case: str, expected: list[str], captures: Path) -> None:
    found = cross(*both_ends(captures, case))
    assert fates(found) == expected
    assert found.clocks.doubt_ns is not None
    assert abs(found.clocks.ahead_ns) <= found.clocks.doubt_ns < MS  # one machine, one clock


def test_a_probe_that_a_nat_no_longer_translates_is_found_under_its_own_address(captures: Path) -> None:
    found = cross(*both_ends(captures, "nat-forgot-inside"))
    ((pair, _),) = found.pairs.values()
    assert (str(pair.one.a), str(pair.endpoints_two()[0])) == ("10.1.0.2:40000", "10.2.0.1:40000")
    assert str(found.prober_paths[0].paths[0].translated_endpoint) == "10.1.0.2:40000"
    assert "the NAT had forgotten the connection" in "\n".join(path_text.lines(found))
    assert found.alone == ([], [])


def test_a_reset_beside_the_peers_own_answer_is_shown_to_be_forged(captures: Path) -> None:
    found = cross(*both_ends(captures, "forged-rst"))
    assert [(site, frame.number) for resets in found.forged.values() for site, frame in resets] == [(1, 10)]
    assert "a reset at prober (frame 10) never passed peer" in "\n".join(path_text.lines(found))


@pytest.mark.slow
def test_each_line_of_json_is_of_the_published_schema(captures: Path, tmp_path: Path) -> None:
    check = jsonschema.Draft202012Validator(schema())
    for found in (
        cross(*both_ends(captures, "nat-forgot-inside")),
        crossed(BETWEEN, tmp_path),
        cross(*both_ends(captures, "forged-rst")),
    ):
        lines = [json.loads(line) for line in path_records.lines(found)]
        for line in lines:
            check.validate(line)
        assert [line["type"] for line in lines].count("passage") == len(fates(found))
        assert lines[-1]["type"] == "places"


def test_every_fate_has_a_sentence_and_the_schema_knows_it() -> None:
    assert set(SENTENCES) == set(Fate)
    assert set(schema()["$defs"]["passage"]["properties"]["fate"]["enum"]) == {fate.value for fate in Fate}
    assert ClockOffset().shared == 0


@pytest.mark.namespaces
@pytest.mark.slow
def test_a_fresh_recording_at_both_ends_shows_the_box_between(tmp_path: Path) -> None:
    words = ["lab", "run", "firewall-resets", "--where", "both", "-o", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "kacap", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = [str(tmp_path / "firewall-resets" / f"{name}.pcapng") for name in ("prober", "peer")]
    found = cross(read([names[0]], "prober"), read([names[1]], "peer"))
    assert fates(found) == ["reset-between"]
