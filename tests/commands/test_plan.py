"""``kacap plan`` from outside: what it promises, in which words, and what it refuses."""

import json
import re
from functools import partial

import forked
import pytest

from kacap.commands.plan_view import bound

SECOND = 1_000_000_000


run = partial(forked.run, "plan")


@pytest.mark.slow
def test_the_first_line_has_the_settings_and_what_holds_with_them():
    done = run("--beat", "350", "--detect-within", "90", "--for", "libpq,pgjdbc,redis")
    assert done.returncode == 0
    first, *rest = done.stdout.splitlines()
    assert first.startswith("idle 50 s, interval 10 s, count 3 -> first probe <= 55.4 s, dead peer found <= 87.5 s")
    assert "1,728 probes/day" in first
    text = "\n".join(rest)
    assert "keepalives_idle=50 keepalives_interval=10 keepalives_count=3 tcp_user_timeout=80000" in text
    assert re.search(r"pgjdbc +tcpKeepAlive=true\n.*on or off only", text)
    assert re.search(r"redis +tcp-keepalive 40\n.*interval 13 s", text)


@pytest.mark.slow
def test_a_known_box_is_planned_for_with_its_source():
    done = run("--beat", "aws-nlb")
    assert done.stdout.startswith("idle 300 s")
    assert "AWS NLB (TCP): 350 s (60 to 6000); then an RST to whoever sends next [AWS docs" in done.stdout


@pytest.mark.slow
def test_a_bare_number_names_the_boxes_that_have_it_and_warns_of_those_that_want_data():
    words = " ".join(run("--beat", "60").stdout.split())
    assert "beware no keepalive refreshes AWS ALB; AWS Classic Load Balancer" in words
    assert "known of AWS NLB (TCP); " in " ".join(run("--beat", "350").stdout.split())


@pytest.mark.slow
def test_json_has_the_same_numbers_with_worst_cases_in_nanoseconds():
    done = run("--beat", "aws-nlb", "--detect-within", "90", "--for", "all", "--hz", "250", "--rtt", "0", "--json")
    record = json.loads(done.stdout)
    assert (record["type"], record["idle"], record["interval"], record["count"]) == ("plan", 50, 10, 3)
    assert record["hz"] == [250]
    assert 50 * SECOND < record["first_probe_ns"] < 53 * SECOND
    assert record["found_ns"] <= record["detect_within_ns"] == 90 * SECOND
    assert record["limit"]["id"] == "aws-nlb"
    products = {product["product"]: product for product in record["products"]}
    assert products["redis"]["settings"]["interval"] == products["redis"]["settings"]["idle"] // 3
    assert products["pgjdbc"]["settings"] is None
    assert products["libpq"]["lines"][0].startswith("keepalives=1 keepalives_idle=50 ")


@pytest.mark.slow
def test_a_product_that_can_hold_nothing_of_it_says_so():
    done = run("--detect-within", "11", "--for", "node,linux", "--rtt", "0")
    assert done.returncode == 0
    assert "nothing that it can be set to does what is asked" in done.stdout
    record = json.loads(run("--detect-within", "11", "--for", "node", "--rtt", "0", "--json").stdout)
    assert record["products"][0]["settings"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--beat", "aws-alb"], "a bare keepalive does not refresh that: send data"),
        (["--beat", "haproxy"], "a bare keepalive does not refresh that: send data"),
        (["--beat", "cloudflare-gateway", "--detect-within", "90"], "a bare keepalive does not refresh"),
        (["--beat", "aws-nbl"], "did you mean aws-nlb"),
        (["--beat", "1"], "no idle beats a limit of 1 s"),
        (["--detect-within", "2"], "no settings find a dead peer within 2 s"),
        (["--detect-within", "soon"], "--detect-within soon: not a duration"),
        (["--for", "linux"], "give --beat LIMIT, --detect-within TIME, or both"),
        (["--beat", "350", "--for", "libpg"], "did you mean libpq?"),
        (["--beat", "350", "--hz", "64"], "Invalid value for '--hz'"),
        (["--beat", "350", "--rtt", "-1"], "Invalid value for '--rtt'"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line_and_exit_2(words, says):
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("kacap: ") and done.stderr.count("\n") == 1
    assert says in done.stderr


@pytest.mark.slow
def test_limits_of_the_users_own_are_planned_for_and_listed(tmp_path):
    file = tmp_path / "limits.toml"
    file.write_text('[[limit]]\nid = "our-fw"\nseconds = 900\nwhat = "our firewall"\n')
    assert "our firewall: 900 s" in run("--beat", "our-fw", "--limits", file).stdout
    listed = run("--list", "--limits", file).stdout
    assert re.search(r"^our-fw +900 +refreshes +our firewall", listed, re.M)
    assert re.search(r"^aws-alb +60 +no effect +AWS ALB", listed, re.M)
    file.write_text("[[limit]]\nid = 5\n")
    done = run("--beat", "our-fw", "--limits", file)
    assert (done.returncode, done.stderr) == (2, f"kacap: {file}: [[limit]] 1: id must be text\n")
    missing = run("--beat", "5", "--limits", tmp_path / "none.toml")
    assert missing.returncode == 1
    assert missing.stderr.endswith("none.toml: no such file or directory\n")


def test_a_bound_is_rounded_up_and_never_down():
    assert bound(55_300_000_001) == "55.4 s"
    assert bound(55_300_000_000) == "55.3 s"
    assert bound(332_000_000_001) == "333 s"
    assert bound(6_392_140_000_000) == "6,393 s"
