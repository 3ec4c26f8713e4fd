"""kacap shows every TCP keepalive probe in a capture or on a live interface.

``read`` analyses capture files, ``live`` yields what happens on an interface; an ``Analysis`` holds ``Connection``
objects, each with the ``Prober`` objects that send ``Probe`` after ``Probe``. Times are integer nanoseconds, UTC.

Words, one meaning each: a *frame* is link-layer bytes, a *segment* the TCP part of a frame, a *connection* both
directions of a 4-tuple (one incarnation). A *prober* sends *probes* to a *peer*, who sends *replies*; a run of probes
with one *ending* is an *episode*. A *finding* is one thing worth telling, with its evidence. *idle*, *interval* and
*count* are the three settings of ``tcp(7)``; *lateness* is observed minus configured; an *expectation* is a configured
value and where it came from.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kacap.errors import KacapError
    from kacap.library import Analysis, read
    from kacap.model import Connection, Episode, Finding, Probe, Prober, Verdict
    from kacap.options import Options
    from kacap.report.live_rows import LiveEvent
    from kacap.sockets.keepalive import Keepalive
    from kacap.timing.expectations import Expectation
    from kacap.watching import live

_HOMES = {
    "Analysis": "kacap.library",
    "Connection": "kacap.model",
    "Episode": "kacap.model",
    "Expectation": "kacap.timing.expectations",
    "Finding": "kacap.model",
    "KacapError": "kacap.errors",
    "Keepalive": "kacap.sockets.keepalive",
    "LiveEvent": "kacap.report.live_rows",
    "Options": "kacap.options",
    "Probe": "kacap.model",
    "Prober": "kacap.model",
    "Verdict": "kacap.model",
    "live": "kacap.watching",
    "read": "kacap.library",
}

__version__ = "0.2.0"
__all__ = [
    "Analysis", "Connection", "Episode", "Expectation", "Finding", "KacapError", "Keepalive", "LiveEvent", "Options",
    "Probe", "Prober", "Verdict", "live", "read",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: ``import kacap`` itself stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kacap' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
