import pytest

from kacap.capture.endpoints import EndpointsFilter, header
from kacap.errors import FilterError, UsageError
from kacap.model import Connection, Endpoint
from kacap.timing.expectations import ALIASES, Expectation, Stated, combine, parse
from kacap.timing.rules import parse_rules
from kacap.timing.sides import parse_side

A, B = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)
A6, B6 = Endpoint("fd00::1", 40000), Endpoint("fd00::2", 5432)


def connection(a=A, b=B) -> Connection:
    return Connection(1, a, b, 0, 0, 0)


def rules(text: str):
    return parse_rules(text, "rules.toml", EndpointsFilter)


@pytest.mark.parametrize(
    ("text", "idle", "interval", "count"),
    [
        ("idle=60,interval=10,count=6", 60, 10, 6),
        ("idle=2m, intvl=10s, cnt=6", 120, 10, 6),
        ("keepidle=1.5m,keepintvl=60000ms,probes=127", 90, 60, 127),
        ("TCP_KEEPIDLE=2h,tcp-keepalive-intvl=75,net.ipv4.tcp_keepalive_probes=9", 7200, 75, 9),
        ("keepalives_idle=32767", 32767, None, None),
        ("idle=12h", 43200, None, None),
        ("idle=60,keepidle=60s", 60, None, None),
    ],
)
def test_an_expectation_is_read_with_aliases_and_units(text, idle, interval, count):
    assert parse(text) == Expectation(idle, interval, count, source="--expect")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("idle=60,idle=30", r"idle is given twice: 60 \(--expect\) and 30 \(--expect\)"),
        ("idle=60,keepidle=1h", "idle is given twice"),
        ("idle=0", "--expect: idle=0 is out of range: 1 to 32767 s"),
        ("interval=-5", "interval=-5 is out of range"),
        ("idle=40000h", "idle=40000h is out of range: 1 to 2147483 s"),
        ("count=0", "count=0 is out of range: 1 to 127 probes"),
        ("count=128", "count=128 is out of range: 1 to 127 probes"),
        ("count=3s", "count=3s is out of range: 1 to 127 probes, without a unit"),
        ("idle=60000", "idle=60000 looks like milliseconds: write 60 or 60000ms for 60 s"),
        ("idle=43201", r"out of range: 1 to 32767 s \(a sysctl may be larger: then say the unit, 43201s\)"),
        ("idle=500ms", "idle=500ms is not a whole number of seconds"),
        ("idle=60x", "idle=60x: not a duration"),
        ("idle=1e3", "idle=1e3: not a duration"),
        ("idle=٦٠", ": not a duration"),
        ("user_timeout=30000", "user_timeout=30000 needs its unit: 30000ms"),
        ("user_timeout=0.5ms", "whole milliseconds"),
        ("user_timeout=600h", "out of range"),
        ("idel=60", r"--expect: unknown setting 'idel' \(did you mean idle\?\)"),
        ("zzz=60", "known: idle, interval, count, user_timeout"),
        ("idle", "'idle' is not name=value"),
        ("idle=60,,count=3", "'' is not name=value"),
        ("", "is not name=value"),
    ],
)
def test_what_cannot_be_an_expectation_is_refused_with_its_place(text, says):
    with pytest.raises(UsageError, match=says) as refused:
        parse(text)
    assert "--expect" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_values_of_several_places_are_combined_and_contradictions_name_both():
    both = combine([Stated("idle", "60", "--expect"), Stated("count", 6, "--count")], "command line")
    assert (both.idle, both.count, both.source) == (60, 6, "command line")
    with pytest.raises(UsageError, match=r"idle is given twice: 60 \(--expect\) and 2m \(--idle\)"):
        combine([Stated("idle", "60", "--expect"), Stated("idle", "2m", "--idle")], "command line")


def test_a_user_timeout_has_a_unit_and_zero_needs_none():
    assert parse("user_timeout=4000ms").user_timeout_ns == 4_000_000_000
    assert parse("tcp_user_timeout=1.5s").user_timeout_ns == 1_500_000_000
    assert parse("user_timeout=0").user_timeout_ns == 0


def test_every_alias_is_written_as_names_are_compared():
    assert all(alias == alias.lower() and " " not in alias and "-" not in alias for alias in ALIASES)
    assert set(ALIASES.values()) == {"idle", "interval", "count", "user_timeout"}


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("a", [A]), ("b", [B]), ("5432", [B]), (":40000", [A]), ("10.0.0.2", [B]), ("10.0.0.1:40000", [A]),
        ("10.0.0.1:5432", []), ("10.9.9.9", []), ("80", []),
    ],
)  # fmt: skip
def test_a_side_is_a_letter_an_address_a_port_or_both(text, ends):
    assert Expectation(idle=60, side=parse_side(text)).ends(connection()) == ends


