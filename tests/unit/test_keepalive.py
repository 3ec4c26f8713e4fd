"""The keepalive setter: on this system's own sockets, and on faked ones for the systems that are not at hand."""

from __future__ import annotations

import socket
import sys

import pytest

from kacap.errors import UsageError
from kacap.sockets import Keepalive
from kacap.sockets import keepalive as module

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's own option numbers")


class FakeSocket:
    """Remembers what was set, in order."""

    def __init__(self) -> None:
        self.set: list[tuple[int, int, int]] = []
        self.controls: list[tuple[int, tuple[int, int, int]]] = []

    def setsockopt(self, level: int, number: int, value: int) -> None:
        self.set.append((level, number, value))

    def getsockopt(self, level: int, number: int) -> int:
        return next((v for lv, n, v in reversed(self.set) if (lv, n) == (level, number)), 0)

    def ioctl(self, code: int, values: tuple[int, int, int]) -> None:
        self.controls.append((code, values))


def pretend(monkeypatch: pytest.MonkeyPatch, platform: str, **options: int) -> None:
    """Make this Python look like one on ``platform`` that knows only ``options``."""
    monkeypatch.setattr(module.sys, "platform", platform)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT", "TCP_KEEPALIVE"):
        monkeypatch.delattr(socket, name, raising=False)
    for name, number in options.items():
        monkeypatch.setattr(socket, name, number, raising=False)


@linux
def test_what_is_applied_to_a_real_socket_is_what_is_read_back() -> None:
    wanted = Keepalive(idle=77, interval=11, count=9, user_timeout=5.5)
    with socket.socket() as sock:
        wanted.apply(sock)
        assert Keepalive.of(sock) == wanted
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5500


@linux
def test_none_leaves_a_setting_as_it_is() -> None:
    with socket.socket() as sock:
        before = Keepalive.of(sock)
        Keepalive(interval=3).apply(sock)
        assert Keepalive.of(sock) == Keepalive(before.idle, 3, before.count, 0)


@linux
def test_the_limits_are_those_of_the_kernel() -> None:
    with socket.socket() as sock:
        Keepalive(idle=1, interval=1, count=1).apply(sock)
        Keepalive(idle=32767, interval=32767, count=127).apply(sock)
        assert Keepalive.of(sock) == Keepalive(32767, 32767, 127, 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"idle": 0}, "out of range: 1 to 32767 s"),
        ({"idle": 32768}, "out of range: 1 to 32767 s"),
        ({"interval": -1}, "out of range"),
        ({"count": 0}, "1 to 127 probes"),
        ({"count": 128}, "1 to 127 probes"),
        ({"user_timeout": -0.1}, "out of range"),
        ({"idle": 60_000}, "looks like milliseconds; idle is in seconds: for 60 s pass 60"),
        ({"idle": 10_000}, "for 10 s pass 10"),
        ({"interval": 75_000}, "for 75 s pass 75"),
        ({"user_timeout": 30_000}, "for 30 s pass 30"),
        ({"idle": 1.5}, "not a whole number"),
    ],
)
def test_a_bad_value_is_named_and_nothing_is_set(values: dict[str, float], words: str) -> None:
    sock = FakeSocket()
    with pytest.raises(UsageError, match=words):
        Keepalive(**values).apply(sock)  # type: ignore[arg-type]
    assert not sock.set


def test_ordinary_long_times_are_not_taken_for_milliseconds() -> None:
    for seconds in (1000, 3000, 3600, 7200, 7875, 32767):
        Keepalive(idle=seconds, interval=seconds, count=9).check()
    Keepalive(user_timeout=7875).check()


@pytest.mark.parametrize("seconds", [4, 5, 6, 7, 10, 30, 299, 300, 3600])
def test_detect_within_notices_in_time_with_three_probes(seconds: int) -> None:
    chosen = Keepalive.detect_within(seconds)
    assert chosen.idle and chosen.interval and chosen.count == 3
    assert chosen.idle + chosen.interval * chosen.count <= seconds
    assert chosen.idle >= chosen.interval


def test_detect_within_probes_after_half_the_time_and_then_at_thirds_of_it() -> None:
    assert Keepalive.detect_within(30) == Keepalive(idle=15, interval=5, count=3)
    assert Keepalive.detect_within(600) == Keepalive(idle=300, interval=100, count=3)


def test_detect_within_refuses_what_three_probes_cannot_do() -> None:
    with pytest.raises(UsageError, match="4 s or more"):
        Keepalive.detect_within(3)


@pytest.mark.parametrize("platform", ["freebsd14", "win32"])
def test_freebsd_and_new_windows_take_the_three_options_in_seconds(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    pretend(monkeypatch, platform, TCP_KEEPIDLE=256, TCP_KEEPINTVL=512, TCP_KEEPCNT=1024)
    sock = FakeSocket()
    Keepalive(10, 5, 3).apply(sock)  # type: ignore[arg-type]
    tcp = socket.IPPROTO_TCP
    assert sock.set == [(tcp, 256, 10), (tcp, 512, 5), (tcp, 1024, 3), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    assert Keepalive.of(sock) == Keepalive(10, 5, 3, None)  # type: ignore[arg-type]


def test_macos_takes_idle_by_its_own_option(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "darwin")  # as Python before 3.10 there: not one constant
    sock = FakeSocket()
    Keepalive(10, 5, 3).apply(sock)  # type: ignore[arg-type]
    tcp = socket.IPPROTO_TCP
    assert sock.set[:3] == [(tcp, 0x10, 10), (tcp, 0x101, 5), (tcp, 0x102, 3)]


def test_older_windows_takes_idle_and_interval_at_once_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "win32")
    sock = FakeSocket()
    Keepalive(10, 5).apply(sock)  # type: ignore[arg-type]
    Keepalive(interval=2, count=10).apply(sock)  # type: ignore[arg-type]
    assert [values for _, values in sock.controls] == [(1, 10_000, 5_000), (1, 7_200_000, 2_000)]
    assert sock.controls[0][0] == 0x98000004


def test_older_windows_refuses_a_count_it_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "win32")
    with pytest.raises(UsageError, match="always sends 10"):
        Keepalive(10, 5, 3).apply(FakeSocket())  # type: ignore[arg-type]


@pytest.mark.parametrize("platform", ["darwin", "freebsd14", "win32"])
def test_a_user_timeout_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    pretend(monkeypatch, platform)
    with pytest.raises(UsageError, match="user_timeout cannot be set"):
        Keepalive(user_timeout=5).apply(FakeSocket())  # type: ignore[arg-type]


def test_it_reads_aloud_with_its_units() -> None:
    assert str(Keepalive(2, 1, 3, 5.5)) == "idle 2 s, interval 1 s, count 3, user timeout 5.5 s"
    assert str(Keepalive(idle=2)) == "idle 2 s, interval -, count -, user timeout -"
