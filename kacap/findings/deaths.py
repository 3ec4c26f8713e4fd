"""Idle deaths over a whole capture: the longest silence survived and the shortest that killed bracket a timeout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_halves
from kacap.analysis import GONE, KILLED, SILENCE, SilenceRows
from kacap.clock import SECOND_NS
from kacap.findings.connection_facts import Claim, ConnectionFacts
from kacap.findings.context import Context
from kacap.findings.idle import (
    TIGHT_NS,
    Death,
    death_of,
    forgetting,
    is_lively,
    limit_s,
    limit_words,
)
from kacap.flows import BEGAN, ConnectionRows
from kacap.model import Endpoint, IdleDeaths
from kacap.rows import newest
from kacap.timing.planning import idle_that_beats
from kacap.units import counted, duration

FRAMES_SHOWN = 16  # frames

Telling = list[tuple[Endpoint, int, list[Death]]]


@dataclass(slots=True)
class Bracket:
    """What the connections to one destination say of an idle timeout on the way, nanoseconds."""

    survived_ns: int = 0
    deaths: list[Death] = field(default_factory=list)


class Deaths:
    """Brackets by destination; memory grows with destinations and deaths, never with connections."""

    def __init__(self) -> None:
        self.by_destination: dict[Endpoint, Bracket] = {}
        self.survived: list[SilenceRows] = []

    def take_rows(self, connections: ConnectionRows, survived_ns: NDArray[np.int64]) -> None:
        """Take the longest silence that each of some connections (CONNECTION rows) survived, nanoseconds."""
        lived = survived_ns > 0
        rows = np.zeros(int(lived.sum()), SILENCE)
        rows["silence_ns"] = survived_ns[lived]
        to_b = (connections["state"] & BEGAN != 0) | (connections["b_port"] <= connections["a_port"])
        for name in ("hi", "lo", "port"):  # column by column: a copy of whole rows would take three times the memory
            rows[name] = np.where(to_b, connections[f"b_{name}"], connections[f"a_{name}"])[lived]
        self.survived.append(rows)

    def forget(self, most: int) -> None:
        """Keep the newest ``most`` silences that were survived."""
        self.survived = newest(self.survived, most)

    def take(self, facts: ConnectionFacts) -> None:
        """Take a connection that has ended, and may have died."""
        death = death_of(facts)
        probed_ns = max((prober.survived_ns for prober in facts.connection.probers), default=0)
        if death is None and probed_ns < TIGHT_NS:
            return
        bracket = self.by_destination.setdefault(facts.connection.destination, Bracket())
        bracket.survived_ns = max(bracket.survived_ns, probed_ns, facts.survived_ns if death else 0)
        if death is not None:
            bracket.deaths.append(death)

    def told(self, telling: Telling) -> set[int]:
        """Return the connections whose idle deaths are part of those that tell, by their serial numbers."""
        return {death.connection for to, _, _ in telling for death in self.by_destination[to].deaths}

    def _add_survived(self) -> None:
        """Widen the brackets of destinations with deaths by what all their connections survived."""
        brackets = {
            (*address_halves(to.address), to.port): bracket
            for to, bracket in self.by_destination.items()
            if bracket.deaths
        }
        if not brackets:
            return
        rows = np.concatenate([np.zeros(0, SILENCE), *self.survived])
        ports = np.array(sorted({port for _, _, port in brackets}), np.uint16)
        for hi, lo, survived_ns, port, _ in rows[np.isin(rows["port"], ports)].tolist():
            bracket = brackets.get((hi, lo, port))
            if bracket is not None and survived_ns > bracket.survived_ns:
                bracket.survived_ns = survived_ns

    def silences(self, context: Context) -> SilenceRows:
        """Return a row (SILENCE) for the longest silence that each connection survived, and for each that killed."""
        dead = [
            (*address_halves(to.address), death.silence_ns, to.port, KILLED if is_lively(death, context) else GONE)
            for to, bracket in sorted(self.by_destination.items())
            for death in bracket.deaths
        ]
        return np.concatenate([np.zeros(0, SILENCE), *self.survived, np.array(dead, SILENCE)])

    def telling(self, context: Context) -> Telling:
        """Return (destination, longest silence survived, deaths by their silence) where these show a limit."""
        self._add_survived()
        found: Telling = []
        for to, bracket in sorted(self.by_destination.items()):
            deaths = [death for death in bracket.deaths if is_lively(death, context)]
            deaths.sort(key=lambda death: (death.silence_ns, death.at_ns, death.frames))
            if _is_telling(bracket.survived_ns, deaths):
                found.append((to, bracket.survived_ns, deaths))
        return found


def summed(telling: Telling) -> list[IdleDeaths]:
    """Return the bracket of each destination."""
    return [IdleDeaths(to, survived, deaths[0].silence_ns, len(deaths)) for to, survived, deaths in telling]


def claims(telling: Telling, context: Context) -> Iterator[Claim]:
    """Yield a sentence for each destination whose connections died idle while it was up."""
    for to, survived, deaths in telling:
        frames = [death.frames[0] for death in deaths if death.frames]
        sentence = _sentence(to, survived, deaths, context)
        yield Claim(sentence, frames[:FRAMES_SHOWN], limit_s(survived, deaths[0].silence_ns))


def _is_telling(survived: int, deaths: list[Death]) -> bool:
    """Return whether deaths show a common limit: several, or one that is not far above what was survived."""
    return len(deaths) > 1 or (len(deaths) == 1 and survived < deaths[0].silence_ns <= 2 * survived)


def _sentence(to: Endpoint, survived: int, deaths: list[Death], context: Context) -> str:
    """Say the bracket, the known limits in it, and the idle that would have come before it."""
    killed = deaths[0].silence_ns
    died = f"{counted(len(deaths), 'connection')} to {to} died at first use after silence"
    if survived >= killed:
        lived = duration(survived)
        return f"{died}, but not of one limit: one after {duration(killed)}, while another survived {lived}"
    lived = f"the longest silence survived is {duration(survived)}" if survived else "no long silence was survived"
    limits = forgetting(survived, killed, context)
    known = f"; known limits in between: {limit_words(limits)}" if limits else ""
    beats = idle_that_beats(survived // SECOND_NS) if survived else None
    advice = f"; set idle to {beats} s or less (timer slack included)" if beats else ""
    return f"{died}: {lived}, the shortest that killed {duration(killed)}{known}{advice}"
