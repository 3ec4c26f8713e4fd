"""What two captures of the same traffic show together, as plain text: what went wrong between them comes first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from kacap.model import Connection, FrameRef
from kacap.report.compare.clocks import Clocks, Sides
from kacap.report.compare.matching import Pair
from kacap.report.compare.passage import Crossing, Journey, Passage
from kacap.report.compare.place import Place
from kacap.report.compare.verdicts import SENTENCES, Fate
from kacap.units import counted, duration

SHOWN = 12  # probes written out for each fate
WELL = (Fate.ANSWERED,)


def lines(crossing: Crossing, *, every: bool = False) -> Iterator[str]:
    """Yield the report; ``every`` writes a line for each probe."""
    if not crossing.journeys:
        yield from _nothing(crossing)
    for number, journey in enumerate(sorted(crossing.journeys, key=_is_well)):
        if number:
            yield ""
        yield from _journey(crossing, journey, every)
    yield ""
    for place, alone in zip((crossing.one, crossing.two), crossing.alone, strict=True):
        yield from (_alone(crossing, place, connection) for connection in alone)
    yield f"{'clocks':<12}{_clocks(crossing.clocks, crossing.one, crossing.two)}"
    yield from _dropped(crossing)


def _is_well(journey: Journey) -> bool:
    return all(passage.fate in WELL for passage in journey.passages)


def _nothing(crossing: Crossing) -> Iterator[str]:
    """Yield what to say where no probe can be followed."""
    if any(crossing.alone):
        yield (
            f"no connection that probes is seen both at {crossing.one.name} and at {crossing.two.name} "
            "(behind a proxy another one begins: look at each capture by itself)"
        )
    else:
        yield f"no keepalive probe, neither at {crossing.one.name} nor at {crossing.two.name}"


def _journey(crossing: Crossing, journey: Journey, every: bool) -> Iterator[str]:
    """Yield the block of one prober."""
    near, far = crossing.place(journey.near), crossing.place(journey.far)
    sent, arrived, answered, back = _counts(journey)
    yield (
        f"{journey.prober} probes {journey.peer}: {counted(sent, 'probe')} at {near.name}, {arrived:,} arrived at "
        f"{far.name}, {answered:,} answered there, {counted(back, 'answer')} came back"
    )
    for fate, passages in _by_fate(journey):
        yield f"  {fate:<20}{SENTENCES[fate].format(near=near.name, far=far.name)}"
        yield f"  {'':<20}{counted(len(passages), 'probe')}: {_frames(crossing, journey, passages)}"
        yield from _doubts(near if fate == Fate.FORGED_PROBE else far, passages)
        yield from _ttls(passages)
    yield from _strangers(crossing, journey)
    yield from _forged(crossing, journey)
    yield f"  {'path':<20}{_path(crossing, journey)}"
    if every:
        yield from (f"    {line}" for line in _each(crossing, journey))


def _doubts(missing_at: Place, passages: list[Passage]) -> Iterator[str]:
    """Yield that what is missing at a place lies beyond what its capture shows at all."""
    if unsure_ns := max(passage.unsure_ns for passage in passages):
        yield (
            f"  {'':<20}provided that {missing_at.name} was being captured then: its nearest frame is up to "
            f"{duration(unsure_ns)} away"
        )


def _ttls(passages: list[Passage]) -> Iterator[str]:
    """Yield that the answers have another TTL than the peer's other segments."""
    for answer, usual in sorted({passage.ttls for passage in passages if passage.ttls}):
        if answer != usual:
            where = "nearer" if answer > usual else "farther, or another system"
            yield f"  {'':<20}its TTL is {answer}, that of the peer's other segments {usual}: {where}"


def _counts(journey: Journey) -> tuple[int, int, int, int]:
    """Return how many probes were sent, arrived, were answered at the far place, and had an answer at the near one."""
    each = journey.passages
    return (
        sum(p.near_frame is not None for p in each), sum(p.far_frame is not None for p in each),
        sum(p.far_answer is not None for p in each), sum(p.near_answer is not None for p in each),
    )  # fmt: skip


def _by_fate(journey: Journey) -> list[tuple[Fate, list[Passage]]]:
    """Return the probes by what became of them, in the order of their first one, the good ones last."""
    groups: dict[Fate, list[Passage]] = defaultdict(list)
    for passage in journey.passages:
        groups[passage.fate].append(passage)
    return sorted(groups.items(), key=lambda group: group[0] in WELL)


def _frames(crossing: Crossing, journey: Journey, passages: list[Passage]) -> str:
    """Return the frames of some probes, near and far: ``frames 8, 9 / 8, 10``."""
    near = [_name(crossing.place(journey.near), p.near_frame) for p in passages[:SHOWN] if p.near_frame]
    far = [_name(crossing.place(journey.far), p.far_frame) for p in passages[:SHOWN] if p.far_frame]
    parts = []
    for number, names in ((journey.near, near), (journey.far, far)):
        if names:
            parts.append(f"{crossing.place(number).name} {', '.join(names)}")
    return "frames " + "; ".join(parts) + (" ..." if len(passages) > SHOWN else "")


