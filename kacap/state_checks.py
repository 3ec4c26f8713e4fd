"""Whether the rows of a state lead only to rows that are there: what a kernel would follow without looking.

``BOUNDS`` names every column that holds a row, a code or a file, and what it may hold; chains are checked whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kacap.analysis import GONE
from kacap.capture.state_file import Layout, Rows, Tables
from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import ENDINGS, Grade, Kind
from kacap.classify.states import State
from kacap.classify.tables import Outcome
from kacap.facts.ended import BY, CAUSES, HOW
from kacap.findings.observed import BEATING, FLIGHTS, HEAD, SUSPENDED_AFTER, WENT_ON
from kacap.flows import RECENT_ROWS
from kacap.timing.history import FIRINGS_KEPT, HEARD
from kacap.wire import SkipReason

FILES = "files"
_KINDS, _GRADES, _REASONS = len(Kind), len(Grade), len(KindReason)
_EVENT: dict[str, tuple[int, int | str]] = {
    "watched": (0, "watched"),
    "next": (0, "waiting"),
    "file": (0, FILES),
    "kind": (0, _KINDS),
    "grade": (0, _GRADES),
    "why": (0, _REASONS),
    "from_a": (0, 2),
}
_CONNECTION: dict[str, tuple[int, int | str]] = {"watched": (-1, "watched")}


def _observed(notes: str, sent: str) -> dict[str, tuple[int, int | str]]:
    """Return the bounds of OBSERVED rows; rows of pools are counted from 1."""
    found: dict[str, tuple[int, int | str]] = {}
    found |= dict.fromkeys(("first_note", "last_note", "killed_note"), (0, f"{notes}+1"))
    found |= {"trial_from_a": (0, 2), "killed_from_a": (0, 2)}
    for side in ("a", "b"):
        found |= {f"{side}.data": (0, f"{sent}+1"), f"{side}.fin_frame": (0, "frames")}
    return found


def _sent(observed: str, spans: str) -> dict[str, tuple[int, int | str]]:
    """Return the bounds of SENT rows."""
    found: dict[str, tuple[int, int | str]] = {
        "slot": (0, observed),
        "span": (0, f"{spans}+1"),
        "kept": (0, f"{spans}+1"),
        "flight": (0, FLIGHTS),
        "flights_n": (0, FLIGHTS + 1),
    }
    columns = ["head_frame", "resent_frame", "flights.frame"]
    columns += [f"{name}.{which}_frame" for name in ("run", "beat") for which in ("first", "last")]
    return found | dict.fromkeys(columns, (0, "frames"))


# table: column: (least, the table whose rows it names, or the number that it stays below). ``name+1``: counted from 1.
# ``frames``: a packed frame (file << 48 | number).
BOUNDS: dict[str, dict[str, tuple[int, int | str]]] = {
    "connections": _CONNECTION,
    "kept": _CONNECTION,
    "found": _CONNECTION,
    "sides": dict.fromkeys(("held_file", "dup_file", "quoted_file"), (0, FILES)),
    "observed": _observed("notes", "sent"),
    "found_observed": _observed("found_notes", "found_sent"),
    "sent": _sent("observed", "spans"),
    "found_sent": _sent("found", "found_spans"),
    "notes": {"slot": (0, "observed"), "next": (0, "notes+1"), "frame": (0, "frames"), "from_a": (0, 2)},
    "found_notes": {"slot": (0, "found"), "next": (0, "found_notes+1"), "frame": (0, "frames"), "from_a": (0, 2)},
    "spans": {"slot": (0, "observed"), "first_frame": (0, "frames"), "frames": (0, "frames"), "how": (0, WENT_ON + 1)},
    "found_spans": {"slot": (0, "found"), "first_frame": (0, "frames"), "frames": (0, "frames"),
                    "how": (0, WENT_ON + 1)},
    "watched": {"queue": (0, "waiting"), "queue_end": (0, "waiting")},
    "watched_sides": {"prober": (0, "probers"), "state": (0, len(State)), "rating_kind": (0, _KINDS),
                      "rating_grade": (0, _GRADES), "rating_why": (0, _REASONS), "last_grade": (0, _GRADES),
                      "last_why": (0, _REASONS)},
    "probers": {"watched": (0, "watched"), "first_probe": (0, "probes"), "last_probe": (-1, "probes"),
                "last_episode": (0, "episodes"), "last_run": (0, "episodes"), "run_first": (0, "probes"),
                "run_ending": (0, len(ENDINGS)), "run_ending_file": (0, FILES), "side": (0, 2),
                "ending": (0, len(ENDINGS)), "grade": (0, _GRADES), "refused_file": (0, FILES)},
    "histories": {"newest_step": (0, "steps"), "kept": (0, FIRINGS_KEPT + 1), "shape_n": (-1, HEARD + 1)},
    "steps": {"prober": (0, "probers"), "heard": (-1, 2)},
    "probes": {"prober": (1, "probers"), "previous": (-1, "probes"), "file": (0, FILES), "reply_file": (0, FILES),
               "grade": (0, _GRADES), "outcome": (0, len(Outcome)), "answer": (0, _KINDS)},
    "episodes": {"prober": (0, "probers"), "first": (0, "probes"), "last": (0, "probes"),
                 "previous": (0, "episodes"), "previous_run": (0, "episodes"), "ending": (0, len(ENDINGS)),
                 "ending_file": (0, FILES)},
    "waiting": _EVENT,
    "kept_ends": {"how": (0, len(HOW)), "by": (0, len(BY)), "cause": (0, CAUSES), "named": (0, len(BY)),
                  "frame": (0, "frames")},
    "survived": {"outcome": (0, GONE + 1)},
    "marks": {"kind": (0, _KINDS), "file": (0, FILES)},
    "withheld": {"": (1, "episodes")},
    "clock_steps": {"file": (0, FILES)},
}  # fmt: skip

# Tables that have one row for each of another's, or so many.
SIZES: dict[str, tuple[str, int]] = {
    "sides": ("connections", 2),
    "observed": ("connections", 1),
    "watched_sides": ("watched", 2),
    "histories": ("probers", 1),
    "kept_ends": ("kept", 1),
    "found_observed": ("found", 1),
}
ROWS = {"tracker": 1, "counts": 1, "recent": RECENT_ROWS, "clock": 1, "skipped": len(SkipReason)}


def check(tables: Tables, layout: Layout, files: int) -> str:
    """Return what of a state is wrong, in few words; empty: every row that its numbers lead to is there.

    ``files`` is how many files its frames are of.
    """
    for name, dtype in layout.items():
        if name not in tables or tables[name].dtype != dtype or tables[name].ndim != 1:
            return f"{name} is missing or of another kind"
    return next((wrong for wrong in _wrong(tables, files)), "")


def _wrong(tables: Tables, files: int) -> Iterator[str]:
    """Yield what is wrong; a later check relies on those before it."""
    for name, rows in ROWS.items():
        if len(tables[name]) != rows:
            yield f"{name} has {len(tables[name])} rows"
    for name, (other, times) in SIZES.items():
        if len(tables[name]) != times * len(tables[other]):
            yield f"{name} does not match {other}"
    yield from _counted(tables)
    for name, columns in BOUNDS.items():
        for column, (least, most) in columns.items():
            if not _within(_column(tables[name], column), least, _limit(tables, most, files)):
                yield f"{name}: {column} names what is not there"
    yield from _of_probers(tables)
    yield from _of_queues(tables)
    for prefix in ("", "found_"):
        yield from _of_notes(tables, prefix)


def _counted(tables: Tables) -> Iterator[str]:
    """Yield which of the tables has another number of rows than it says."""
    tracker, counts = tables["tracker"][0], tables["counts"][0]
    if int(tracker["used"]) != len(tables["connections"]) or int(tracker["watched"]) != len(tables["watched"]):
        yield "tracker has another number of rows"
    for name in ("probers", "probes", "episodes", "waiting"):
        if int(counts[name]) != len(tables[name]):
            yield f"{name} has another number of rows"
    if int(counts["decided"]) or int(counts["changes"]):
        yield "changes were not told"
    for name in ("probers", "episodes", "waiting"):
        if not len(tables[name]):
            yield f"{name} lacks its first row"


def _column(rows: Rows, path: str) -> Rows:
    """Return a column, or one within it: ``a.flights.frame``."""
    for name in path.split(".") if path else ():
        rows = rows[name]
    return rows


def _limit(tables: Tables, most: str | int, files: int) -> int:
    """Return what a column's values have to stay below; a table without rows is named by zeros alone."""
    if isinstance(most, int):
        return most
    if most == FILES:
        return max(files, 1)
    if most == "frames":
        return max(files, 1) << 48
    name, counted_from_1, _ = most.partition("+")
    return len(tables[name]) + 1 if counted_from_1 else max(len(tables[name]), 1)


