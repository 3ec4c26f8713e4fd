"""File formats that only tshark reads (snoop, Network Monitor, ERF, btsnoop ...), as a stream of pcapng.

Frame numbers and times stay what they are in the file: tshark rewrites the records one by one, and dissects nothing.
"""

from __future__ import annotations

from kacap.capture.blocks import StreamDamage
from kacap.capture.tshark.program import Running, tell
from kacap.errors import CaptureError

# How they begin, and what they are.
FORMATS = {
    b"snoop\0": "a snoop capture",
    b"GMBU": "a Microsoft Network Monitor capture",
    b"RTSS": "a Network Monitor 1 capture",
    b"btsnoo": "a Bluetooth snoop capture",
    b"XCP\0": "a NetXray or Sniffer capture",
    b"TRSNIF": "a Sniffer capture",
}


def convert(name: str, head: bytes, wanted: bool) -> Converted | None:
    """Return the file called ``name``, which begins with ``head``, as tshark converts it, and say so on stderr.

    None if it is not a capture to tshark either. Raises CaptureError for a known format that cannot be converted:
    tshark is missing, fails on it, or is not ``wanted``.
    """
    what = next((words for magic, words in FORMATS.items() if head.startswith(magic)), None)
    if not wanted:
        if what is None:
            return None
        raise CaptureError(f"{name}: is {what}; convert it first: editcap -F pcapng FILE out.pcapng")
    try:
        converted = Converted(name)
    except CaptureError as error:
        if what is None:
            return None
        raise CaptureError(f"{name}: is {what}, which only tshark reads: {error}") from None
    tell(f"{name} is {what or 'a capture of another program'}: tshark converts it")
    return converted


class Converted:
    """A stream (``capture.blocks.Stream``) of what tshark makes of a file. Raises CaptureError if it reads nothing."""

    def __init__(self, name: str) -> None:
        """Have tshark read the file called ``name``."""
        self._running = Running(["-n", "-Q", "-r", name, "-w", "-", "-F", "pcapng"])
        if not self._running.stdout.peek(1):  # type: ignore[attr-defined]
            said = self._running.failure()
            self._running.close()
            raise CaptureError(said or "tshark finds nothing in it")

    def readinto(self, view: memoryview) -> int:
        """Read some bytes into ``view`` and return how many; 0 at the end. Raises StreamDamage."""
        got: int = self._running.stdout.readinto1(view)  # type: ignore[attr-defined]
        if not got and (said := self._running.failure()):
            raise StreamDamage(f"tshark: {said}")
        return got

    def close(self) -> None:
        """End tshark."""
        self._running.close()
