"""What two captures of the same traffic show together, as plain text: what went wrong between them comes first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from kacap.compare import proxies
from kacap.compare.fates import SENTENCES, Fate
from kacap.compare.matching import Pair
from kacap.compare.offset import ClockOffset, NearerSites
from kacap.compare.paths import ProbePath, ProberPaths, SiteComparison
from kacap.compare.site import Site
from kacap.model import Connection, FrameRef
from kacap.units import counted, duration

SHOWN = 12  # probes written out for each fate
WELL = (Fate.ANSWERED,)


def lines(comparison: SiteComparison, *, every: bool = False) -> Iterator[str]:
    """Yield the report; ``every`` writes a line for each probe."""
    if not comparison.prober_paths:
        yield from _nothing(comparison)
    for number, of_prober in enumerate(sorted(comparison.prober_paths, key=_is_well)):
        if number:
            yield ""
        yield from _prober_paths(comparison, of_prober, every)
    yield ""
    for site, alone in zip((comparison.one, comparison.two), comparison.alone, strict=True):
        yield from (_alone(comparison, site, connection) for connection in alone)
    yield from proxies.lines(comparison.proxied)
    yield f"{'clocks':<12}{_clocks(comparison.clocks, comparison.one, comparison.two)}"
    yield from _dropped(comparison)


def _is_well(of_prober: ProberPaths) -> bool:
    return all(path.fate in WELL for path in of_prober.paths)


def _nothing(comparison: SiteComparison) -> Iterator[str]:
    """Yield what to say where no probe can be followed."""
    if any(comparison.alone):
        yield (
            f"no connection that probes is seen both at {comparison.one.name} and at {comparison.two.name} "
            "(behind a proxy a new one begins)"
        )
    else:
        yield f"no keepalive probe, neither at {comparison.one.name} nor at {comparison.two.name}"


def _prober_paths(comparison: SiteComparison, of_prober: ProberPaths, every: bool) -> Iterator[str]:
    """Yield the block of one prober."""
    near, far = comparison.site(of_prober.near), comparison.site(of_prober.far)
    sent, arrived, answered, back = _counts(of_prober)
    yield (
        f"{of_prober.prober} probes {of_prober.peer}: {counted(sent, 'probe')} at {near.name}, {arrived:,} arrived at "
        f"{far.name}, {answered:,} answered there, {counted(back, 'answer')} came back"
    )
    for fate, paths in _by_fate(of_prober):
        yield f"  {fate:<20}{SENTENCES[fate].format(near=near.name, far=far.name)}"
        yield f"  {'':<20}{counted(len(paths), 'probe')}: {_frames(comparison, of_prober, paths)}"
        yield from _doubts(near if fate == Fate.FORGED_PROBE else far, paths)
        yield from _ttls(paths)
    yield from _translated(comparison, of_prober)
    yield from _forged(comparison, of_prober)
    yield f"  {'path':<20}{_path(comparison, of_prober)}"
    if every:
        yield from (f"    {line}" for line in _each(comparison, of_prober))


def _doubts(missing_at: Site, paths: list[ProbePath]) -> Iterator[str]:
    """Yield that what is missing at a site lies beyond what its capture shows at all."""
    if unsure_ns := max(path.unsure_ns for path in paths):
        yield (
            f"  {'':<20}provided that {missing_at.name} was being captured then: its nearest frame is up to "
            f"{duration(unsure_ns)} away"
        )


def _ttls(paths: list[ProbePath]) -> Iterator[str]:
    """Yield that the answers have another TTL than the peer's other segments."""
    for answer, usual in sorted({path.ttls for path in paths if path.ttls}):
        if answer != usual:
            where = "nearer" if answer > usual else "farther, or another system"
            yield f"  {'':<20}its TTL is {answer}, that of the peer's other segments {usual}: {where}"


def _counts(of_prober: ProberPaths) -> tuple[int, int, int, int]:
    """Return how many probes were sent, arrived, were answered at the far site, and had an answer at the near one."""
    each = of_prober.paths
    return (
        sum(p.near_frame is not None for p in each),
        sum(p.far_frame is not None for p in each),
        sum(p.far_answer is not None for p in each),
        sum(p.near_answer is not None for p in each),
    )


def _by_fate(of_prober: ProberPaths) -> list[tuple[Fate, list[ProbePath]]]:
    """Return the probes by what became of them, in the order of their first one, the good ones last."""
    groups: dict[Fate, list[ProbePath]] = defaultdict(list)
    for path in of_prober.paths:
        groups[path.fate].append(path)
    return sorted(groups.items(), key=lambda group: group[0] in WELL)


def _frames(comparison: SiteComparison, of_prober: ProberPaths, paths: list[ProbePath]) -> str:
    """Return the frames of some probes, near and far: ``frames 8, 9 / 8, 10``."""
    near = [_name(comparison.site(of_prober.near), p.near_frame) for p in paths[:SHOWN] if p.near_frame]
    far = [_name(comparison.site(of_prober.far), p.far_frame) for p in paths[:SHOWN] if p.far_frame]
    parts = []
    for number, names in ((of_prober.near, near), (of_prober.far, far)):
        if names:
            parts.append(f"{comparison.site(number).name} {', '.join(names)}")
    return "frames " + "; ".join(parts) + (" ..." if len(paths) > SHOWN else "")


