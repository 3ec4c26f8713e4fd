"""What a chart says in words: which connections, their verdicts, numbers and configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kacap.analysis import Analysis
from kacap.errors import UsageError
from kacap.facts.fleet import Fleet
from kacap.facts.standing import by_gravity, gravest
from kacap.facts.verdicts import of_prober
from kacap.model import SETTINGS, Connection, Prober
from kacap.report.chart.expected import Term, Terms, hz_words, terms_of
from kacap.report.sentences import began_words, reply_words
from kacap.report.settings import setting
from kacap.units import between, counted, duration


def chosen(analysis: Analysis, connection: int | None) -> Sequence[Connection]:
    """Return the connections to draw, gravest first, or the one asked for; raises UsageError when it is not there."""
    if connection is None:
        return by_gravity(analysis.connections)
    found = [c for c in analysis.connections if c.connection == connection]
    if not found:
        numbers = sorted(c.connection for c in analysis.connections)
        last = f"they are numbered {numbers[0]} to {numbers[-1]}" if numbers else "nobody probes in it"
        known = f"the only one is {numbers[0]}" if len(numbers) == 1 else last
        raise UsageError(f"connection {connection}: not in this capture; {known}")
    return found


def probers_of(connections: Sequence[Connection]) -> list[Prober]:
    """Return every prober, of the gravest connection first, the gravest of each first."""
    return [prober for connection in connections for prober in gravest(connection)]


def headline(connections: Sequence[Connection]) -> str:
    """Return the verdict on some connections: that of one, in totals of several."""
    probing = by_gravity(connections)
    if not probing:
        return "no keepalive probe seen"
    if len(probing) == 1:
        first = gravest(probing[0])[0]
        return probing[0].verdict.sentence + instead(first)
    return Fleet(probing, 0).verdict().sentence


def conclusion_of(analysis: Analysis, connections: Sequence[Connection]) -> str:
    """Return the headline, and before it the outage that a connection outlived: that is graver than what is well."""
    said, probing = headline(connections), by_gravity(connections)
    if len(probing) != 1 or probing[0].verdict.mood == "bad":
        return said
    own = (f for f in analysis.findings if f.id == "outage" and f.connection == probing[0].connection)
    outage = next((finding.sentence.replace(": the connection survived", "") for finding in own), "")
    return "; ".join(filter(None, [re.sub(r" \([^()]*\)", "", outage), said]))


def lines_of(analysis: Analysis, connection: Connection) -> list[str]:
    """Return what stands under the title of one connection: who probes whom, and what is configured."""
    probers = gravest(connection)
    number = f"connection {connection.connection}, {began_words(connection)}"
    if not probers:
        silent = f"silent for {duration(connection.longest_silence_ns)} at most"
        return [f"{connection.a} and {connection.b}, {number}, {silent}"]
    terms = [terms_of(analysis, prober) for prober in probers]
    if len(probers) == 1:
        return [_numbers(probers[0], f" ({number})"), terms[0].said(), *differing(probers[0]), *tolerance(terms)]
    wrong = [line for prober in probers for line in differing(prober)]
    own = [f"{_numbers(prober)}; {one.said()}" for prober, one in zip(probers, terms, strict=True)]
    return [f"peer: {of_prober(probers[1]).sentence}; {number}", *own, *wrong, *tolerance(terms)]


def tolerance(all_terms: list[Terms]) -> list[str]:
    """Return in words what the pale bands are; nothing where no band is drawn."""
    words: list[str] = []
    rates: set[int] = set()
    for name in ("idle", "interval"):
        for terms in all_terms:
            term: Term | None = getattr(terms, name)
            if term is not None and term.stated and term.modelled:
                words.append(f"{duration(terms.late_ns(term))} after {name} {term}")
                rates.update(terms.hz)
    if not words:
        return []
    most = ", ".join(dict.fromkeys(words))
    return [f"pale bands: never early, late by at most {most} (Linux, {hz_words(rates)})"]


def differing(prober: Prober) -> list[str]:
    """Return the settings that are not as configured, and what they look like instead, a line each."""
    settings = {name: getattr(prober, name) for name in SETTINGS}
    return [f"{name}: {setting(name, value)}" for name, value in settings.items() if value.verdict == "differs"]


def instead(prober: Prober) -> str:
    """Return how a verdict goes on where settings are not as configured: ``; idle is not 10 s as configured``."""
    names = ("idle", "interval", "count")
    wrong = [
        f"{name} is not {getattr(prober, name).expected}{'' if name == 'count' else ' s'}"
        for name in names
        if getattr(prober, name).verdict == "differs"
    ]
    return f"; {', '.join(wrong)} as configured" if wrong else ""


def _numbers(prober: Prober, where: str = "") -> str:
    """Return who probes whom, how often, and how fast it was answered."""
    words = [f"{prober.side} probes {prober.peer}{where}: n={prober.probes:,}"]
    if prober.gaps_ns is not None:
        words.append(f"gaps {between(*prober.gaps_ns)}")
    if (answered := reply_words(prober)) is not None:
        words.append(f"replies {answered}")
    return ", ".join(words)


def population(analysis: Analysis, connections: Sequence[Connection]) -> list[str]:
    """Return what stands under the title of many connections: how many, whose, and what is configured."""
    if len(connections) == 1:
        return lines_of(analysis, connections[0])[:2]
    probers, totals = probers_of(connections), by_gravity(connections).totals
    hosts = sorted({prober.side.address for prober in probers})
    who = ", ".join(hosts) if len(hosts) < 4 else counted(len(hosts), "host")
    on = counted(len(connections), "connection")
    numbers = f"{who}: {counted(totals.probes, 'probe')} on {on}, {totals.replies:,} answered"
    said = sorted({terms.said(spans=False) for terms in {terms_of(analysis, prober) for prober in probers}})
    return [numbers, said[0] if len(said) == 1 else _several(analysis, probers)]


def _several(analysis: Analysis, probers: list[Prober]) -> str:
    """Return how many of several probers have a stated configuration."""
    stated = [prober for prober in probers if prober.idle.expected is not None or prober.interval.expected is not None]
    sources = sorted({value.source for p in stated for value in (p.idle, p.interval, p.count) if value.source})
    if not stated:
        return "nothing configured is known; settings guessed from the gaps differ from connection to connection"
    return f"configured values known of {len(stated):,} of {len(probers):,} probers ({', '.join(sources)})"
