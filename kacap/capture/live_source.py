"""Open interfaces as one source of frames in time order, with counters and a batch at least every 100 ms."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kacap.capture.drops import Drops, shortened, total
from kacap.capture.filters import Filter
from kacap.capture.frames import FRAME, FrameBatch
from kacap.capture.privileges import User
from kacap.capture.rights import SNAPLEN
from kacap.clock import SECOND_NS
from kacap.errors import Damage
from kacap.summary import Break, Drop

POLL_NS = 100_000_000  # a batch comes at least this often, be it empty
FEW, GATHER_S = 2048, 0.004  # after so few frames a pause lets more gather: a thousand small batches cost more than one
SET_BACK_NS = 2 * SECOND_NS  # frames that are newer than now by more were timed before the clock was set back
SETTLE_NS = 5_000_000  # several interfaces: what is younger may still be overtaken by a frame of another one
WHOLE = 262_144  # tcpdump's snapshot length for "all of it"


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """How interfaces are to be opened: ``snaplen`` in bytes, ``netns`` a name, a pid or a path of a namespace."""

    filter: str | None = None
    snaplen: int = SNAPLEN
    promiscuous: bool = False
    buffer_kib: int | None = None
    netns: str | None = None
    link_type: str | None = None  # a name as tcpdump -y has it
    user: User | None = None  # whom a program that captures is started as; None: who this is


@dataclass(slots=True)
class Counters:
    """tcpdump's counters, and what the interface itself lost; None: the engine cannot tell."""

    captured: int = 0
    received: int | None = None
    dropped_kernel: int | None = None
    dropped_interface: int | None = None

    def lines(self) -> list[str]:
        """Return tcpdump's three lines as far as they are known, a fourth where the interface lost something."""
        rows: list[tuple[int | None, str]] = [
            (self.captured, "captured"),
            (self.received, "received by filter"),
            (self.dropped_kernel, "dropped by kernel"),
        ]
        if self.dropped_interface:
            rows.append((self.dropped_interface, "dropped by interface"))
        return [f"{n} packet{'' if n == 1 else 's'} {what}" for n, what in rows if n is not None]


class OpenInterface(Protocol):
    """One open interface. ``name`` is the interface's, ``engine`` says what reads it."""

    name: str
    engine: str
    counting: bool  # counts() rises as frames are dropped; else ``drops`` says so later
    ended: bool  # nothing more will come
    fault: str | None  # why it ended before it was closed

    @property
    def link_types(self) -> list[int]:
        """Link types of its frames, as far as they are known."""

    @property
    def damages(self) -> list[Damage]:
        """Where what it reads stopped making sense."""

    @property
    def drops(self) -> list[Drop]:
        """When frames were dropped, as far as what it reads says so."""

    def fileno(self) -> int:
        """Return what becomes readable when frames wait."""

    def drain(self, limit: int) -> FrameBatch:
        """Return the frames that wait, in order, at most ``limit``; the buffer is valid until the next call."""

    def counts(self) -> tuple[int | None, int | None, int | None]:
        """Return packets received by the filter, dropped by the kernel, dropped by the interface."""

    def halt(self) -> None:
        """Let no more come in; what has arrived can still be drained."""

    def close(self) -> None:
        """Close the interface."""


NOTHING = np.empty(0, np.uint8)


def no_frames() -> FrameBatch:
    """Return a batch without a frame: only time has passed."""
    return FrameBatch(NOTHING, np.empty(0, FRAME))


