"""What a pcapng file says of frames that were lost while it was captured, each frame counted once.

A packet tells how many were lost before it (epb_dropcount), and statistics how many in all since the interface's
capture began (isb_ifdrop, isb_osdrop): the same frames again, so that only what no packet told of is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kacap.capture.drops import Drops, total
from kacap.model import Drop

NAME_BYTES = 64  # kept of an interface's name


@dataclass(slots=True)
class Counted:
    """One interface: frames lost by all that was told, and by the last statistics, which were taken at ``at_ns``."""

    told: int = 0
    rest: int = 0  # of these, what the last statistics added: packets before them may tell of it yet
    by_interface: int | None = None
    by_system: int | None = None
    at_ns: int | None = None

    @property
    def kernel(self) -> int | None:
        """Frames that the system lost, and those of which packets tell, but not who lost them; None: it tells none."""
        lost = max(self.told - (self.by_interface or 0), self.by_system or 0)
        return lost if lost or self.by_system is not None else None


class Tally:
    """The drops of one file, section by section: sums, and the spans in which frames were lost."""

    def __init__(self) -> None:
        self._drops = Drops()
        self._interfaces: dict[int, Counted] = {}  # of the section, those that something is told of
        self._names: list[str | None] = []
        self._kernel: int | None = None  # in the sections before
        self._interface: int | None = None

    def begin_section(self) -> None:
        """Forget the interfaces: their numbers mean others from here on."""
        self._kernel, self._interface = self.kernel, self.interface
        self._interfaces, self._names = {}, []

    def describe(self, name: bytes | None) -> None:
        """Take the next interface of the section by its name."""
        self._names.append(name[:NAME_BYTES].decode(errors="replace") if name else None)

    def packet(self, interface: int, drop: Drop) -> None:
        """Take what a packet of an interface tells."""
        one = self._counted(interface)
        if one.at_ns is not None and (drop.since_ns is None or drop.since_ns < one.at_ns):
            known = min(drop.frames, one.rest)
            one.rest -= known
            drop = drop._replace(frames=drop.frames - known)
        if drop.frames:
            one.told += drop.frames
            self._drops.go_on(drop._replace(interface=self._names[interface]))

    def statistics(self, interface: int, dropped: Sequence[int | None], at_ns: int, since_ns: int | None) -> None:
        """Take what an interface and the system have ``dropped`` until ``at_ns`` since ``since_ns``, when it began.

        None: the statistics do not say. What is new since the last statistics was lost since then.
        """
        one = self._counted(interface)
        one.by_interface = one.by_interface if dropped[0] is None else dropped[0]
        one.by_system = one.by_system if dropped[1] is None else dropped[1]
        rest = (one.by_interface or 0) + (one.by_system or 0) - one.told
        one.rest = max(rest, 0)
        if rest > 0:
            one.told += rest
            start_ns = since_ns if one.at_ns is None else one.at_ns
            known = start_ns if start_ns is not None and start_ns <= at_ns else None
            self._drops.add(Drop(known, at_ns, rest, self._names[interface]))
        one.at_ns = at_ns

    def _counted(self, interface: int) -> Counted:
        """Return the counts of an interface."""
        return self._interfaces.setdefault(interface, Counted())

    @property
    def kernel(self) -> int | None:
        """Frames that the system lost; None: the file does not say."""
        return total([self._kernel, *(one.kernel for one in list(self._interfaces.values()))])

    @property
    def interface(self) -> int | None:
        """Frames that the interfaces lost; None: the file does not say."""
        return total([self._interface, *(one.by_interface for one in list(self._interfaces.values()))])

    @property
    def spans(self) -> list[Drop]:
        """When frames were lost."""
        return self._drops.spans()
