"""Settings and the clocks they start: which value governs what, and who else ends a connection."""

from __future__ import annotations

from kacap.lab.scenario import Pair, Scenario, at
from kacap.lab.scenarios.states import USUAL
from kacap.sockets.keepalive import Keepalive

_HELLO = at(0.2, "send", "client", 10)

SCENARIOS = (
    Scenario(
        name="both-probe",
        happens="Both ends probe, each with its own settings.",
        look_for="Two rhythms, 2 s and 3 s, side by side: a probe without data does not restart the other end's clock.",
        then="Every probe of both ends is answered.",
        seconds=10,
        pairs=(Pair(client=Keepalive(2, 1, 3), server=Keepalive(3, 1, 3)),),
        events=(_HELLO,),
    ),
    Scenario(
        name="crossing",
        happens="Both ends probe at the same moment, so that the probes cross on their way.",
        look_for="Two probes, then two replies: a reply belongs to the probe of the other direction.",
        then="Every probe of both ends is answered.",
        seconds=9,
        pairs=(Pair(client=Keepalive(2, 1, 3), server=Keepalive(2, 1, 3)),),
        one_cpu=True,
    ),
    Scenario(
        name="probe-before-data",
        happens="The client connects and neither end ever says a word.",
        look_for="The probes carry the number of the SYN itself: one less than the first byte, which was never sent.",
        then="Every probe is answered.",
        seconds=7,
        pairs=(USUAL,),
    ),
    Scenario(
        name="interval-longer-than-idle",
        happens="The interval is set longer than idle, and the peer answers.",
        look_for="The first probe after idle (1 s), every further one after the interval (3 s).",
        then="Every probe is answered.",
        seconds=11,
        pairs=(Pair(client=Keepalive(idle=1, interval=3, count=3)),),
        events=(_HELLO,),
    ),
    Scenario(
        name="listener-inherits",
        happens="The server sets its options on the listener only; the accepted socket inherits them.",
        look_for="The server probes every 2 s.",
        then="getsockopt of the accepted socket shows the listener's values; every probe is answered.",
        seconds=7,
        pairs=(Pair(server=Keepalive(2, 1, 3)),),
        events=(_HELLO,),
        on_listener=True,
    ),
    Scenario(
        name="sysctl-changed",
        happens="Keepalive is on with only the interval set; tcp_keepalive_time goes from 2 to 4 while it runs.",
        look_for="Probes every 2 s, then every 4 s: what the socket does not set follows the system.",
        then="getsockopt shows idle 2 at first and 4 at the end; every probe is answered.",
        seconds=17,
        pairs=(Pair(client=Keepalive(interval=1)),),
        events=(_HELLO, at(5.0, "sysctl", "client", "net.ipv4.tcp_keepalive_time", 4)),
        pins=(("client", "net.ipv4.tcp_keepalive_time", 2),),
    ),
    Scenario(
        name="idle-set-late",
        happens="Keepalive is on with the system's 2 hours; after 3 s the application sets TCP_KEEPIDLE to 2.",
        look_for="A probe at once, because 2 s of silence are over already, then every 2 s.",
        then="getsockopt shows 7200 at first and 2 at the end; every probe is answered.",
        seconds=8,
        pairs=(Pair(client=Keepalive(interval=1)),),
        events=(_HELLO, at(3.0, "set_idle", "client", 2)),
    ),
    Scenario(
        name="user-timeout-short",
        happens="The way falls silent; TCP_USER_TIMEOUT (4 s) is over long before the count is.",
        look_for="1 probe of 5, then the prober's RST+ACK at the first timer after 4 s.",
        then="The client gets ETIMEDOUT after about 5 s instead of 13.",
        seconds=7,
        pairs=(Pair(client=Keepalive(idle=3, interval=2, count=5, user_timeout=4)),),
        events=(_HELLO, at(0.5, "cut")),
    ),
    Scenario(
        name="user-timeout-long",
        happens="The way falls silent; TCP_USER_TIMEOUT (7 s) lasts longer than the count of 2.",
        look_for="More probes than the count: with a user timeout the count is ignored.",
        then="The client gets ETIMEDOUT after about 7 s instead of 4.",
        seconds=9.5,
        pairs=(Pair(client=Keepalive(idle=2, interval=1, count=2, user_timeout=7)),),
        events=(_HELLO, at(0.5, "cut")),
    ),
    Scenario(
        name="heartbeat",
        happens="The application sends a byte every 1.5 s, and keepalive waits for 3 s of silence.",
        look_for="No probe at all: the heartbeat keeps the connection alive, keepalive never gets its turn.",
        then="TcpExtTCPKeepAlive stays 0.",
        seconds=10,
        pairs=(Pair(client=Keepalive(3, 1, 3)),),
        events=tuple(at(1.5 * number, "send", "client", 1) for number in range(1, 7)),
    ),
)
