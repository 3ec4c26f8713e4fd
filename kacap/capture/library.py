"""Find libpcap: the system's, else the one that the PyPI package ``libpcap`` brings."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from kacap.errors import FilterError

# Tried by name first: ctypes.util.find_library starts other programs, which takes longer than everything else here.
NAMES = {
    "darwin": ["libpcap.A.dylib", "libpcap.dylib"],
    "win32": ["wpcap.dll"],
}
LINUX_NAMES = ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"]
PACKAGED = {"linux": "linux/{}/*/libpcap.so", "darwin": "macos/{}/*/libpcap.dylib", "win32": "windows/{}/*/wpcap.dll"}
MACHINES = {"amd64": "x86_64", "i686": "x86", "i386": "x86"}


def packaged() -> Iterator[str]:
    """Yield the libraries for this system that the PyPI package ``libpcap`` holds, without importing it."""
    spec = importlib.util.find_spec("libpcap")
    machine = platform.machine().lower()
    for place in (spec.submodule_search_locations or []) if spec else []:
        pattern = PACKAGED.get(sys.platform, "").format(MACHINES.get(machine, machine))
        yield from map(str, sorted((Path(place) / "_platform").glob(pattern)) if pattern else [])


def _candidates() -> Iterator[str]:
    """Yield names to load, the system's first."""
    yield from NAMES.get(sys.platform, LINUX_NAMES)
    yield from packaged()
    if found := ctypes.util.find_library("pcap"):
        yield found


@functools.cache
def load_libpcap() -> ctypes.CDLL:
    """Return libpcap. Raises FilterError when neither the system nor the package ``libpcap`` has one that loads."""
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise FilterError("BPF expressions need libpcap, and none was found; install it: pip install libpcap")
