"""A comparison of opinions as plain text: the reasons for differences, most frequent first, with their frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from kacap.compare.label_differences import Difference, LabelComparison
from kacap.units import counted

SHOWN = 12  # frames written out for each reason


def lines(comparison: LabelComparison, version: str, *, every: bool = False) -> Iterator[str]:
    """Yield the report; ``version`` is tshark's, ``every`` writes out every frame on which they differ."""
    alike = comparison.segments - len(comparison.differences)
    yield (
        f"{counted(comparison.segments, 'TCP segment')}: kacap and tshark {version} agree on {alike:,}, "
        f"differ on {len(comparison.differences):,}"
    )
    named = [(words, n) for words, n in comparison.agreed.most_common() if words[0] not in ("ack", "data")]
    if named:
        yield "  agree       " + ", ".join(f"{n:,} {kind}" for kind, n in _by_kind(named))
    for group in _groups(comparison.differences):
        yield ""
        yield from _group(comparison, group, every)


def _by_kind(named: list[tuple[tuple[str, str], int]]) -> list[tuple[str, int]]:
    """Return how many segments of each kind they agree on, most first."""
    counts: dict[str, int] = defaultdict(int)
    for (kind, _), n in named:
        counts[kind] += n
    return sorted(counts.items(), key=lambda each: -each[1])


def _groups(differences: list[Difference]) -> list[list[Difference]]:
    """Return the differences by kind, label and reason, the most frequent first."""
    groups: dict[tuple[str, str, str], list[Difference]] = defaultdict(list)
    for difference in differences:
        groups[difference.record.kind, difference.role, difference.why.id].append(difference)
    return sorted(groups.values(), key=lambda group: -len(group))


def _group(comparison: LabelComparison, group: list[Difference], every: bool) -> Iterator[str]:
    """Yield one reason: what either calls the segments, why, and which they are."""
    first = group[0]
    theirs = first.role or (f"nothing ({', '.join(first.labels)})" if first.labels else "nothing")
    yield f"{counted(len(group), 'segment')}: kacap says {first.record.kind}, tshark {theirs}"
    yield f"  why         {first.why.sentence}"
    if every:
        for difference in group:
            record = difference.record
            name = comparison.analysis.frame_name(record.frame)
            yield f"  frame {name:<6}{record.source} > {record.destination}  {record.grade}: {record.reason}"
        return
    yield f"  kacap       {first.record.grade}: {first.record.reason}"
    names = [str(comparison.analysis.frame_name(each.record.frame)) for each in group[:SHOWN]]
    more = f" and {len(group) - SHOWN:,} more (-v shows each)" if len(group) > SHOWN else ""
    yield f"  frames      {', '.join(names)}{more}"