def test_a_side_of_ipv6_is_compared_in_its_canonical_form():
    for text in ("FD00:0:0::2", "[fd00::2]", "[fd00:0::2]:5432"):
        assert parse_side(text).among([A6, B6]) == [B6]


@pytest.mark.parametrize("text", ["", "c", "10.0.0", "10.0.0.1:0", "70000", "[fd00::1", "fd00::x", "host:80"])
def test_what_is_no_side_is_refused_with_its_place(text):
    with pytest.raises(UsageError, match="--from"):
        parse_side(text)


def test_the_synthetic_header_is_a_whole_packet_of_its_version():
    assert bytes(header(A, B)) == bytes.fromhex(
        "4500002800000000400600000a0000010a0000029c40153800000000000000005010000000000000"
    )
    assert bytes(header(A6, B6))[:8] == bytes.fromhex("6000000000140640")
    assert len(header(A6, B6)) == 60


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("port 5432", [(A, B), (B, A), (A6, B6)]),
        ("dst port 5432", [(A, B), (B, A), (A6, B6)]),
        ("src host 10.0.0.2 and src port 5432", [(A, B), (B, A)]),
        ("net 10.0.0.0/24 and not port 80", [(A, B), (B, A)]),
        ("ip6 host fd00::2", [(A6, B6)]),
        ("tcp portrange 5000-6000 and ip", [(A, B), (B, A)]),
        ("udp", []),
        ("host 10.0.0.3", []),
    ],
)
def test_a_bpf_expression_matches_a_connection_in_either_direction(expression, matches):
    found = EndpointsFilter(expression)
    assert [pair for pair in ((A, B), (B, A), (A6, B6)) if found(*pair)] == matches


@pytest.mark.parametrize("expression", ["vlan 3", "ether host 02:00:00:00:00:01", "port", "inbound"])
def test_an_expression_that_only_a_frame_can_answer_is_refused(expression):
    with pytest.raises(FilterError, match="addresses and ports of a connection only"):
        EndpointsFilter(expression)


def test_the_first_rule_that_matches_holds():
    found = rules(
        '[[expect]]\nfilter = "port 5432"\nidle = 60\ninterval = "10s"\ncount = 6\nfrom = "10.0.0.1"\n'
        '[[expect]]\nfilter = "host 10.0.0.1"\nkeepidle = 120\n[[expect]]\nidle = "2h"\n'
    )
    database = found(connection())
    assert (database.idle, database.interval, database.count) == (60, 10, 6)
    assert database.source == "rules.toml: expect[1]"
    assert database.ends(connection()) == [A]
    assert found(connection(A, Endpoint("10.0.0.3", 80))).idle == 120
    assert found(connection(A6, B6)).idle == 60
    assert found(connection(A6, Endpoint("fd00::3", 80))).idle == 7200


def test_a_connection_that_no_rule_matches_has_no_expectation():
    assert rules('[[expect]]\nfilter = "port 80"\nidle = 60\n')(connection()) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[expect]]\nidel = 60", r"rules.toml: expect\[1\].idel: unknown setting 'idel' \(did you mean idle\?\)"),
        ("[[expect]]\nidle = 60\nkeepidle = 61", r"idle is given twice: 60 \(rules.toml: expect\[1\].idle\)"),
        ("[[expect]]\nidle = 60.5", r"expect\[1\].idle: idle is neither a whole number nor a text"),
        ("[[expect]]\nidle = true", r"expect\[1\].idle: idle is neither a whole number nor a text"),
        ("[[expect]]\nidle = [60]", r"expect\[1\].idle: idle is neither"),
        ("[[expect]]\nidle = 60000", r"expect\[1\].idle: idle=60000 looks like milliseconds"),
        ("[[expect]]\nidle = 1\n[[expect]]\nidle = 2", r"expect\[2\] is never reached: expect\[1\] has no filter"),
        ('[[expect]]\nfilter = "port"\nidle = 1', r"expect\[1\].filter: filter 'port' is refused"),
        ("[[expect]]\nfilter = 80\nidle = 1", r"expect\[1\].filter is not a text in quotes: 80"),
        ('[[expect]]\nfrom = "x y"\nidle = 1', r"expect\[1\].from x y: not a side"),
        ('[[expect]]\nfilter = "tcp"', r"expect\[1\] expects nothing"),
        ("[expect]\nidle = 60", r"no rule; write \[\[expect\]\]"),
        ("[[rules]]\nidle = 60", "unknown key 'rules'"),
        ("idle = 60", "unknown key 'idle'"),
        ("", r"no rule; write \[\[expect\]\]"),
        ("[[expect]]\nidle = \n", "rules.toml:2: not valid TOML: Invalid value"),
    ],
)
def test_rules_that_are_not_right_are_refused_with_the_line_or_the_key(text, says):
    with pytest.raises(UsageError, match=says):
        rules(text)
