"""Groups of connections: every one is in exactly one group, and what a group says holds for each of its members."""

import gc
import io

import analysing
import pytest
import samples

import captures
import kacap
from kacap.classify.kinds import Ending
from kacap.facts.fleet import TOGETHER, Fleet
from kacap.facts.groups import PACE_SPREAD, grouped
from kacap.facts.overall import causes, overall
from kacap.facts.sent import sent_by
from kacap.facts.standing import STATES, by_gravity, gravest, state_of
from kacap.report import text

CASES = ["lab/many", "lab/merged", "lab/both-probe", "lab/rotated", "crafted/06-both-ends-probe"]


@pytest.mark.parametrize("case", CASES)
def test_every_connection_is_in_one_group_that_is_true_of_it(case):
    standing = by_gravity(kacap.read(analysing.files_of(case)).connections)
    groups = grouped(standing, len(standing))
    assert sorted(at for group in groups for at in group.members.tolist()) == list(range(len(standing)))
    for group in groups:
        for at in group.members.tolist():
            prober = gravest(standing[at])[0]
            end = prober.side if group.probes_from_place else prober.peer
            assert group.place in (str(end), end.address)
            assert group.state == standing.states[at]
            if prober.probes > 1:
                pace = (prober.last_probe_ns - prober.first_probe_ns) // (prober.probes - 1)
                low, high = group.pace_ns
                assert low <= pace <= high <= max(low, 1) * (1 + PACE_SPREAD)


@pytest.mark.parametrize("case", CASES)
def test_groups_of_rows_and_of_plain_objects_are_the_same(case):
    connections = kacap.read(analysing.files_of(case)).connections
    rows, plain = (grouped(by_gravity(some), 99) for some in (connections, list(connections)))
    shown = [[(g.place, g.probes_from_place, g.state, g.pace_ns, len(g)) for g in groups] for groups in (rows, plain)]
    assert shown[0] == shown[1]


def test_connections_that_share_nothing_but_a_host_are_grouped_by_it():
    connections = [
        samples.connection(
            [samples.up(samples.Endpoint("10.0.0.1", 40000 + n), samples.Endpoint("10.0.1.1", 100 + n))], number=n
        )
        for n in range(5)
    ]
    (group,) = grouped(by_gravity(connections), 6)
    assert (group.place, len(group), STATES[group.state]) == ("10.0.1.1", 5, "all answered")
    assert all(state_of(prober) == group.state for c in connections for prober in c.probers)


def test_where_there_are_too_many_paces_they_are_not_told_apart():
    connections = [
        samples.connection(
            [samples.up(samples.Endpoint("10.0.0.1", 5432), samples.Endpoint("10.0.1.1", 100 + n), every=1.3**n)],
            number=n,
        )
        for n in range(9)
    ]
    assert len(grouped(by_gravity(connections), 9)) == 9
    (group,) = grouped(by_gravity(connections), 6)
    assert group.pace_ns == (1_000_000_000, 8_157_307_210)


@pytest.mark.slow
def test_an_overview_makes_objects_of_the_connections_that_it_names_alone(tmp_path):
    capture = tmp_path / "many.pcap"
    captures.write(capture, captures.make("many", 13_000))
    analysis = kacap.read(capture)
    before = sum(isinstance(one, kacap.Connection) for one in gc.get_objects())
    text.render(analysis, io.StringIO())
    assert len(by_gravity(analysis.connections)) == 1000
    assert sum(isinstance(one, kacap.Connection) for one in gc.get_objects()) - before < 30


@pytest.mark.slow
def test_what_a_prober_reads_from_its_rows_is_what_its_episodes_say():
    for name in ("lab/many", "lab/up", "lab/mid-connection", "lab/cut-off"):
        for prober in (prober for one in kacap.read(analysing.files_of(name)).connections for prober in one.probers):
            times_ns, silences_ns = prober.times_ns, prober.silences_ns
            prober.episodes = prober.episodes  # from here on it has no rows
            assert (prober.times_ns, prober.silences_ns) == (times_ns, silences_ns)


