"""Which end of a connection is meant: ``a``, ``b``, an address, a port, or both of these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from kacap.errors import UsageError
from kacap.model import Endpoint


@dataclass(frozen=True, slots=True)
class Side:
    """One end: ``letter`` is a (it sent the first segment seen) or b, ``address`` and ``port`` are None for any."""

    text: str
    letter: str | None = None
    address: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """Return it as it was written."""
        return self.text

    def among(self, ends: Sequence[Endpoint]) -> list[Endpoint]:
        """Return which of a connection's ends (a, b) are meant."""
        if self.letter is not None:
            return [ends["ab".index(self.letter)]]
        return [e for e in ends if self.address in (None, e.address) and self.port in (None, e.port)]


def parse_side(text: str, origin: str = "--from") -> Side:
    """Return the side that ``a``, ``b``, ``5432``, ``10.0.0.1``, ``10.0.0.1:5432`` or ``[fd00::1]:5432`` means.

    Raises UsageError, which names ``origin``.
    """
    words = text.strip()
    if words.lower() in ("a", "b"):
        return Side(text, letter=words.lower())
    if matched := re.fullmatch(r":?([0-9]{1,5})", words):
        return Side(text, port=_port(matched[1], text, origin))
    if matched := re.fullmatch(r"\[([^\]]+)\](?::([0-9]{1,5}))?|([^:]+):([0-9]{1,5})", words):
        address, port = matched[1] or matched[3], matched[2] or matched[4]
        number = None if port is None else _port(port, text, origin)
        return Side(text, address=_address(address, text, origin), port=number)
    return Side(text, address=_address(words, text, origin))


def _port(digits: str, text: str, origin: str) -> int:
    """Return a port number."""
    if not 1 <= int(digits) <= 65_535:
        raise UsageError(f"{origin} {text}: a port is 1 to 65535")
    return int(digits)


def _address(words: str, text: str, origin: str) -> str:
    """Return an address in its canonical form."""
    try:
        return str(ip_address(words))
    except ValueError:
        form = "a, b, an address, a port, address:port or [address]:port"
        raise UsageError(f"{origin} {text}: not a side; give {form}") from None