def _name(site: Site, frame: FrameRef | None) -> str:
    return "-" if frame is None else str(site.analysis.frame_name(frame))


def _translated(comparison: SiteComparison, of_prober: ProberPaths) -> Iterator[str]:
    """Yield that probes arrived from another address than the connection's other segments."""
    strange = [path for path in of_prober.paths if path.translated_endpoint is not None]
    if strange:
        far = comparison.site(of_prober.far)
        usual = _usual(of_prober)
        yield (
            f"  {'translation lost':<20}{counted(len(strange), 'probe')} came to {far.name} from "
            f"{strange[0].translated_endpoint}, not from {usual} like the segments before: the NAT had forgotten the "
            "connection"
        )


def _usual(of_prober: ProberPaths) -> str:
    """Return who the prober is to the far site."""
    endpoints = {1: (of_prober.pair.one.a, of_prober.pair.one.b), 2: of_prober.pair.endpoints_two()}
    side = endpoints[of_prober.near].index(of_prober.prober)
    return str(endpoints[of_prober.far][side])


def _forged(comparison: SiteComparison, of_prober: ProberPaths) -> Iterator[str]:
    """Yield the resets from between the sites that answered no probe."""
    answered = {path.near_answer for path in of_prober.paths if path.fate == Fate.RESET_BETWEEN}
    for number, frame in comparison.forged[of_prober.pair.one.connection]:
        if not (number == of_prober.near and frame in answered):
            site, other = comparison.site(number), comparison.site(3 - number)
            yield (
                f"  {'forged reset':<20}a reset at {site.name} (frame {_name(site, frame)}) never passed "
                f"{other.name}, which is nearer to its sender: a box between the two sites sent it"
            )


def _path(comparison: SiteComparison, of_prober: ProberPaths) -> str:
    """Return how the connection was recognised, what is between the sites, and what was rewritten on the way."""
    pair, sides = comparison.pairs[of_prober.pair.one.connection]
    parts = [f"the same connection by its {pair.how}", _hops(sides), *rewritten(pair, comparison)]
    return "; ".join(part for part in parts if part)


def _hops(sides: NearerSites) -> str:
    """Return how many routers are between the sites, by the TTLs."""
    low, high = min(sides.hops), max(sides.hops)
    if not high:
        return "no router between the sites"
    return f"{counted(high, 'router')} between the sites" + ("" if low == high else f" one way, {low} the other")


def rewritten(pair: Pair, comparison: SiteComparison) -> list[str]:
    """Return what a box between the sites rewrote, in words; nothing where it rewrote nothing."""
    found = []
    one, two = comparison.one.name, comparison.two.name
    for mine, theirs in zip((pair.one.a, pair.one.b), pair.endpoints_two(), strict=True):
        if mine != theirs:
            found.append(f"{mine} at {one} is {theirs} at {two}")
    for side, shift in zip((pair.one.a, pair.one.b), pair.shift, strict=True):
        if shift:
            found.append(f"{shift:+,} on the sequence numbers of {side}")
    return found or ["nothing rewritten"]


def _each(comparison: SiteComparison, of_prober: ProberPaths) -> Iterator[str]:
    """Yield a line for each probe: its frames at both sites, those of its answer, what became of it."""
    near, far = comparison.site(of_prober.near), comparison.site(of_prober.far)
    for p in of_prober.paths:
        yield (
            f"probe {_name(near, p.near_frame)} -> {_name(far, p.far_frame)}, answer {_name(far, p.far_answer)} -> "
            f"{_name(near, p.near_answer)}: {p.fate}"
        )


def _alone(comparison: SiteComparison, site: Site, connection: Connection) -> str:
    """Return what to say of a connection that probes and is seen at one site only."""
    other = comparison.two if site is comparison.one else comparison.one
    return f"{'one site':<12}{connection.a} - {connection.b} probes at {site.name} and is not seen at {other.name}"


def _clocks(found: ClockOffset, one: Site, two: Site) -> str:
    """Return how far the clocks are apart."""
    if not found.shared:
        return f"no segment is seen both at {one.name} and at {two.name}: nothing tells how far the clocks are apart"
    ahead, behind = (two, one) if found.ahead_ns >= 0 else (one, two)
    words = f"that of {ahead.name} is {duration(abs(found.ahead_ns))} ahead of that of {behind.name}"
    if found.doubt_ns is None:
        return f"{words}, or less: {counted(found.shared, 'segment')} seen at both, in one direction only"
    return f"{words}, give or take {duration(found.doubt_ns)} ({counted(found.shared, 'segment')} seen at both)"


def _dropped(comparison: SiteComparison) -> Iterator[str]:
    """Yield that a capture lost frames, which weakens every "never came"."""
    for site in (comparison.one, comparison.two):
        if lost := site.analysis.capture.dropped:
            words = f"{site.name} lost {counted(lost, 'frame')} while capturing"
            yield f"{'lost':<12}{words}: what is missing may be among them"
