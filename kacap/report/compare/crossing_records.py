"""What two captures of the same traffic show together, as JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kacap.model import FrameRef
from kacap.report.compare.clocks import Sides
from kacap.report.compare.matching import Pair
from kacap.report.compare.passage import Crossing, Journey, Passage
from kacap.report.compare.place import Place
from kacap.report.records import written


def lines(crossing: Crossing) -> Iterator[str]:
    """Yield a ``passage`` for each probe, a ``pair`` for each connection, then the ``places``."""
    for journey in crossing.journeys:
        for passage in journey.passages:
            yield written("passage", _passage(crossing, journey, passage))
    for pair, sides in crossing.pairs:
        yield written("pair", _pair(crossing, pair, sides))
    yield written("places", {
        "one": crossing.one.analysis.capture.files,
        "two": crossing.two.analysis.capture.files,
        "clock_two_ahead_ns": crossing.clocks.ahead_ns if crossing.clocks.shared else None,
        "clock_doubt_ns": crossing.clocks.doubt_ns,
        "shared_segments": crossing.clocks.shared,
        "only_one": [f"{c.a} - {c.b}" for c in crossing.alone[0]],
        "only_two": [f"{c.a} - {c.b}" for c in crossing.alone[1]],
    })  # fmt: skip


def _passage(crossing: Crossing, journey: Journey, passage: Passage) -> dict[str, Any]:
    """Return one probe; ``near`` and ``far`` name the places, ``time_ns`` is of the near clock."""
    near, far = crossing.place(journey.near), crossing.place(journey.far)
    return {
        "time_ns": passage.time_ns,
        "prober": str(journey.prober),
        "peer": str(journey.peer),
        "near": near.name,
        "far": far.name,
        "fate": passage.fate.value,
        "probe_near": _frame(near, passage.near_frame),
        "probe_far": _frame(far, passage.far_frame),
        "answer_far": _frame(far, passage.far_answer),
        "answer_near": _frame(near, passage.near_answer),
        "arrived_as": None if passage.stranger is None else str(passage.stranger),
        "unsure_ns": passage.unsure_ns,
        "answer_ttl": None if passage.ttls is None else passage.ttls[0],
        "peer_ttl": None if passage.ttls is None else passage.ttls[1],
    }


def _pair(crossing: Crossing, pair: Pair, sides: Sides) -> dict[str, Any]:
    """Return one connection: its sides as either place calls them, and what was added to their sequence numbers."""
    return {
        "by": pair.how,
        "one": [str(pair.one.a), str(pair.one.b)],
        "two": [str(end) for end in pair.endpoints_two()],
        "sequence_shift": list(pair.shift),
        "routers": list(sides.hops),
        "forged_resets": [
            {"place": crossing.place(number).name, "frame": _frame(crossing.place(number), frame)}
            for other, number, frame in crossing.forged
            if other is pair
        ],
    }


def _frame(place: Place, frame: FrameRef | None) -> int | str | None:
    return place.analysis.frame_name(frame)
