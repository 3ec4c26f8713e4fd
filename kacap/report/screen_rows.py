"""How one prober is shown on the live screen: its name, its state in a word, its history as marks, what comes next."""

from __future__ import annotations

from collections.abc import Sequence

from kacap.classify.kinds import Ending
from kacap.clock import DAY_NS, SECOND_NS
from kacap.model import Endpoint
from kacap.report.live_rows import ProbingConnection
from kacap.report.terminal import DOUBT
from kacap.units import duration

STATES = ("missing", "probable", "up", "dead")
STYLES = {"missing": f"bold color({DOUBT})", "probable": f"color({DOUBT})", "up": "", "dead": "bold red"}
LEAST = 12  # letters that a shortened name keeps


def state_of(row: ProbingConnection) -> str:
    """Return the state of a prober as a word of STATES: ``probable`` is a run that may yet not be probes."""
    if row.ending is not None:
        return "dead"
    return "missing" if row.missing else "up"


def time_of_day(time_ns: int) -> str:
    """Return the time of day, UTC: ``15:51:02``."""
    seconds = time_ns % DAY_NS // SECOND_NS
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def history(row: ProbingConnection, *, ascii_only: bool = False) -> str:
    """Return the newest probes as marks, answered or missed, and of a run how many of how many: ``✓✓✗✗✗ 3/10``."""
    good, bad = ("+", "x") if ascii_only else ("✓", "✗")
    marks = row.outcomes.replace("+", good).replace("-", bad)
    if not row.run or row.ending is not None:
        return marks
    count = row.expected.count if row.expected is not None else None
    return f"{marks} {row.run}/{'?' if count is None else count}"


def next_of(row: ProbingConnection, now_ns: int) -> str:
    """Return what comes next: when a run is given up, else when the next probe is due."""
    if row.ending is not None:
        return ""
    dies_ns = row.dies_ns()
    if dies_ns is not None:
        return f"dies {time_of_day(dies_ns)}"
    due_ns = row.due_ns()
    if due_ns is None:
        return "next not known"
    return f"next in {duration(due_ns - now_ns)}" if due_ns > now_ns else f"due for {duration(now_ns - due_ns)}"


def died_of(row: ProbingConnection) -> str:
    """Return of what a connection died, in words."""
    if row.death:
        return row.death
    return "gave up" if row.ending in (Ending.GAVE_UP, Ending.USER_TIMEOUT) else str(row.ending)


def settings(row: ProbingConnection) -> str:
    """Return idle/interval/count and where they come from: configured, else as far as they were seen."""
    expected = row.expected
    if expected is not None and (expected.idle or expected.interval or expected.count):
        values = "/".join("?" if v is None else str(v) for v in (expected.idle, expected.interval, expected.count))
        return f"{values} ({expected.source.partition(' (')[0]})"
    gaps = (("idle", row.idle_gap_ns), ("interval", row.interval_gap_ns))
    seen = [f"{name} {duration(gap)}" for name, gap in gaps if gap]
    return f"{', '.join(seen)} (seen)" if seen else ""


def names(rows: Sequence[ProbingConnection], room: int) -> tuple[list[str], str]:
    """Return what rows are called in so many letters, and what was left out of all of them.

    A host that all share is left out first, then hosts are cut in their middle; a port never is.
    """
    full = [f"{row.prober} > {row.peer}" for row in rows]
    if max(map(len, full), default=0) <= room:
        return full, ""
    probers, peers = {row.prober.address for row in rows}, {row.peer.address for row in rows}
    short = [(_named(row.prober, len(probers) == 1), _named(row.peer, len(peers) == 1)) for row in rows]
    left_out = [*(probers if len(probers) == 1 else ()), *(peers if len(peers) == 1 else ())]
    told = f".. is {', '.join(dict.fromkeys(left_out))}" if left_out else ""
    return [_fitted(one, other, room) for one, other in short], told


def _named(end: Endpoint, shared: bool) -> str:
    """Return an endpoint, without its host where all share that."""
    return f"..:{end.port}" if shared else str(end)


def _fitted(one: str, other: str, room: int) -> str:
    """Return two endpoints in so many letters: the longer host is cut in its middle."""
    over = len(one) + len(other) + 3 - room
    while over > 0:
        longer = max(one, other, key=len)
        cut = short_endpoint(longer, max(len(longer) - over, len(longer) - len(longer) // 2, LEAST))
        if cut == longer:
            break
        one, other = (cut, other) if longer == one else (one, cut)
        over = len(one) + len(other) + 3 - room
    return f"{one} > {other}"


def short_endpoint(words: str, room: int) -> str:
    """Return an endpoint in so many letters, its host cut in the middle."""
    host, _, port = words.rpartition(":")
    left = room - len(port) - 1
    if left >= len(host) or left < 5:
        return words
    head = (left - 2) // 2
    return f"{host[:head]}..{host[len(host) - (left - 2 - head) :]}:{port}"
