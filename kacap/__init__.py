"""kacap shows every TCP keepalive probe in a capture or on a live interface.

Words, one meaning each: a *frame* is link-layer bytes, a *segment* the TCP part of a frame, a *connection* both
directions of a 4-tuple (one incarnation). A *prober* sends *probes* to a *peer*, who sends *replies*; a run of probes
with one *ending* is an *episode*. A *finding* is one thing worth telling, with its evidence. *idle*, *interval* and
*count* are the three settings of ``tcp(7)``; *lateness* is observed minus configured; an *expectation* is a configured
value and where it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from kacap.analysis import Analysis
    from kacap.capture.tshark.engine import Engine
    from kacap.timing.expectations import Expectation, Expected
    from kacap.timing.limits import Limit

__version__ = "0.1.0"
__all__ = ["Analysis", "Analyzer", "Expectation", "Keepalive", "read"]

_HOMES = {
    "Analysis": "kacap.analysis",
    "Analyzer": "kacap.analyzer",
    "Expectation": "kacap.timing.expectations",
    "Keepalive": "kacap.sockets.keepalive",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: ``import kacap`` itself stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kacap' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def read(
    paths: str | Sequence[str],
    filter: str | None = None,
    *,
    keep_all: bool = False,
    keep_episodes: bool = True,
    marks: bool = False,
    sink: Callable[[object], None] | None = None,
    segments: Literal["events", "all", "none"] = "none",
    follow: bool = False,
    stop: Callable[[], bool] | None = None,
    expect: Expected | Expectation | None = None,
    system: str = "auto",
    limits: tuple[Limit, ...] | None = None,
    engine: Engine = "auto",
) -> Analysis:
    """Read one capture, possibly of several files, and return its analysis.

    ``filter`` is a BPF expression. ``sink`` hears of each record (``kacap.model``) as soon as it is final;
    ``segments`` chooses which segments get a record of their own. ``marks`` keeps what a timeline draws. With
    ``follow`` a growing file is read until ``stop`` says so. ``expect`` (an ``Expectation``, or what returns one for a
    connection) is what idle, interval and count are judged by; ``system`` says whose timers to assume
    (``timing.systems.NAMES``); ``limits`` takes the place of the known idle limits (``timing.limits``). Raises
    ``KacapError``; damage inside a capture does not raise, it is listed in ``damages``.
    """
    from kacap.analyzer import Analyzer
    from kacap.capture import open_captures
    from kacap.capture.tshark.engine import decoder
    from kacap.pipeline import conclude, run
    from kacap.timing.limits import LIMITS

    names = [paths] if isinstance(paths, str) else list(paths)
    decode = decoder(engine)
    source = open_captures(names, filter=filter, follow=follow, stop=stop, convert=engine != "kacap")
    analyzer = Analyzer(
        sink=sink, segments=segments, keep_all=keep_all, keep_episodes=keep_episodes, marks=marks, expect=expect,
        system=system, limits=LIMITS if limits is None else limits, decoder=decode,
    )
    try:
        run(source, analyzer)
    finally:
        source.close()
        decode.close()
    return conclude(source, analyzer)
