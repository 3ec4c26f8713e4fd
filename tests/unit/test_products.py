"""Every product's settings carry the numbers of the plan, in its own units."""

import re
import tomllib

import pytest

from kacap.errors import UsageError
from kacap.timing.products import PRODUCTS, chosen

SECOND = 1_000_000_000
# Numbers that nothing else in a snippet contains, and the user timeout that libpq wants in milliseconds.
IDLE, INTERVAL, COUNT, TIMEOUT_NS = 57, 13, 11, 203 * SECOND

EXPECTED = {
    "linux": ["tcp_keepalive_time=57", "tcp_keepalive_intvl=13", "tcp_keepalive_probes=11", "TCP_USER_TIMEOUT=203000"],
    "python": ["TCP_KEEPIDLE, 57)", "TCP_KEEPINTVL, 13)", "TCP_KEEPCNT, 11)", "TCP_USER_TIMEOUT, 203000)"],
    "libpq": ["keepalives_idle=57", "keepalives_interval=13", "keepalives_count=11", "tcp_user_timeout=203000"],
    "postgresql": ["tcp_keepalives_idle = 57", "tcp_keepalives_interval = 13", "tcp_user_timeout = 203000"],
    "go": ["Idle: 57 * time.Second", "Interval: 13 * time.Second", "Count: 11}"],
    "node": ["setKeepAlive(true, 57000)"],
    "java": ["TCP_KEEPIDLE, 57)", "TCP_KEEPINTERVAL, 13)", "TCP_KEEPCOUNT, 11)"],
    "nginx": ["so_keepalive=57s:13s:11;"],
    "envoy": ["{keepalive_time: 57, keepalive_interval: 13, keepalive_probes: 11}"],
    "haproxy": ["clitcpka-idle 57s", "clitcpka-intvl 13s", "clitcpka-cnt 11"],
    "redis": ["tcp-keepalive 57"],
    "mariadb": ["tcp_keepalive_time = 57", "tcp_keepalive_interval = 13", "tcp_keepalive_probes = 11"],
    "docker": ["--sysctl net.ipv4.tcp_keepalive_time=57", "tcp_keepalive_intvl=13", "tcp_keepalive_probes=11"],
    "kubernetes": ['{name: net.ipv4.tcp_keepalive_time, value: "57"}', 'tcp_keepalive_probes, value: "11"}'],
    "systemd": ["KeepAlive=yes", "KeepAliveTimeSec=57", "KeepAliveIntervalSec=13", "KeepAliveProbes=11"],
    "windows": ["TCP_KEEPIDLE=57", "TCP_KEEPCNT=11", "keepalivetime=57000 keepaliveinterval=13000"],
}
UNSETTABLE = {"pgjdbc", "mysql"}


def snippet(name: str) -> str:
    (product,) = chosen(name)
    return "\n".join(product.snippet(IDLE, INTERVAL, COUNT, TIMEOUT_NS))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_snippet_contains_the_numbers_in_the_products_units(name):
    assert not [part for part in EXPECTED[name] if part not in snippet(name)]


def test_every_product_of_the_table_is_held_to_its_numbers_or_says_that_it_has_none():
    assert {product.name for product in PRODUCTS} == EXPECTED.keys() | UNSETTABLE
    assert {product.name for product in PRODUCTS if not product.settable} == UNSETTABLE


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_no_template_is_left_unfilled_and_each_has_a_source(product):
    text = "\n".join([*product.snippet(57, 13, 11, TIMEOUT_NS), product.remark(13, 11)])
    assert not re.search(r"\{(idle|interval|count|timeout_ms|idle_ms|interval_ms)\}|\{\{|\}\}", text)
    assert product.source


@pytest.mark.parametrize("product", [p for p in PRODUCTS if p.settable], ids=lambda product: product.name)
def test_what_cannot_be_set_is_said(product):
    text = "\n".join(product.lines)
    if "timeout_ms" not in text:
        assert "user timeout" in product.note
    if "{interval" not in text:
        assert "{interval} s" in product.note and "{count}" in product.note


def test_node_and_redis_take_interval_and_count_of_their_own():
    node, redis = chosen("node,redis")
    assert node.shape(57) == (1, 10)
    assert redis.shape(57) == (19, 3)
    assert redis.shape(2) == (1, 3)
    assert "interval 19 s" in redis.remark(19, 3)


def test_a_snippet_of_mariadb_is_what_an_option_file_wants():
    assert tomllib.loads(snippet("mariadb")) == {
        "tcp_keepalive_time": 57,
        "tcp_keepalive_interval": 13,
        "tcp_keepalive_probes": 11,
    }


def test_products_are_chosen_by_name_in_the_order_asked_and_once():
    assert [p.name for p in chosen("libpq, K8s,golang,libpq")] == ["libpq", "kubernetes", "go"]
    assert [p.name for p in chosen("all")] == [p.name for p in PRODUCTS]


@pytest.mark.parametrize(("words", "says"), [("libqp", "did you mean libpq?"), ("cobol", "linux, python"), ("", "''")])
def test_an_unknown_product_is_refused_with_a_hint(words, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        chosen(words)
