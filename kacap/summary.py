"""What a capture holds as a whole, and what it lacks: frames that were lost, files that do not follow on each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Drop(NamedTuple):
    """``frames`` that the capture lost after ``since_ns`` (None: since it began), until ``until_ns``.

    ``interface`` is None where it has no name, or where several lost them.
    """

    since_ns: int | None
    until_ns: int
    frames: int
    interface: str | None = None


class Break(NamedTuple):
    """A place where the times of a capture do not follow on one another: mostly between its files.

    ``what`` is ``overlap`` (files ``before`` and ``after`` hold frames of the span), ``gap`` (no frame for longer than
    within any file), ``missing`` (``files`` between the two are not there, by their numbers) or ``clock``: the file's
    times go from ``since_ns`` to ``until_ns`` before ``frame``, back or forward again, and from there on times are
    given ``later_ns`` later than the file has them.
    """

    what: str
    since_ns: int
    until_ns: int
    before: str
    after: str
    files: int
    frame: int | None = None
    later_ns: int = 0


@dataclass(slots=True)
class CaptureSummary:
    """How much of the capture was understood; ``skipped`` maps a reason to a count of frames.

    ``quotes``: ICMP errors about a segment; ``drops``: when frames were lost; ``breaks``: where files do not follow on.
    """

    files: list[str] = field(default_factory=list)
    link_types: list[int] = field(default_factory=list)
    frames: int = 0
    segments: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    dropped_kernel: int | None = None
    dropped_interface: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    drops: list[Drop] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    quotes: int = 0

    @property
    def incomplete(self) -> bool:
        """Whether frames are known to be lacking: lost while capturing, or in a file that is not there."""
        return self.dropped > 0 or any(each.what == "missing" for each in self.breaks)

    @property
    def is_timed(self) -> bool:
        """Whether one clock timed all of it, so that its span is known."""
        return all(each.what != "clock" for each in self.breaks)

    @property
    def dropped(self) -> int:
        """How many frames were lost while capturing, as far as the source says so."""
        return (self.dropped_kernel or 0) + (self.dropped_interface or 0)

    @property
    def timed_drops(self) -> list[Drop]:
        """Drops whose time span is known, as times are counted."""
        if not self.is_timed:
            return []
        if (first := self.first_ns) is None or (last := self.last_ns) is None:
            return []
        return [d for d in self.drops if d.until_ns < last or (d.since_ns is not None and d.since_ns > first)]
