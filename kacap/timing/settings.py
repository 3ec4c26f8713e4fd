"""Fills idle, interval and count of every prober: what was observed, and which settings could have produced it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from kacap.model import Connection, Prober, Setting
from kacap.timing.estimate import Fit, common_hz, fits
from kacap.timing.giving_up import has_holes
from kacap.timing.history import History
from kacap.timing.systems import SYSTEMS, System, inferred, seconds_within

ONE_GAP = "from one gap, taking keepalive to have been on since the connection opened"
NOT_LONGER = "taking the interval, which does not show, not to be longer: it would govern answered probes"
UNHEARD = "the replies in the capture did not reach the prober: what it heard, and when, is not known here"
NO_TIMER = "no timer that was tried here explains the gaps: only their range is known"


@dataclass(frozen=True, slots=True)
class Model:
    """What explains one prober's gaps: the fits of Linux timers by clock rate, or another system's band, or nothing."""

    fits: dict[int, Fit]
    system: System | None = None
    note: str = ""  # said with every setting


def estimate(connections: Iterable[Connection], system: str = "auto") -> dict[str, set[int]]:
    """Fill the settings of every prober; return the jiffies per second that each host's Linux probers agree on.

    Hosts are told by address: the sockets of one kernel share its clock. ``system`` is one of ``systems.NAMES``;
    ``auto`` takes for Linux what some Linux timer explains, goes by the probes' payload for the rest, and ``any``
    assumes nothing.
    """
    by_host: dict[str, list[tuple[Prober, Model]]] = defaultdict(list)
    for prober in (prober for connection in connections for prober in connection.probers):
        by_host[prober.side.address].append((prober, _model(prober, system)))
    clocks = {}
    for host, probers in by_host.items():
        linux = [model.fits for _, model in probers if model.fits]
        if linux:
            clocks[host] = common_hz(linux)
        for prober, model in probers:
            agreed = {hz: fit for hz, fit in model.fits.items() if hz in clocks[host]}
            _fill(prober, model, list((agreed or model.fits).values()))
    return clocks


def _model(prober: Prober, system: str) -> Model:
    """Return what explains a prober's gaps, as far as ``system`` lets it be guessed."""
    history: History = prober.history
    if system in SYSTEMS:
        return Model({}, SYSTEMS[system])
    if system == "any":
        return Model({})
    found = {} if prober.payload_bytes and system == "auto" else fits(history)
    other = None if found or system == "linux" else inferred(history, prober.payload_bytes)
    note = f"{other.title} inferred from the byte that its probes carry" if other else ""
    return Model(found, other, note)


def _fill(prober: Prober, model: Model, found: list[Fit]) -> None:
    """Write the three settings of one prober."""
    history: History = prober.history
    if history.unheard:
        prober.idle, prober.interval, prober.count = Setting(why=UNHEARD), Setting(why=UNHEARD), Setting(why=UNHEARD)
        return
    idle = sorted(set[int]().union(*(fit.idle for fit in found)))
    interval = sorted(set[int]().union(*(fit.interval for fit in found)))
    governs = bool(found) and all(min(fit.interval) > max(fit.idle) for fit in found)
    if model.system is not None:
        idle = seconds_within(history.idle_gap_ns, model.system) if history.idle_gap_ns else []
        interval = seconds_within(history.interval_gap_ns, model.system) if history.interval_gap_ns else []
    prober.idle = _idle(history, idle, governs, model.note)
    prober.interval = _interval(prober, interval, governs, model.note)
    prober.count = _count(prober, history)


def _idle(history: History, candidates: list[int], governs: bool, note: str) -> Setting:
    """Return idle as the gaps after something was heard show it."""
    if history.idle_gap_ns is None:
        return Setting(why="the capture began after the prober had last heard from its peer")
    assumed = ONE_GAP if history.idle_n == 1 and history.opened else ""
    if not history.opened and history.interval_gap_ns is None and not governs:
        assumed = NOT_LONGER
    why = "; ".join(filter(None, (note, assumed))) if candidates else NO_TIMER
    return Setting(history.idle_gap_ns, history.idle_n, candidates or None, why=why)


def _interval(prober: Prober, candidates: list[int], governs: bool, note: str) -> Setting:
    """Return the interval as gaps in unanswered runs show it, or the answered ones where it exceeds idle."""
    history: History = prober.history
    if history.interval_gap_ns is not None:
        why = note if candidates else NO_TIMER
        return Setting(history.interval_gap_ns, history.interval_n, candidates or None, why=why)
    if governs:
        why = "longer than idle, so that it governs answered probes too"
        return Setting(prober.gaps_ns, prober.probes - 1, candidates, why=why)
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
    if has_holes(prober):
        setting.candidates, setting.why = None, "its gaps differ by whole firings: probes may be missing here"
    elif setting.candidates is None:
        setting.why = "runs of different length were given up: something else than the count ended some"
    elif history.longest_run > max(runs):
        setting.candidates, setting.why = None, "a longer run was not given up: something else than the count ended it"
    return setting
