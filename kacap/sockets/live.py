"""What the local socket of a connection is set to, asked for by the two addresses that a capture shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kacap.sockets.diag import Address, DiagSocket
from kacap.sockets.processes import Holders
from kacap.sockets.reader import Reader
from kacap.sockets.state import SOCKET_OPTION, SocketState, Sysctls
from kacap.sockets.values import CLOSED, Borrower

Pair = tuple[Address, Address]

_WITHOUT_OWNER = ("LISTEN", "TIME-WAIT", "SYN-RECV")
_SECOND = 1_000_000_000
_LOOK_AGAIN_NS = 1 * _SECOND  # a socket that was not there yet: at most one request a second
_STALE_NS = 10 * _SECOND  # a program may set its options late
_REMEMBERED = 4096  # sockets that are gone: a connection is often judged just after its end


@dataclass(frozen=True, slots=True)
class Configured:
    """What a local socket is set to: seconds, seconds, probes, nanoseconds (0: none); None is not known.

    ``source`` says where it comes from, in words; ``estimated``: idle is read off the timer and may be too large or too
    small, the rest is unknown.
    """

    idle: int | None
    interval: int | None
    count: int | None
    user_timeout_ns: int | None
    keepalive: bool | None
    source: str
    estimated: bool


class Expectations:
    """Answers for local sockets from a cache: one netlink request and one scan of /proc serve all that ask.

    ``netns`` as in ``read_sockets``; ``clock`` returns nanoseconds and is there for tests.
    """

    def __init__(self, netns: str | int | None = None, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._reader = Reader(netns=netns)
        self._clock = clock
        self._looked_ns: int | None = None
        self._sockets: dict[Pair, DiagSocket] = {}
        self._held, self._sysctls = Holders(), Sysctls()
        self._answers: dict[Pair, tuple[int, Configured]] = {}  # the oldest first

    def expectation_of(self, local: Address, remote: Address) -> Configured | None:
        """Return what the socket from ``local`` to ``remote``, each (address, port), is set to.

        None when this machine has, and lately had, no such socket. Raises ``KacapError`` as ``read_sockets`` does.
        """
        pair, now_ns = ((local[0], local[1]), (remote[0], remote[1])), self._clock()
        known = self._answers.get(pair)
        if known and now_ns - known[0] < _STALE_NS:
            return known[1]
        if self._looked_ns is None or now_ns - self._looked_ns >= _LOOK_AGAIN_NS:
            self._look(now_ns)
        answer = self._read(pair)
        if answer is None:  # gone: what it was set to is still worth knowing
            return known[1] if known else None
        self._answers.pop(pair, None)
        self._answers[pair] = now_ns, answer
        return answer

    def _look(self, now_ns: int) -> None:
        """Ask for all sockets at once, and forget the oldest answers about those that are gone."""
        found, self._held, self._sysctls = self._reader.look()
        self._sockets = {(sock.local, sock.remote): sock for sock in found if sock.state not in _WITHOUT_OWNER}
        self._looked_ns = now_ns
        for pair in list(self._answers)[: max(0, len(self._answers) - len(self._sockets) - _REMEMBERED)]:
            del self._answers[pair]

    def _read(self, pair: Pair) -> Configured | None:
        """Return the settings of a socket of the last look; None when there is none, or it has closed since."""
        if pair not in self._sockets:
            return None
        with Borrower() as borrower:
            state = self._reader.state(self._sockets[pair], self._held, self._sysctls, borrower)
        return None if state.why == CLOSED else _configured(state)


def _configured(state: SocketState) -> Configured:
    """Return the part of a socket's state that a capture is compared with."""
    source = (
        state.where_set or ("estimate from its timer" if state.values == "estimate" else state.why) or SOCKET_OPTION
    )
    return Configured(
        state.idle, state.interval, state.count, state.user_timeout_ns, state.keepalive, source,
        estimated=state.values == "estimate",
    )  # fmt: skip
