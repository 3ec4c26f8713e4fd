"""What two captures of the same traffic show together, as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator

from kacap.compare import proxies
from kacap.compare.matching import Pair
from kacap.compare.offset import NearerSites
from kacap.compare.paths import ProbePath, ProberPaths, SiteComparison
from kacap.compare.site import Site
from kacap.model import FrameRef
from kacap.report.records import written


def lines(comparison: SiteComparison) -> Iterator[str]:
    """Yield a ``passage`` for each probe, a ``pair`` for each connection, a ``proxy`` for two legs, then ``places``."""
    for of_prober in comparison.prober_paths:
        for path in of_prober.paths:
            yield written("passage", _probe_path(comparison, of_prober, path))
    for pair, sides in comparison.pairs.values():
        yield written("pair", _pair(comparison, pair, sides))
    for proxy in proxies.records(comparison.proxied):
        yield written("proxy", proxy)
    yield written(
        "places",
        {
            "one": comparison.one.analysis.capture.files,
            "two": comparison.two.analysis.capture.files,
            "clock_two_ahead_ns": comparison.clocks.ahead_ns if comparison.clocks.shared else None,
            "clock_doubt_ns": comparison.clocks.doubt_ns,
            "shared_segments": comparison.clocks.shared,
            "only_one": [f"{c.a} - {c.b}" for c in comparison.alone[0]],
            "only_two": [f"{c.a} - {c.b}" for c in comparison.alone[1]],
        },
    )


def _probe_path(comparison: SiteComparison, of_prober: ProberPaths, path: ProbePath) -> dict[str, object]:
    """Return one probe; ``near`` and ``far`` name the sites, ``time_ns`` is of the near clock."""
    near, far = comparison.site(of_prober.near), comparison.site(of_prober.far)
    return {
        "time_ns": path.time_ns,
        "prober": str(of_prober.prober),
        "peer": str(of_prober.peer),
        "near": near.name,
        "far": far.name,
        "fate": path.fate.value,
        "probe_near": _frame(near, path.near_frame),
        "probe_far": _frame(far, path.far_frame),
        "answer_far": _frame(far, path.far_answer),
        "answer_near": _frame(near, path.near_answer),
        "arrived_as": None if path.translated_endpoint is None else str(path.translated_endpoint),
        "unsure_ns": path.unsure_ns,
        "answer_ttl": None if path.ttls is None else path.ttls[0],
        "peer_ttl": None if path.ttls is None else path.ttls[1],
    }


def _pair(comparison: SiteComparison, pair: Pair, sides: NearerSites) -> dict[str, object]:
    """Return one connection: its sides as either site calls them, and what was added to their sequence numbers."""
    return {
        "by": pair.how,
        "one": [str(pair.one.a), str(pair.one.b)],
        "two": [str(end) for end in pair.endpoints_two()],
        "sequence_shift": list(pair.shift),
        "routers": list(sides.hops),
        "forged_resets": [
            {"place": comparison.site(number).name, "frame": _frame(comparison.site(number), frame)}
            for number, frame in comparison.forged[pair.one.connection]
        ],
    }


def _frame(site: Site, frame: FrameRef | None) -> int | str | None:
    return site.analysis.frame_name(frame)
