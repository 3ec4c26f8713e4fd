"""What a capture on this machine is told about its own sockets."""

import socket

import pytest

from kacap.model import Endpoint
from kacap.sockets.configured import Expectations
from kacap.sockets.reader import Reader
from kacap.sockets.values import Borrower, UnreadableError

SECOND = 10**9
OPTIONS = ((6, 4, 60), (6, 5, 10), (6, 6, 6), (6, 18, 30_000), (1, 9, 1))


@pytest.fixture
def looks(monkeypatch):
    """Count how often the kernel is asked."""
    made, look = [], Reader.look
    monkeypatch.setattr(Reader, "look", lambda self: (made.append(1), look(self))[1])
    return made


class Clock:
    now_ns = 0

    def __call__(self):
        return self.now_ns


@pytest.mark.slow
def test_either_end_of_a_connection_is_told_its_own_settings(victim):
    other, known = victim(OPTIONS), Expectations()
    client = known.expectation_of(Endpoint(*other.local), Endpoint(*other.remote))
    assert (client.keepalive, client.idle, client.interval, client.count) == (True, 60, 10, 6)
    assert (client.user_timeout_ns, client.source, client.estimated) == (30 * SECOND, "socket option", False)
    server = known.expectation_of(Endpoint(*other.remote), Endpoint(*other.local))
    assert (server.keepalive, server.user_timeout_ns, server.source) == (False, 0, "equals the sysctl")


@pytest.mark.slow
def test_one_request_serves_many_connections(victim, looks):
    many, known = [victim(OPTIONS) for _ in range(5)], Expectations(clock=Clock())
    assert {known.expectation_of(other.local, other.remote).idle for other in many} == {60}
    assert len(looks) == 1


def test_a_connection_that_is_not_there_is_asked_for_once_a_second_at_most(looks):
    clock = Clock()
    known = Expectations(clock=clock)
    nowhere = ("192.0.2.1", 1), ("192.0.2.2", 2)
    for _ in range(20):
        assert known.expectation_of(*nowhere) is None
        clock.now_ns += SECOND // 10
    assert len(looks) == 2


@pytest.mark.slow
def test_an_option_that_is_set_late_is_seen_within_ten_seconds(victim):
    other, clock = victim(), Clock()
    known = Expectations(clock=clock)
    assert known.expectation_of(other.local, other.remote).keepalive is False
    other.do("client.setsockopt(1, 9, 1); client.setsockopt(6, 4, 77)")
    clock.now_ns = 10 * SECOND
    assert known.expectation_of(other.local, other.remote).idle == 77


def test_a_connection_that_has_ended_is_still_known(victim):
    other, clock = victim(OPTIONS), Clock()
    known = Expectations(clock=clock)
    before = known.expectation_of(other.local, other.remote)
    other.do("client.close(); accepted.close()")
    clock.now_ns = 60 * SECOND
    assert known.expectation_of(other.local, other.remote) == before


def test_a_socket_that_a_reset_took_before_anybody_asked_was_read_in_advance(victim, looks):
    other, clock = victim(OPTIONS), Clock()
    known = Expectations(clock=clock)
    known.look_ahead(news=True)
    other.do("client.close(); accepted.close()")
    clock.now_ns = 2 * SECOND
    assert known.expectation_of(other.local, other.remote).idle == 60
    assert len(looks) == 2
    assert Expectations(clock=clock).expectation_of(other.local, other.remote) is None


def test_what_was_read_in_advance_is_read_again_when_asked_for(victim):
    other, known = victim(OPTIONS), Expectations(clock=Clock())
    known.look_ahead(news=True)
    other.do("client.setsockopt(6, 4, 77)")
    assert known.expectation_of(other.local, other.remote).idle == 77


def test_it_looks_ahead_a_second_after_news_and_every_ten_seconds(looks):
    clock = Clock()
    known = Expectations(clock=clock)
    made = []
    for tenth in range(250):
        clock.now_ns = tenth * SECOND // 10
        known.look_ahead(news=tenth == 15)
        made += [tenth] * (len(looks) - len(made))
    assert made == [0, 25, 125, 225]


def test_where_looking_takes_long_little_is_read_in_advance(looks, monkeypatch):
    clock, look = Clock(), Reader.look

    def slow(self):
        clock.now_ns += SECOND // 10
        return look(self)

    monkeypatch.setattr(Reader, "look", slow)
    known = Expectations(clock=clock)
    for seconds, made in ((200, 1), (200, 2)):
        for _ in range(seconds):
            known.look_ahead(news=True)
            clock.now_ns += SECOND
        assert len(looks) == made


@pytest.mark.slow
def test_without_the_right_idle_is_marked_as_an_estimate(victim, monkeypatch):
    def refuse(*_):
        raise UnreadableError("no permission: told to say so")

    monkeypatch.setattr(Borrower, "read", refuse)
    other, known = victim(OPTIONS), Expectations()
    client = known.expectation_of(other.local, other.remote)
    assert (client.keepalive, client.idle, client.interval, client.estimated) == (True, 60, None, True)
    assert client.source == "estimate from its timer"


def test_ipv4_over_an_ipv6_socket_is_found_by_the_addresses_on_the_wire():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as accepted:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 44)
            known = Expectations().expectation_of(("127.0.0.1", port), client.getsockname())
    assert known.idle == 44