def _name(place: Place, frame: FrameRef | None) -> str:
    return "-" if frame is None else str(place.analysis.frame_name(frame))


def _strangers(crossing: Crossing, journey: Journey) -> Iterator[str]:
    """Yield that probes arrived from another address than the connection's other segments."""
    strange = [passage for passage in journey.passages if passage.stranger is not None]
    if strange:
        far = crossing.place(journey.far)
        usual = _usual(journey)
        yield (
            f"  {'translation lost':<20}{counted(len(strange), 'probe')} came to {far.name} from "
            f"{strange[0].stranger}, not from {usual} like the segments before: the NAT had forgotten the connection"
        )


def _usual(journey: Journey) -> str:
    """Return who the prober is to the far place."""
    ends = {1: (journey.pair.one.a, journey.pair.one.b), 2: journey.pair.endpoints_two()}
    side = ends[journey.near].index(journey.prober)
    return str(ends[journey.far][side])


def _forged(crossing: Crossing, journey: Journey) -> Iterator[str]:
    """Yield the resets from between the places that answered no probe."""
    told = {passage.near_answer for passage in journey.passages if passage.fate == Fate.RESET_BETWEEN}
    for pair, number, frame in crossing.forged:
        if pair is journey.pair and not (number == journey.near and frame in told):
            place, other = crossing.place(number), crossing.place(3 - number)
            yield (
                f"  {'forged reset':<20}a reset at {place.name} (frame {_name(place, frame)}) never passed "
                f"{other.name}, which is nearer to its sender: a box between the two places sent it"
            )


def _path(crossing: Crossing, journey: Journey) -> str:
    """Return how the connection was recognised, what is between the places, and what was rewritten on the way."""
    pair, sides = next(each for each in crossing.pairs if each[0] is journey.pair)
    parts = [f"the same connection by its {pair.how}", _hops(sides), *rewritten(pair, crossing)]
    return "; ".join(part for part in parts if part)


def _hops(sides: Sides) -> str:
    """Return how many routers are between the places, by the TTLs."""
    low, high = min(sides.hops), max(sides.hops)
    if not high:
        return "no router between the places"
    return f"{counted(high, 'router')} between the places" + ("" if low == high else f" one way, {low} the other")


def rewritten(pair: Pair, crossing: Crossing) -> list[str]:
    """Return what a box between the places rewrote, in words; nothing where it rewrote nothing."""
    found = []
    one, two = crossing.one.name, crossing.two.name
    for mine, theirs in zip((pair.one.a, pair.one.b), pair.endpoints_two(), strict=True):
        if mine != theirs:
            found.append(f"{mine} at {one} is {theirs} at {two}")
    for side, shift in zip((pair.one.a, pair.one.b), pair.shift, strict=True):
        if shift:
            found.append(f"{shift:+,} on the sequence numbers of {side}")
    return found or ["nothing rewritten"]


def _each(crossing: Crossing, journey: Journey) -> Iterator[str]:
    """Yield a line for each probe: its frames at both places, those of its answer, what became of it."""
    near, far = crossing.place(journey.near), crossing.place(journey.far)
    for p in journey.passages:
        yield (
            f"probe {_name(near, p.near_frame)} -> {_name(far, p.far_frame)}, answer {_name(far, p.far_answer)} -> "
            f"{_name(near, p.near_answer)}: {p.fate}"
        )


def _alone(crossing: Crossing, place: Place, connection: Connection) -> str:
    """Return what to say of a connection that probes and is seen at one place only."""
    other = crossing.two if place is crossing.one else crossing.one
    return f"{'one place':<12}{connection.a} - {connection.b} probes at {place.name} and is not seen at {other.name}"


def _clocks(found: Clocks, one: Place, two: Place) -> str:
    """Return how far the clocks are apart."""
    if not found.shared:
        return f"no segment is seen both at {one.name} and at {two.name}: nothing tells how far the clocks are apart"
    ahead, behind = (two, one) if found.ahead_ns >= 0 else (one, two)
    words = f"that of {ahead.name} is {duration(abs(found.ahead_ns))} ahead of that of {behind.name}"
    if found.doubt_ns is None:
        return f"{words}, or less: {counted(found.shared, 'segment')} seen at both, in one direction only"
    return f"{words}, give or take {duration(found.doubt_ns)} ({counted(found.shared, 'segment')} seen at both)"


def _dropped(crossing: Crossing) -> Iterator[str]:
    """Yield that a capture lost frames, which weakens every "never came"."""
    for place in (crossing.one, crossing.two):
        if lost := place.analysis.capture.dropped:
            words = f"{place.name} lost {counted(lost, 'frame')} while capturing"
            yield f"{'lost':<12}{words}: what is missing may be among them"
