"""What a scenario is: data that a TCP person can read aloud, and nothing that runs.

Time 0 is the moment the connection stands; every time is seconds after it. Hosts are ``client``, ``router`` and
``server`` (or one host on ``lo``); the client connects, the server accepts, and neither says a word unless told to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kacap.sockets.keepalive import Keepalive

Topology = Literal["chain", "lo"]
Site = Literal["prober", "peer", "router", "any", "router-any"]


@dataclass(frozen=True, slots=True)
class At:
    """One event: at ``seconds`` do ``verb`` (a method of ``kacap.lab.actions.Actions``) with ``words``."""

    seconds: float
    verb: str
    words: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        """Return the event as a line of the timeline, without its time."""
        return " ".join([self.verb, *map(str, self.words)])


def at(seconds: float, verb: str, *words: str | int) -> At:
    """Return the event ``verb words`` at ``seconds``."""
    return At(seconds, verb, words)


@dataclass(frozen=True, slots=True)
class Pair:
    """One connection: what each side sets. ``lost``: to the server's second address, which ``cut second`` silences."""

    client: Keepalive | None = None
    server: Keepalive | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """One capture: where, into which file, from when on (seconds; before the connection if None), rotated or not."""

    site: Site = "prober"
    file: str = "capture.pcapng"
    since: float | None = None
    rotate: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story of one or more connections. ``then`` says what must be true afterwards, in words.

    ``pins`` are sysctls beyond the usual ones (host, key, value); ``firewall`` is nftables text for the router or
    another host (host, text) in place before the connection, ``without_nft`` the events that stand in for it where
    nft is missing; ``on_listener`` sets the server's options on its listener;
    ``receive_buffer`` is the server's SO_RCVBUF in bytes; ``merged`` joins the captures into ``capture.pcapng``;
    each packet takes ``way`` seconds from one end to the other; ``together`` arms the timers of both ends in one tick,
    on one CPU, so that they fire together (with ``on_listener``: an accepted socket's options come later);
    ``spread`` seconds pass while the connections are opened one by one; ``table`` tells them in ``sockets.csv``.
    """

    name: str
    happens: str
    look_for: str
    then: str
    seconds: float
    pairs: tuple[Pair, ...]
    events: tuple[At, ...] = ()
    views: tuple[View, ...] = (View(),)
    topology: Topology = "chain"
    family: Literal[4, 6] = 4
    pins: tuple[tuple[str, str, int], ...] = ()
    firewall: tuple[tuple[str, str], ...] = ()
    without_nft: tuple[At, ...] = ()
    on_listener: bool = False
    receive_buffer: int = 0
    together: bool = False
    merged: bool = False
    spread: float = 0.0
    table: bool = False
    way: float = 0.0

    @property
    def prober(self) -> str:
        """Return the host that probes: the client where both do."""
        return "client" if any(pair.client for pair in self.pairs) or not self.pairs[0].server else "server"

    def with_settings(self, idle: int | None, interval: int | None, count: int | None) -> Scenario:
        """Return the same story with other settings for every end that probes, slowed down to fit them.

        Times stretch by the largest of the ratios new to old (of idle, interval and their sum), and never shrink.
        """
        asked = Keepalive(idle, interval, count)
        asked.check()
        if asked == Keepalive():
            return self
        pairs = tuple(replace(p, client=_other(p.client, asked), server=_other(p.server, asked)) for p in self.pairs)
        ends = [(old, new) for a, b in zip(self.pairs, pairs, strict=True) for old, new in _ends(a, b)]
        factor = max([1.0, *(_stretch(old, new) for old, new in ends)])
        events = tuple(replace(event, seconds=event.seconds * factor) for event in self.events)
        views = tuple(replace(view, since=view.since and view.since * factor) for view in self.views)
        return replace(self, pairs=pairs, events=events, views=views, seconds=self.seconds * factor)

    def in_family(self, family: Literal[4, 6]) -> Scenario:
        """Return the same story over IPv4 or IPv6."""
        return replace(self, family=family)

    def seen_from(self, site: Site | Literal["both"]) -> Scenario:
        """Return the same story captured at one other place only, or at both ends, a file each."""
        if site == "both":
            ends = (View("prober", "prober.pcapng"), View("peer", "peer.pcapng"))
            return replace(self, views=ends, merged=False)
        return replace(self, views=(replace(self.views[0], site=site, file="capture.pcapng"),), merged=False)


def _other(settings: Keepalive | None, asked: Keepalive) -> Keepalive | None:
    if settings is None:
        return None
    chosen = {k: getattr(asked, k) for k in ("idle", "interval", "count") if getattr(asked, k) is not None}
    return replace(settings, **chosen)


def _ends(old: Pair, new: Pair) -> list[tuple[Keepalive, Keepalive]]:
    both = [(old.client, new.client), (old.server, new.server)]
    return [(a, b) for a, b in both if a is not None and b is not None]


def _stretch(old: Keepalive, new: Keepalive) -> float:
    def spans(k: Keepalive) -> tuple[float, float, float]:
        idle, interval = float(k.idle or 2), float(k.interval or 1)
        return idle, interval, idle + interval * (k.count or 3)

    return max(b / a for a, b in zip(spans(old), spans(new), strict=True))
