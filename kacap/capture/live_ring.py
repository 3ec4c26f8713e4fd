"""libpcap's memory-mapped ring: opened through ctypes, drained by a kernel that calls ``pcap_next_ex`` itself."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kacap.capture.frames import FRAME, FrameBatch
from kacap.capture.library import Statistics, compile_on, function, last_error, load_libpcap
from kacap.capture.live_source import CaptureOptions
from kacap.capture.rights import CannotCaptureError, no_rights
from kacap.clock import SECOND_NS
from kacap.errors import Damage, FilterError, UsageError
from kacap.kernels import Row, entry
from kacap.netns import inside
from kacap.summary import Drop

BATCH_FRAMES = 16_384
BUFFER_BYTES = 4 << 20
RING_KIB = 16_384
TO_LINK_TYPE = {12: 101, 14: 101}  # DLT_RAW of most systems and of OpenBSD to LINKTYPE_RAW; the rest are the same

# pcap_activate(3PCAP).
NO_SUCH_DEVICE, PERM_DENIED, NOT_UP, PROMISC_PERM_DENIED = -5, -8, -9, -11
NANOSECONDS = 1


class _Ring(ctypes.Structure):
    """What the kernel needs of an open handle; from ``seconds`` to ``wire`` it is struct pcap_pkthdr."""

    _fields_ = (
        ("handle", ctypes.c_size_t),
        ("header", ctypes.c_size_t),  # where pcap_next_ex leaves the address of a header, and of its packet
        ("packet", ctypes.c_size_t),
        ("seconds", ctypes.c_long),
        ("fraction", ctypes.c_int if sys.platform == "darwin" else ctypes.c_long),
        ("captured", ctypes.c_uint32),
        ("wire", ctypes.c_uint32),
        ("fraction_ns", ctypes.c_int64),  # nanoseconds per unit of the fraction
        ("frame", ctypes.c_int64),  # number of the last frame
        ("status", ctypes.c_int64),  # what pcap_next_ex returned last
        ("snaplen", ctypes.c_int64),
        ("link_type", ctypes.c_uint16),
        ("file", ctypes.c_uint16),
    )


RING = np.dtype(_Ring)
HEADER_AT, PACKET_AT, STAMP_AT = _Ring.header.offset, _Ring.packet.offset, _Ring.seconds.offset
STAMP_BYTES = _Ring.wire.offset + 4 - STAMP_AT


@entry
def drain(next_ex: Row, copy: Row, rings: Row, frames: Row, buffer: NDArray[np.uint8]) -> int:
    """Fill ``frames`` (FRAME) and ``buffer`` with what waits in ``rings[0]`` (RING); return how many there are."""
    ring, here, there = rings[0], np.uintp(rings.ctypes.data), np.uintp(buffer.ctypes.data)
    at, count = np.int64(0), 0
    while count < len(frames) and at + ring.snaplen <= len(buffer):
        ring.status = next_ex(ring.handle, here + np.uintp(HEADER_AT), here + np.uintp(PACKET_AT))
        if ring.status != 1:
            break
        copy(here + np.uintp(STAMP_AT), ring.header, np.uintp(STAMP_BYTES))
        copy(there + np.uintp(at), ring.packet, np.uintp(ring.captured))
        ring.frame += 1
        row = frames[count]
        row.offset = at
        row.time_ns = np.int64(ring.seconds) * SECOND_NS + np.int64(ring.fraction) * ring.fraction_ns
        row.frame = ring.frame
        row.captured_len = ring.captured
        row.wire_len = ring.wire
        row.link_type = ring.link_type
        row.file = ring.file
        at, count = at + np.int64(ring.captured), count + 1
    return count


@functools.cache
def _memcpy() -> Any:
    return ctypes.CFUNCTYPE(*[ctypes.c_size_t] * 4)(("memcpy", ctypes.CDLL(None)))


def warm_up() -> None:
    """Compile the kernel before a ring fills up while it is compiled."""
    with contextlib.suppress(FilterError):
        drain(function("pcap_next_ex"), _memcpy(), np.zeros(1, RING), np.empty(0, FRAME), np.empty(0, np.uint8))


class Ring:
    """An interface read through libpcap."""

    engine, counting = "ring", True

    def __init__(self, interface: str, index: int, options: CaptureOptions):
        """Open ``interface``, number ``index`` of the source. Raises CannotCaptureError, FilterError, UsageError."""
        self.name, self.ended = interface, False
        self.fault: str | None = None
        self.damages: list[Damage] = []
        self.drops: list[Drop] = []  # its counter tells
        self._counts: tuple[int | None, int | None, int | None] = (None, None, None)
        try:
            load_libpcap()
        except FilterError as error:
            raise CannotCaptureError(f"{interface}: {error}", "missing") from None
        self._handle = inside(options.netns, lambda: _activate(interface, options))
        try:
            self._fd = _prepare(self._handle, interface, options)
        except BaseException:
            function("pcap_close")(self._handle)
            raise
        self._ring = self._describe(index, options)
        self.link_types = [int(self._ring[0]["link_type"])]
        self._frames = np.empty(BATCH_FRAMES, FRAME)
        self._buffer = np.empty(max(BUFFER_BYTES, options.snaplen), np.uint8)

    def _describe(self, index: int, options: CaptureOptions) -> NDArray[np.void]:
        """Return the one row of RING that the kernel works with."""
        ring = np.zeros(1, RING)
        ring["handle"], ring["file"], ring["snaplen"] = self._handle, index, options.snaplen
        precise = function("pcap_get_tstamp_precision")
        ring["fraction_ns"] = 1 if precise is not None and precise(self._handle) == NANOSECONDS else 1000
        dlt = function("pcap_datalink")(self._handle)
        ring["link_type"] = TO_LINK_TYPE.get(dlt, dlt)
        return ring

    def fileno(self) -> int:
        """Return the socket that becomes readable when frames wait."""
        return self._fd

    def drain(self, limit: int) -> FrameBatch:
        """Return the frames that wait, at most ``limit``."""
        count = 0
        if not self.ended:
            count = drain(function("pcap_next_ex"), _memcpy(), self._ring, self._frames[:limit], self._buffer)
            if self._ring[0]["status"] < 0:
                self.fault, self.ended = last_error(self._handle), True
        return FrameBatch(self._buffer, self._frames[:count].copy())

    def counts(self) -> tuple[int | None, int | None, int | None]:
        """Return packets received by the filter, dropped by the kernel, dropped by the interface."""
        statistics = Statistics()
        if self._handle and function("pcap_stats")(self._handle, ctypes.byref(statistics)) == 0:
            self._counts = statistics.received, statistics.dropped, statistics.interface
        return self._counts

    def halt(self) -> None:
        """Nothing to do: what has arrived is in the ring."""

    def close(self) -> None:
        """Close the interface."""
        if self._handle:
            self.counts()
            self.ended = True
            function("pcap_close")(self._handle)
            self._handle = 0


def _activate(interface: str, options: CaptureOptions) -> int:
    """Return an open handle; runs inside the chosen namespace."""
    reason = ctypes.create_string_buffer(256)
    handle: int = function("pcap_create")(interface.encode(errors="surrogateescape"), reason)
    if not handle:
        raise CannotCaptureError(f"{interface}: {reason.value.decode(errors='replace')}")
    settings: list[tuple[str, int]] = [
        ("pcap_set_snaplen", options.snaplen),
        ("pcap_set_promisc", int(options.promiscuous)),
        ("pcap_set_timeout", 100),
        ("pcap_set_immediate_mode", 1),
        ("pcap_set_buffer_size", (options.buffer_kib or RING_KIB) * 1024),
        ("pcap_set_tstamp_precision", NANOSECONDS),
    ]
    for name, value in settings:
        if (call := function(name)) is not None:
            call(handle, value)
    status: int = function("pcap_activate")(handle)
    if status >= 0:
        return handle
    text = last_error(handle) or function("pcap_statustostr")(status).decode()
    function("pcap_close")(handle)
    raise _cannot(interface, status, text, options)


def _cannot(interface: str, status: int, text: str, options: CaptureOptions) -> CannotCaptureError:
    """Return the error for what pcap_activate returned."""
    if status in (PERM_DENIED, PROMISC_PERM_DENIED):
        return no_rights(interface, options.filter)
    if status == NO_SUCH_DEVICE:
        return CannotCaptureError(f"{interface}: no such interface (kacap live -D lists them)", "interface")
    if status == NOT_UP:
        return CannotCaptureError(f"{interface}: is down; bring it up: ip link set {interface} up", "interface")
    return CannotCaptureError(f"{interface}: libpcap cannot open it: {text}")


def _prepare(handle: int, interface: str, options: CaptureOptions) -> int:
    """Set link type, filter and non-blocking mode; return the descriptor to wait on."""
    if options.link_type is not None:
        value = function("pcap_datalink_name_to_val")(options.link_type.encode())
        if value < 0 or function("pcap_set_datalink")(handle, value) != 0:
            raise UsageError(f"{interface}: cannot deliver link type {options.link_type}: {last_error(handle)}")
    elif interface == "any":
        function("pcap_set_datalink")(handle, function("pcap_datalink_name_to_val")(b"LINUX_SLL2"))
    if options.filter:
        _filter(handle, interface, options.filter)
    reason = ctypes.create_string_buffer(256)
    if function("pcap_setnonblock")(handle, 1, reason) != 0:
        raise CannotCaptureError(f"{interface}: {reason.value.decode(errors='replace')}")
    fd: int = function("pcap_get_selectable_fd")(handle)
    if fd < 0:
        raise CannotCaptureError(f"{interface}: libpcap gives nothing to wait on for this interface")
    return fd


def _filter(handle: int, interface: str, expression: str) -> None:
    """Compile an expression and let the kernel apply it."""
    program = compile_on(handle, expression, interface)
    try:
        if function("pcap_setfilter")(handle, ctypes.byref(program)) != 0:
            raise FilterError(f"filter '{expression}' cannot be set on {interface}: {last_error(handle)}")
    finally:
        function("pcap_freecode")(ctypes.byref(program))
