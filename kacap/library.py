"""kacap as a library: ``read`` captures, and an ``Analysis`` that shows itself as text, tables and charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from io import StringIO
from typing import TYPE_CHECKING, Literal

from kacap import analysis as data
from kacap.analyzer import Analyzer
from kacap.capture import open_captures
from kacap.capture.tshark.engine import Engine, decoder
from kacap.continuing import Continued
from kacap.news import Sink, each
from kacap.pipeline import conclude, run
from kacap.timing.expectations import Expectation, Expected
from kacap.timing.limits import LIMITS, Limit

if TYPE_CHECKING:
    from kacap.report.chart import Plot
    from kacap.report.tables import Tables


class Analysis(data.Analysis):
    """Everything that one pass over a capture found; in a notebook it shows verdicts, the timeline and findings."""

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
    paths: str | Sequence[str],
    filter: str | None = None,
    *,
    keep_all: bool = False,
    marks: bool = False,
    sink: Callable[[object], None] | None = None,
    news: Sink | None = None,
    segments: Literal["events", "all", "none"] = "none",
    follow: bool = False,
    stop: Callable[[], bool] | None = None,
    expect: Expected | Expectation | None = None,
    system: str = "auto",
    limits: tuple[Limit, ...] | None = None,
    engine: Engine = "auto",
    state: str | None = None,
) -> Analysis:
    """Read one capture, possibly of several files, and return its analysis.

    ``filter`` is a BPF expression. ``sink`` is called with each record (``kacap.model``) as soon as it is final, or
    ``news`` with what each batch of frames brought (``kacap.news``); ``segments`` chooses which segments get a record
    of their own. ``marks`` keeps what a timeline draws. With ``follow`` a growing file is read until ``stop`` says so.
    ``expect`` (an ``Expectation``, or what returns one for a connection) is what idle, interval and count are judged
    by; ``system`` says whose timers to assume (``timing.systems.NAMES``); ``limits`` takes the place of the known idle
    limits (``timing.limits``). ``state`` names a file that this reading goes on from, if it is there, and that it
    leaves for the next one: the result is that of one reading of everything. Raises ``KacapError``; damage inside a
    capture does not raise, it is listed in ``damages``.
    """
    names = [paths] if isinstance(paths, str) else list(paths)
    decode = decoder(engine)
    analyzer = Analyzer(
        sink=each(sink) if sink is not None else news, segments=segments, keep_all=keep_all, marks=marks,
        expect=expect, system=system, limits=LIMITS if limits is None else limits, decoder=decode,
    )  # fmt: skip
    continued = None if state is None else Continued(state, {"filter": filter, "engine": engine})
    earlier = None if continued is None else continued.begin(analyzer)
    source = open_captures(names, filter=filter, follow=follow, stop=stop, convert=engine != "kacap", earlier=earlier)
    try:
        run(source if continued is None else continued.follow(source), analyzer)
        if continued is not None:
            continued.end(analyzer, source, names)
    finally:
        source.close()
        decode.close()
    return shown(conclude(source, analyzer))


def shown(analysis: data.Analysis) -> Analysis:
    """Return an analysis as one that shows itself."""
    return Analysis(**{field.name: getattr(analysis, field.name) for field in fields(analysis)})
