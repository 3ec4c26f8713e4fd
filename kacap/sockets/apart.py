"""Sockets read by a process of its own: it has the rights that reading them takes, and sees no packet.

Who asks has no rights, and may by now do what a packet made it do. So it can ask for nothing but what sockets are set
to, and when their next probes are due, in JSON, one message each way.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from kacap.errors import KacapError
from kacap.netns import enter
from kacap.sockets.configured import Configured, Due, Expectations, Settings
from kacap.sockets.diag import Address

MOST_BYTES = 1 << 16
MOST = 100  # sockets, or settings, in one answer


class Apart:
    """``Expectations`` in another process, which ends with this object or this process, whichever is first.

    ``netns`` is as in ``read_sockets``; ``settle`` is what the process does first of all once it is in that namespace:
    give up the rights that it does not need. Make it before any thread is started, and before a packet is read.
    """

    def __init__(self, netns: str | int | None, settle: Callable[[], None]) -> None:
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._news = False
        self.pid = os.fork()
        if self.pid == 0:
            _serve(there, netns, settle)
        there.close()

    def expectation_of(self, local: Address, remote: Address) -> Configured | None:
        """Return what the socket from ``local`` to ``remote`` is set to; None: no such socket. Raises KacapError."""
        found = self._ask({"local": local, "remote": remote})
        return Configured(**found) if found is not None else None

    def due(self) -> list[Due]:
        """Return the sockets whose keepalive timer runs, the soonest first, at most ``MOST``. Raises KacapError."""
        return [
            Due(_address(local), _address(remote), next_ns, unanswered, Configured(**settings))
            for local, remote, next_ns, unanswered, settings in self._ask({"due": True})
        ]

    def census(self) -> list[tuple[Settings, int]]:
        """Return how many connected sockets are set to what, the ``MOST`` commonest settings. Raises KacapError."""
        return [(tuple(settings), number) for settings, number in self._ask({"census": True})]

    def _ask(self, message: object) -> Any:
        """Return the answer to a question. Raises KacapError."""
        self._send(message)
        answer = json.loads(self._receive())
        if "error" in answer:
            raise KacapError(answer["error"])
        return answer["found"]

    def look_ahead(self, news: bool) -> None:
        """Have it read in advance, see ``Expectations.look_ahead``; does not wait. Raises KacapError."""
        self._news = self._news or news
        with suppress(BlockingIOError):  # it is busy: the next call brings the news
            self._send({"ahead": self._news}, socket.MSG_DONTWAIT)
            self._news = False

    def _send(self, message: object, flags: int = 0) -> None:
        try:
            self._here.send(json.dumps(message).encode(), flags | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            raise
        except OSError:
            raise _ended() from None

    def _receive(self) -> bytes:
        try:
            answer = self._here.recv(MOST_BYTES)
        except OSError:
            answer = b""
        if not answer:
            raise _ended()
        return answer

    def close(self) -> None:
        """End the process."""
        self._here.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _address(pair: Sequence[str | int]) -> Address:
    return str(pair[0]), int(pair[1])


def _ended() -> KacapError:
    return KacapError("the process that reads them has ended")


def _serve(pipe: socket.socket, netns: str | int | None, settle: Callable[[], None]) -> None:
    """Be that process: answer until nobody asks any more. Never returns."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # who asks decides when it ends
        for descriptor in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        kept = pipe.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, 1 << 20)
        _answer_all(pipe, _begun(netns, settle))
        code = 0
    finally:
        os._exit(code)


def _begun(netns: str | int | None, settle: Callable[[], None]) -> Expectations | str:
    """Return the answering process, which has given up its rights; or, in words, why it could not start."""
    fault = None
    try:
        if netns is not None:
            enter(netns)
    except KacapError as error:
        fault = str(error)
    settle()
    if fault is not None:
        return fault
    try:
        return Expectations()
    except KacapError as error:
        return str(error)


def _answer_all(pipe: socket.socket, expectations: Expectations | str) -> None:
    while request := pipe.recv(MOST_BYTES):
        try:
            asked = json.loads(request)
            if "ahead" in asked:
                if isinstance(expectations, Expectations):
                    with suppress(KacapError, OSError):  # who asks next is told why
                        expectations.look_ahead(asked["ahead"] is True)
                continue
            answer = _answer(asked, expectations)
        except Exception:  # whoever asks like this learns nothing
            answer = {"error": "not a question that is answered here"}
        pipe.send(json.dumps(answer).encode())


def _answer(asked: dict[str, list[str | int]], expectations: Expectations | str) -> dict[str, object]:
    if isinstance(expectations, str):
        return {"error": expectations}
    try:
        return {"found": _found(asked, expectations)}
    except (KacapError, OSError) as error:
        return {"error": str(error)}


def _found(asked: dict[str, list[str | int]], expectations: Expectations) -> object:
    """Return what was asked for, as JSON has it."""
    if "due" in asked:
        return [list(asdict(due).values()) for due in expectations.due(MOST)]
    if "census" in asked:
        return expectations.census(MOST)
    found = expectations.expectation_of(_address(asked["local"]), _address(asked["remote"]))
    return None if found is None else asdict(found)
