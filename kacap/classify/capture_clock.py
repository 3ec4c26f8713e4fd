"""The clock that timed a capture, and where its times go back: what is measured with it begins anew there.

Frames of several queues or interfaces reach a file out of order by the time that a buffer waits for its reader, at
most a second (the timeouts of libpcap and dumpcap), and the next ones are in order again. Where times go back by more,
the clock was set back, or several captures were put into one file. From there on times are counted on from the newest
before. Where they go forward by as much again, two clocks time the frames: from then on that much is no step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kacap.clock import SECOND_NS
from kacap.flows import NEVER
from kacap.rows import newest_up_to
from kacap.segments import SegmentRows
from kacap.summary import Break, CaptureSummary

OUT_OF_ORDER_NS = 2 * SECOND_NS  # what waited in a buffer is late by less
MOST_STEPS = 1000  # times that go back more often are in no order at all, and stay as they are
NEVER_LATE_NS = np.iinfo(np.int64).max  # no two times are further apart
MOST_NS = SECOND_NS << 32  # no file's times are later (2106), or go back by more; nor are these counted on by more

CLOCK = np.dtype(
    [
        ("newest_ns", "<i8"),  # of the times handed on
        ("shift_ns", "<i8"),  # these are so much later than those of the file
        ("late_ns", "<i8"),  # a segment that is late by less is out of order
        ("first_ns", "<i8"),  # of the first segment; NEVER: there was none
        ("back_ns", "<i8"),  # how far times went back last; 0: they did not, or have gone forward again
    ],
    align=True,
)
CLOCK_STEP = np.dtype(
    [
        ("since_ns", "<i8"),  # the newest time before it, and the first after, as the file has them
        ("until_ns", "<i8"),
        ("shift_ns", "<i8"),  # CLOCK["shift_ns"] from there on
        ("frame", "<i8"),  # the first after it
        ("file", "<u2"),
    ],
    align=True,
)


class CaptureClock:
    """Hands on segments with times that do not go back, and says before which of them those of the file did."""

    def __init__(self) -> None:
        self.state, self.steps = np.zeros(1, CLOCK), np.zeros(0, CLOCK_STEP)
        self.state["newest_ns"], self.state["first_ns"], self.state["late_ns"] = NEVER, NEVER, OUT_OF_ORDER_NS

    @property
    def span_ns(self) -> tuple[int, int]:
        """The time of the first segment, and the newest, as handed on, nanoseconds."""
        return int(self.state["first_ns"][0]), self._newest_ns

    def tell(self, capture: CaptureSummary) -> None:
        """Write the span of a capture where that is not the one of its file."""
        if len(self.steps):
            capture.first_ns, capture.last_ns = self.span_ns

    def now_ns(self, clock_ns: int) -> int:
        """Return what time it is, as times are handed on, when the clock that times the frames says so."""
        return clock_ns + self.shift_ns

    @property
    def shift_ns(self) -> int:
        """By how much the times handed on are later than those of the file, nanoseconds."""
        return int(self.state["shift_ns"][0])

    def take(self, segments: SegmentRows) -> tuple[SegmentRows, list[int]]:
        """Return SEGMENT rows with their times counted on, and the places of those before which times were set."""
        places: list[int] = []
        times = self._on(np.ascontiguousarray(segments["time_ns"]))
        at = 0
        if len(times) and self.state["first_ns"][0] == NEVER:
            self.state["first_ns"] = times[0]
        while at < len(times):
            newest = newest_up_to(times[at:], self._newest_ns)
            step = self._first_step(times[at:], newest)
            if step is None:
                self.state["newest_ns"] = newest[-1]
                break
            at += step
            if self._set(segments[at], int(times[at]), int(newest[step - 1]) if step else self._newest_ns):
                times = np.concatenate([times[:at], self._on(segments["time_ns"][at:])])
                places.append(at)
        if self.shift_ns or places:
            segments = segments.copy()
            segments["time_ns"] = times
        return segments, places

    @property
    def _newest_ns(self) -> int:
        return int(self.state["newest_ns"][0])

    def _on(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return times of the file as they are handed on."""
        return np.minimum(times, MOST_NS) + self.shift_ns if self.shift_ns else times

    def _first_step(self, times: NDArray[np.int64], newest: NDArray[np.int64]) -> int | None:
        """Return the first place where times go back, or forward again by as much; None: nowhere.

        ``newest`` is the newest time up to each.
        """
        back_ns, late = int(self.state["back_ns"][0]), newest - times > self.state["late_ns"][0]
        if back_ns:
            ahead = np.diff(newest, prepend=self._newest_ns)
            late |= np.abs(ahead - back_ns) <= OUT_OF_ORDER_NS
        return int(late.argmax()) if late.any() else None

    def _set(self, segment: np.void, time_ns: int, before_ns: int) -> bool:
        """Note that times were set before a segment, which would be handed on at ``time_ns``, after ``before_ns``.

        Return False where that is given up: there is no order, or no room for later times.
        """
        state, shift_ns, back_ns = self.state[0], self.shift_ns, before_ns - time_ns
        file_ns = int(segment["time_ns"])
        if back_ns < 0:
            state["late_ns"] = max(int(state["late_ns"]), int(state["back_ns"]) + OUT_OF_ORDER_NS)
            back_ns = -int(state["back_ns"])
        if len(self.steps) == MOST_STEPS or shift_ns + back_ns > MOST_NS:
            state["late_ns"], state["back_ns"] = NEVER_LATE_NS, 0
            return False
        state["shift_ns"], state["newest_ns"], state["back_ns"] = shift_ns + back_ns, before_ns, max(back_ns, 0)
        step = np.array(
            [(before_ns - shift_ns, file_ns, shift_ns + back_ns, segment["frame"], segment["file"])], CLOCK_STEP
        )
        self.steps = np.concatenate([self.steps, step])
        return True

    def breaks(self, files: list[str]) -> list[Break]:
        """Return where times were set; ``files`` are the names behind the numbers of files."""
        return [
            Break(
                "clock", int(step["since_ns"]), int(step["until_ns"]), files[step["file"]], files[step["file"]], 0,
                int(step["frame"]), int(step["shift_ns"]),
            )
            for step in self.steps
        ]  # fmt: skip
