"""What can happen to a watch itself: somebody sets the clock, or takes an interface down and up again."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from kacap.clock import SECOND_NS
from kacap.netns import name_of
from kacap.units import duration

STEP_NS = SECOND_NS  # more is no slewing: somebody has set the clock


def _steady_ns() -> int:
    """Return a time that nobody can set and that goes on while the machine sleeps, nanoseconds since whenever."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)


class Pace:
    """How long a watch has gone on, and whether the clock was set meanwhile; ``wall`` and ``steady`` are for tests."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = _steady_ns) -> None:
        self._wall, self._steady = wall, steady
        self._apart_ns = wall() - steady()

    def watched_ns(self) -> int:
        """Return a time that nobody can set, nanoseconds since whenever."""
        return self._steady()

    def stepped(self) -> str:
        """Return what to say if the clock was set since the last call, else nothing."""
        apart_ns = self._wall() - self._steady()
        step_ns, self._apart_ns = apart_ns - self._apart_ns, apart_ns
        if abs(step_ns) < STEP_NS:
            return ""
        way = "forward" if step_ns > 0 else "back"
        return f"the clock was set {way} by {duration(abs(step_ns))}: gaps across that moment are wrong by as much"


class Namespace:
    """Whether the network namespace of ``--netns`` still has that name; the watch itself keeps it (ip-netns(8)).

    None: no namespace was named.
    """

    def __init__(self, netns: str | None, clock: Callable[[], int] = _steady_ns) -> None:
        self._netns, self._clock, self._looked_ns = netns, clock, clock()
        self._path = name_of(netns) if netns is not None else None

    def changed(self) -> Iterator[str]:
        """Yield what to say once it is gone; looks once a second."""
        now_ns = self._clock()
        if self._path is None or now_ns - self._looked_ns < LOOK_NS:
            return
        self._looked_ns = now_ns
        try:
            self._path.stat()
        except (FileNotFoundError, ProcessLookupError):
            self._path = None
            yield f"no network namespace is called {self._netns} any more: what is left of it is still watched"
        except OSError:  # who may not look knows nothing
            self._path = None


_SIOCGIFFLAGS, _IFF_UP, _IFREQ = 0x8913, 0x1, struct.Struct("16sH22x")  # netdevice(7)
LOOK_NS = SECOND_NS


class Links:
    """Whether interfaces of this network namespace are up; knows nothing of others, nor on systems other than Linux."""

    def __init__(self, names: Sequence[str], clock: Callable[[], int] = _steady_ns) -> None:
        self._clock, self._looked_ns = clock, clock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if sys.platform.startswith("linux") else None
        self._up = {name: up for name in names if (up := self._is_up(name)) is not None}

    def changed(self) -> Iterator[str]:
        """Yield what to say of each interface that went down or came back; looks once a second."""
        now_ns = self._clock()
        if now_ns - self._looked_ns < LOOK_NS:
            return
        self._looked_ns = now_ns
        for name, before in list(self._up.items()):
            now = self._is_up(name)
            if now is None:  # it vanished: the capture says so
                del self._up[name]
            elif now != before:
                self._up[name] = now
                yield f"{name} is up again" if now else f"{name} went down: it captures nothing until it is up again"

    def _is_up(self, name: str) -> bool | None:
        """Return whether an interface is up; None: there is none of this name."""
        if self._socket is None or len(name.encode()) > 15:
            return None
        from fcntl import ioctl

        try:
            answer = ioctl(self._socket, _SIOCGIFFLAGS, _IFREQ.pack(name.encode(), 0))
        except OSError:
            return None
        return bool(_IFREQ.unpack(answer)[1] & _IFF_UP)
