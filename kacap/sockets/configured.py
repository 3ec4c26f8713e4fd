"""What the local socket of a connection is set to, asked for by the two addresses that a capture shows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from kacap.clock import SECOND_NS
from kacap.sockets.diag import Address, DiagSocket
from kacap.sockets.processes import Holders
from kacap.sockets.reader import Reader
from kacap.sockets.state import SOCKET_OPTION, SocketState, Sysctls
from kacap.sockets.values import CLOSED, Borrower

Pair = tuple[Address, Address]
# What sockets are set to alike: keepalive, idle, interval, count; None is not known, or without keepalive unimportant.
Settings = tuple[bool | None, int | None, int | None, int | None]

_WITHOUT_OWNER = ("LISTEN", "TIME-WAIT", "SYN-RECV")
_LOOK_AGAIN_NS = 1 * SECOND_NS  # a socket that was not there yet: at most one request a second
_STALE_NS = 10 * SECOND_NS  # a program may set its options late
_REMEMBERED = 4096  # sockets that are gone: a connection is often judged just after its end
_DEAR_NS = 50_000_000  # a look that takes longer is made for those that ask, and in advance only now and then
_SHARE = 50  # what is looked at in advance takes a fiftieth of the time at most
_AT_ONCE = 256


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
    process: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A socket whose keepalive timer runs: when its next probe is due, nanoseconds from now, and what it is set to."""

    local: Address
    remote: Address
    next_probe_ns: int
    unanswered: int
    settings: Configured


class Expectations:
    """Answers for local sockets from a cache: one netlink request and one scan of /proc serve all that ask.

    ``netns`` as in ``read_sockets``; ``clock`` returns nanoseconds and is there for tests.
    """

    def __init__(self, netns: str | int | None = None, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._reader = Reader(netns=netns)
        self._clock = clock
        self._looked_ns: int | None = None
        self._news_ns: int | None = None  # since when a socket may be there that no look has seen
        self._cost_ns = 0  # of the last look
        self._sockets: dict[Pair, DiagSocket] = {}
        self._held, self._sysctls = Holders(), Sysctls()
        self._answers: dict[Pair, tuple[int, Configured]] = {}  # the oldest first
        self._ahead: dict[Pair, tuple[int, Configured]] = {}  # what nobody has asked for yet

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
        with Borrower() as borrower:
            answer = self._read(pair, borrower)
        if answer is None:  # gone: what it was set to is still worth knowing
            known = known or self._ahead.get(pair)
            return known[1] if known else None
        _put(self._answers, pair, (now_ns, answer))
        return answer

    def due(self, most: int) -> list[Due]:
        """Return the sockets whose keepalive timer runs, the soonest first, at most so many."""
        found = []
        for sock, state in self._states(lambda sock: sock.timer == "keepalive"):
            if state.next_probe_ns is not None and state.keepalive:
                found.append(Due(sock.local, sock.remote, state.next_probe_ns, state.unanswered, _configured(state)))
        return sorted(found, key=lambda due: due.next_probe_ns)[:most]

    def census(self, most: int) -> list[tuple[Settings, int]]:
        """Return how many connected sockets are set to what, the commonest first; at most so many settings."""
        numbers = Counter(_settings(state) for _, state in self._states(lambda _: True))
        return numbers.most_common(most)

    def _states(self, wanted: Callable[[DiagSocket], bool]) -> list[tuple[DiagSocket, SocketState]]:
        """Return the connected sockets that are wanted with their states, looking anew at most once a second."""
        now_ns = self._clock()
        if self._looked_ns is None or now_ns - self._looked_ns >= _LOOK_AGAIN_NS:
            self._look(now_ns)
        with Borrower() as borrower:
            read = [
                (sock, self._reader.state(sock, self._held, self._sysctls, borrower))
                for sock in self._sockets.values()
                if wanted(sock)
            ]
        return [(sock, state) for sock, state in read if state.why != CLOSED]

    def look_ahead(self, news: bool) -> None:
        """Read now what has a keepalive timer: a peer that resets its first probe leaves no socket to ask later.

        Call it often; ``news``: something was captured since the last call. It looks at the first call, a second
        after news, by when a program has set its options, and every ten seconds; not where looking takes long.
        """
        now_ns = self._clock()
        if news and self._news_ns is None:
            self._news_ns = now_ns
        if not self._due(now_ns):
            return
        self._news_ns = None
        self._look(now_ns)
        armed = (pair for pair, sock in self._sockets.items() if sock.timer == "keepalive")
        with Borrower() as borrower:
            for pair in islice((pair for pair in armed if self._is_unread(pair, now_ns)), _AT_ONCE):
                if (answer := self._read(pair, borrower)) is not None:
                    _put(self._ahead, pair, (now_ns, answer))
        self._cost_ns = self._clock() - now_ns

    def _due(self, now_ns: int) -> bool:
        """Return whether it is time to look without being asked."""
        if self._looked_ns is None:
            return True
        share = _SHARE if self._cost_ns <= _DEAR_NS else 40 * _SHARE
        if now_ns - self._looked_ns < max(_LOOK_AGAIN_NS, share * self._cost_ns):
            return False
        unseen = self._news_ns is not None and now_ns - self._news_ns >= _LOOK_AGAIN_NS
        return unseen or now_ns - self._looked_ns >= _STALE_NS

    def _is_unread(self, pair: Pair, now_ns: int) -> bool:
        """Return whether a socket was not read in advance, or long ago."""
        known = self._ahead.get(pair)
        return known is None or now_ns - known[0] >= _STALE_NS

    def _look(self, now_ns: int) -> None:
        """Ask for all sockets at once, and forget the oldest answers about those that are gone."""
        found, self._held, self._sysctls = self._reader.look()
        self._sockets = {(sock.local, sock.remote): sock for sock in found if sock.state not in _WITHOUT_OWNER}
        self._looked_ns = now_ns
        for answers in (self._answers, self._ahead):
            for pair in list(answers)[: max(0, len(answers) - len(self._sockets) - _REMEMBERED)]:
                del answers[pair]

    def _read(self, pair: Pair, borrower: Borrower) -> Configured | None:
        """Return the settings of a socket as last read; None if it was not there, or has closed since."""
        if pair not in self._sockets:
            return None
        state = self._reader.state(self._sockets[pair], self._held, self._sysctls, borrower)
        return None if state.why == CLOSED else _configured(state)


def _put(answers: dict[Pair, tuple[int, Configured]], pair: Pair, answer: tuple[int, Configured]) -> None:
    """Remember an answer as the newest."""
    answers.pop(pair, None)
    answers[pair] = answer


def _configured(state: SocketState) -> Configured:
    """Return the part of a socket's state that a capture is compared with."""
    source = (
        state.where_set or ("estimate from its timer" if state.values == "estimate" else state.why) or SOCKET_OPTION
    )
    return Configured(
        state.idle, state.interval, state.count, state.user_timeout_ns, state.keepalive, source,
        estimated=state.values == "estimate", process=state.process, pid=state.pid,
    )  # fmt: skip


def _settings(state: SocketState) -> Settings:
    """Return what a socket counts as; an estimate is not known."""
    if not state.keepalive or state.values != "socket":
        return state.keepalive, None, None, None
    return True, state.idle, state.interval, state.count
