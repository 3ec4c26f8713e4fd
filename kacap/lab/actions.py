"""The verbs of a timeline: what an event of a scenario does to hosts, sockets and the way between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kacap.lab.network import FIRST_CLIENT_PORT, PORT, Network
from kacap.lab.scenario import Scenario
from kacap.sockets.keepalive import Keepalive

if TYPE_CHECKING:
    from kacap.lab.forge import Segment


class Actions:
    """Each public method is a verb; an end is ``client`` or ``server``, a connection its number from 0."""

    def __init__(self, scenario: Scenario, network: Network) -> None:
        self._scenario = scenario
        self._network = network

    def _on(self, end: str, verb: str, *words: object, connection: int = 0) -> Any:
        return self._network.hosts[end].call(verb, f"{end}-{connection}", *words)

    # The way between ------------------------------------------------------------------------------------------------

    def cut(self, *towards: str) -> None:
        """The way between the ends falls silent (or only the way towards the ends named)."""
        for end in towards or ("client", "server"):
            self._network.route("router", "blackhole", end)

    def restore(self, *towards: str) -> None:
        """The way works again."""
        for end in towards or ("client", "server"):
            self._network.unroute("router", end)

    def unreachable(self, end: str) -> None:
        """The router answers for ``end`` with ICMP: host unreachable (ICMPv6: no route to destination)."""
        self._network.route("router", "unreachable", end)

    def impersonate(self, end: str) -> None:
        """The router takes packets for ``end`` as its own, and its kernel knows no such connection: it resets."""
        self._network.route("router", "local", end)

    def rules(self, host: str, text: str) -> None:
        """Load nftables rules on a host."""
        self._network.nft(host, text)

    def block_output(self, host: str, towards: str) -> None:
        """The host's own OUTPUT rule (without nft: a prohibiting route) drops what it sends to an end."""
        if not self._network.has_nft:
            self._network.route(host, "prohibit", towards)
            return
        family = "ip" if self._network.family == 4 else "ip6"
        address = self._network.addresses[towards]
        chain = "chain out { type filter hook output priority 0; "
        self._network.nft(host, f"table inet lab {{ {chain} {family} daddr {address} drop; }}; }}")

    def unblock_output(self, host: str, towards: str) -> None:
        """Take that rule away again."""
        if self._network.has_nft:
            self._network.nft(host, "delete table inet lab")
        else:
            self._network.unroute(host, towards)

    # Applications ---------------------------------------------------------------------------------------------------

    def send(self, end: str, size: int, connection: int = 0) -> None:
        """The application writes ``size`` bytes."""
        self._on(end, "send", size, connection=connection)

    def read(self, end: str) -> None:
        """The application reads all that waits."""
        self._on(end, "read")

    def fill(self, end: str) -> None:
        """The application writes until the peer's window is exactly full and nothing waits."""
        self._on(end, "fill")

    def shutdown(self, end: str) -> None:
        """The application says that it will send no more (FIN) and keeps reading."""
        self._on(end, "shutdown")

    def close(self, end: str) -> None:
        """The application closes."""
        self._on(end, "close")

    def crash(self, end: str) -> None:
        """The host forgets the connection without a word, as at a power cut."""
        self._on(end, "forget")

    def sysctl(self, host: str, key: str, value: int) -> None:
        """Somebody changes a setting of the host."""
        self._network.hosts[host].call("sysctl", key, value)

    def set_idle(self, end: str, idle: int) -> None:
        """The application changes TCP_KEEPIDLE on the live socket."""
        self._on(end, "apply", Keepalive(idle=idle))

    def keepalive(self, end: str, idle: int, interval: int, count: int) -> None:
        """The application sets all options on the live socket, and SO_KEEPALIVE on."""
        self._on(end, "apply", Keepalive(idle, interval, count))

    def keepalive_off(self, end: str) -> None:
        """The application switches SO_KEEPALIVE off on the live socket."""
        self._on(end, "keepalive_off")

    def abort(self, end: str) -> None:
        """The application closes with SO_LINGER 0: an RST instead of a FIN."""
        self._on(end, "abort")

    def reconnect(self, idle: int, interval: int, count: int) -> None:
        """The client's application aborts, and connects again from the same port with other settings."""
        addresses, number = self._network.addresses, FIRST_CLIENT_PORT
        self._on("client", "abort")
        ends = (addresses["client"], number), (addresses["server"], PORT)
        self._on("client", "connect", *ends, Keepalive(idle, interval, count))
        self._network.hosts["server"].call("accept", "server-listener", "server-0", None)

    # Forged segments ------------------------------------------------------------------------------------------------

    def probe_by_hand(self, end: str, payload: int) -> None:
        """A raw socket on the end's host sends a probe with ``payload`` null bytes in the connection's name."""
        segment = self._segment(end)
        segment["payload"], segment["seq"] = payload, (segment["seq"] - 1) % 2**32
        self._network.hosts[end].call("forge", segment)

    def forge_reset(self, victim: str, ttl: int) -> None:
        """The router watches for the victim's next probe and answers with a reset in the peer's name."""
        mine = self._segment(victim)
        reset: Segment = {
            "source": mine["target"],
            "target": mine["source"],
            "seq": mine["ack"],
            "ack": 0,
            "flags": "R",
            "ttl": ttl,
        }
        interface = "left" if victim == "client" else "right"
        self._network.hosts["router"].call("forge_after", interface, (mine["seq"] - 1) % 2**32, reset)

    def _segment(self, end: str) -> Segment:
        """Return a pure ACK as ``end`` would send it now: the kernel's own sequence numbers."""
        facts = self._network.hosts[end].call("facts")[f"{end}-0"]
        seq, ack = self._on(end, "sequence")
        return {"source": facts["local"], "target": facts["remote"], "seq": seq, "ack": ack, "flags": "A"}
