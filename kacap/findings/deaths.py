"""Idle deaths over a whole capture: the longest silence survived and the shortest that killed bracket a timeout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kacap.classify.kinds import Ending
from kacap.evidence import Case
from kacap.findings.boxes import LONG_IDLE_NS
from kacap.findings.case import Told
from kacap.model import Endpoint, FrameRef
from kacap.timing.limits import matching
from kacap.timing.wheel import HZ_VALUES, latest_s
from kacap.units import counted, duration

SECOND_NS = 1_000_000_000
KEPT = 16


@dataclass(slots=True)
class Bracket:
    """What the connections to one destination say of an idle timeout on the way, nanoseconds."""

    survived_ns: int = 0
    killed_ns: int = 0  # 0: none died
    deaths: int = 0
    connections: int = 0
    frames: list[FrameRef] = field(default_factory=list)


class Deaths:
    """Brackets by destination; memory grows with destinations, never with connections."""

    def __init__(self) -> None:
        self.by_destination: dict[Endpoint, Bracket] = {}

    def take(self, case: Case) -> None:
        """Take a connection that has ended."""
        killed, frame = _killing_silence(case)
        survived = max([case.survived_ns, *_survived_probes(case)])
        if not killed and survived < LONG_IDLE_NS:
            return
        bracket = self.by_destination.setdefault(case.connection.b, Bracket())
        bracket.connections += 1
        bracket.survived_ns = max(bracket.survived_ns, survived)
        if killed >= LONG_IDLE_NS:
            bracket.deaths += 1
            bracket.killed_ns = min(bracket.killed_ns or killed, killed)
            if frame is not None:
                bracket.frames = sorted([*bracket.frames, frame])[:KEPT]

    def told(self) -> Iterator[Told]:
        """Yield a sentence for each destination to which connections died idle."""
        for destination, bracket in sorted(self.by_destination.items()):
            if bracket.deaths:
                yield _sentence(destination, bracket), bracket.frames


def _survived_probes(case: Case) -> list[int]:
    """Return the silences before probes that were answered."""
    return [
        episode.first_gap_ns for prober in case.connection.probers for episode in prober.episodes
        if episode.first_gap_ns is not None and episode.ending in (Ending.ANSWERED, Ending.RESUMED)
    ]


def _killing_silence(case: Case) -> tuple[int, FrameRef | None]:
    """Return the shortest silence after which the connection was found dead, and where; 0: none."""
    gaps: list[tuple[int, FrameRef | None]] = [
        (episode.first_gap_ns, episode.ending_frame or episode.probes[-1].frame)
        for prober in case.connection.probers for episode in prober.episodes
        if episode.first_gap_ns is not None
        and episode.ending in (Ending.GAVE_UP, Ending.RESET, Ending.USER_TIMEOUT)
    ]
    if case.killed_ns:
        gaps.append((case.killed_ns, None))
    return min(gaps, key=lambda gap: gap[0], default=(0, None))


def _sentence(destination: Endpoint, bracket: Bracket) -> str:
    """Say the bracket, the known limits in it, and the idle that would have come before it."""
    if bracket.survived_ns >= bracket.killed_ns:
        limit = f"one died after {duration(bracket.killed_ns)}, others survived {duration(bracket.survived_ns)}: no "
        return f"{counted(bracket.deaths, 'connection')} to {destination} died after silence, {limit}common timeout"
    low, high = bracket.survived_ns, bracket.killed_ns
    names = ", ".join(limit.what for limit in matching(low, high)[:3])
    beats = idle_below(low or high // 2)
    bracket_words = f"more than {duration(low)}, at most {duration(high)}" if low else f"at most {duration(high)}"
    return (
        f"{counted(bracket.deaths, 'connection')} to {destination} died at first use after silence: the timeout is "
        f"{bracket_words}"
        + (f"; known limits in between: {names}" if names else "")
        + (f"; an idle of {beats} s or less comes before it, the timer's lateness counted" if beats else "")
    )


def idle_below(limit_ns: int) -> int:
    """Return the longest idle, in seconds, whose timer fires before a limit at every clock rate; 0: none."""
    for seconds in range(min(limit_ns // SECOND_NS, 32767), 0, -1):
        if all((seconds + latest_s(seconds, hz)) * SECOND_NS < limit_ns for hz in HZ_VALUES):
            return seconds
    return 0


