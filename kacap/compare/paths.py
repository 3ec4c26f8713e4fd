"""Each probe from the site near its prober to the site near its peer, and its answer back."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from kacap.classify.kinds import Ending
from kacap.clock import SECOND_NS
from kacap.compare.fates import Fate
from kacap.compare.matching import Pair, match, numbered
from kacap.compare.offset import ClockOffset, NearerSites, Shared, clocks, overlap, shared, sides
from kacap.compare.proxies import proxied
from kacap.compare.site import Identity, Site
from kacap.facts.legs import Joined
from kacap.model import Connection, Endpoint, FrameRef, Probe, Prober
from kacap.segments import RST

NEAR_NS = SECOND_NS  # how far from its time a segment may show at the other site, beside the clocks' doubt


@dataclass(slots=True)
class ProbePath:
    """One probe: its frames at either site (None: not seen there), those of its answer, and what became of it.

    ``translated_endpoint`` is who the prober was to the far site, if not the source of its other segments.
    ``unsure_ns``: what is missing at a site is missing beyond its last frame, by so much (or before its first); the
    capture may have ended there. 0: it was captured. ``ttls``: of an answer from between, its TTL beside that which
    the peer's other segments have at the near site.
    """

    time_ns: int
    fate: Fate
    near_frame: FrameRef | None
    far_frame: FrameRef | None
    near_answer: FrameRef | None = None
    far_answer: FrameRef | None = None
    translated_endpoint: Endpoint | None = None
    unsure_ns: int = 0
    ttls: tuple[int, int] | None = None


@dataclass(slots=True)
class ProberPaths:
    """All probes of one prober. ``near`` and ``far`` are 1 or 2: the sites on the prober's and on the peer's side."""

    pair: Pair
    prober: Endpoint
    peer: Endpoint
    near: int
    far: int
    paths: list[ProbePath] = field(default_factory=list)


@dataclass(slots=True)
class SiteComparison:
    """What two captures of the same traffic show together; some of it by the number that a pair has at site one."""

    one: Site
    two: Site
    clocks: ClockOffset
    pairs: dict[int, tuple[Pair, NearerSites]]
    prober_paths: list[ProberPaths]
    forged: dict[int, list[tuple[int, FrameRef]]]  # resets from between the sites: which site shows them, their frame
    alone: tuple[list[Connection], list[Connection]]  # connections that probe, and that the other site does not show
    proxied: list[Joined]  # the two legs of a proxy

    def site(self, number: int) -> Site:
        """Return site 1 or 2."""
        return self.one if number == 1 else self.two


class Tracer:
    """Finds the segment of one site at the other: the same identity, at about the same time."""

    def __init__(self, one: Site, two: Site, pairs: list[Pair], found: ClockOffset) -> None:
        self._sites, self._clocks = (one, two), found
        of_two = {pair.two.connection: pair for pair in pairs}
        self._keys = [
            numbered(two, row, of_two[number]) if number in of_two else two.identity(row)
            for row, number in enumerate(two.labels["id"].tolist())
        ]
        self._index = _in_time(one.identities, one), _in_time(self._keys, two)

    def counterpart(self, here: int, row: int) -> int | None:
        """Return the row of the other site for the same segment as ``row`` of ``here`` (1 or 2); None: not there."""
        mine = self._sites[here - 1]
        key = mine.identity(row) if here == 1 else self._keys[row]
        ahead_ns = self._clocks.ahead_ns if here == 1 else -self._clocks.ahead_ns
        due_ns = mine.time_ns(row) + ahead_ns
        alike = self._index[2 - here].get(key, [])
        after = bisect_left(alike, (due_ns, 0))
        distance_ns, nearest = min(
            ((abs(time_ns - due_ns), other) for time_ns, other in alike[max(after - 1, 0) : after + 1]),
            default=(0, None),
        )
        return nearest if distance_ns <= NEAR_NS + (self._clocks.doubt_ns or 0) else None

    def elsewhere_ns(self, there: int, time_ns: int) -> int:
        """Return a time of the other site's clock by the clock of site ``there``."""
        return time_ns + (self._clocks.ahead_ns if there == 2 else -self._clocks.ahead_ns)

    def unsure_ns(self, there: int, time_ns: int) -> int:
        """Return how far a time of the other clock lies outside what site ``there`` shows; 0: not by ``NEAR_NS``."""
        summary, at_ns = self._sites[there - 1].analysis.capture, self.elsewhere_ns(there, time_ns)
        if summary.first_ns is None or summary.last_ns is None:
            return NEAR_NS
        beyond_ns = max(summary.first_ns - at_ns, at_ns - summary.last_ns)
        return beyond_ns if beyond_ns > NEAR_NS else 0


