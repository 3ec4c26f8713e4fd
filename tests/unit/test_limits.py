"""Known idle limits: every row has its source, a bracket finds the right ones, and a user's file is read with care."""

import re

import pytest

from kacap.errors import UsageError
from kacap.timing.limits import LIMITS, limit, matching, parse_limits

SECOND = 1_000_000_000


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row.id)
def test_every_limit_says_where_it_comes_from_and_as_of_when(row):
    assert row.source and row.what and row.after
    assert re.fullmatch(r"20[0-9]{2}-(0[1-9]|1[0-2])", row.date)
    assert row.seconds >= 1
    assert re.fullmatch(r"[a-z][a-z0-9-]*", row.id)
    assert limit(row.id) is row


def test_no_id_is_in_the_table_twice():
    assert len({row.id for row in LIMITS}) == len(LIMITS)


@pytest.mark.parametrize("name", ["aws-alb", "aws-clb", "haproxy", "cloudflare-gateway", "cosmos-mongo"])
def test_what_only_data_refreshes_is_marked(name):
    assert not limit(name).refreshed


@pytest.mark.parametrize("name", ["aws-nlb", "azure-lb", "ipvs", "gcp-firewall", "conntrack"])
def test_what_a_keepalive_refreshes_is_marked(name):
    assert limit(name).refreshed


@pytest.mark.parametrize(("words", "seconds"), [("350", 350), ("350s", 350), ("6m", 360), ("2H", 7200), ("5000ms", 5)])
def test_a_limit_may_be_stated_as_a_duration(words, seconds):
    stated = limit(words)
    assert stated.seconds == seconds
    assert stated.refreshed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("aws-nbl", "did you mean aws-nlb"),
        ("zzzz", "--list"),
        ("0", "out of range"),
        ("1500ms", "out of range"),
        ("99999999999", "not a duration"),
        ("350x", "not a duration"),
        ("-5", "neither a known limit"),
    ],
)
def test_a_limit_nobody_knows_is_refused_with_a_hint(words, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        limit(words)


def test_a_bracket_finds_the_limits_above_what_survived_and_up_to_what_killed():
    found = matching(int(349.1 * SECOND), int(350.2 * SECOND))
    assert {row.id for row in found} >= {"aws-nlb", "aws-nat"}
    assert {row.seconds for row in found} == {350}
    assert not matching(350 * SECOND, 351 * SECOND), "what was survived is no limit"
    assert matching(0, 350 * SECOND)[0].seconds == 350, "the nearest to the silence that killed comes first"
    assert not matching(351 * SECOND, 599 * SECOND)


def test_a_users_row_takes_the_place_of_a_known_one_and_others_are_added():
    changed = "[[limit]]\nid = 'aws-nlb'\nseconds = 6000\n"
    added = "[[limit]]\nid = 'fw'\nseconds = 900\nrefreshed = false\nwhat = 'box'\n"
    table = parse_limits(changed + added, "mine.toml")
    assert limit("aws-nlb", table).seconds == 6000
    assert limit("aws-nlb", table).source == "mine.toml"
    assert not limit("fw", table).refreshed
    assert "box" in [row.what for row in matching(800 * SECOND, 900 * SECOND, table)]
    assert len(table) == len(LIMITS) + 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[limit]", "mine.toml: not valid TOML"),
        ("", "no [[limit]] in it"),
        ("limit = 5", "no [[limit]] in it"),
        ("[[limits]]\nid = 'a'", "unknown 'limits'"),
        ("[[limit]]\nid = 'a'", "[[limit]] 1: seconds is missing"),
        ("[[limit]]\nseconds = 5", "[[limit]] 1: id is missing"),
        ("[[limit]]\nid = 'a'\nseconds = '5'", "seconds must be a whole number"),
        ("[[limit]]\nid = 'a'\nseconds = true", "seconds must be a whole number"),
        ("[[limit]]\nid = 'a'\nseconds = -5", "seconds=-5 is out of range"),
        ("[[limit]]\nid = '350'\nseconds = 5", "a letter first"),
        ("[[limit]]\nid = 'a'\nseconds = 5\nrefresht = true", "unknown key 'refresht', did you mean refreshed?"),
        ("[[limit]]\nid = 'a'\nseconds = 5\n[[limit]]\nid = 'a'\nseconds = 6", "[[limit]] 2: id 'a' is given twice"),
    ],
)
def test_a_bad_file_of_limits_is_refused_with_its_place(text, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        parse_limits(text, "mine.toml")
