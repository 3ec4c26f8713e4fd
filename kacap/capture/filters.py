"""BPF expressions on frames: compiled by libpcap for each link type, run by a kernel on the captured bytes."""

from __future__ import annotations

import ctypes
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kacap.capture.bpf import INSTRUCTION, fault_in, match_frames
from kacap.capture.frames import FrameBatch
from kacap.capture.library import load_libpcap
from kacap.errors import FilterError

SNAPLEN = 262_144
NETMASK_UNKNOWN = 0xFFFFFFFF
RAW = 101
OLD_RAW = 14  # written for raw IP by OpenBSD, and unknown to libpcap elsewhere


class _Program(ctypes.Structure):
    """struct bpf_program."""

    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


def compile_filter(expression: str, link_type: int, snaplen: int = SNAPLEN) -> NDArray[np.void]:
    """Return the classic BPF program (dtype INSTRUCTION) for ``expression`` on frames of ``link_type``.

    Raises FilterError with libpcap's words where it refuses the expression, or is not there.
    """
    library = load_libpcap()
    handle = _open(library, RAW if link_type == OLD_RAW else link_type, snaplen)
    try:
        program = _compile(library, handle, expression, link_type)
    finally:
        library.pcap_close(handle)
    if (fault := fault_in(program)) is not None:
        raise FilterError(f"filter '{expression}' on link type {link_type}: {fault}")
    return program


def _open(library: ctypes.CDLL, link_type: int, snaplen: int) -> ctypes.c_void_p:
    """Return libpcap's handle of a file with this link type.

    An empty file, not pcap_open_dead: only for a file does libpcap translate the link type's number and know that the
    NULL header holds the address family of the system that wrote it.
    """
    library.pcap_open_offline.restype = ctypes.c_void_p
    library.pcap_geterr.restype = ctypes.c_char_p
    reason = ctypes.create_string_buffer(256)
    with tempfile.TemporaryDirectory(prefix="kacap-") as directory:
        path = Path(directory) / "header.pcap"
        path.write_bytes(struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, link_type))
        handle = library.pcap_open_offline(os.fsencode(path), reason)
    if not handle:
        raise FilterError(f"libpcap cannot filter link type {link_type}: {reason.value.decode(errors='replace')}")
    return ctypes.c_void_p(handle)


def _compile(library: ctypes.CDLL, handle: ctypes.c_void_p, expression: str, link_type: int) -> NDArray[np.void]:
    """Compile on an open handle and copy the program out of libpcap's memory."""
    if "\0" in expression:
        raise FilterError("a filter cannot hold a NUL character")
    compiled = _Program()
    text = expression.encode(errors="surrogateescape")
    if library.pcap_compile(handle, ctypes.byref(compiled), text, 1, ctypes.c_uint32(NETMASK_UNKNOWN)) != 0:
        why = library.pcap_geterr(handle).decode(errors="replace")
        raise FilterError(f"filter '{expression}' is refused by libpcap for link type {link_type}: {why}")
    try:
        size = compiled.length * INSTRUCTION.itemsize
        return np.frombuffer(ctypes.string_at(compiled.instructions, size), INSTRUCTION)
    finally:
        library.pcap_freecode(ctypes.byref(compiled))


class Filter:
    """One expression, with the program for each link type that came by."""

    def __init__(self, expression: str):
        """Keep ``expression``; it is compiled when the first link type is known."""
        self.expression = expression
        self._programs: dict[int, NDArray[np.void]] = {}

    def program(self, link_type: int) -> NDArray[np.void]:
        """Return the program for ``link_type``. Raises FilterError."""
        if link_type not in self._programs:
            self._programs[link_type] = compile_filter(self.expression, link_type)
        return self._programs[link_type]

    def matches(self, batch: FrameBatch) -> NDArray[np.bool_]:
        """Return for each frame of ``batch`` whether it matches. Raises FilterError at a link type it cannot have."""
        links = batch.frames["link_type"]
        kept = np.zeros(len(links), np.bool_)
        one = links.min() == links.max()
        for link_type in links[:1].tolist() if one else np.unique(links).tolist():
            match_frames(self.program(link_type), batch.buffer, batch.frames, link_type, kept)
        return kept