def _in_time(keys: Iterable[Identity], site: Site) -> dict[Identity, list[tuple[int, int]]]:
    """Return the times and rows of a site's segments by their identity, in order of time: probes may all be alike."""
    found: dict[Identity, list[tuple[int, int]]] = defaultdict(list)
    for row, (key, time_ns) in enumerate(zip(keys, site.rows["time_ns"].tolist(), strict=True)):
        found[key].append((time_ns, row))
    for alike in found.values():
        alike.sort()
    return found


def cross(one: Site, two: Site) -> SiteComparison:
    """Follow every probe between the two sites."""
    pairs = [pair for pair in match(one, two) if overlap(one, two, pair)]
    both: list[tuple[Shared, NearerSites]] = []
    for pair in pairs:
        rows = shared(one, two, pair)
        both.append((rows, sides(one, two, rows)))
    found = clocks(one, two, both)
    tracer = Tracer(one, two, pairs, found)
    prober_paths = [
        of_prober
        for pair, (_, near) in zip(pairs, both, strict=True)
        for from_a in (True, False)
        if (of_prober := _prober_paths(one, two, pair, near, tracer, from_a)) is not None
    ]
    matched = {pair.one.connection for pair in pairs}, {pair.two.connection for pair in pairs}
    seen = {path_frame for of_prober in prober_paths for path_frame in _far_frames(of_prober)}
    alone = tuple(
        [c for c in site.probing if c.connection not in matched[i] and not _told(site, c, i + 1, seen)]
        for i, site in enumerate((one, two))
    )
    known = {pair.one.connection: (pair, near) for pair, (_, near) in zip(pairs, both, strict=True)}
    forged = {number: list(_forged(one, two, pair, near, tracer)) for number, (pair, near) in known.items()}
    legs = proxied(one, two, found.ahead_ns if found.shared else 0)
    return SiteComparison(one, two, found, known, prober_paths, forged, alone, legs)  # type: ignore[arg-type]


def _far_frames(of_prober: ProberPaths) -> list[tuple[int, FrameRef]]:
    return [(of_prober.far, path.far_frame) for path in of_prober.paths if path.far_frame is not None]


def _told(site: Site, connection: Connection, number: int, seen: set[tuple[int, FrameRef]]) -> bool:
    """Return whether every probe of a connection is part of the paths of some prober already, under another name."""
    probes = [probe.frame for prober in connection.probers for episode in prober.episodes for probe in episode.probes]
    return all((number, frame) in seen for frame in probes)


def _prober_paths(
    one: Site, two: Site, pair: Pair, near_to: NearerSites, tracer: Tracer, from_a: bool
) -> ProberPaths | None:
    """Return the probes of one side of a pair at both sites; None where it does not probe."""
    side, near = (0 if from_a else 1), near_to.near[0 if from_a else 1]
    far, sites = 3 - near, (one, two)
    names = ((pair.one.a, pair.one.b), pair.endpoints_two())
    probers = [_prober(c, endpoints[side]) for c, endpoints in zip((pair.one, pair.two), names, strict=True)]
    if probers == [None, None]:
        return None
    of_prober = ProberPaths(pair, names[near - 1][side], names[near - 1][1 - side], near, far)
    arrived: set[FrameRef] = set()
    answers = {probe.frame: answer for probe, answer in _probes(probers[far - 1])}
    for probe, answer in _probes(probers[near - 1]):
        path = _probe_path(sites, near, tracer, (probe, answer), answers)
        of_prober.paths.append(path)
        if path.far_frame is not None:
            arrived.add(path.far_frame)
            source = sites[far - 1].endpoints(sites[far - 1].at[path.far_frame])[0]
            path.translated_endpoint = source if source != names[far - 1][side] else None
    for probe, answer in _probes(probers[far - 1]):
        if probe.frame not in arrived:
            of_prober.paths.append(_only_far(sites[far - 1], near, tracer, probe, answer))
    of_prober.paths.sort(key=lambda path: path.time_ns)
    return of_prober


