"""Many connections at once with settings of all sizes: what timers do, in numbers large enough to count."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

from kacap.lab.scenario import At, Pair, Scenario, at
from kacap.sockets.keepalive import Keepalive

_IDLE = (1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 75, 90, 120, 180, 240, 300)
_INTERVAL = (1, 2, 3, 5, 10, 15, 20, 25, 30, 45, 60, 75, 90, 120)
_COUNT = (2, 3, 4, 5, 9)
_SPREAD_S = 17.0  # a little more than the granule of the longest timers


def population(sockets: int, seconds: int) -> Scenario:
    """Return ``sockets`` connections watched for ``seconds``: the same ones each time.

    Of ten, five are answered, three lose their peer at the start, and two exchange bytes now and then; a third of
    the others are probed by their server. Short idle times are made rarer, so that they do not fill the capture.
    """
    chance = random.Random(7)
    pairs: list[Pair] = []
    events: list[At] = [at(0.5, "cut", "second")]
    for number in range(sockets):
        idle = chance.choices(_IDLE, weights=[1 if value < 10 else 3 for value in _IDLE])[0]
        settings = Keepalive(idle, chance.choice(_INTERVAL), chance.choice(_COUNT))
        fate = number % 10
        lost = 5 <= fate < 8
        by_server = number % 3 == 0 and not lost  # the capture is at the client: what is lost must pass it first
        pairs.append(Pair(None if by_server else settings, settings if by_server else None, lost))
        if fate >= 8:
            events += _words(chance, number, idle, seconds)
    return Scenario(
        name="population",
        happens=f"{sockets} connections with settings of all sizes, for {seconds} s.",
        look_for="How late each probe is, by its idle and interval.",
        then="No probe is early; every lost end that probes gets ETIMEDOUT after its count.",
        seconds=seconds,
        pairs=tuple(pairs),
        events=tuple(events),
        spread=_SPREAD_S,
        table=True,
    )


def _words(chance: random.Random, number: int, idle: int, seconds: int) -> list[At]:
    """Return a byte from either end at random moments, a few idle times apart."""
    moment, events = 1.0, []
    while (moment := moment + idle * chance.uniform(0.3, 3.5) + 3) < seconds - 1:
        events.append(at(moment, "send", chance.choice(("client", "server")), 1, number))
    return events


def compress(directory: Path) -> None:
    """Replace ``capture.pcapng`` by ``capture.pcapng.gz``."""
    plain = directory / "capture.pcapng"
    (directory / "capture.pcapng.gz").write_bytes(gzip.compress(plain.read_bytes(), 9, mtime=0))
    plain.unlink()
    truth = directory / "truth.toml"
    truth.write_text(truth.read_text().replace('"capture.pcapng"', '"capture.pcapng.gz"'))
