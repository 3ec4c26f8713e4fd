"""kacap shows every TCP keepalive probe in a capture or on a live interface.

Words, one meaning each: a *frame* is link-layer bytes, a *segment* the TCP part of a frame, a *connection* both
directions of a 4-tuple (one incarnation). A *prober* sends *probes* to a *peer*, who sends *replies*; a run of probes
with one *ending* is an *episode*. A *finding* is one thing worth telling, with its evidence. *idle*, *interval* and
*count* are the three settings of ``tcp(7)``; *lateness* is observed minus configured; an *expectation* is a configured
value and where it came from.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["Analysis", "Analyzer", "Expectation", "Keepalive", "read"]

_HOMES = {
    "Analysis": "kacap.library",
    "Analyzer": "kacap.analyzer",
    "Expectation": "kacap.timing.expectations",
    "Keepalive": "kacap.sockets.keepalive",
    "read": "kacap.library",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: ``import kacap`` itself stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kacap' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
