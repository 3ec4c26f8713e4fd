"""What happened to a connection that keeps alive, as one record: for programs that are told, and for a log."""

from __future__ import annotations

from kacap.report.live_rows import LiveEvent, ProbingConnection, What
from kacap.report.records import written
from kacap.units import clean

LOGGED = (What.MISSING, What.SURVIVED, What.DEAD, What.RESET)


def event_line(event: LiveEvent, **more: object) -> str:
    """Return the record of an event that happened to a prober, without a line's end; ``more`` are further fields."""
    row = event.prober
    fields = {"event": event.what.value, "time_ns": event.time_ns, **(_row_fields(row, event) if row else {})}
    return written("event", {**fields, "sentence": _sentence(event), **more})


def note_line(what: str, time_ns: int, sentence: str) -> str:
    """Return the record of something that happened to the watch itself: ``started``, ``stopped``, ``trouble``."""
    return written("event", {"event": what, "time_ns": time_ns, "sentence": clean(sentence)})


def _row_fields(row: ProbingConnection, event: LiveEvent) -> dict[str, object]:
    service = row.service or row.peer
    silent_ns = None if row.heard_ns is None else max(event.time_ns - row.heard_ns, 0)
    return {
        "connection": row.connection,
        "prober": str(row.prober),
        "peer": str(row.peer),
        "destination": str(service),
        "side": "server" if row.prober == service else "client",
        "process": row.process or None,
        "cause": None if event.cause is None else event.cause.value,
        "run": event.run,
        "probes": row.probes,
        "missed": row.missed,
        "silent_ns": silent_ns,
    }


def _sentence(event: LiveEvent) -> str:
    words = event.words or {What.RESET: "RST of its application"}.get(event.what, event.what.value)
    return clean(f"{event.source} > {event.destination}: {words}")
