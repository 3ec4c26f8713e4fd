"""kacap as a library, live: ``live`` yields what happens on an interface, or in a capture that is being written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType

from kacap.analyzer import Analyzer
from kacap.capture.live_capture import open_live
from kacap.capture.live_source import LiveSource
from kacap.capture.live_stream import open_growing
from kacap.capture.rights import SNAPLEN
from kacap.library import Analysis, shown
from kacap.model import Endpoint
from kacap.news import passed_over
from kacap.options import DEFAULTS, Options
from kacap.pipeline import conclude
from kacap.report.live_events import LiveTracker
from kacap.report.live_rows import LiveEvent
from kacap.timing.expectations import Expectation


class Watch:
    """An iterator over ``LiveEvent``; ``stop`` lets it end, and then ``analysis`` is what ``kacap.read`` would return.

    As a context manager it closes the interfaces at the end of the block.
    """

    def __init__(self, source: LiveSource, options: Options) -> None:
        self.analysis: Analysis | None = None
        self._source, self._waiting = source, deque[LiveEvent]()
        self._analyzer = Analyzer(options.changed(segments="events"), sink=passed_over)
        self._tracker = LiveTracker(self._analyzer, _of_prober(options))
        self._batches = iter(source)

    def __iter__(self) -> Watch:
        """Return itself: each event comes once."""
        return self

    def __next__(self) -> LiveEvent:
        """Return the next event, waiting for it. Raises StopIteration when the source has ended."""
        while not self._waiting:
            batch = next(self._batches, None)
            if batch is None:
                self._conclude()
                raise StopIteration
            events = self._tracker.feed(batch, self._source.now_ns, self._source.dropped)
            self._waiting.extend(event for event in events if event.words)
        return self._waiting.popleft()

    def stop(self) -> None:
        """Let the iteration end with what has arrived so far; another thread may call it."""
        self._source.stop()

    def close(self) -> None:
        """Stop, and conclude the analysis."""
        self.stop()
        for _ in self:
            pass

    def __enter__(self) -> Watch:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the interfaces."""
        self.close()

    def _conclude(self) -> None:
        """Finish the analysis, once."""
        if self.analysis is None:
            self.analysis = shown(conclude(self._source, self._analyzer))


def live(
    interfaces: str | Sequence[str] = "any",
    filter: str | None = None,
    options: Options | None = None,
    *,
    stream: str | None = None,
    engine: str = "auto",
    snaplen: int = SNAPLEN,
    netns: str | None = None,
    **changes: object,
) -> Watch:
    """Iterate over what happens on interfaces: each probe, its answer or its absence, and how connections die.

    ``filter`` is a BPF expression; ``options`` and ``changes`` are as in ``kacap.read`` (``frames`` ends the watch
    after so many). ``stream`` is a capture that is being written, or ``-``, in place of interfaces. ``engine``,
    ``snaplen`` and ``netns`` are those of the command. Raises ``KacapError`` where nothing can be
    captured, before the first event.

    >>> import kacap
    >>> with kacap.live(stream="captures/lab/cut-off/capture.pcapng") as watch:
    ...     for event in watch:
    ...         if event.cause:
    ...             print(event.words)
    RST from 10.1.0.2:40000: gave up after 3 unanswered probes in 5.06 s of silence
    >>> watch.analysis.connections[0].ended.how
    'gave-up'
    """
    wanted = (options or DEFAULTS).changed(**changes)
    if stream is not None:
        return Watch(open_growing(stream, filter=filter, limit=wanted.frames), wanted)
    names = [interfaces] if isinstance(interfaces, str) else list(interfaces)
    source = open_live(names, engine=engine, filter=filter, snaplen=snaplen, netns=netns, limit=wanted.frames)
    return Watch(source, wanted)


def _of_prober(options: Options) -> Callable[[Endpoint, Endpoint], Expectation | None] | None:
    """Return what says what is expected of a prober: what is expected of every connection alike."""
    wanted = options.expect
    return (lambda prober, peer: wanted) if isinstance(wanted, Expectation) else None
