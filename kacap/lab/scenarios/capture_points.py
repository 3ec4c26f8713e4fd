"""The same truth seen from elsewhere: pseudo-devices, both ends, rotated files, IPv6, many connections."""

from __future__ import annotations

from dataclasses import replace

from kacap.lab.scenario import Pair, Scenario, View, at
from kacap.lab.scenarios.states import CUT_OFF, UNREACHABLE, UP, USUAL
from kacap.sockets.keepalive import Keepalive

_HELLO = at(0.2, "send", "client", 10)

ON_LO = Scenario(
    name="on-lo",
    happens="Both ends on one host, captured on lo; the server probes.",
    look_for="Each segment once, sent and received at the same instant.",
    then="Every probe is answered.",
    seconds=6,
    pairs=(Pair(server=Keepalive(1, 1, 10)),),
    events=(_HELLO,),
    topology="lo",
)

ON_ANY = replace(
    ON_LO,
    name="on-any",
    happens="As on-lo, captured on the pseudo-device any.",
    look_for="Each segment twice, on its way out and in: it counts once.",
    views=(View("any"),),
)

ON_ANY_ROUTER = replace(
    CUT_OFF,
    name="on-any-router",
    happens="As cut-off, captured on the router's pseudo-device any.",
    look_for="Each forwarded segment twice, the second time with a TTL one lower; a probe that is dropped, once.",
    views=(View("router-any"),),
)

BOTH_ENDS = Scenario(
    name="both-ends",
    happens="The way back falls silent: probes arrive, replies are lost. Captured at both ends, a file each.",
    look_for="prober.pcapng shows unanswered probes, peer.pcapng shows that each was answered.",
    then="The client gets ETIMEDOUT; its RST tells the server, which gets ECONNRESET.",
    seconds=8,
    pairs=(USUAL,),
    events=(_HELLO, at(0.5, "cut", "client")),
    views=(View("prober", "prober.pcapng"), View("peer", "peer.pcapng")),
)

MERGED = replace(
    BOTH_ENDS,
    name="merged",
    happens="As both-ends, with both captures merged into one file of two interfaces.",
    look_for="Each segment that arrives twice, the second time with a TTL one lower; a lost reply once.",
    merged=True,
)

REPLIES_LOST = replace(
    BOTH_ENDS,
    name="replies-lost",
    happens="As both-ends, captured at the peer alone: the replies are in the capture, the prober never hears them.",
    look_for="Every probe has its reply, and yet the prober gives up: its probes go on echoing an older timestamp.",
    views=(View("peer"),),
)

MERGED_UP = replace(
    UP,
    name="merged-up",
    happens="As in up, with the captures of both ends merged into one file of two interfaces.",
    look_for="Each segment twice, the second time with a TTL one lower: it counts once, and nobody forged anything.",
    views=(View("prober", "prober.pcapng"), View("peer", "peer.pcapng")),
    merged=True,
)

FAR = Scenario(
    name="far",
    happens="Each packet takes half a second from one end to the other; captured at the peer.",
    look_for="Probes 4 s apart for an idle of 3: the peer's capture holds the way there and back.",
    then="Every probe is answered, a second after it was sent.",
    seconds=14.5,
    pairs=(Pair(client=Keepalive(3, 1, 3)),),
    events=(_HELLO,),
    views=(View("peer"),),
    way=0.5,
)

FAR_MERGED = replace(
    FAR,
    name="far-merged",
    happens="As far, with the captures of both ends merged into one file of two interfaces.",
    look_for="Each segment twice, half a second apart: it counts once.",
    views=(View("prober", "prober.pcapng"), View("peer", "peer.pcapng")),
    merged=True,
)

ROTATED = replace(
    CUT_OFF,
    name="rotated",
    happens="As cut-off, with the capture rotated to a new file every 4 frames.",
    look_for="The run of unanswered probes goes on over the end of a file.",
    views=(View(rotate=4),),
)


def _mixed(count: int) -> tuple[Pair, ...]:
    """Return ``count`` connections of mixed settings; of those that only their client probes, half are lost."""
    settings = [Keepalive(1 + n % 4, 1 + n // 4 % 3, 2 + n % 3) for n in range(count)]
    return tuple(
        Pair(client=None if n % 5 == 4 else each, server=each if n % 5 > 2 else None, lost=n % 5 < 3 and n % 2 == 1)
        for n, each in enumerate(settings)
    )


MANY = Scenario(
    name="many",
    happens="40 connections with mixed settings; the way to some of them falls silent.",
    look_for="Each connection's own settings, and one ending for each of the lost ones.",
    then="Every lost end that probes gets ETIMEDOUT after its own idle + count x interval.",
    seconds=17,
    pairs=_mixed(40),
    events=(at(0.5, "cut", "second"),),
)


def _over_ipv6(scenario: Scenario) -> Scenario:
    return replace(scenario.in_family(6), name=f"{scenario.name}-ipv6", happens=f"{scenario.happens} Over IPv6.")


SCENARIOS = (
    ON_LO,
    ON_ANY,
    ON_ANY_ROUTER,
    BOTH_ENDS,
    MERGED,
    REPLIES_LOST,
    MERGED_UP,
    FAR,
    FAR_MERGED,
    ROTATED,
    MANY,
    _over_ipv6(UP),
    _over_ipv6(CUT_OFF),
    _over_ipv6(UNREACHABLE),
)
