"""BPF expressions on frames: compiled by libpcap for each link type, and run by libpcap, which a kernel calls."""

from __future__ import annotations

import ctypes
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kacap.capture.frames import FrameBatch
from kacap.capture.library import compile_on, function
from kacap.errors import FilterError
from kacap.kernels import Row, entry

SNAPLEN = 262_144
RAW = 101
OLD_RAW = 14  # written for raw IP by OpenBSD, and unknown to libpcap elsewhere

INSTRUCTION = np.dtype([("code", "<u2"), ("jt", "u1"), ("jf", "u1"), ("k", "<u4")])  # struct bpf_insn
InstructionRows = NDArray[np.void]  # of INSTRUCTION


def compile_filter(expression: str, link_type: int, snaplen: int = SNAPLEN) -> InstructionRows:
    """Return the classic BPF program (dtype INSTRUCTION) for ``expression`` on frames of ``link_type``.

    Raises FilterError with libpcap's words where it refuses the expression, or is not there.
    """
    handle = _open(RAW if link_type == OLD_RAW else link_type, snaplen)
    try:
        compiled = compile_on(handle, expression, f"link type {link_type}")
        try:
            size = compiled.length * INSTRUCTION.itemsize
            return np.frombuffer(ctypes.string_at(compiled.instructions, size), INSTRUCTION)
        finally:
            function("pcap_freecode")(ctypes.byref(compiled))
    finally:
        function("pcap_close")(handle)


def _open(link_type: int, snaplen: int) -> int:
    """Return libpcap's handle of a file with this link type.

    An empty file, not pcap_open_dead: only for a file does libpcap translate the link type's number and know that the
    NULL header holds the address family of the system that wrote it.
    """
    reason = ctypes.create_string_buffer(256)
    with tempfile.TemporaryDirectory(prefix="kacap-") as directory:
        path = Path(directory) / "header.pcap"
        path.write_bytes(struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, link_type))
        handle: int = function("pcap_open_offline")(os.fsencode(path), reason)
    if not handle:
        raise FilterError(f"libpcap cannot filter link type {link_type}: {reason.value.decode(errors='replace')}")
    return handle


@entry
def _match(
    bpf_filter: Row,
    program: Row,
    data: NDArray[np.uint8],
    frames: Row,
    link_type: int,
    kept: NDArray[np.bool_],
) -> None:
    """Set ``kept`` for each frame (FRAME) of ``link_type`` to whether the program accepts it (bpf_filter(3))."""
    instructions, start = np.uintp(program.ctypes.data), np.uintp(data.ctypes.data)
    for i in range(len(frames)):
        frame = frames[i]
        if frame.link_type == link_type:
            packet = start + np.uintp(frame.offset)
            kept[i] = bpf_filter(instructions, packet, frame.wire_len, frame.captured_len) != 0


def match_frames(program: InstructionRows, batch: FrameBatch, link_type: int, kept: NDArray[np.bool_]) -> None:
    """Set ``kept`` for each frame of ``link_type`` to whether ``program``, from ``compile_filter``, accepts it."""
    _match(function("bpf_filter"), program, batch.buffer, batch.frames, link_type, kept)


class Filter:
    """One expression, with the program for each link type that came by."""

    def __init__(self, expression: str):
        """Keep ``expression``; it is compiled when the first link type is known."""
        self.expression = expression
        self._programs: dict[int, InstructionRows] = {}

    def program(self, link_type: int) -> InstructionRows:
        """Return the program for ``link_type``. Raises FilterError."""
        if link_type not in self._programs:
            self._programs[link_type] = compile_filter(self.expression, link_type)
        return self._programs[link_type]

    def matches(self, batch: FrameBatch) -> NDArray[np.bool_]:
        """Return for each frame of ``batch`` whether it matches. Raises FilterError at a link type it cannot have."""
        links = batch.frames["link_type"]
        kept = np.zeros(len(links), np.bool_)
        alike = links.min() == links.max()
        for link_type in links[:1].tolist() if alike else np.unique(links).tolist():
            match_frames(self.program(link_type), batch, link_type, kept)
        return kept
