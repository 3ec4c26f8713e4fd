"""How ``kacap sockets`` shows a socket: as a row for people, as a record for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kacap.clock import SECOND_NS
from kacap.model import Endpoint
from kacap.report.screen_rows import short_endpoint
from kacap.sockets.state import SOCKET_OPTION, SocketState
from kacap.units import clean, counted, duration

if TYPE_CHECKING:
    from kacap.timing.limits import Limit

HEAD = ("STATE", "LOCAL", "PEER", "PROCESS", "KA", "IDLE/INTVL/CNT", "UTO", "NEXT", "MISS", "DETECT", "WHERE SET")
RIGHT = {"UTO", "NEXT", "MISS", "DETECT"}
LEFT_OUT = ("WHERE SET", "UTO", "PROCESS", "KA", "STATE", "IDLE/INTVL/CNT")  # what gives way in a narrow terminal
LEAST = 12  # letters of an endpoint
NOT_CONNECTED = ("LISTEN", "TIME-WAIT", "SYN-RECV", "CLOSED", "BOUND")


class Behind(NamedTuple):
    """A middlebox's idle limit: its name, the row of the table of limits, and the timer frequencies to reckon with."""

    name: str
    limit: Limit
    hz: Sequence[int]

    @property
    def limit_ns(self) -> int:
        """The limit in nanoseconds."""
        return self.limit.seconds * SECOND_NS

    def latest_ns(self, state: SocketState) -> int | None:
        """Return after how long a silence the socket's next probe leaves at the latest; None where that is unknown.

        The larger of idle and interval, which governs answered probes, and one granule of the timer wheel.
        """
        from kacap.timing.wheel import latest_s

        if not state.keepalive or state.idle is None:
            return None
        seconds = max(state.idle, state.interval or 0)
        return seconds * SECOND_NS + max(round(latest_s(seconds, hz) * SECOND_NS) for hz in self.hz)

    def warning(self, state: SocketState) -> str | None:
        """Return why a connection outlives the limit unnoticed; None where it does not, or where that is unknown."""
        if state.state in NOT_CONNECTED:
            return None
        if not self.limit.refreshed:
            return "keepalives do not refresh it"
        if state.keepalive is False:
            return "no keepalive"
        latest_ns = self.latest_ns(state)
        if latest_ns is None or latest_ns <= self.limit_ns:
            return None
        return f"too late: after up to {duration(latest_ns)}"

    def summary(self, connected: Sequence[SocketState]) -> str:
        """Return the line that says how many connections outlive the limit."""
        if not self.limit.refreshed:
            limit = duration(self.limit_ns)
            return f"Keepalives do not refresh {self.limit.what}: it ends what carries no data for {limit}."
        late = sum(self.warning(state) is not None for state in connected)
        unknown = sum(_unknown(state, self) for state in connected)
        line = f"{late:,} of {len(connected):,} would be dropped silently by a {duration(self.limit_ns)} idle timeout"
        return line + (f"; of {unknown:,} it is not known." if unknown else ".")


def row(state: SocketState, behind: Behind | None) -> list[str]:
    """Return the cells of one socket, in the order of ``HEAD``, and of the warning where there is a limit."""
    cells = [
        state.state,
        str(Endpoint(*state.local)),
        str(Endpoint(*state.remote)),
        f"{clean(state.process)}[{state.pid}]" if state.process is not None else f"uid {state.uid}",
        _on(state),
        _settings(state),
        _user_timeout(state),
        _next(state),
        str(state.unanswered) if state.timer == "keepalive" else "-",
        _detect(state),
        _where(state),
    ]
    return cells if behind is None else [*cells, behind.warning(state) or ("?" if _unknown(state, behind) else "ok")]


def table(states: Iterable[SocketState], behind: Behind | None) -> list[tuple[str, bool]]:
    """Return the rows below their head as lines with aligned columns, each with whether it is a warning."""
    states = list(states)
    names = head(behind)
    rows = [names, *(row(state, behind) for state in states)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(_aligned, cells, widths, names)).rstrip() for cells in rows]
    return list(zip(lines, [False, *(_warned(state, behind) for state in states)], strict=True))


