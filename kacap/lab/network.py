"""The network of a scenario: hosts in namespaces of their own, joined by veth pairs, and the faults in between.

Two shapes: ``client - router - server``, and one host that talks to itself on ``lo``. Faults are routes on the router
wherever a route can do it (it needs no nftables, and no end notices); nftables does the rest.
"""

from __future__ import annotations

import os
import shutil
import time
from multiprocessing.connection import Connection
from typing import Any, Literal

from kacap.errors import KacapError
from kacap.lab.host import Host
from kacap.lab.process import spawn
from kacap.lab.scenario import Topology

PORT = 12345
FIRST_CLIENT_PORT = 40000

_NETS = {4: ("10.1.0.", "10.2.0.", 24), 6: ("fd00:1::", "fd00:2::", 64)}
_PINS: tuple[tuple[str, int], ...] = (
    ("net.ipv4.tcp_keepalive_time", 7200),
    ("net.ipv4.tcp_keepalive_intvl", 75),
    ("net.ipv4.tcp_keepalive_probes", 9),
    ("net.ipv4.tcp_timestamps", 1),
    ("net.ipv4.tcp_sack", 1),
    ("net.ipv4.tcp_dsack", 1),
    ("net.ipv4.tcp_window_scaling", 1),
    ("net.ipv4.tcp_retries2", 15),
    ("net.ipv4.tcp_fin_timeout", 60),
    ("net.ipv4.tcp_invalid_ratelimit", 500),
    ("net.ipv4.tcp_no_metrics_save", 1),
    ("net.ipv4.tcp_orphan_retries", 1),  # nothing outlives the run for long
    ("net.ipv4.icmp_ratelimit", 0),
    ("net.ipv6.icmp.ratelimit", 0),
    ("net.ipv4.ip_default_ttl", 64),
    ("net.ipv6.conf.default.accept_ra", 0),
    ("net.ipv6.conf.default.accept_dad", 0),
    ("net.ipv6.conf.default.router_solicitations", 0),
)


class Remote:
    """A host as the scenario run sees it: a pid, and calls over a pipe."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid, self._pipe = spawn(_host)
        self._pipe.recv()

    def call(self, verb: str, *words: object) -> Any:
        """Have the host do ``verb`` and return what it answers. Raises ``KacapError`` with the host's own words."""
        self.start(verb, *words)
        return self.finish()

    def start(self, verb: str, *words: object) -> None:
        """Begin a call without waiting; ``finish`` takes its answer."""
        self._pipe.send((verb, words))

    def finish(self) -> Any:
        """Wait for the answer of the call begun last."""
        try:
            fine, answer = self._pipe.recv()
        except EOFError:
            raise KacapError(f"the lab's host {self.name} ended unexpectedly") from None
        if not fine:
            raise KacapError(f"{self.name}: {answer}")
        return answer

    def leave(self) -> None:
        """End the host, and with it its namespace."""
        self._pipe.send(("leave", ()))
        os.waitpid(self.pid, 0)


def _host(pipe: Connection) -> None:
    Host().serve(pipe)


