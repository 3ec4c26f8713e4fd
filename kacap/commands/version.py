"""What ``kacap --version`` says: the versions that matter, found without loading the parts themselves."""

from __future__ import annotations

import ctypes.util
import platform
from importlib import metadata
from importlib.util import find_spec

from kacap.trusted import find_program


def lines() -> list[str]:
    """Return kacap's version, then Python, numba, libpcap and tshark as far as this machine has them."""
    return [
        f"kacap {installed('kacap')}",
        f"python {platform.python_version()}, {platform.system()} {platform.release()}",
        f"numba {installed('numba')}, numpy {installed('numpy')}",
        f"libpcap: {_libpcap()}",
        f"tshark: {find_program('tshark') or 'not found'}",
    ]


def installed(package: str) -> str:
    """Return the version of an installed distribution, or ``not installed``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _libpcap() -> str:
    """Return where filters would be compiled: the system's library, else the PyPI package's."""
    if system := ctypes.util.find_library("pcap"):
        return f"the system's {system}"
    return f"the package's, {installed('libpcap')}" if find_spec("libpcap") else "not found: no filters"
