"""What an analyzer knows at a place between two frames, as named rows, and an analyzer that goes on from there.

Whoever continues gets what one pass over everything would have got. A state is taken from nobody on trust: every
number in it that leads to a row is checked (``state_checks``) before a kernel follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kacap.analysis import MARK, SILENCE, UnprobedSummary
from kacap.capture.state_file import Layout, Rows, Tables
from kacap.classify.capture_clock import CLOCK, CLOCK_STEP
from kacap.classify.emit import EVENT
from kacap.classify.tables import COUNTS, EPISODE, PROBE, PROBER, WATCHED, WATCHED_SIDE
from kacap.errors import KacapError
from kacap.facts.ended import ENDED
from kacap.findings.observations import Observed, joined
from kacap.findings.observed import NOTE, OBSERVED, SENT, SPAN
from kacap.findings.presence import PRESENCE
from kacap.flows import CONNECTION, RECENT, SIDE, TRACKER_STATE
from kacap.model import Connection, Endpoint
from kacap.state_checks import check
from kacap.timing.history import HISTORY, STEP
from kacap.units import clean

if TYPE_CHECKING:
    from kacap.analyzer import Analyzer

# The rows of a state by name; ``found_*`` are connections that have ended and that findings may rest on.
LAYOUT: Layout = {
    "tracker": TRACKER_STATE, "connections": CONNECTION, "sides": SIDE, "recent": RECENT,
    "clock": CLOCK, "clock_steps": CLOCK_STEP,
    "observed": OBSERVED, "notes": NOTE, "spans": SPAN, "sent": SENT,
    "counts": COUNTS, "watched": WATCHED, "watched_sides": WATCHED_SIDE, "probers": PROBER, "histories": HISTORY,
    "probes": PROBE, "episodes": EPISODE, "waiting": EVENT, "steps": STEP,
    "kept": CONNECTION, "kept_ends": ENDED, "found": CONNECTION,
    "found_observed": OBSERVED, "found_notes": NOTE, "found_spans": SPAN, "found_sent": SENT,
    "heard": PRESENCE, "survived": SILENCE, "marks": MARK,
    "skipped": np.dtype("<i8"), "withheld": np.dtype("<i8"),
}  # fmt: skip
_OF_TRACKER = ("tracker", "connections", "sides", "recent", "clock", "clock_steps")
_OF_GATHERER = ("counts", "watched", "watched_sides", "probers", "histories", "probes", "episodes", "waiting", "steps")


class StateError(KacapError):
    """A state that cannot be continued: damaged, of another version, or of another question."""


@dataclass(slots=True)
class State:
    """Rows by the names of ``LAYOUT``, and ``facts``: numbers and names as JSON has them."""

    tables: Tables
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """How much memory its rows take."""
        return sum(rows.nbytes for rows in self.tables.values())


def settings_of(analyzer: Analyzer) -> dict[str, object]:
    """Return what decides which rows an analyzer keeps: who continues has to want the same."""
    options = analyzer.options
    return {
        "segments": options.segments,
        "all": options.keep_all,
        "marks": options.marks,
        "expect": options.judges,
        "kept episodes": options.keep_episodes,
    }


def saved(analyzer: Analyzer, options: dict[str, object]) -> State:
    """Return what an analyzer knows, as views that are valid until it is fed again or finished.

    ``options`` decide which frames it was given: who continues has to want the same. Raises StateError where it holds
    what is in no row: with ``segments="all"``.
    """
    if analyzer.options.segments == "all":
        raise StateError("a state cannot be kept with --segments all: plain ACKs that wait are in no table")
    tracker, gatherer = analyzer.tracker.saved(), analyzer.gatherer.saved()
    seen = analyzer.observations.rest(len(tracker["connections"]))
    found = joined([observed for _, observed in analyzer.past.looked_at])
    tables = {
        **tracker, **{("watched_sides" if name == "sides" else name): rows for name, rows in gatherer.items()},
        "observed": seen.rows, "notes": seen.notes, "spans": seen.spans, "sent": seen.sent,
        "kept": _rows("kept", analyzer.past.rows), "kept_ends": _rows("kept_ends", analyzer.past.ends),
        "found": _rows("found", [rows for rows, _ in analyzer.past.looked_at]),
        "found_observed": found.rows, "found_notes": found.notes, "found_spans": found.spans,
        "found_sent": found.sent,
        "heard": _rows("heard", analyzer.heard.parts), "survived": _rows("survived", analyzer.deaths.survived),
        "marks": _rows("marks", analyzer.marks), "skipped": analyzer.skipped,
        "withheld": np.array(analyzer.withheld, np.int64),
    }  # fmt: skip
    tables["sides"], tables["watched_sides"] = tracker["sides"], gatherer["sides"]
    capture, unprobed = analyzer.analysis.capture, analyzer.analysis.unprobed
    facts: dict[str, object] = {
        "settings": settings_of(analyzer) | options,
        "first_ns": capture.first_ns,
        "last_ns": capture.last_ns,
        "segments": capture.segments,
        "quotes": capture.quotes,
        "marking": analyzer.keep_marks,
        "unprobed": _unprobed(unprobed),
    }
    return State({name: tables[name] for name in LAYOUT}, facts)


def resume(analyzer: Analyzer, state: State, files: int, options: dict[str, object]) -> None:
    """Let a new analyzer go on from a state of ``files`` files. Raises StateError where it does not fit."""
    wanted, given = settings_of(analyzer) | options, state.facts.get("settings")
    if given != wanted:
        raise StateError(f"the state was made with other options ({_difference(given, wanted)}); give the same again")
    wrong = check(state.tables, LAYOUT, files)
    if wrong:
        raise StateError(f"the state is damaged ({wrong}); read everything again without it")
    tables = state.tables
    analyzer.observations.restore(Observed(*(tables[name] for name in ("observed", "notes", "spans", "sent"))))
    analyzer.tracker.restore({name: tables[name] for name in _OF_TRACKER})
    analyzer.observations.move(None, analyzer.tracker.used, len(analyzer.tracker.connections))
    gathered = {name: tables[name] for name in _OF_GATHERER}
    analyzer.gatherer.restore(gathered | {"sides": tables["watched_sides"]})
    analyzer.past.rows, analyzer.past.ends = [tables["kept"].copy()], [tables["kept_ends"].copy()]
    analyzer.past.held = len(tables["kept"])
    found = Observed(*(tables[f"found_{name}"].copy() for name in ("observed", "notes", "spans", "sent")))
    analyzer.past.looked_at = [(tables["found"].copy(), found)] if len(found.rows) else []
    analyzer.heard.parts, analyzer.deaths.survived = [tables["heard"].copy()], [tables["survived"].copy()]
    analyzer.marks = [tables["marks"].copy()] if len(tables["marks"]) else []
    analyzer.keep_marks = analyzer.keep_marks and state.facts.get("marking") is True
    analyzer.skipped[:] = tables["skipped"]
    analyzer.withheld = tables["withheld"].tolist()
    capture, facts = analyzer.analysis.capture, state.facts
    capture.first_ns, capture.last_ns = (_number(facts, name, True) for name in ("first_ns", "last_ns"))
    capture.segments, capture.quotes = _number(facts, "segments") or 0, _number(facts, "quotes") or 0
    analyzer.analysis.unprobed = _unprobed_of(facts.get("unprobed"))


def _rows(name: str, parts: Sequence[Rows]) -> Rows:
    """Return several arrays of rows as one; concatenating would lay out the columns anew."""
    found, at = np.zeros(sum(map(len, parts)), LAYOUT[name]), 0
    for part in parts:
        found[at : at + len(part)] = part
        at += len(part)
    return found


def _difference(given: object, wanted: dict[str, object]) -> str:
    """Return the first option that differs, in words."""
    for name, value in wanted.items():
        before = given.get(name) if isinstance(given, dict) else None
        if before != value:
            return clean(f"{name}: {before}, now {value}")
    return "it does not say which"


def _number(facts: dict[str, object], name: str, may_lack: bool = False) -> int | None:
    """Return a whole number of 64 bits. Raises StateError for anything else."""
    value = facts.get(name)
    if value is None and may_lack:
        return None
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise StateError(f"the state is damaged ({name} is no number); read everything again without it")
    return value


def _unprobed(summary: UnprobedSummary) -> dict[str, object]:
    """Return the connections without probes as JSON has them."""
    longest = summary.longest
    numbers = {
        "connections": summary.connections,
        "window_probing": summary.window_probing,
        "retransmitting": summary.retransmitting,
        "longest_silence_ns": summary.longest_silence_ns,
    }
    return numbers | {"longest": None if longest is None else _longest(longest)}


_LONGEST = ("connection", "first_ns", "last_ns", "longest_silence_ns", "segments", "window_probes", "retransmissions")


def _longest(made: Connection) -> dict[str, object]:
    numbers = {name: getattr(made, name) for name in _LONGEST}
    return numbers | {"a": list(made.a), "b": list(made.b), "began": made.began_in_capture}


def _unprobed_of(facts: object) -> UnprobedSummary:
    """Return the summary that ``_unprobed`` was made of. Raises StateError."""
    if not isinstance(facts, dict):
        raise StateError("the state is damaged (unprobed is missing); read everything again without it")
    found = UnprobedSummary()
    for name in ("connections", "window_probing", "retransmitting", "longest_silence_ns"):
        setattr(found, name, _number(facts, name))
    longest = facts.get("longest")
    if isinstance(longest, dict):
        ends = [_end(longest.get(side)) for side in ("a", "b")]
        found.longest = made = Connection(0, ends[0], ends[1], 0, 0, 0, began_in_capture=bool(longest.get("began")))
        for name in _LONGEST:
            setattr(made, name, _number(longest, name))
    return found


def _end(value: object) -> Endpoint:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
        return Endpoint(clean(value[0][:64]), value[1] & 0xFFFF)
    raise StateError("the state is damaged (an address is missing); read everything again without it")
