"""Addresses as the columns hold them (128-bit numbers in two halves) to text."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

KEPT = 8192  # addresses whose text is at hand: a sixth of a kilobyte each
V4_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2


@lru_cache(maxsize=KEPT)
def address_text(hi: int, lo: int) -> str:
    """Return the canonical text of an address; IPv4 where it is IPv4-mapped."""
    if hi == 0 and lo & ~0xFFFFFFFF == V4_MAPPED:
        return str(IPv4Address(lo & 0xFFFFFFFF))
    return str(IPv6Address(hi << 64 | lo))


@lru_cache(maxsize=KEPT)
def address_halves(text: str) -> tuple[int, int]:
    """Return the two halves of an address in its canonical text: the inverse of ``address_text``."""
    address = ip_address(text)
    number = int(address) | (V4_MAPPED if address.version == 4 else 0)
    return number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF
