"""One keepalive setter for every system: ``Keepalive(idle, interval, count, user_timeout)``.

All times are seconds here, whatever the system counts in. How each system takes them:

=================  ==============  =============  ============  =======================
system             idle            interval       count         user timeout
=================  ==============  =============  ============  =======================
Linux              TCP_KEEPIDLE    TCP_KEEPINTVL  TCP_KEEPCNT   TCP_USER_TIMEOUT (ms)
FreeBSD            TCP_KEEPIDLE    TCP_KEEPINTVL  TCP_KEEPCNT   not offered
macOS              TCP_KEEPALIVE   TCP_KEEPINTVL  TCP_KEEPCNT   not offered
Windows >= 1709    TCP_KEEPIDLE    TCP_KEEPINTVL  TCP_KEEPCNT   not offered
older Windows      SIO_KEEPALIVE_VALS (ms, both)  fixed at 10   not offered
=================  ==============  =============  ============  =======================
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, fields

from kacap.errors import UsageError

# Numbers that Python leaves out on the systems which have them: macOS <netinet/tcp.h> and <mstcpip.h>.
_MACOS_IDLE = 0x10
_MACOS_INTERVAL = 0x101
_MACOS_COUNT = 0x102
_SIO_KEEPALIVE_VALS = 0x98000004
_WINDOWS_DEFAULT_IDLE = 7200
_WINDOWS_DEFAULT_INTERVAL = 1
_WINDOWS_COUNT = 10

_MAX_SECONDS = 32767  # MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL, include/net/tcp.h
_MAX_COUNT = 127  # MAX_TCP_KEEPCNT
_MAX_USER_TIMEOUT = (2**31 - 1) / 1000  # an int of milliseconds


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The settings of one socket: all in seconds, ``None`` leaves (or reads as) the system's own.

    ``idle``: silence before the first probe, 1 to 32767 s. ``interval``: between unanswered probes, 1 to 32767 s.
    ``count``: unanswered probes before the connection is given up, 1 to 127. ``user_timeout``: Linux's
    TCP_USER_TIMEOUT in seconds (fractions allowed; 0 switches it off), which overrides ``count``. The values are
    checked when they are applied, because a socket read back may hold what no setter accepts.

    >>> import kacap, socket
    >>> with socket.socket() as sock:
    ...     kacap.Keepalive(idle=60, interval=10, count=6).apply(sock)
    ...     print(kacap.Keepalive.of(sock).idle, kacap.Keepalive.detect_within(30))
    60 idle 15 s, interval 5 s, count 3, user timeout -
    """

    idle: int | None = None
    interval: int | None = None
    count: int | None = None
    user_timeout: float | None = None

    @classmethod
    def detect_within(cls, seconds: int) -> Keepalive:
        """Return settings that notice a dead peer at most ``seconds`` (4 or more) after its last word.

        The common choice: a first probe after half of that, then every third of that half, three times
        (30 s: 15/5/3). The system's own timer lateness comes on top: up to an eighth on Linux.

        Raises ``UsageError`` below 4 s, where no such settings exist, and where idle would pass 32767 s.
        """
        if seconds < 4:
            raise UsageError(f"a dead peer cannot be noticed within {seconds} s by three probes: ask for 4 s or more")
        interval = max(1, seconds // 6)
        wanted = cls(idle=min(seconds // 2, seconds - 3 * interval), interval=interval, count=3)
        wanted.check()
        return wanted

    @classmethod
    def of(cls, sock: socket.socket) -> Keepalive:
        """Read the settings that ``sock`` has now; what this system does not tell is ``None``."""
        idle, interval, count = _option_numbers()
        millis = _read(sock, getattr(socket, "TCP_USER_TIMEOUT", None))
        timeout = None if millis is None else millis / 1000
        return cls(_read(sock, idle), _read(sock, interval), _read(sock, count), timeout)

    def apply(self, sock: socket.socket) -> None:
        """Turn SO_KEEPALIVE on and set what is not ``None``.

        Raises ``UsageError`` for a value out of range, one that looks like milliseconds, and one that this system
        cannot set; nothing is set then. The options go in before SO_KEEPALIVE, so that its timer starts with them.
        """
        self.check()
        if sys.platform == "win32" and None in _option_numbers():
            self._apply_windows_control(sock)
            return
        for number, value in self._chosen():
            sock.setsockopt(socket.IPPROTO_TCP, number, value)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _chosen(self) -> list[tuple[int, int]]:
        """Return the option number and value of what is not ``None``; raise for what this system cannot set."""
        timeout = None if self.user_timeout is None else round(self.user_timeout * 1000)
        values = {"idle": self.idle, "interval": self.interval, "count": self.count, "user_timeout": timeout}
        numbers = (*_option_numbers(), getattr(socket, "TCP_USER_TIMEOUT", None))
        chosen = []
        for (name, value), number in zip(values.items(), numbers, strict=True):
            if value is None:
                continue
            if number is None:
                raise UsageError(f"{name} cannot be set for one socket on {sys.platform}")
            chosen.append((number, value))
        return chosen

    def check(self) -> None:
        """Raise ``UsageError`` for the first value that no socket should be given; the message names it."""
        _check_seconds("idle", self.idle)
        _check_seconds("interval", self.interval)
        if self.count is not None and (not isinstance(self.count, int) or not 1 <= self.count <= _MAX_COUNT):
            raise UsageError(f"count={self.count} is out of range: 1 to {_MAX_COUNT} probes")
        if self.user_timeout is None:
            return
        if self.user_timeout >= 1000 and self.user_timeout % 1000 == 0:
            raise UsageError(_milliseconds("user_timeout", int(self.user_timeout)))
        if not 0 <= self.user_timeout <= _MAX_USER_TIMEOUT:
            raise UsageError(f"user_timeout={self.user_timeout} is out of range: 0 to {_MAX_USER_TIMEOUT:.0f} s")

    def _apply_windows_control(self, sock: socket.socket) -> None:
        """Set idle and interval by SIO_KEEPALIVE_VALS, which takes both at once, in milliseconds, and no count."""
        if self.count not in (None, _WINDOWS_COUNT):
            raise UsageError(
                f"count={self.count} cannot be set on this Windows: it always sends {_WINDOWS_COUNT} probes"
            )
        if self.user_timeout is not None:
            raise UsageError("user_timeout cannot be set for one socket on win32")
        idle = self.idle or _WINDOWS_DEFAULT_IDLE
        interval = self.interval or _WINDOWS_DEFAULT_INTERVAL
        code = getattr(socket, "SIO_KEEPALIVE_VALS", _SIO_KEEPALIVE_VALS)
        sock.ioctl(code, (1, idle * 1000, interval * 1000))  # type: ignore[attr-defined]

    def __str__(self) -> str:
        """Return ``idle 2 s, interval 1 s, count 3, user timeout 5.5 s``, with ``-`` for what is not known."""
        units = {"idle": " s", "interval": " s", "count": "", "user_timeout": " s"}
        parts = []
        for field in fields(self):
            value = getattr(self, field.name)
            shown = "-" if value is None else f"{value:g}{units[field.name]}"
            parts.append(f"{field.name.replace('_', ' ')} {shown}")
        return ", ".join(parts)


def _option_numbers() -> tuple[int | None, int | None, int | None]:
    """Return the option numbers of idle, interval and count on this system; ``None`` if it has no such option."""
    if sys.platform == "darwin":
        return (
            getattr(socket, "TCP_KEEPALIVE", _MACOS_IDLE),
            getattr(socket, "TCP_KEEPINTVL", _MACOS_INTERVAL),
            getattr(socket, "TCP_KEEPCNT", _MACOS_COUNT),
        )
    return (
        getattr(socket, "TCP_KEEPIDLE", None),
        getattr(socket, "TCP_KEEPINTVL", None),
        getattr(socket, "TCP_KEEPCNT", None),
    )


def _read(sock: socket.socket, number: int | None) -> int | None:
    if number is None:
        return None
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, number)
    except OSError:  # a kernel older than the option
        return None


def _check_seconds(name: str, value: int | None) -> None:
    if value is not None and not isinstance(value, int):
        raise UsageError(f"{name}={value} is not a whole number of seconds")
    if value is None or (1 <= value <= _MAX_SECONDS and (value < 10_000 or value % 1000)):
        return
    if value >= 1000 and value % 1000 == 0:
        raise UsageError(_milliseconds(name, value))
    raise UsageError(f"{name}={value} is out of range: 1 to {_MAX_SECONDS} s")


def _milliseconds(name: str, value: int) -> str:
    return f"{name}={value} looks like milliseconds; {name} is in seconds: for {value / 1000:g} s pass {value // 1000}"