class LiveSource:
    """Frames of open interfaces, in time order. Iterate once; after each batch ``now_ns`` says when it was asked for.

    ``files`` are the interfaces' names, each frame's ``file`` an index into them. ``stop()`` ends the source after
    what has already arrived. ``dropped`` is how many frames were dropped up to the last batch.
    """

    def __init__(
        self,
        interfaces: Sequence[OpenInterface],
        limit: int | None = None,
        now: Callable[[], int] = time.time_ns,
        *,
        filter: Filter | None = None,
        snaplen: int = SNAPLEN,
        theirs: bool = False,
    ):
        """Take open ``interfaces``; ``filter`` is for those that could not filter themselves.

        ``now`` is the clock; ``theirs``: frames were timed by another one, so time goes on from the newest frame's.
        """
        self.interfaces, self.limit, self.snaplen = list(interfaces), limit, snaplen
        self.files = [interface.name for interface in interfaces]
        self.engine = interfaces[0].engine
        self.frames = self.filtered_out = 0
        self._now, self._filter, self._stopping = now, filter, False
        self._theirs = theirs
        self._newest_ns, self._heard_ns = 0, now()
        self.now_ns = self._moment_ns()
        self._kept: list[FrameBatch] = []
        self.dropped = 0
        self._dropped_by = [0] * len(self.interfaces)
        self._drops, self._counted_ns = Drops(), self.now_ns
        self._poll = select.poll()
        for interface in interfaces:
            self._poll.register(interface.fileno(), select.POLLIN)

    def __iter__(self) -> Iterator[FrameBatch]:
        """Yield a batch at least every ``POLL_NS``; its buffer is valid until the next is asked for."""
        try:
            while not (self._stopping or self._full or all(interface.ended for interface in self.interfaces)):
                self._poll.poll((SETTLE_NS if self._kept else POLL_NS) // 1_000_000)
                yield (batch := self._next(False))
                if 0 < len(batch.frames) < FEW:
                    time.sleep(GATHER_S)
            yield from self._rest()
        finally:
            self.close()

    def _next(self, last: bool) -> FrameBatch:
        """Return what has arrived by now."""
        self.now_ns = self._moment_ns()
        self._count_drops()
        return self._sieve(self._drain(last))

    def _count_drops(self) -> None:
        """Note which interfaces have dropped frames since they were last asked; they are asked at ``now_ns``."""
        for index, interface in enumerate(self.interfaces):
            dropped = sum(count or 0 for count in interface.counts()[1:])
            if interface.counting and dropped > self._dropped_by[index]:
                lost = dropped - self._dropped_by[index]
                self._drops.go_on(Drop(self._counted_ns, self.now_ns, lost, interface.name))
            self._dropped_by[index] = dropped
        self.dropped, self._counted_ns = sum(self._dropped_by), self.now_ns

    @property
    def drops(self) -> list[Drop]:
        """When frames were dropped, as far as is known."""
        return shortened([*self._drops.spans(), *(drop for interface in self.interfaces for drop in interface.drops)])

    @property
    def breaks(self) -> list[Break]:
        """None: what comes from an interface follows on itself."""
        return []

    def _rest(self) -> Iterator[FrameBatch]:
        """Yield what arrived before the source was stopped, but not what goes on arriving."""
        stopped_ns = self._moment_ns()
        for interface in self.interfaces:
            interface.halt()
        while not self._full and len((batch := self._next(True)).frames):
            yield batch
            if int(batch.frames["time_ns"][-1]) > stopped_ns:
                return

    def _moment_ns(self) -> int:
        """Return what time it is for the frames, nanoseconds."""
        return self._newest_ns + self._now() - self._heard_ns if self._theirs else self._now()

    @property
    def _full(self) -> bool:
        """Whether ``limit`` frames have been handed out."""
        return self.limit is not None and self.frames >= self.limit

    def _drain(self, last: bool) -> FrameBatch:
        """Return what waits in the interfaces."""
        for interface in self.interfaces:
            if interface.ended:
                self._forget(interface)
        if len(self.interfaces) == 1:
            return self.interfaces[0].drain(self._room)
        if self._kept and int(self._kept[-1].frames["time_ns"][-1]) > self.now_ns + SET_BACK_NS:
            kept, self._kept = joined(self._kept), []
            return kept  # what comes now is timed by a clock that was set back, and is newer all the same
        batches = (interface.drain(self._room) for interface in self.interfaces)
        drained = [copied(batch) for batch in batches if len(batch.frames)]
        whole = joined([*self._kept, *drained])
        ripe = (
            len(whole.frames)
            if last
            else int(np.searchsorted(whole.frames["time_ns"], self.now_ns - SETTLE_NS, side="right"))
        )
        rest = FrameBatch(whole.buffer, whole.frames[ripe:])
        self._kept = [copied(rest)] if len(rest.frames) else []
        return FrameBatch(whole.buffer, whole.frames[:ripe])

    def _forget(self, interface: OpenInterface) -> None:
        """Wait no longer for an interface that has ended: its descriptor stays readable for ever."""
        try:
            self._poll.unregister(interface.fileno())
        except (KeyError, OSError, ValueError):
            return

    @property
    def _room(self) -> int:
        """How many frames an interface may hand out at once."""
        if self.limit is None or self._filter is not None or len(self.interfaces) > 1:
            return 1 << 30
        return self.limit - self.frames

    def _sieve(self, batch: FrameBatch) -> FrameBatch:
        """Remove what the filter rejects and what exceeds the limit, and count."""
        if self._filter is not None and len(batch.frames):
            kept = batch.frames[self._filter.matches(batch)]
            self.filtered_out += len(batch.frames) - len(kept)
            batch = FrameBatch(batch.buffer, kept)
        if self.limit is not None and len(batch.frames) > self.limit - self.frames:
            batch = FrameBatch(batch.buffer, batch.frames[: self.limit - self.frames])
        self.frames += len(batch.frames)
        if len(batch.frames):
            self._newest_ns, self._heard_ns = int(batch.frames["time_ns"][-1]), self._now()
        return batch

    @property
    def link_types(self) -> list[int]:
        """The interfaces' link types, each once."""
        return list(dict.fromkeys(link_type for interface in self.interfaces for link_type in interface.link_types))

    @property
    def damages(self) -> list[Damage]:
        """Where a stream stopped making sense."""
        return [damage for interface in self.interfaces for damage in interface.damages]

    @property
    def faults(self) -> list[str]:
        """Why interfaces ended by themselves, one line each."""
        return [f"{interface.name}: {interface.fault}" for interface in self.interfaces if interface.fault]

    def counters(self) -> Counters:
        """Return tcpdump's counters up to now."""
        counts = [interface.counts() for interface in self.interfaces]
        received, kernel, interface = (total([count[i] for count in counts]) for i in range(3))
        return Counters(self.frames, received, kernel, interface)

    @property
    def dropped_kernel(self) -> int | None:
        """Frames that the kernel dropped; None: not known."""
        return self.counters().dropped_kernel

    @property
    def dropped_interface(self) -> int | None:
        """Frames that the interfaces dropped; None: not known."""
        return self.counters().dropped_interface

    def stop(self) -> None:
        """End after what has arrived by now. Safe to call from a signal handler."""
        self._stopping = True

    def close(self) -> None:
        """Close every interface; the counters stay."""
        for interface in self.interfaces:
            interface.close()


def copied(batch: FrameBatch) -> FrameBatch:
    """Return a batch of its own memory, with nothing in its buffer but its frames' bytes."""
    if not len(batch.frames):
        return no_frames()
    frames = batch.frames.copy()
    first = int(frames["offset"].min())
    end = int((frames["offset"] + frames["captured_len"]).max())
    frames["offset"] -= first
    return FrameBatch(batch.buffer[first:end].copy(), frames)


def joined(batches: Sequence[FrameBatch]) -> FrameBatch:
    """Return several batches as one, in time order; frames of one interface keep their order."""
    if not batches:
        return no_frames()
    rows: list[NDArray[np.void]] = []
    base = 0
    for batch in batches:
        frames = batch.frames.copy()
        frames["offset"] += base
        base += len(batch.buffer)
        rows.append(frames)
    frames = np.concatenate(rows)
    order = np.argsort(frames["time_ns"], kind="stable")
    return FrameBatch(np.concatenate([batch.buffer for batch in batches]), frames[order])
