"""What the live sockets behind a capture are set to, as the expectations that its probes are compared with."""

from __future__ import annotations

import sys

from kacap.capture.privileges import FOR_SOCKETS, drop, whom_to_become
from kacap.commands.telling import tell
from kacap.errors import KacapError
from kacap.facts.legs import Holder
from kacap.model import Connection, Endpoint
from kacap.sockets.apart import Apart
from kacap.sockets.configured import Configured, Due, Settings
from kacap.timing.expectations import Expectation
from kacap.timing.sides import Side


class Sockets:
    """Asks for the sockets of this machine (or of ``netns``); quiet after saying once that it may not."""

    def __init__(self, netns: str | None, *, counting: bool = False) -> None:
        """Start the process that reads them; call it before a packet is read, and before rights are given up.

        ``counting``: one more for ``census``, which another thread may ask for.
        """
        user = whom_to_become(None)

        def apart() -> Apart | None:
            return Apart(netns, lambda: drop(user, FOR_SOCKETS)) if sys.platform.startswith("linux") else None

        self._sockets, self._counting = apart(), apart() if counting else None
        self._ahead = True

    def close(self) -> None:
        """End that process."""
        for each in filter(None, (self._sockets, self._counting)):
            each.close()
        self._sockets = self._counting = None

    def census(self) -> list[tuple[Settings, int]] | None:
        """Return how many connected sockets are set to what, the commonest first; None: that cannot be read."""
        try:
            return self._counting.census() if self._counting is not None else None
        except (KacapError, OSError):
            return None  # who asks for one socket is told why

    def due(self) -> list[Due]:
        """Return the sockets whose keepalive timer runs, the soonest first; none where they cannot be read."""
        try:
            return self._sockets.due() if self._sockets is not None else []
        except (KacapError, OSError) as error:
            self._give_up(error)
            return []

    def process_of(self, prober: Endpoint, peer: Endpoint) -> str:
        """Return the name of the process that has the prober's socket, else the peer's; empty: not known here."""
        found = self._find(prober, peer) or self._find(peer, prober)
        return (found.process if found is not None else None) or ""

    def holder_of(self, end: Endpoint, other: Endpoint) -> Holder | None:
        """Return the process that has the socket of ``end``, connected to ``other``; None: not known here."""
        found = self._find(end, other)
        if found is None or found.pid is None or found.process is None:
            return None
        return Holder(found.pid, found.process)

    def look_ahead(self, news: bool) -> None:
        """Read what may probe before it is gone; call it after each batch, ``news``: it had frames."""
        if self._sockets is None or not self._ahead:
            return
        try:
            self._sockets.look_ahead(news)
        except (KacapError, OSError):
            self._ahead = False  # the first that asks is told why

    def of_prober(self, prober: Endpoint, peer: Endpoint) -> Expectation | None:
        """Return what the prober's own socket is set to; None where it is not here or has no keepalive."""
        found = self._ask(prober, peer)
        return None if found is None else _expectation(found, prober)

    def of_connection(self, connection: Connection) -> Expectation | None:
        """Return what the end of a connection that has keepalive on is set to; an estimate is not judged by.

        Where both ends are here and have it on, one expectation holds only if they agree; else it is that of ``a``.
        """
        ends = [(connection.a, connection.b), (connection.b, connection.a)]
        found = [(local, self._ask(local, remote)) for local, remote in ends]
        sure = [_expectation(one, local) for local, one in found if one is not None and not one.estimated]
        if not sure:
            return None
        values = {(one.idle, one.interval, one.count, one.user_timeout_ns) for one in sure}
        if len(sure) == 2 and len(values) == 1:
            return Expectation(*values.pop(), source=sure[0].source)
        return sure[0]

    def _ask(self, local: Endpoint, remote: Endpoint) -> Configured | None:
        """Return the settings of a socket with keepalive on, None for every other."""
        found = self._find(local, remote)
        return found if found is not None and found.keepalive else None

    def _find(self, local: Endpoint, remote: Endpoint) -> Configured | None:
        """Return what a socket is set to, None: it is not here."""
        if self._sockets is None:
            return None
        try:
            return self._sockets.expectation_of((local.address, local.port), (remote.address, remote.port))
        except (KacapError, OSError) as error:
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        """Say why nothing more is read, and read nothing more."""
        tell(f"kacap: the sockets' own settings cannot be read: {error}")
        self.close()


def _expectation(found: Configured, end: Endpoint) -> Expectation:
    """Return a socket's settings as what is expected of its end."""
    side = Side(str(end), address=end.address, port=end.port)
    return Expectation(
        found.idle, found.interval, found.count, found.user_timeout_ns or None, source=found.source, side=side
    )
