"""Fills idle, interval and count of every prober: what was observed, and which settings could have produced it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from kacap.model import Connection, Prober, Setting
from kacap.timing.estimate import Fit, common_hz, fits
from kacap.timing.history import History

LINUX, OTHER = "linux", "other"
SYSTEMS = ("auto", "linux", "windows", "macos", "freebsd", "illumos", "lwip", "any")
ENDED_BY_COUNT = ("gave-up", "unreachable")


def estimate(connections: Iterable[Connection], system: str = "auto") -> dict[str, set[int]]:
    """Fill the settings of every prober; return the jiffies per second that each host's probers agree on.

    Hosts are told by address: the sockets of one kernel share its clock. ``system`` is one of ``SYSTEMS``; ``auto``
    takes whatever some Linux timer explains for Linux, and only observes the rest.
    """
    by_host: dict[str, list[tuple[Prober, dict[int, Fit]]]] = defaultdict(list)
    for connection in connections:
        for prober in connection.probers:
            found = {} if system not in ("auto", "linux") or _carries_a_byte(prober) else fits(prober.history)
            by_host[prober.side.address].append((prober, found))
    clocks = {}
    for host, probers in by_host.items():
        clocks[host] = common_hz(found for _, found in probers)
        for prober, found in probers:
            _fill(prober, {hz: one for hz, one in found.items() if hz in clocks[host]} or found)
    return clocks


def _carries_a_byte(prober: Prober) -> bool:
    """Return whether a prober's probes carry a byte, which Linux's never do."""
    return prober.payload_bytes > 0


def _fill(prober: Prober, found: dict[int, Fit]) -> None:
    """Write the three settings of one prober."""
    history: History = prober.history
    idle = frozenset().union(*(one.idle for one in found.values()))
    interval = frozenset().union(*(one.interval for one in found.values()))
    governs = bool(found) and all(min(one.interval) > max(one.idle) for one in found.values())
    prober.idle = _idle(history, idle)
    prober.interval = _interval(prober, history, interval, governs)
    prober.count = _count(prober, history)


def _idle(history: History, candidates: frozenset[int]) -> Setting:
    """Return idle as the gaps after something was heard show it."""
    if history.idle_gap_ns is None:
        return Setting(why="the capture began after the prober had last heard from its peer")
    setting = Setting(history.idle_gap_ns, history.idle_n, sorted(candidates) or None)
    if not candidates:
        setting.why = "no Linux timer explains the gaps: only their range is known"
    elif history.idle_n == 1 and history.began:
        setting.why = "from one gap, taking keepalive to have been on since the connection opened"
    return setting


def _interval(prober: Prober, history: History, candidates: frozenset[int], governs: bool) -> Setting:
    """Return the interval as gaps in unanswered runs show it, or the answered ones where it exceeds idle."""
    if history.interval_gap_ns is not None:
        setting = Setting(history.interval_gap_ns, history.interval_n, sorted(candidates) or None)
        if not candidates:
            setting.why = "no Linux timer explains the gaps: only their range is known"
        return setting
    if governs:
        return Setting(
            prober.gaps_ns, prober.probes - 1, sorted(candidates),
            why="longer than idle, so that it governs answered probes too",
        )
    return Setting(why=_unanswered(prober))


def _unanswered(prober: Prober) -> str:
    """Return why interval and count do not show."""
    if prober.missed == 0:
        return "no probe went unanswered"
    return "only one probe of a run went unanswered"


def _count(prober: Prober, history: History) -> Setting:
    """Return the count as exhausted runs show it; other runs only say what it is not below."""
    runs = history.exhausted
    if not runs:
        longest = history.longest_run
        why = f"no run was exhausted; at least {longest}" if longest else _unanswered(prober)
        return Setting(why=why)
    setting = Setting((min(runs), max(runs)), len(runs), [max(runs)] if len(set(runs)) == 1 else None)
    if setting.candidates is None:
        setting.why = "runs of different length were given up: something else than the count ended some"
    elif history.longest_run > max(runs):
        setting.candidates, setting.why = None, "a longer run was not given up: something else than the count ended it"
    return setting
