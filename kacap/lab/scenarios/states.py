"""The four states a peer can be in (up, cut off, restarted, unreachable), and what comes between them."""

from __future__ import annotations

from dataclasses import replace

from kacap.lab.scenario import Pair, Scenario, View, at
from kacap.sockets.keepalive import Keepalive

USUAL = Pair(client=Keepalive(idle=2, interval=1, count=3))

UP = Scenario(
    name="up",
    happens="The client says a word, the server answers, then both fall silent; the peer is up.",
    look_for="A probe 2 s after the last word and then every 2 s: idle sets the rhythm, interval does not show.",
    then="Every probe is answered; no error on either socket.",
    seconds=9.5,
    pairs=(USUAL,),
    events=(at(0.2, "send", "client", 10), at(0.3, "send", "server", 20)),
)

MID_CONNECTION = replace(
    UP,
    name="mid-connection",
    happens="As in up, but the capture begins when the connection has long been silent.",
    look_for="No SYN and no data: only the reply, which acknowledges one more than the probe carried, tells it apart.",
    then="Every probe is answered; the capture holds no handshake.",
    views=(View(since=1.0),),
)

CUT_OFF = Scenario(
    name="cut-off",
    happens="The way between the ends falls silent, as when a cable is pulled somewhere far away.",
    look_for="3 unanswered probes 1 s apart, one interval more, then the prober's own RST+ACK.",
    then="The client gets ETIMEDOUT after idle + count x interval; the server never learns.",
    seconds=8,
    pairs=(USUAL,),
    events=(at(0.2, "send", "client", 10), at(0.5, "cut")),
)

RESTARTED = Scenario(
    name="restarted",
    happens="The peer loses power and is back before the next probe, without the connection.",
    look_for="The answer to the probe is a bare RST: no options, window 0, its number taken from the probe's ack.",
    then="The client gets ECONNRESET at its first probe.",
    seconds=5,
    pairs=(USUAL,),
    events=(at(0.2, "send", "client", 10), at(0.5, "cut"), at(0.7, "crash", "server"), at(1.2, "restore")),
)

UNREACHABLE = Scenario(
    name="unreachable",
    happens="The router loses its way to the peer and says so with an ICMP error for each probe.",
    look_for="Host unreachable after each probe, quoting it. Linux ignores that and counts on.",
    then="The client gets ETIMEDOUT (not EHOSTUNREACH) after idle + count x interval.",
    seconds=8,
    pairs=(USUAL,),
    events=(at(0.2, "send", "client", 10), at(0.5, "unreachable", "server")),
)

UNREACHABLE_MID_RUN = replace(
    UNREACHABLE,
    name="unreachable-mid-run",
    happens="The way falls silent; for one probe of five the router says host unreachable, then nothing again.",
    look_for="One ICMP error in the middle of the run: the prober goes on as if it had not come.",
    then="The client gets ETIMEDOUT after idle + count x interval.",
    seconds=10,
    pairs=(Pair(client=Keepalive(idle=2, interval=1, count=5)),),
    events=(
        at(0.2, "send", "client", 10),
        at(0.5, "cut", "server"),
        at(3.7, "unreachable", "server"),
        at(4.7, "cut", "server"),
    ),
)

RECOVERED = Scenario(
    name="recovered",
    happens="The way is silent for a while and comes back before the count is used up.",
    look_for="2 unanswered probes 1 s apart, an answered one, then the rhythm of idle again.",
    then="No error on either socket.",
    seconds=12,
    pairs=(Pair(client=Keepalive(idle=2, interval=1, count=5)),),
    events=(at(0.2, "send", "client", 10), at(0.5, "cut"), at(3.7, "restore")),
)

SCENARIOS = (UP, MID_CONNECTION, CUT_OFF, RESTARTED, UNREACHABLE, UNREACHABLE_MID_RUN, RECOVERED)