@pytest.mark.slow
def test_what_is_read_from_tables_is_what_the_objects_hold() -> None:
    analysis = kacap.read(analysing.files_of("lab/many"))
    probers = [prober for connection in analysis.connections for prober in connection.probers]
    for most in (10_000, 20, 3):
        rows = sent_by(analysis.connections, probers, most)
        assert rows.tolist() == sent_by(list(analysis.connections), probers, most).tolist()
        assert rows["missed"].sum() >= min(most, sum(prober.missed for prober in probers))
        for number in set(rows["prober"][~rows["missed"]].tolist()):  # of the others the newest
            times_ns = [probe.time_ns for episode in probers[number].episodes for probe in episode.probes]
            kept = rows["time_ns"][rows["prober"] == number].tolist()
            assert times_ns[-1] in kept
    ours, plain = (by_gravity(some) for some in (analysis.connections, list(analysis.connections)))
    sent, of_objects = (sorted(zip(*map(list, each.probes()), strict=True)) for each in (ours, plain))
    assert sent == of_objects and ours.totals == plain.totals


@pytest.mark.slow
def test_the_findings_of_many_are_one_cause_and_what_is_read_from_tables_is_what_the_objects_say():
    analysis = kacap.read(analysing.files_of("lab/many"))
    (gone,) = (cause for cause in causes(analysis) if cause.id == "peer-gone")
    dead = [c.connection for c in analysis.connections for p in c.probers if p.ending == Ending.GAVE_UP]
    assert sorted(gone.connections) == sorted(dead) and len(dead) == 12
    assert gone.sentence.startswith("12 connections to ") and "gave up: the peer is gone or cut off" in gone.sentence
    assert overall(analysis).sentence.startswith("12 of 40 connections gave up")
    analysis.connections = list(analysis.connections)
    assert next((one.sentence, one.connections) for one in causes(analysis)) == (gone.sentence, gone.connections)
    assert overall(analysis).sentence.startswith("12 of 40 connections gave up")


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ([10, 10.1, 10.2, 10.3, 200, 4000], "3 of 6 died at "),
        ([10, 12, 14, 16, 200, 4000], "3 of 6 died within 4.00 s from "),
        ([10, 800, 1600, 2400, 3200, 4000], ""),  # one after the other
        ([10, 10.1, 10.2, 10.3, 4000], ""),  # too few to say it of
    ],
)
def test_whether_half_of_the_dead_died_together_is_said_of_enough_of_them_alone(ended, said):
    dead = [
        samples.connection(
            [
                samples.prober(
                    [samples.episode([samples.probe(1, at - 1, reply_ms=None)], "gave-up", heard=0, ended=at)]
                )
            ],
            number=n + 1,
            last=at,
        )
        for n, at in enumerate(ended)
    ]
    fleet = Fleet(dead, samples.at(5000))
    assert (fleet.dead, len(ended) >= TOGETHER) == (len(ended), len(ended) == 6)
    assert fleet.together()[: len(said)] == said and bool(fleet.together()) == bool(said)


def test_one_miss_among_the_living_is_a_doubt():
    fleet = Fleet([samples.connection([samples.up()], number=n) for n in (1, 2)], samples.at(20))
    assert fleet.verdict().mood == "good"
    late = samples.episode([samples.probe(50, 9, reply_ms=None, side=samples.B, peer=samples.A)], "open", heard=8)
    missed = samples.connection([samples.prober([*samples.up().episodes, late])], number=3)
    assert Fleet([*fleet, missed], samples.at(20)).verdict().mood == "doubt"


def test_connections_in_order_of_gravity_are_made_many_at_a_time_and_once(monkeypatch):
    found, made = kacap.read(analysing.files_of("lab/many")).connections, []
    make = kacap.connections.made_of
    monkeypatch.setattr("kacap.connections.made_of", lambda rows, views: made.append(len(rows)) or make(rows, views))
    standing = by_gravity(found)
    assert [*standing] == [*standing] == [standing[place] for place in range(len(standing))]
    assert made == [len(standing)] and len(standing) > 1
