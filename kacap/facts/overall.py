"""The verdict on a whole capture, and its findings by cause: what is said once for all the connections that it hit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kacap.analysis import Analysis
from kacap.connections import by_number
from kacap.facts.fleet import Fleet
from kacap.model import Connection, Endpoint, Finding, Verdict
from kacap.units import clock_span, counted

# Findings that say that a connection died, or that its keepalive could not have told: gravest first.
GRAVE = (
    "forged-reset", "idle-deaths", "path-forgot", "peer-gone", "peer-restarted", "idle-death", "unreachable",
    "gave-up-early", "close-wait", "swallowed-probes", "reply-lost", "suspended", "never-probed", "other-side",
)  # fmt: skip
# What several connections with the same finding did, for a sentence that begins with how many there are.
_DID = {
    "forged-reset": "{were} reset by a box in the name of {their} peer",
    "path-forgot": "{were} forgotten by a box on the path",
    "peer-gone": "gave up: the peer is gone or cut off",
    "peer-restarted": "met a peer that no longer knew {them} (RST)",
    "close-wait": "went on probing after {their} peer had closed",
    "unreachable": "met ICMP errors",
    "gave-up-early": "gave up before the expected count",
    "detection-time": "took another time to notice than was configured",
    "swallowed-probes": "sent probes that {their} peer, which was up, did not answer",
    "reply-lost": "did not get replies that are in the capture",
    "outage": "outlived an outage",
    "probe-loss": "lost probes or replies again and again",
    "rate-limited": "probed faster than Linux answers",
    "regular-misses": "had every so many probes unanswered",
    "not-end-to-end": "{were} answered by a box in between",
    "suspended": "had keepalive suspended by unacknowledged data",
    "masked": "{were} kept alive by application data",
    "never-probed": "never probed, though that was expected",
    "other-side": "{were} probed from the other side only",
    "two-timers": "{were} probed by two timers",
    "idle-death": "died while nobody used {them}",
}
# Findings about the capture as a whole: what each is about, and what became of that.
_WHOLE = {
    "drops": ("capture", "lost frames"),
    "idle-deaths": ("destination", "lost connections that nobody used"),
    "too-many-probes": ("host", "probed more often than needed"),
}
_ONE = {"were": "was", "their": "its", "them": "it"}
_MANY = {"were": "were", "their": "their", "them": "them"}


def did(name: str, number: int) -> str:
    """Return what so many connections with a finding did or met: ``were reset by a box in the name of their peer``."""
    return _DID[name].format_map(_ONE if number == 1 else _MANY)


def several(found: Sequence[Finding]) -> str:
    """Return what findings of one kind say together: ``12 connections gave up: the peer is gone or cut off``."""
    name = found[0].id
    if name in _WHOLE:
        about, what = _WHOLE[name]
        return f"{counted(len(found), about)} {what}"
    number = len({finding.connection for finding in found})
    return f"{counted(number, 'connection')} {did(name, number)}"


@dataclass(frozen=True, slots=True)
class Cause:
    """Findings of one kind at one destination: one sentence for all; ``connections`` are their numbers."""

    id: str
    sentence: str
    remedy: str
    findings: Sequence[Finding]
    connections: Sequence[int]


def overall(analysis: Analysis) -> Verdict | None:
    """Return the gravest true thing about a capture; None where nobody probes and nothing was found.

    A connection that was found dead without any probe outweighs all that were answered.
    """
    now_ns = analysis.capture.last_ns or 0
    fleet = Fleet(analysis.connections, now_ns)
    said = fleet.verdict() if len(fleet) else None
    found = [finding for finding in analysis.findings if finding.id in GRAVE and not finding.folded]
    if said is not None and (said.mood == "bad" or not found):
        return Verdict(said.sentence, "doubt") if found and said.mood == "good" else said
    if not found:
        return None
    first = min(found, key=lambda finding: GRAVE.index(finding.id))
    same = [finding for finding in found if finding.id == first.id]
    several = f" (and {counted(len(same) - 1, 'connection')} more)" if len(same) > 1 else ""
    return Verdict(first.sentence + several, "bad")


def causes(analysis: Analysis) -> list[Cause]:
    """Return the findings by kind and destination, gravest first, then in their own order."""
    known = by_number(analysis.connections, {f.connection for f in analysis.findings if f.connection is not None})
    groups: dict[tuple[str, Endpoint | int | None], list[Finding]] = {}
    for nth, finding in enumerate(analysis.findings):
        connection = known.get(finding.connection or -1)
        about: Endpoint | int | None = nth if finding.connection is None else None
        if connection is not None:
            about = connection.destination
        groups.setdefault((finding.id, about), []).append(finding)
    made = [_cause(found, about, known) for (_, about), found in groups.items()]
    return sorted(made, key=lambda cause: GRAVE.index(cause.id) if cause.id in GRAVE else len(GRAVE))


def _cause(found: list[Finding], about: Endpoint | int | None, known: dict[int, Connection]) -> Cause:
    """Return findings of one kind and destination as one cause."""
    first = found[0]
    numbers = list(dict.fromkeys(f.connection for f in found if f.connection is not None))
    if len(numbers) < 2:
        return Cause(first.id, first.sentence, first.remedy, found, numbers)
    where = f" to {about}" if isinstance(about, Endpoint) else ""
    ended = [known[n].ended.time_ns for n in numbers if n in known]
    times = [time_ns for time_ns in ended if time_ns is not None]
    when = f", {clock_span(min(times), max(times))}" if len(times) == len(numbers) else ""
    sentence = f"{counted(len(numbers), 'connection')}{where} {did(first.id, len(numbers))}{when}"
    return Cause(first.id, sentence, first.remedy, found, numbers)
