"""kacap as a library: ``read`` captures, and an ``Analysis`` that shows itself as text, tables and charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from io import StringIO
from os import PathLike, fspath
from typing import TYPE_CHECKING

from kacap import analysis as data
from kacap.analyzer import Analyzer
from kacap.capture import open_captures
from kacap.capture.frames import FrameBatch
from kacap.capture.tshark.engine import decoder
from kacap.continuing import Continued
from kacap.news import Sink, each
from kacap.options import DEFAULTS, Options
from kacap.pipeline import conclude, run

if TYPE_CHECKING:
    from kacap.capture.source import Captures
    from kacap.report.chart import Plot
    from kacap.report.tables import Tables


class Analysis(data.Analysis):
    """Everything that one pass over a capture found; in a notebook it shows verdicts, the timeline and findings.

    >>> import kacap
    >>> analysis = kacap.read("captures/lab/mid-connection/capture.pcapng")
    >>> analysis.capture.frames, len(analysis.connections), len(analysis.probes)
    (8, 1, 4)
    >>> analysis.tables.probes.names[:4]
    ['file', 'frame', 'time', 'connection']
    >>> figure = analysis.plot.timeline()
    """

    @property
    def plot(self) -> Plot:
        """The charts, as methods that return a matplotlib Figure: ``analysis.plot.timeline()``.

        ``silence``, ``residuals`` and ``ecdf`` are the other views. Read with ``marks=True`` to have data,
        retransmissions and resets drawn too.
        """
        from kacap.report.chart import Plot

        return Plot(self)

    @property
    def tables(self) -> Tables:
        """The connections, probers, probes, episodes and findings as tables.

        Each has ``to_pandas()``, ``to_polars()`` and ``to_arrow()``, and ``__arrow_c_stream__`` for all else.
        """
        from kacap.report.tables import Tables

        return Tables(self)

    def __repr__(self) -> str:
        """Return the report as text, one line for each of the gravest connections."""
        from kacap.report import text

        out = StringIO()
        text.render(self, out, brief=True)
        return out.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from kacap.report.html import fragment

        return fragment(self)


def read(
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    filter: str | None = None,
    options: Options | None = None,
    *,
    sink: Callable[[object], None] | None = None,
    **changes: object,
) -> Analysis:
    """Read one capture, possibly of several files, and return its analysis.

    ``paths`` is a file, a pattern, ``-`` (standard input) or several of them; ``filter`` is a BPF expression, as
    tcpdump has it. ``options`` say what is expected and what is kept; each field of ``kacap.Options`` can be given by
    its name as well. ``sink`` is called with each record (segments, probes, episodes, connections, findings) as soon as
    it is final. Raises ``KacapError``; damage inside a capture does not raise, it is listed in ``damages``.

    >>> import kacap
    >>> analysis = kacap.read("captures/lab/cut-off/capture.pcapng", "tcp", expect="idle=2,interval=1,count=3")
    >>> analysis.connections[0].verdict.sentence
    '10.1.0.2:40000 gave up on 10.2.0.2:12345: 3 unanswered probes in 5.06 s of silence'
    """
    wanted = (options or DEFAULTS).changed(**changes)
    return analyse(_names(paths), filter, wanted, sink=None if sink is None else each(sink))


def _names(paths: str | PathLike[str] | Sequence[str | PathLike[str]]) -> list[str]:
    """Return paths as texts."""
    return [fspath(paths)] if isinstance(paths, str | PathLike) else [fspath(path) for path in paths]


def analyse(
    files: Sequence[str],
    filter: str | None,
    options: Options,
    *,
    sink: Sink | None = None,
    stop: Callable[[], bool] | None = None,
    tap: Callable[[FrameBatch], None] | None = None,
    begun: Callable[[Captures], None] | None = None,
) -> Analysis:
    """Do what ``read`` does; ``sink`` gets the news of each batch of frames, ``tap`` the frames themselves.

    ``begun`` gets the source before the first frame is read. When ``stop`` returns True, reading ends there: a growing
    file (``options.follow``) is read up to its end, others are not, and the state is left as it was.
    """
    decode = decoder(options.engine)
    analyzer = Analyzer(options, sink=sink, decoder=decode)
    continued = None
    if options.state is not None:
        continued = Continued(options.state, {"filter": filter, "engine": options.engine})
    source = open_captures(
        files,
        filter=filter,
        follow=options.follow,
        stop=stop,
        convert=options.engine != "kacap",
        limit=options.frames,
        whole=tap is not None,
        earlier=None if continued is None else continued.begin(analyzer),
    )
    if begun is not None:
        begun(source)
    try:
        frames = source if continued is None else continued.follow(source)
        enough = None if options.follow else stop
        run(frames if tap is None else _tapped(frames, tap), analyzer, enough)
        interrupted = enough is not None and enough()
        if continued is not None and not interrupted:
            continued.end(analyzer, source, files)
    finally:
        source.close()
        decode.close()
    analysis = conclude(source, analyzer)
    analysis.interrupted = interrupted
    return shown(analysis)


def _tapped(source: Iterable[FrameBatch], tap: Callable[[FrameBatch], None]) -> Iterator[FrameBatch]:
    """Yield the batches of a source, each after ``tap`` has seen it."""
    for batch in source:
        tap(batch)
        yield batch


def shown(analysis: data.Analysis) -> Analysis:
    """Return an analysis as one that shows itself."""
    return Analysis(**{field.name: getattr(analysis, field.name) for field in fields(analysis)})
