"""libpcap: found (the system's, else the one that the PyPI package ``libpcap`` brings), and its functions, typed."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kacap.capture.display_filters import advice
from kacap.errors import FilterError

# Tried by name first: ctypes.util.find_library starts other programs, which takes longer than everything else here.
NAMES = {
    "darwin": ["libpcap.A.dylib", "libpcap.dylib"],
    "win32": ["wpcap.dll"],
}
LINUX_NAMES = ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"]
PACKAGED = {"linux": "linux/{}/*/libpcap.so", "darwin": "macos/{}/*/libpcap.dylib", "win32": "windows/{}/*/wpcap.dll"}
MACHINES = {"amd64": "x86_64", "i686": "x86", "i386": "x86"}


class Program(ctypes.Structure):
    """struct bpf_program."""

    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


class Statistics(ctypes.Structure):
    """struct pcap_stat."""

    _fields_ = (("received", ctypes.c_uint), ("dropped", ctypes.c_uint), ("interface", ctypes.c_uint))


class InterfaceEntry(ctypes.Structure):
    """struct pcap_if: a linked list."""


InterfaceEntry._fields_ = (
    ("next", ctypes.POINTER(InterfaceEntry)),
    ("name", ctypes.c_char_p),
    ("description", ctypes.c_char_p),
    ("addresses", ctypes.c_void_p),
    ("flags", ctypes.c_uint),
)

_HANDLE, _WORDS, _INTEGER, _ADDRESS = ctypes.c_size_t, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_SIGNATURES: dict[str, tuple[Any, ...]] = {  # result, then parameters; a handle is a number
    "bpf_filter": (ctypes.c_uint, _ADDRESS, _ADDRESS, ctypes.c_uint, ctypes.c_uint),
    "pcap_open_offline": (_HANDLE, _WORDS, _WORDS),
    "pcap_create": (_HANDLE, _WORDS, _WORDS),
    "pcap_set_snaplen": (_INTEGER, _HANDLE, _INTEGER),
    "pcap_set_promisc": (_INTEGER, _HANDLE, _INTEGER),
    "pcap_set_timeout": (_INTEGER, _HANDLE, _INTEGER),
    "pcap_set_buffer_size": (_INTEGER, _HANDLE, _INTEGER),
    "pcap_set_immediate_mode": (_INTEGER, _HANDLE, _INTEGER),
    "pcap_set_tstamp_precision": (_INTEGER, _HANDLE, _INTEGER),
    "pcap_get_tstamp_precision": (_INTEGER, _HANDLE),
    "pcap_activate": (_INTEGER, _HANDLE),
    "pcap_statustostr": (_WORDS, _INTEGER),
    "pcap_geterr": (_WORDS, _HANDLE),
    "pcap_setnonblock": (_INTEGER, _HANDLE, _INTEGER, _WORDS),
    "pcap_get_selectable_fd": (_INTEGER, _HANDLE),
    "pcap_datalink": (_INTEGER, _HANDLE),
    "pcap_set_datalink": (_INTEGER, _HANDLE, _INTEGER),
    "pcap_datalink_name_to_val": (_INTEGER, _WORDS),
    "pcap_compile": (_INTEGER, _HANDLE, ctypes.POINTER(Program), _WORDS, _INTEGER, ctypes.c_uint32),
    "pcap_setfilter": (_INTEGER, _HANDLE, ctypes.POINTER(Program)),
    "pcap_freecode": (None, ctypes.POINTER(Program)),
    "pcap_stats": (_INTEGER, _HANDLE, ctypes.POINTER(Statistics)),
    "pcap_close": (None, _HANDLE),
    "pcap_next_ex": (_INTEGER, _HANDLE, _ADDRESS, _ADDRESS),
    "pcap_findalldevs": (_INTEGER, ctypes.POINTER(ctypes.POINTER(InterfaceEntry)), _WORDS),
    "pcap_freealldevs": (None, ctypes.POINTER(InterfaceEntry)),
}
_NETMASK_UNKNOWN = 0xFFFFFFFF


def packaged() -> Iterator[str]:
    """Yield the libraries for this system that the PyPI package ``libpcap`` holds, without importing it."""
    spec = importlib.util.find_spec("libpcap")
    machine = platform.machine().lower()
    for directory in (spec.submodule_search_locations or []) if spec else []:
        pattern = PACKAGED.get(sys.platform, "").format(MACHINES.get(machine, machine))
        yield from map(str, sorted((Path(directory) / "_platform").glob(pattern)) if pattern else [])


def _candidates() -> Iterator[str]:
    """Yield names to load, the system's first."""
    yield from NAMES.get(sys.platform, LINUX_NAMES)
    yield from packaged()
    if named := ctypes.util.find_library("pcap"):
        yield named


@functools.cache
def load_libpcap() -> ctypes.CDLL:
    """Return libpcap. Raises FilterError when neither the system nor the package ``libpcap`` has one that loads."""
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise FilterError("BPF expressions need libpcap, and none was found; install it: pip install libpcap")


@functools.cache
def function(name: str) -> Any:
    """Return a function of libpcap; None where this libpcap is too old to have it. Raises FilterError without one."""
    try:
        return ctypes.CFUNCTYPE(*_SIGNATURES[name])((name, load_libpcap()))
    except AttributeError:
        return None


def last_error(handle: int) -> str:
    """Return libpcap's last error on a handle."""
    return str(function("pcap_geterr")(handle).decode(errors="replace"))


def compile_on(handle: int, expression: str, where: str) -> Program:
    """Return the program for a BPF expression on an open handle, to be freed with pcap_freecode.

    Raises FilterError with libpcap's words; ``where`` says what refuses the expression.
    """
    program = Program()
    if "\0" in expression:
        raise FilterError("a filter cannot hold a NUL character")
    text = expression.encode(errors="surrogateescape")
    if function("pcap_compile")(handle, ctypes.byref(program), text, 1, _NETMASK_UNKNOWN) != 0:
        if (instead := advice(expression)) is not None:
            raise FilterError(f"filter '{expression}' is {instead}")
        raise FilterError(f"filter '{expression}' is refused by libpcap for {where}: {last_error(handle)}")
    return program
