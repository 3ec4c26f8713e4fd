"""Records frames inside a namespace: an AF_PACKET socket on one side, a small pcapng writer on the other.

Independent of ``kacap.capture``, so that a fault there cannot hide itself in the captures that test it. Layouts: the
pcapng specification (draft-ietf-opsawg-pcapng), blocks SHB, IDB, EPB and ISB; LINKTYPE_LINUX_SLL2.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from kacap.clock import SECOND_NS

ETHERNET = 1
LINUX_SLL2 = 276

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_OUTGOING = 4
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_BUFFER = 16 << 20
_NANOSECONDS = 9  # if_tsresol: 10^-9


@dataclass(frozen=True, slots=True)
class Recording:
    """What to record: ``interface`` (``any`` for all), into ``path``; a new file after ``rotate`` frames (0: never).

    A rotated file's name gets ``_00001`` and so on. ``snaplen`` is in bytes.
    """

    path: str
    interface: str
    snaplen: int = 256
    rotate: int = 0

    def file(self, number: int) -> Path:
        """Return the path of the ``number``-th file, counted from 1."""
        path = Path(self.path)
        return path.with_stem(f"{path.stem}_{number:05d}") if self.rotate else path


class PcapngWriter:
    """One pcapng section in little-endian byte order with nanosecond timestamps; interfaces are numbered from 0."""

    def __init__(self, path: Path, interfaces: list[tuple[str, int, int]]) -> None:
        """Open ``path`` for ``interfaces``: (name, link type, snaplen in bytes) each."""
        self._file = path.open("wb")
        self._count = len(interfaces)
        self._write(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
        for name, link_type, snaplen in interfaces:
            options = _option(2, name.encode()) + _option(9, bytes([_NANOSECONDS])) + _option(0, b"")
            self._write(1, struct.pack("<HHI", link_type, 0, snaplen) + options)

    def frame(self, interface: int, time_ns: int, data: bytes, length: int) -> None:
        """Append one frame: ``data`` as captured, ``length`` bytes on the wire."""
        head = struct.pack("<IIIII", interface, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), length)
        self._write(6, head + _padded(data))

    def close(self, statistics: list[tuple[int, int]], time_ns: int) -> None:
        """End with a statistics block for each interface: (received, dropped by the kernel)."""
        for interface, (received, dropped) in enumerate(statistics):
            head = struct.pack("<III", interface, time_ns >> 32, time_ns & 0xFFFFFFFF)
            counts = _option(4, struct.pack("<Q", received)) + _option(5, struct.pack("<Q", dropped)) + _option(0, b"")
            self._write(5, head + counts)
        self._file.close()

    def _write(self, kind: int, body: bytes) -> None:
        length = len(body) + 12
        self._file.write(struct.pack("<II", kind, length) + body + struct.pack("<I", length))


def record(wanted: Recording, pipe: Connection) -> None:
    """Record until ``pipe`` says so (any message), then answer with (files, frames, dropped).

    Sends ``True`` once frames are being kept. Runs in a process of its own inside the namespace.
    """
    sock = _open(wanted.interface)
    kept = _Files(wanted)
    pipe.send(True)
    while not pipe.poll():
        select.select([sock.fileno(), pipe.fileno()], [], [])
        _drain(sock, kept)
    pipe.recv()
    _drain(sock, kept)
    pipe.send(kept.close(_dropped(sock)))


class _Files:
    """The file being written and those before it."""

    def __init__(self, wanted: Recording) -> None:
        self.wanted = wanted
        self.any = wanted.interface == "any"
        self.loopback = wanted.interface == "lo"
        self.names: list[str] = []
        self.frames = 0
        self._in_file = 0
        self._writer = self._next()

    def _next(self) -> PcapngWriter:
        path = self.wanted.file(len(self.names) + 1)
        self.names.append(path.name)
        self._in_file = 0
        return PcapngWriter(path, [(self.wanted.interface, LINUX_SLL2 if self.any else ETHERNET, self.wanted.snaplen)])

    def add(self, time_ns: int, data: bytes, length: int) -> None:
        """Append one frame, in the next file if this one is full."""
        if self.wanted.rotate and self._in_file == self.wanted.rotate:
            self._writer.close([(self._in_file, 0)], time_ns)
            self._writer = self._next()
        self._writer.frame(0, time_ns, data, length)
        self._in_file += 1
        self.frames += 1

    def close(self, dropped: int) -> tuple[list[str], int, int]:
        """Close the last file; return (files, frames, dropped)."""
        self._writer.close([(self._in_file, dropped)], time.time_ns())
        return self.names, self.frames, dropped


def _open(interface: str) -> socket.socket:
    """Open the packet socket; cooked (SOCK_DGRAM) on ``any``, where interfaces of several link types meet."""
    kind = socket.SOCK_DGRAM if interface == "any" else socket.SOCK_RAW
    everything = socket.htons(_ETH_P_ALL) if interface == "any" else 0  # 0: nothing arrives before bind
    sock = socket.socket(socket.AF_PACKET, kind, everything)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:  # root of a user namespace only: the system's limit then
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    if interface != "any":
        sock.bind((interface, _ETH_P_ALL))
    sock.setblocking(False)
    return sock


def _drain(sock: socket.socket, kept: _Files) -> None:
    """Keep everything that waits in ``sock``; on ``lo`` each packet shows up twice and its way out is left aside."""
    room = kept.wanted.snaplen
    while True:
        try:
            data, ancillary, _, address = sock.recvmsg(65535 + 64, 64)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.ENETDOWN:  # told once when the interface goes down
                continue
            raise
        if kept.loopback and address[2] == _PACKET_OUTGOING:
            continue
        if kept.any:
            data = _sll2(address) + data
        kept.add(_stamp(ancillary), data[:room], len(data))


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return int(seconds * SECOND_NS + nanoseconds)
    return time.time_ns()


def _sll2(address: tuple[str, int, int, int, bytes]) -> bytes:
    name, protocol, kind, hardware, source = address
    index = socket.if_nametoindex(name)
    return struct.pack("!HHIHBB8s", protocol, 0, index, hardware, kind, len(source), source[:8])


def _dropped(sock: socket.socket) -> int:
    _, dropped = struct.unpack("II", sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    return int(dropped)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