def fitted(states: Iterable[SocketState], behind: Behind | None, width: int) -> list[tuple[str, str]]:
    """Return the table in so many columns, each line with its style; sockets that miss answers come first.

    What matters least is left out, then hosts are cut in their middle; NEXT, MISS, DETECT and the ports stay.
    """
    ordered = sorted(states, key=lambda state: -_missing(state))
    names = head(behind)
    rows = [names, *(_loud(row(state, behind), state) for state in ordered)]
    columns = [*range(len(names))]
    for name in LEFT_OUT:
        widths = [max(len(cells[column]) for cells in rows) for column in columns]
        if sum(widths) + 2 * len(columns) - 2 > width and name in names:
            columns.remove(names.index(name))
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(names))]
    over = sum(widths[column] + 2 for column in columns) - 2 - width
    for name in ("LOCAL", "PEER"):
        column = names.index(name)
        widths[column] = max(widths[column] - max((over + 1) // 2, 0), LEAST)
        rows = [
            [short_endpoint(c, widths[column]) if n == column else c for n, c in enumerate(cells)] for cells in rows
        ]
    lines = ["  ".join(_aligned(cells[c], widths[c], names[c]) for c in columns).rstrip() for cells in rows]
    styles = ["missing" if _missing(s) else "warned" if _warned(s, behind) else "" for s in ordered]
    return [(line[:width], style) for line, style in zip(lines, ["", *styles], strict=True)]


def _missing(state: SocketState) -> int:
    """Return how many probes of a socket are unanswered."""
    return state.unanswered if state.timer == "keepalive" else 0


def _loud(cells: list[str], state: SocketState) -> list[str]:
    """Return the cells of a row, where answers are missing with a mark that needs no colour."""
    if not _missing(state):
        return cells
    loud = [f"!! {cell}" if name == "MISS" else cell for cell, name in zip(cells, HEAD, strict=False)]
    return loud + cells[len(HEAD) :]


def head(behind: Behind | None) -> list[str]:
    """Return the names of the columns."""
    return [*HEAD] if behind is None else [*HEAD, f"BEHIND {behind.name}"]


def summary(states: Iterable[SocketState], behind: Behind | None) -> list[str]:
    """Return the lines below the rows: how many keep alive, how many a limit would forget, what was not readable."""
    states = list(states)
    connected = [state for state in states if state.state not in NOT_CONNECTED]
    lines = [f"{counted(len(connected), 'connection')}: {_kept(connected)}." if connected else "No TCP connection."]
    if behind is not None and connected:
        lines.append(behind.summary(connected))
    if any(state.values == "estimate" for state in states):
        lines.append("~ is an estimate from the running timer: interval, count and user timeout do not show there.")
    for why, number in Counter(state.why for state in states if state.why).most_common():
        lines.append(f"{counted(number, 'row')} without values: {clean(why)}")
    return lines


def record(state: SocketState, time_ns: int, netns: str | None, behind: Behind | None) -> str:
    """Return one socket as a line of JSON, its keys in the order of the published schema; times in nanoseconds."""
    return json.dumps(
        {
            "v": 1,
            "type": "socket",
            "time_ns": time_ns,
            "netns": netns,
            "state": state.state,
            "local": str(Endpoint(*state.local)),
            "remote": str(Endpoint(*state.remote)),
            "pid": state.pid,
            "process": state.process,
            "uid": state.uid,
            "inode": state.inode,
            "keepalive": state.keepalive,
            "idle_ns": _ns(state.idle),
            "interval_ns": _ns(state.interval),
            "count": state.count,
            "user_timeout_ns": state.user_timeout_ns,
            "set_by": dict(zip(("idle", "interval", "count"), state.set_by, strict=True)),
            "timer": state.timer,
            "next_probe_ns": state.next_probe_ns,
            "unanswered": state.unanswered,
            "detect_ns": state.detect_ns,
            "values": state.values,
            "why": state.why,
            "limit_ns": behind.limit_ns if behind else None,
            "warning": behind.warning(state) if behind else None,
        }
    )


def fixed_part(state: SocketState) -> tuple[object, ...]:
    """Return what of a socket does not change by waiting alone: two looks that agree in it show nothing new."""
    return (
        state.state, state.pid, state.keepalive, state.idle, state.interval, state.count, state.user_timeout_ns,
        state.unanswered, state.values, state.why,
    )  # fmt: skip


def _aligned(cell: str, width: int, name: str) -> str:
    return cell.rjust(width) if name in RIGHT else cell.ljust(width)


def _warned(state: SocketState, behind: Behind | None) -> bool:
    if state.state in NOT_CONNECTED:
        return False
    return state.keepalive is False or (behind is not None and behind.warning(state) is not None)


def _kept(connected: Sequence[SocketState]) -> str:
    """Return ``keepalive on 2, off 1``."""
    number = Counter(state.keepalive for state in connected)
    words = {True: "on", False: "off", None: "unknown"}
    return "keepalive " + ", ".join(f"{words[key]} {number[key]:,}" for key in words if number[key])


def _unknown(state: SocketState, behind: Behind) -> bool:
    """Return whether nothing shows that the connection's probes come in time."""
    if state.keepalive is False or behind.warning(state):
        return False
    return state.values != "socket"


def _on(state: SocketState) -> str:
    if state.keepalive is None:
        return "-" if state.state in NOT_CONNECTED else "?"
    return "on" if state.keepalive else "OFF"


def _settings(state: SocketState) -> str:
    """Return ``7200/75/9``, ``~60/?/?`` for an estimate; nothing for a socket that does not keep alive."""
    if state.keepalive is False or state.state in ("TIME-WAIT", "SYN-RECV"):
        return "-"
    numbers = ["?" if n is None else str(n) for n in (state.idle, state.interval, state.count)]
    return ("~" if state.values == "estimate" else "") + "/".join(numbers)


def _user_timeout(state: SocketState) -> str:
    if state.user_timeout_ns is None:
        return "-" if state.state in NOT_CONNECTED else "?"
    return duration(state.user_timeout_ns) if state.user_timeout_ns else "-"


def _next(state: SocketState) -> str:
    """Return when the next probe is due; ``late`` while the timer wheel holds it, ``suspended`` by other timers."""
    if state.next_probe_ns is not None:
        return duration(state.next_probe_ns) if state.next_probe_ns else "late"
    suspended = state.keepalive is not False and state.timer in ("retransmission", "persist")
    return "suspended" if suspended and state.state not in NOT_CONNECTED else "-"


def _detect(state: SocketState) -> str:
    if state.detect_ns is not None:
        return duration(state.detect_ns)
    if state.state in NOT_CONNECTED:
        return "-"
    return "never" if state.keepalive is False else "?"


def _where(state: SocketState) -> str:
    """Return where the settings come from, in few words; the summary has the rest."""
    if state.values != "socket":
        return (state.why or "").partition(":")[0] or "-"
    if state.keepalive is False:
        return "-" if not state.user_timeout_ns else f"{SOCKET_OPTION} (user timeout)"
    return state.where_set or "-"


def _ns(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * SECOND_NS
