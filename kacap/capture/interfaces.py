"""Which interfaces there are: libpcap's list, else the system's."""

from __future__ import annotations

import contextlib
import ctypes
import socket
from dataclasses import dataclass

from kacap.capture.library import InterfaceEntry, function
from kacap.errors import CaptureError, FilterError

# PCAP_IF_ flags, pcap_findalldevs(3PCAP), in tcpdump's words.
FLAGS = ((0x02, "Up"), (0x04, "Running"), (0x01, "Loopback"), (0x08, "Wireless"))


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
        return _of_libpcap()
    try:
        return [Interface(name) for _, name in socket.if_nameindex()]
    except OSError as error:
        raise CaptureError(f"cannot list the interfaces: {error.strerror}") from None


def _of_libpcap() -> list[Interface]:
    """Return libpcap's list. Raises FilterError without libpcap."""
    first, reason = ctypes.POINTER(InterfaceEntry)(), ctypes.create_string_buffer(256)
    if function("pcap_findalldevs")(ctypes.byref(first), reason) != 0:
        raise CaptureError(f"cannot list the interfaces: {reason.value.decode(errors='replace')}")
    interfaces, at = [], first
    while at:
        entry = at.contents
        state = tuple(word for bit, word in FLAGS if entry.flags & bit)
        name, description = ((text or b"").decode(errors="replace") for text in (entry.name, entry.description))
        interfaces.append(Interface(name, description, state))
        at = entry.next
    function("pcap_freealldevs")(first)
    return interfaces
