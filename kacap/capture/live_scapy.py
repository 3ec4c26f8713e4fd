"""scapy's listening socket: where no libpcap can be loaded, and on systems where scapy is the natural way.

Slower than the ring: frames are lost from about 20,000 a second on.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
from typing import Any

import numpy as np

from kacap.capture.filters import compile_filter
from kacap.capture.frames import FRAME, FrameBatch
from kacap.capture.live_source import CaptureOptions
from kacap.capture.rights import CannotCaptureError, no_rights
from kacap.errors import Damage
from kacap.netns import inside
from kacap.summary import Drop
from kacap.trusted import forgo_scapys_cache

ETH_P_ALL = 3  # with ETH_P_IP outgoing packets would not be delivered
SOL_PACKET, PACKET_STATISTICS, SO_ATTACH_FILTER = 263, 6, 26
BATCH_FRAMES = 1024
FRAME_BYTES = 0xFFFF
RAW = 101
TO_LINK_TYPE = {12: RAW, 14: RAW}


class ScapyInterface:
    """An interface read through scapy's ``conf.L2listen``."""

    engine, counting = "scapy", True

    def __init__(self, interface: str, index: int, options: CaptureOptions):
        """Open ``interface``, number ``index`` of the source. Raises CannotCaptureError, FilterError."""
        self.name, self.ended = interface, False
        self.fault: str | None = None
        self.damages: list[Damage] = []
        self.drops: list[Drop] = []  # its counter tells
        self._snaplen, self._index, self._frame = options.snaplen, index, 0
        self._dropped: int | None = 0 if sys.platform.startswith("linux") else None
        if interface == "any":
            raise CannotCaptureError("any: scapy's engine cannot capture on all interfaces at once; name each with -i")
        self._socket = inside(options.netns, lambda: _open(interface, options))
        self.link_types = [_link_type(self._socket)]
        if options.filter:
            self._attach(options.filter)

    def _attach(self, expression: str) -> None:
        """Let the kernel apply the filter; what slipped in before is thrown away."""
        program = compile_filter(expression, self.link_types[0]).tobytes()
        memory = np.frombuffer(program, np.uint8)
        self._program = memory  # must live until the kernel has copied it
        wanted = struct.pack("HL", len(program) // 8, memory.ctypes.data)
        self._socket.ins.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, wanted)
        while self._waiting():
            self._socket.ins.recv(1)
        self._statistics()
        self._dropped = 0

    def _waiting(self) -> bool:
        """Return whether a frame can be read without waiting."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def fileno(self) -> int:
        """Return the socket that becomes readable when frames wait."""
        return int(self._socket.fileno())

    def drain(self, limit: int) -> FrameBatch:
        """Return the frames that wait, at most ``limit``."""
        received: list[tuple[int, bytes]] = []
        while not self.ended and len(received) < min(limit, BATCH_FRAMES) and self._waiting():
            try:
                _, data, seconds = self._socket.recv_raw(FRAME_BYTES)
            except OSError as error:
                self.fault, self.ended = error.strerror or str(error), True
                break
            if data:  # None: the outgoing copy on lo
                received.append((round(seconds * 1_000_000) * 1000, data))  # as exact as a float of seconds is
        return self._batch(received)

    def _batch(self, received: list[tuple[int, bytes]]) -> FrameBatch:
        """Return (time, bytes) pairs as a batch."""
        rows = np.zeros(len(received), FRAME)
        kept = [data[: self._snaplen] for _, data in received]
        rows["time_ns"] = [time_ns for time_ns, _ in received]
        rows["wire_len"] = [len(data) for _, data in received]
        rows["captured_len"] = [len(data) for data in kept]
        rows["offset"] = np.cumsum(rows["captured_len"], dtype=np.int64) - rows["captured_len"]
        rows["frame"] = np.arange(self._frame + 1, self._frame + len(received) + 1)
        rows["link_type"], rows["file"] = self.link_types[0], self._index
        self._frame += len(received)
        return FrameBatch(np.frombuffer(bytearray(b"".join(kept)), np.uint8), rows)

    def _statistics(self) -> None:
        """Add the kernel's drops since it was asked last: asking resets its counter."""
        if self._dropped is not None and not self._socket.closed:
            with contextlib.suppress(OSError):
                answer = self._socket.ins.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
                self._dropped += struct.unpack("II", answer)[1]

    def counts(self) -> tuple[int | None, int | None, int | None]:
        """Return packets received by the filter, dropped by the kernel; what the interface dropped is not known."""
        self._statistics()
        return (None if self._dropped is None else self._frame + self._dropped), self._dropped, None

    def halt(self) -> None:
        """Nothing to do: what has arrived is in the socket's buffer."""

    def close(self) -> None:
        """Close the interface."""
        if not self._socket.closed:
            self._statistics()
            self.ended = True
            self._socket.close()


def _open(interface: str, options: CaptureOptions) -> Any:
    """Return scapy's listening socket; runs inside the chosen namespace."""
    import logging

    logging.getLogger("scapy").setLevel(logging.ERROR)
    try:
        forgo_scapys_cache()
        import scapy.arch  # chooses conf.L2listen for this system
        import scapy.data  # noqa: F401 (loads the tables that conf needs)
        from scapy.config import conf

        conf.ifaces.reload()
        if interface not in conf.ifaces:
            raise CannotCaptureError(f"{interface}: no such interface (kacap live -D lists them)", "interface")
        if options.buffer_kib:
            conf.bufsize = options.buffer_kib * 1024
        opened = conf.L2listen(iface=interface, type=ETH_P_ALL, promisc=options.promiscuous, nofilter=1)
    except PermissionError:
        raise no_rights(interface, options.filter) from None
    except ImportError as error:
        words = f"{interface}: scapy is missing ({error}); install it: pip install scapy"
        raise CannotCaptureError(words, "missing") from None
    except OSError as error:
        raise CannotCaptureError(f"{interface}: scapy cannot open it: {error.strerror or error}") from None
    if sys.platform.startswith("linux") and "LOOPBACK" in str(conf.ifaces[interface].flags):
        opened.outs = opened.ins  # scapy then leaves out the outgoing copy of each packet, as libpcap does
    return opened


def _link_type(opened: Any) -> int:
    """Return the LINKTYPE of what a socket delivers."""
    from scapy.config import conf

    number = conf.l2types.layer2num.get(opened.LL, 1) if getattr(opened, "lvl", 2) == 2 else RAW
    return TO_LINK_TYPE.get(int(number), int(number))
