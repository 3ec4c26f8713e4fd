"""``--state``: tomorrow's run goes on where today's ended, with the result of one run over everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import kacap
from kacap.analyzer import Analyzer
from kacap.capture.earlier import Earlier, earlier_of
from kacap.capture.frames import FrameBatch
from kacap.capture.source import Captures
from kacap.capture.state_file import read_state, write_state
from kacap.clock import SECOND_NS
from kacap.errors import CaptureError, KacapError
from kacap.outputs import check
from kacap.resuming import LAYOUT, State, StateError
from kacap.units import moment

SLIP_NS = SECOND_NS  # frames of one capture are out of order by less


class Continued:
    """One state file, what an analyzer is continued from and what it leaves behind."""

    def __init__(self, path: str, options: dict[str, object]) -> None:
        """``options`` decide which frames the analyzer gets: the next run has to have the same."""
        check(path)
        self.path, self._options = path, options | {"kacap": kacap.__version__}
        self._until_ns: int | None = None

    def begin(self, analyzer: Analyzer) -> Earlier:
        """Let a new analyzer go on from the file, if there is one; return what was read before. Raises KacapError."""
        found = read_state(self.path, LAYOUT)
        if found is None:
            return Earlier()
        facts, tables = found
        try:
            earlier = earlier_of(facts.get("capture"))
            analyzer.restore(State(tables, facts), len(earlier.files), self._options)
        except (StateError, CaptureError) as error:
            raise StateError(f"{self.path}: {error}") from None
        last_ns, clock = analyzer.analysis.capture.last_ns, analyzer.tracker.clock
        self._until_ns = clock.span_ns[1] - clock.shift_ns if len(clock.steps) else last_ns
        return earlier

    def follow(self, source: Captures) -> Iterator[FrameBatch]:
        """Yield a source's frames. Raises CaptureError where they begin before the state ends."""
        for batch in source:
            if self._until_ns is not None:
                _refuse_older(self.path, self._until_ns, batch, source.files)
                self._until_ns = None
            yield batch

    def end(self, analyzer: Analyzer, source: Captures, inputs: Iterable[str]) -> None:
        """Write the file, whole or not at all, before the analyzer is finished. Raises KacapError."""
        state = analyzer.save(self._options)
        write_state(self.path, state.facts | {"capture": source.read_so_far().as_json()}, state.tables, inputs)


def files_before(path: str) -> list[str]:
    """Return the files that a state was made of, in order; none where there is no state yet. Raises KacapError."""
    found = read_state(path, {})
    return [] if found is None else earlier_of(found[0].get("capture")).files


def _refuse_older(path: str, until_ns: int, batch: FrameBatch, files: list[str]) -> None:
    """Raise KacapError where the first frame of a batch is older than what was read before it."""
    first = batch.frames[0]
    if (first_ns := int(first["time_ns"])) < until_ns - SLIP_NS:
        raise KacapError(
            f"{files[first['file']]}: begins {moment(first_ns)}, before {path} ends ({moment(until_ns)}): "
            "name what was captured since, or read everything without the state"
        )
