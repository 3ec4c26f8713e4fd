"""How systems, languages and servers are told idle, interval, count and user timeout: their own words and units.

A table of templates. Where a product cannot set something, its note says so; where it leaves no choice of interval and
count, ``shape`` gives those that it takes, by idle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from kacap.errors import UsageError
from kacap.timing.planning import Shape

_MS = 1_000_000
ONLY_ENABLED = "only for sockets with SO_KEEPALIVE on; the user timeout has no sysctl"


@dataclass(frozen=True, slots=True)
class Product:
    """One product: ``lines`` are templates, ``note`` says where they go and what cannot be set (a template, too)."""

    name: str
    lines: tuple[str, ...]
    note: str
    source: str
    shape: Shape | None = None
    names: tuple[str, ...] = ()

    @property
    def settable(self) -> bool:
        """Whether idle can be set at all."""
        return any("{idle" in line for line in self.lines)

    def snippet(self, idle: int, interval: int, count: int, user_timeout_ns: int) -> list[str]:
        """Return the lines with the settings in them: idle and interval in seconds, the user timeout in nanoseconds."""
        values = {
            "idle": idle,
            "interval": interval,
            "count": count,
            "timeout_ms": user_timeout_ns // _MS,
            "idle_ms": idle * 1000,
            "interval_ms": interval * 1000,
        }
        return [line.format(**values) for line in self.lines]

    def remark(self, interval: int, count: int) -> str:
        """Return where the snippet goes and what the product cannot set, with the values that it takes instead."""
        return self.note.format(interval=interval, count=count)


def _redis(idle: int) -> tuple[int, int]:
    return max(1, idle // 3), 3


def _node(_: int) -> tuple[int, int]:
    return 1, 10


PRODUCTS = (
    Product("linux", (
        "sysctl -w net.ipv4.tcp_keepalive_time={idle} net.ipv4.tcp_keepalive_intvl={interval} "
        "net.ipv4.tcp_keepalive_probes={count}",
        "setsockopt: SO_KEEPALIVE=1 TCP_KEEPIDLE={idle} TCP_KEEPINTVL={interval} TCP_KEEPCNT={count} "
        "TCP_USER_TIMEOUT={timeout_ms}",
    ), "either; the sysctls are the network namespace's, and " + ONLY_ENABLED, "tcp(7); Linux net/ipv4/tcp_timer.c"),
    Product("python", (
        "sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)",
        "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, {idle})  # macOS: TCP_KEEPALIVE",
        "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, {interval})",
        "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, {count})",
        "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, {timeout_ms})  # ms, Linux only",
    ), "kacap.Keepalive(...).apply(sock) chooses the names by system", "Python docs, socket"),
    Product("libpq", (
        "keepalives=1 keepalives_idle={idle} keepalives_interval={interval} keepalives_count={count} "
        "tcp_user_timeout={timeout_ms}",
    ), "connection string; the client's side (psql, psycopg, everything on libpq)", "PostgreSQL docs, libpq-connect",
        names=("psycopg", "psql")),
    Product("postgresql", (
        "tcp_keepalives_idle = {idle}",
        "tcp_keepalives_interval = {interval}",
        "tcp_keepalives_count = {count}",
        "tcp_user_timeout = {timeout_ms}",
    ), "postgresql.conf; the server's side", "PostgreSQL docs, runtime-config-connection", names=("postgres",)),
    Product("pgjdbc", ("tcpKeepAlive=true",),
        "on or off only: idle, interval, count and user timeout cannot be set, the system's hold (see linux), or those "
        "of a socketFactory of your own", "pgjdbc #2487, #3964 (open as of 2026-09)", names=("jdbc",)),
    Product("go", (
        "net.KeepAliveConfig{{Enable: true, Idle: {idle} * time.Second, Interval: {interval} * time.Second, "
        "Count: {count}}}",
    ), "KeepAliveConfig of net.Dialer and net.ListenConfig, Go 1.23 or newer; the user timeout only by setsockopt in "
        "Control", "Go docs, net.KeepAliveConfig", names=("golang",)),
    Product("node", ("socket.setKeepAlive(true, {idle_ms})  // ms",),
        "after 'connect', before it the delay is ignored; Node sets interval {interval} s and count {count} itself and "
        "cannot set others before 26.4 (there: setKeepAlive with initialDelay, interval, count); no user timeout",
        "Node docs, net.Socket; node #31663, #63825", _node, ("nodejs", "node.js")),
    Product("java", (
        "socket.setOption(StandardSocketOptions.SO_KEEPALIVE, true);",
        "socket.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, {idle});",
        "socket.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, {interval});",
        "socket.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, {count});",
    ), "jdk.net, JDK 11 or newer; the user timeout cannot be set (Netty's epoll transport can)",
        "Java docs, jdk.net.ExtendedSocketOptions"),
    Product("nginx", ("listen 443 so_keepalive={idle}s:{interval}s:{count};",),
        "add to your listen directive; clients' side only: to upstreams there is proxy_socket_keepalive on, with the "
        "system's values; no user timeout", "nginx docs, ngx_http_core_module listen"),
    Product("envoy", (
        "tcp_keepalive: {{keepalive_time: {idle}, keepalive_interval: {interval}, keepalive_probes: {count}}}",
    ), "under the cluster's upstream_connection_options; for clients give the listener socket_options: SO_KEEPALIVE "
        "(level 1, name 9), idle, interval, count (level 6, names 4, 5, 6), user timeout in ms (level 6, name 18)",
        "Envoy API, core.v3.TcpKeepalive", names=("istio",)),
    Product("haproxy", (
        "option clitcpka",
        "clitcpka-idle {idle}s",
        "clitcpka-intvl {interval}s",
        "clitcpka-cnt {count}",
    ), "HAProxy 2.3 or newer; srvtcpka for servers' side; timeout client and server run on all the same; user timeout: "
        "tcp-ut of bind and server lines (unverified)", "HAProxy configuration manual, clitcpka-idle"),
    Product("redis", ("tcp-keepalive {idle}",),
        "redis.conf, the server's side; Redis sets interval {interval} s (a third of idle) and count {count} itself; "
        "no user timeout", "Redis anet.c, anetKeepAlive", _redis, ("valkey",)),
    Product("mariadb", (
        "tcp_keepalive_time = {idle}",
        "tcp_keepalive_interval = {interval}",
        "tcp_keepalive_probes = {count}",
    ), "[mariadbd], the server's side, seconds; no user timeout", "MariaDB docs, tcp_keepalive_time"),
    Product("mysql", ("(no setting of its own)",),
        "the server turns SO_KEEPALIVE on and takes the system's values, see linux (unverified); no user timeout",
        "general knowledge"),
    Product("docker", (
        "docker run --sysctl net.ipv4.tcp_keepalive_time={idle} --sysctl net.ipv4.tcp_keepalive_intvl={interval} "
        "--sysctl net.ipv4.tcp_keepalive_probes={count} ...",
    ), "a container does not inherit the host's; " + ONLY_ENABLED, "Docker docs, docker run --sysctl"),
    Product("kubernetes", (
        "securityContext:",
        "  sysctls:",
        '  - {{name: net.ipv4.tcp_keepalive_time, value: "{idle}"}}',
        '  - {{name: net.ipv4.tcp_keepalive_intvl, value: "{interval}"}}',
        '  - {{name: net.ipv4.tcp_keepalive_probes, value: "{count}"}}',
    ), "of the pod; allowed by default from Kubernetes 1.29 and Linux 4.5 on; " + ONLY_ENABLED,
        "Kubernetes docs, kernel version requirements", names=("k8s",)),
    Product("systemd", (
        "[Socket]",
        "KeepAlive=yes",
        "KeepAliveTimeSec={idle}",
        "KeepAliveIntervalSec={interval}",
        "KeepAliveProbes={count}",
    ), "a .socket unit, for the connections that it accepts; no user timeout", "systemd.socket(5)"),
    Product("windows", (
        "setsockopt: SO_KEEPALIVE=1 TCP_KEEPIDLE={idle} TCP_KEEPINTVL={interval} TCP_KEEPCNT={count}",
        "SIO_KEEPALIVE_VALS: onoff=1 keepalivetime={idle_ms} keepaliveinterval={interval_ms}  (ms; always 10 probes)",
    ), "the first from Windows 10 1709 on; no user timeout; the worst cases above are those of Linux's timer",
        "Win32 docs, IPPROTO_TCP socket options, SIO_KEEPALIVE_VALS"),
)  # fmt: skip


def chosen(words: str, table: Iterable[Product] = PRODUCTS) -> list[Product]:
    """Return the products named in ``linux,libpq,go``, in that order, each once; ``all`` are all.

    Raises UsageError for an unknown name; the nearest, or all, are suggested.
    """
    known = {name: row for row in table for name in (row.name, *row.names)}
    if words.strip().lower() == "all":
        return list(dict.fromkeys(known.values()))
    found: dict[str, Product] = {}
    for word in words.lower().split(","):
        name = word.strip()
        if name not in known:
            near = get_close_matches(name, known, 1, 0.7)
            hint = f"did you mean {near[0]}?" if near else ", ".join(dict.fromkeys(row.name for row in known.values()))
            raise UsageError(f"--for {words}: unknown '{name}': {hint}")
        found[known[name].name] = known[name]
    return list(found.values())
