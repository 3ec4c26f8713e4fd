"""What is kept of a prober's firings while episodes are objects; ``history`` takes its place."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRED = tuple[int, "tuple[int, ...] | None", "int | None", bool]


@dataclass(slots=True)
class History:
    """The firings of one prober: (time, heard since the one before, last heard, probe)."""

    fired: list[FIRED] = field(default_factory=list)
    exhausted: list[int] = field(default_factory=list)
    longest_run: int = 0
    began: bool = False  # the capture shows the connection's SYN
    unheard: bool = False  # it acted as if the replies in the capture had never reached it

    def add(self, time_ns: int, heards_ns: tuple[int, ...] | None, since_ns: int | None, *, probe: bool) -> None:
        """Take the next probe, or the abort after the last one."""
        self.fired.append((time_ns, heards_ns, since_ns, probe))


def widen(span: tuple[int, int] | None, value: int) -> tuple[int, int]:
    """Return (min, max) of a span and one more value."""
    return (value, value) if span is None else (min(span[0], value), max(span[1], value))