def _prober(connection: Connection, side: Endpoint) -> Prober | None:
    return next((prober for prober in connection.probers if prober.side == side), None)


def _probes(prober: Prober | None) -> list[tuple[Probe, FrameRef | None]]:
    """Return each probe with the frame that answered it: a reply, or the reset that ended its run."""
    found: list[tuple[Probe, FrameRef | None]] = []
    for episode in prober.episodes if prober is not None else ():
        reset = episode.ending_frame if episode.ending == Ending.RESET else None
        last = episode.probes[-1]
        found += [(probe, probe.reply_frame or (reset if probe is last else None)) for probe in episode.probes]
    return found


def _probe_path(
    sites: tuple[Site, Site],
    near: int,
    tracer: Tracer,
    sent: tuple[Probe, FrameRef | None],
    answers: dict[FrameRef, FrameRef | None],
) -> ProbePath:
    """Return what became of a probe that the near site saw."""
    probe, answer = sent
    here, there = sites[near - 1], sites[2 - near]
    row = tracer.counterpart(near, here.at[probe.frame]) if probe.frame in here.at else None
    path = ProbePath(probe.time_ns, Fate.PEER_SILENT, probe.frame, None if row is None else there.frame(row), answer)
    if path.far_frame is not None:
        path.far_answer = answers.get(path.far_frame)
    if answer is not None:
        back = tracer.counterpart(near, here.at[answer])
        is_reset = bool(here.rows[here.at[answer]]["flags"] & RST)
        if back is not None:
            path.far_answer = there.frame(back)
            path.fate = Fate.RESET if is_reset else Fate.ANSWERED
        else:
            path.fate = Fate.RESET_BETWEEN if is_reset else Fate.NOT_END_TO_END
            path.ttls = _ttls(here, here.at[answer])
    elif path.far_answer is not None:
        path.fate = Fate.REPLY_LOST
    elif path.far_frame is None:
        path.fate = Fate.PROBE_LOST
    if path.fate in (Fate.PROBE_LOST, Fate.NOT_END_TO_END, Fate.RESET_BETWEEN):
        path.unsure_ns = tracer.unsure_ns(3 - near, probe.time_ns)
    return path


def _ttls(here: Site, answer: int) -> tuple[int, int] | None:
    """Return the TTL of an answer, and the commonest of its sender's other segments; None if there are no others."""
    own = int(here.rows[answer]["ttl"])
    others = here.ttls_of_sender(answer) - Counter([own])
    return (own, others.most_common(1)[0][0]) if others else None


def _only_far(there: Site, near: int, tracer: Tracer, probe: Probe, answer: FrameRef | None) -> ProbePath:
    """Return what became of a probe that only the far site took for one."""
    back = tracer.counterpart(3 - near, there.at[probe.frame]) if probe.frame in there.at else None
    path = ProbePath(tracer.elsewhere_ns(near, probe.time_ns), Fate.FORGED_PROBE, None, probe.frame, None, answer)
    if back is not None:
        path.fate = Fate.PEER_SILENT if answer is None else Fate.REPLY_LOST
    else:
        path.unsure_ns = tracer.unsure_ns(near, probe.time_ns)
    return path


def _forged(one: Site, two: Site, pair: Pair, near: NearerSites, tracer: Tracer) -> list[tuple[int, FrameRef]]:
    """Return the resets that one site shows and the site nearer to their sender does not: (site, frame)."""
    found = []
    for here, site, connection in ((1, one, pair.one), (2, two, pair.two)):
        for row in site.of[connection.connection]:
            from_a = site.from_a(row) != (pair.swapped and here == 2)
            if not site.rows[row]["flags"] & RST or near.near[not from_a] == here:
                continue
            if tracer.counterpart(here, row) is None and not tracer.unsure_ns(3 - here, site.time_ns(row)):
                found.append((here, site.frame(row)))
    return found
