"""What a socket's timers mean, against what was measured on Linux 6.18 (HZ 250)."""

import pytest

from kacap.sockets.diag import DiagSocket
from kacap.sockets.processes import Holder
from kacap.sockets.state import (
    EQUALS_SYSCTL,
    SOCKET_OPTION,
    Sysctls,
    detection_ns,
    estimated_idle,
    from_timer,
    from_values,
)
from kacap.sockets.values import Values

HOLDER = Holder(4121, 7, "java")
DEFAULTS = Sysctls(7200, 75, 9)


def sock(**changes):
    known = DiagSocket(
        cookie=1, family=2, state="ESTAB", local=("10.0.0.1", 1), remote=("10.0.0.2", 2), timer="keepalive",
        expires_ms=0, unanswered=0, uid=0, inode=9, last_data_recv_ms=900_000, last_ack_recv_ms=0,
    )  # fmt: skip
    return known._replace(**changes)


def seconds(value_ns):
    assert value_ns % 10**9 == 0
    return value_ns // 10**9


@pytest.mark.parametrize(
    ("idle", "interval", "count", "user_timeout_ms", "given_up_after"),
    [
        (3, 2, 2, 0, 7),  # measured: probes at 3.04 and 5.05, RST at 7.07
        (3, 2, 2, 4000, 5),  # one probe, RST at 5.04
        (3, 2, 2, 1000, 5),  # never before the first probe
        (3, 2, 2, 12000, 13),  # five probes, RST at 13.3: count is ignored
        (2, 1, 127, 20000, 20),  # 18 probes, RST at 20.45
        (2, 1, 1, 0, 3),
        (3, 1, 4, 5500, 6),  # RST at 6.216 after three probes
        (3, 2, 0, 0, 3),  # a sysctl of 0 probes: RST at idle, without any
    ],
)
def test_a_dead_peer_is_given_up_when_it_was_measured(idle, interval, count, user_timeout_ms, given_up_after):
    assert seconds(detection_ns(Values(True, idle, interval, count, user_timeout_ms))) == given_up_after


def test_an_interval_that_only_a_sysctl_can_hold_has_no_detection_time():
    assert detection_ns(Values(True, 60, 0, 9, 0)) is None


@pytest.mark.parametrize(
    ("expires_ms", "heard_ms", "idle"),
    [(15_980, 1_020, 17), (7_516, 9_484, 17), (968, 32, 1), (6_496, 468, 7), (7_199_400, 596, 7200)],
)
def test_idle_is_what_is_left_of_the_timer_and_what_has_passed(expires_ms, heard_ms, idle):
    assert estimated_idle(sock(expires_ms=expires_ms, last_ack_recv_ms=heard_ms)) == idle
    assert estimated_idle(sock(expires_ms=expires_ms, last_data_recv_ms=heard_ms, last_ack_recv_ms=10**9)) == idle


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_ms": 0},  # late: what has passed grows beyond idle
        {"expires_ms": 500, "unanswered": 1},
        {"expires_ms": 500, "timer": "retransmission"},
        {"expires_ms": 500, "timer": None},
        {"expires_ms": 500, "last_data_recv_ms": None, "last_ack_recv_ms": None},
        {"expires_ms": 500, "state": "FIN-WAIT-2", "inode": 0},
    ],
)
def test_a_timer_that_does_not_show_idle_gives_no_estimate(changes):
    assert estimated_idle(sock(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "keepalive"),
    [
        ({}, True),
        ({"timer": None}, False),
        ({"timer": "retransmission"}, None),
        ({"timer": "persist"}, None),
        ({"state": "FIN-WAIT-2", "inode": 0}, None),
        ({"state": "FIN-WAIT-2"}, True),
        ({"state": "TIME-WAIT", "timer": "time-wait"}, None),
        ({"state": "LISTEN", "timer": None}, None),
        ({"state": "SYN-SENT", "timer": None}, None),
    ],
)
def test_the_timer_alone_tells_whether_keepalive_is_on_or_that_it_cannot(changes, keepalive):
    assert from_timer(sock(expires_ms=500, **changes), None, None, "no permission").keepalive is keepalive


def test_settings_that_differ_from_the_sysctls_were_set_on_the_socket():
    state = from_values(sock(), HOLDER, Values(True, 60, 75, 9, 0), DEFAULTS)
    assert state.set_by == (SOCKET_OPTION, EQUALS_SYSCTL, EQUALS_SYSCTL)
    assert state.where_set == "socket option (idle)"
    assert from_values(sock(), HOLDER, Values(True, 60, 10, 6, 0), DEFAULTS).where_set == "socket option"
    assert from_values(sock(), HOLDER, Values(True, 7200, 75, 9, 0), DEFAULTS).where_set == "equals the sysctl"
    assert from_values(sock(), HOLDER, Values(True, 60, 10, 6, 0), Sysctls()).where_set is None


def test_the_next_probe_waits_for_the_idle_clock_when_the_timer_comes_too_early():
    values = Values(True, 17, 1, 9, 0)
    early = from_values(sock(expires_ms=6_496, last_ack_recv_ms=468), HOLDER, values, DEFAULTS)
    assert early.next_probe_ns == 16_532 * 10**6
    unanswered = from_values(sock(expires_ms=700, unanswered=2, last_ack_recv_ms=18_300), HOLDER, values, DEFAULTS)
    assert (unanswered.next_probe_ns, unanswered.unanswered) == (700 * 10**6, 2)
    late = from_values(sock(expires_ms=0, last_ack_recv_ms=17_100), HOLDER, values, DEFAULTS)
    assert late.next_probe_ns == 0


@pytest.mark.parametrize("timer", ["retransmission", "persist"])
def test_another_timer_hides_the_next_probe_and_its_retries_are_no_missed_probes(timer):
    state = from_values(sock(timer=timer, unanswered=3), HOLDER, Values(True, 17, 1, 9, 0), DEFAULTS)
    assert (state.next_probe_ns, state.unanswered, state.timer) == (None, 0, timer)


@pytest.mark.parametrize("changes", [{"state": "LISTEN"}, {}])
def test_a_listener_and_a_socket_without_keepalive_detect_nothing(changes):
    state = from_values(sock(timer=None, **changes), HOLDER, Values(bool(changes), 60, 10, 6, 0), DEFAULTS)
    assert (state.detect_ns, state.next_probe_ns) == (None, None)