def _within(values: Rows, least: int, limit: int) -> bool:
    """Return whether all values are from ``least`` on and below ``limit``."""
    return not values.size or (int(values.min()) >= least and int(values.max()) < limit)


def _places(groups: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each row its place among those of its group, from 1, and the row of the group before it (-1: none)."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.searchsorted(ordered, ordered)
    places, before = np.empty(len(groups), np.int64), np.full(len(groups), -1, np.int64)
    places[order] = np.arange(len(groups)) - starts + 1
    inner = np.flatnonzero(np.arange(len(groups)) > starts)
    before[order[inner]] = order[inner - 1]
    return places, before


def _of_probers(tables: Tables) -> Iterator[str]:
    """Yield what is wrong with the chains of probes and episodes: each prober's rows, in order, all of them."""
    probers, probes, episodes = tables["probers"], tables["probes"], tables["episodes"][1:]
    places, before = _places(probes["prober"])
    number = np.bincount(probes["prober"], minlength=len(probers))
    if (probes["previous"] != before).any() or (probers["rows"][1:] != number[1:]).any() or number[0]:
        yield "probes are not chained in order"
        return
    own = probers[1:]
    last_of = np.full(len(probers), -1, np.int64)
    last_of[probes["prober"]] = np.arange(len(probes))
    if (own["last_probe"] != last_of[1:]).any() or (number[1:] < 1).any():
        yield "probers name other probes than their own"
        return
    if (own["run_n"] < 0).any() or (own["run_n"] > own["rows"]).any() or (own["run_replies"] > own["run_n"]).any():
        yield "runs have more probes than there are"
    if (probes["prober"][own["first_probe"]] != np.arange(1, len(probers))).any():
        yield "probers name other probes than their own"
    if (episodes["prober"] < 1).any() or (probes["prober"][episodes["last"]] != episodes["prober"]).any():
        yield "episodes name other probes than their prober's"
    elif (episodes["probes"] < 1).any() or (episodes["probes"] > places[episodes["last"]]).any():
        yield "episodes have more probes than there are"
    _, earlier = _places(episodes["prober"])
    number = np.bincount(episodes["prober"], minlength=len(probers))
    if (episodes["previous"] != earlier + 1).any() or (own["episodes"] != number[1:]).any():
        yield "episodes are not chained in order"
    rows = np.arange(1, len(episodes) + 1)
    if (episodes["previous_run"] >= rows).any():
        yield "episodes are not chained in order"


def _of_queues(tables: Tables) -> Iterator[str]:
    """Yield what is wrong with the events that wait: each is in one queue, which ends, or is free."""
    watched, following = tables["watched"], tables["waiting"]["next"].astype(np.int64)
    heads = np.concatenate([watched["queue"], tables["counts"]["free"]]).astype(np.int64)
    if heads[-1] < 0 or heads[-1] >= len(following):
        yield "waiting: the first free row is not there"
        return
    led_to = np.bincount(np.concatenate([following[1:], heads]), minlength=len(following))
    if following[0] or (led_to[1:] > 1).any():
        yield "waiting: rows are in two queues"
        return
    for head, end, number in zip(heads[:-1].tolist(), watched["queue_end"].tolist(), range(len(watched)), strict=True):
        row = last = head
        while row:
            if int(tables["waiting"]["watched"][row]) != number:
                yield "waiting: an event is in the queue of another connection"
                return
            last, row = row, int(following[row])
        if last != end:
            yield "waiting: a queue ends elsewhere"
            return


def _of_notes(tables: Tables, prefix: str) -> Iterator[str]:
    """Yield what is wrong with the notes of each connection, which lead to later ones, and with its bytes."""
    notes, observed = tables[f"{prefix}notes"], tables[f"{prefix}observed"]
    following = notes["next"]
    if ((following > 0) & (following <= np.arange(1, len(notes) + 1))).any():
        yield "notes are not chained in order"
    if ((observed["first_note"] > 0) != (observed["last_note"] > 0)).any():
        yield "notes are chained without an end"
    if ((observed["killed_ns"] != 0) & (observed["killed_note"] == 0)).any():
        yield "a silence was ended by no RST"
    sent = tables[f"{prefix}sent"]
    often = np.append((sent["head_n"] >= SUSPENDED_AFTER) & (sent["span"] == 0), False)  # row 0, no data, is the last
    for side in ("a", "b"):
        known, data = observed[side]["known"], observed[side]["data"]
        if ((known & (HEAD | BEATING) != 0) & (data == 0)).any():
            yield "data that was sent has no row"
        elif ((known & HEAD != 0) & often[data - 1]).any():
            yield "bytes that were sent again have no row"
