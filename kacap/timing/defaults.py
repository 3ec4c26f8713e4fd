"""Settings that nobody chose: what systems and runtimes use by themselves. What is recognised by them is a guess."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Default:
    """Idle and interval in seconds, count in probes; None: the user's, or the system's. ``needs`` observed at least."""

    who: str
    idle: int | None
    interval: int | None
    count: int | None
    needs: int
    source: str

    def __str__(self) -> str:
        """Return ``Go's default 15/15/9``."""
        return f"{self.who}'s default {'/'.join('-' if n is None else str(n) for n in self.settings)}"

    @property
    def settings(self) -> tuple[int | None, int | None, int | None]:
        """Idle, interval and count."""
        return self.idle, self.interval, self.count


# Linux tcp(7), macOS and the BSDs (count 8), Windows (interval 1, count 10): all begin after two hours.
SYSTEM = {"idle": (7200,), "interval": (75,), "count": (9,)}

RUNTIMES = (
    Default("Go", 15, 15, 9, 1, "net/dial.go defaultTCPKeepAliveIdle; net/tcpsock.go KeepAliveConfig"),
    Default("Redis", 300, 100, 3, 1, "anet.c anetKeepAlive: tcp-keepalive 300, a third of it, 3"),
    Default("curl", 60, 60, None, 1, "curl(1) --keepalive-time"),
    Default("the SQL Server client", 30, 1, None, 2, "KeepAlive 30000, KeepAliveInterval 1000"),
    Default("Node.js or Windows", None, 1, 10, 2, "libuv uv__tcp_keepalive; Win32 TCP_KEEPCNT"),
)
