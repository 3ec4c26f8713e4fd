"""Boxes on the way: translators and firewalls that forget, drop, reset or forge. The router plays them."""

from __future__ import annotations

from kacap.lab.scenario import Pair, Scenario, at
from kacap.lab.scenarios.states import USUAL
from kacap.sockets.keepalive import Keepalive

_HELLO = at(0.2, "send", "client", 10)
_INSIDE = Pair(client=Keepalive(idle=4, interval=1, count=3))
_OUTSIDE = Pair(server=Keepalive(idle=4, interval=1, count=3))

_TRACK = "net.netfilter.nf_conntrack_tcp_"
_FORGET = ("router", f"{_TRACK}timeout_established", 2)
_PICK_UP = ("router", f"{_TRACK}loose", 1)
_FORGOTTEN_IS_INVALID = ("router", f"{_TRACK}loose", 0)

_TRANSLATE = "table inet box { chain post { type nat hook postrouting priority 100; oifname right masquerade; }; }"
_FORWARD = "table inet box {{ chain forward {{ type filter hook forward priority 0; {rules} }}; }}"
_DROP_INVALID = _FORWARD.format(rules="ct state invalid drop;")
_RESET_NEW = _FORWARD.format(
    rules="ct state established,related accept; iifname left accept; meta l4proto tcp reject with tcp reset;"
)

SCENARIOS = (
    Scenario(
        name="nat-forgot-inside",
        happens="A NAT forgets the connection after 2 s; the inside client probes after 4 and is not translated now.",
        look_for="A bare RST in the server's name: the server never heard of the private address it now sees.",
        then="The client gets ECONNRESET at its first probe; the server never learns.",
        seconds=7,
        pairs=(_INSIDE,),
        events=(_HELLO,),
        firewall=(("router", _TRANSLATE),),
        pins=(_FORGET, _FORGOTTEN_IS_INVALID),
    ),
    Scenario(
        name="nat-forgot-recreated",
        happens="A NAT forgets the connection after 2 s; the inside client's probe makes a new entry.",
        look_for="Nothing: the probe is answered. A probe from inside may repair what a longer silence broke.",
        then="Every probe is answered.",
        seconds=11,
        pairs=(_INSIDE,),
        events=(_HELLO,),
        firewall=(("router", _TRANSLATE),),
        pins=(_FORGET, _PICK_UP),
    ),
    Scenario(
        name="nat-forgot-outside",
        happens="A NAT forgets the connection after 2 s; the outside server probes after 4 and meets the NAT itself.",
        look_for="A bare RST whose TTL is one more than the client's segments had: the NAT's own kernel sent it.",
        then="The server gets ECONNRESET at its first probe; the client never learns.",
        seconds=7,
        pairs=(_OUTSIDE,),
        events=(_HELLO,),
        firewall=(("router", _TRANSLATE),),
        pins=(_FORGET, _PICK_UP),
    ),
    Scenario(
        name="firewall-drops",
        happens="A firewall forgets the connection after 2 s and drops what it does not know.",
        look_for="3 unanswered probes and the prober's RST+ACK: the same picture as a peer that is gone.",
        then="The client gets ETIMEDOUT; the server is up and never learns.",
        seconds=9.5,
        pairs=(_INSIDE,),
        events=(_HELLO,),
        firewall=(("router", _DROP_INVALID),),
        without_nft=(at(2.5, "cut"),),
        pins=(_FORGET, _FORGOTTEN_IS_INVALID),
    ),
    Scenario(
        name="firewall-resets",
        happens="A firewall forgets the connection after 2 s and answers the outside server's probe with a reset.",
        look_for="A bare RST in the client's name with the firewall's own TTL.",
        then="The server gets ECONNRESET; the client never learns.",
        seconds=7,
        pairs=(_OUTSIDE,),
        events=(_HELLO,),
        firewall=(("router", _RESET_NEW),),
        without_nft=(at(2.5, "impersonate", "client"),),
        pins=(_FORGET, _PICK_UP),
    ),
    Scenario(
        name="forged-rst",
        happens="A box that watches the way sends a reset in the peer's name as soon as a probe passes.",
        look_for="A reset with TTL 200 beside the peer's own segments (63) and its genuine reply to the same probe.",
        then="The client gets ECONNRESET; the server never learns.",
        seconds=5,
        pairs=(USUAL,),
        events=(_HELLO, at(1, "forge_reset", "client", 200)),
    ),
)