class Network:
    """Hosts by name (``client``, ``router``, ``server``; on ``lo`` client and server are the same host)."""

    def __init__(self, topology: Topology, family: Literal[4, 6]) -> None:
        self.topology = topology
        self.family = family
        self.has_nft = shutil.which("nft") is not None
        self.faults_by: set[str] = set()
        near, far, self._bits = _NETS[family]
        if topology == "lo":
            loopback = "127.0.0.1" if family == 4 else "::1"
            self.addresses = {"client": loopback, "server": loopback, "router": loopback, "second": loopback}
            only = Remote("host")
            self.hosts = {"client": only, "server": only}
        else:
            self.addresses = {"client": f"{near}2", "server": f"{far}2", "second": f"{far}3"}
            self.hosts = {name: Remote(name) for name in ("client", "router", "server")}
            self._gateways = {"client": f"{near}1", "server": f"{far}1"}

    def build(self, pins: tuple[tuple[str, str, int], ...]) -> list[str]:
        """Pin the settings, plug the cables, set addresses and routes; return the pins this kernel lacks."""
        missing = []
        for host in set(self.hosts.values()):
            own = [(key, value) for name, key, value in pins if self.hosts[name] is host]
            for key, value in [*_PINS, ("net.ipv6.conf.default.disable_ipv6", int(self.family == 4)), *own]:
                if not host.call("sysctl", key, value):
                    missing.append(f"{host.name}: {key}")
            host.call("command", ["ip", "link", "set", "lo", "up"])
        if self.topology == "chain":
            self._plug()
        return missing

    def _plug(self) -> None:
        router = self.hosts["router"]
        router.call("sysctl", "net.ipv4.ip_forward", 1)
        for end, port in (("client", "left"), ("server", "right")):
            host = self.hosts[end]
            host.call("command", _ip(f"link add eth0 type veth peer name {port} netns {router.pid}"))
            addresses = [self.addresses[end]] + ([self.addresses["second"]] if end == "server" else [])
            for address in addresses:
                host.call("command", _ip(f"address add {address}/{self._bits} dev eth0{self._nodad}"))
            host.call("command", _ip("link set eth0 up"))
            router.call("command", _ip(f"address add {self._gateways[end]}/{self._bits} dev {port}{self._nodad}"))
            router.call("command", _ip(f"link set {port} up"))
            host.call("command", _ip(f"-{self.family} route add default via {self._gateways[end]}"))
        if self.family == 6:  # sets every interface's own switch, so after they exist
            router.call("sysctl", "net.ipv6.conf.all.forwarding", 1)
        self._greet()

    def _greet(self) -> None:
        """Wait until every link and address is ready, so that no first packet waits for one."""
        deadline = time.monotonic() + 5
        for host in self.hosts.values():
            while not _ready(host.call("command", _ip("address show"))):
                if time.monotonic() > deadline:
                    raise KacapError(f"the links of {host.name} do not come up")
                time.sleep(0.01)

    @property
    def _nodad(self) -> str:
        return " nodad" if self.family == 6 else ""

    def interface(self, site: str, prober: str) -> tuple[Remote, str]:
        """Return where a view of ``site`` records: host and interface."""
        peer = "server" if prober == "client" else "client"
        if site.startswith("router"):
            return self.hosts["router"], "any" if site == "router-any" else "left"
        host = self.hosts[peer if site == "peer" else prober]
        return host, "any" if site == "any" else ("lo" if self.topology == "lo" else "eth0")

    def route(self, host: str, kind: str, towards: str) -> None:
        """Send what ``host`` would forward or send to an end's address into a route of ``kind`` (ip-route(8))."""
        self.faults_by.add("route")
        device = " dev lo" if kind == "local" else ""
        self.hosts[host].call("command", _ip(f"-{self.family} route replace {kind} {self._single(towards)}{device}"))

    def unroute(self, host: str, towards: str) -> None:
        """Take every such route away again."""
        self.hosts[host].call("command", _ip(f"-{self.family} route del {self._single(towards)}"))

    def _single(self, towards: str) -> str:
        return f"{self.addresses[towards]}/{32 if self.family == 4 else 128}"

    def nft(self, host: str, text: str) -> None:
        """Load nftables text on ``host``; raises ``KacapError`` where nft is missing."""
        if not self.has_nft:
            raise KacapError("this scenario needs nftables: install the package nftables, which brings nft")
        self.faults_by.add("nft")
        self.hosts[host].call("command", ["nft", "-f", "-"], text)

    def slow(self, seconds: float) -> None:
        """Let each packet take so long from one side of the router to the other (IPv4)."""
        if self.family != 4 or self.topology != "chain":
            raise KacapError("a long way is made over IPv4, through the router")
        self.hosts["router"].call("sysctl", "net.ipv4.ip_forward", 0)
        self.hosts["router"].call("carry", ("left", "right"), seconds)

    def leave(self) -> None:
        """End all hosts, and so the whole network; the router first, before what carries there misses its cables."""
        for host in sorted(set(self.hosts.values()), key=lambda host: host.name != "router"):
            host.leave()


def _ready(addresses: str) -> bool:
    """Tell from what ``ip address`` shows whether every veth is up and no address is still tentative."""
    return "tentative" not in addresses and "state DOWN" not in addresses and "LOWERLAYERDOWN" not in addresses


def _ip(words: str) -> list[str]:
    return ["ip", *words.split()]
