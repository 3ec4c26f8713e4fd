"""Which interfaces there are: libpcap's list, else the system's."""

from __future__ import annotations

import contextlib
import ctypes
import socket
from dataclasses import dataclass

from kacap.capture.library import load_libpcap
from kacap.errors import CaptureError, FilterError

# PCAP_IF_ flags, pcap_findalldevs(3PCAP), in tcpdump's words.
FLAGS = ((0x02, "Up"), (0x04, "Running"), (0x01, "Loopback"), (0x08, "Wireless"))


class _Interface(ctypes.Structure):
    """struct pcap_if."""


_Interface._fields_ = (
    ("next", ctypes.POINTER(_Interface)),
    ("name", ctypes.c_char_p),
    ("description", ctypes.c_char_p),
    ("addresses", ctypes.c_void_p),
    ("flags", ctypes.c_uint),
)


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface: its name, what libpcap calls it (may be empty), and its state in words."""

    name: str
    description: str = ""
    state: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as tcpdump -D writes it, without the number."""
        described = f"{self.name} ({self.description})" if self.description else self.name
        return f"{described} [{', '.join(self.state)}]" if self.state else described


def interfaces() -> list[Interface]:
    """Return what can be captured on. Raises CaptureError when neither libpcap nor the system knows."""
    with contextlib.suppress(FilterError):
        return _of_libpcap(load_libpcap())
    try:
        return [Interface(name) for _, name in socket.if_nameindex()]
    except OSError as error:
        raise CaptureError(f"cannot list the interfaces: {error.strerror}") from None


def _of_libpcap(library: ctypes.CDLL) -> list[Interface]:
    """Return libpcap's list."""
    first, reason = ctypes.POINTER(_Interface)(), ctypes.create_string_buffer(256)
    if library.pcap_findalldevs(ctypes.byref(first), reason) != 0:
        raise CaptureError(f"cannot list the interfaces: {reason.value.decode(errors='replace')}")
    found, at = [], first
    while at:
        state = tuple(word for bit, word in FLAGS if at.contents.flags & bit)
        texts = [(text or b"").decode(errors="replace") for text in (at.contents.name, at.contents.description)]
        found.append(Interface(texts[0], texts[1], state))
        at = at.contents.next
    library.pcap_freealldevs(first)
    return found
