"""``kacap check --run``: start a command and read what its sockets are really set to. No probe need be awaited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kacap.clock import MILLISECOND_NS
from kacap.environment import of_user
from kacap.errors import KacapError, UsageError
from kacap.model import Connection, Endpoint, Prober, Setting
from kacap.sockets.reader import read_sockets
from kacap.sockets.state import SocketState
from kacap.timing.expectations import Expected
from kacap.timing.judging import DIFFERS, judge_connection
from kacap.timing.outcome import MET, Demand, Outcome

LOOK_S = 0.1
PATIENCE_S = 3.0  # between asking the command to end and killing it
LISTEN = "LISTEN"
UNCONNECTED = (LISTEN, "TIME-WAIT", "SYN-RECV", "CLOSED", "BOUND")


def run(command: Sequence[str], expected: Expected, required: frozenset[str], seconds: float) -> Outcome:
    """Start ``command``, judge the TCP sockets of it and its children, end it, and return the outcome.

    It ends as soon as it has connected sockets that are all as expected, when the command ends, or after ``seconds``;
    what a socket was set to last counts. A listening socket is judged, if it keeps alive, while there is no other:
    those it accepts inherit its options. Raises UsageError when the command cannot be started, KacapError when
    it cannot be looked into.
    """
    until = time.monotonic() + seconds
    seen: dict[int, SocketState] = {}
    with _started(command) as running:
        try:
            while True:
                ended = running.poll() is not None
                seen.update({state.cookie: state for state in _sockets_of(running.pid)})
                if ended or time.monotonic() >= until or _settled(seen, expected, required):
                    break
                time.sleep(LOOK_S)
        finally:
            _end(running)
    return judged(list(seen.values()), expected, required)


def judged(states: Sequence[SocketState], expected: Expected, required: frozenset[str]) -> Outcome:
    """Return the outcome over some sockets, as they are."""
    outcome = Outcome(Demand(required, 0))
    connected = [state for state in states if state.state not in UNCONNECTED]
    listening = [state for state in states if state.state == LISTEN and state.keepalive]
    for number, state in enumerate(connected or listening, 1):
        connection = _connection(number, state)
        expectation = expected(connection)
        judge_connection(connection, expectation)
        if expectation is not None and state.keepalive is False and connection.a in expectation.ends(connection):
            why = f"SO_KEEPALIVE is off{f' in {state.process}[{state.pid}]' if state.process else ''}"
            connection.unprobed = Setting(None, 0, None, expectation.idle, expectation.source, DIFFERS, why)
        outcome.take(connection)
    return outcome


def _settled(seen: dict[int, SocketState], expected: Expected, required: frozenset[str]) -> bool:
    """Return whether there are connected sockets, all of them as expected."""
    connected = [state for state in seen.values() if state.state not in UNCONNECTED]
    return bool(connected) and judged(connected, expected, required).answer == MET


def _connection(number: int, state: SocketState) -> Connection:
    """Return a socket as a connection whose prober could have settings of one value each."""
    a, b = Endpoint(*state.local), Endpoint(*state.remote)
    connection = Connection(number, a, b, 0, 0, 0)
    if state.keepalive is not False:
        timeout = None if state.user_timeout_ns is None else state.user_timeout_ns // MILLISECOND_NS
        values = [_setting(value, state) for value in (state.idle, state.interval, state.count, timeout)]
        connection.probers.append(Prober(a, b, estimated=lambda: values))
    return connection


def _setting(value: int | None, state: SocketState) -> Setting:
    """Return a setting that a socket has, or why it is not known."""
    if value is None or state.values != "socket":
        return Setting(why=state.why or "the socket does not tell")
    return Setting(candidates=[value])


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; what it prints goes to stderr, the report has stdout."""
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True, env=of_user()
        )
    except OSError as error:
        raise UsageError(f"--run: cannot start {command[0]}: {error.strerror}") from error


def _end(running: subprocess.Popen[bytes]) -> None:
    """End the command and its children: ask first."""
    for number, patience in ((signal.SIGTERM, PATIENCE_S), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(running.pid, number)
        with suppress(subprocess.TimeoutExpired):
            running.wait(patience)
            return


def _sockets_of(pid: int) -> list[SocketState]:
    """Return the TCP sockets of a process and its descendants; those that end meanwhile are left out."""
    found: list[SocketState] = []
    for one in _family(pid):
        try:
            found += read_sockets(pid=one)
        except KacapError:
            if one == pid and _is_alive(one):
                raise
    return found


def _is_alive(pid: int) -> bool:
    """Return whether a process runs, and is not only waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    family, parents = [pid], _parents()
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def _parents() -> dict[int, int]:
    """Return the parent of every process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return parents
