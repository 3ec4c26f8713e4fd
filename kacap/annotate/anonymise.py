"""Other addresses for a capture that leaves the house: consistent, the same prefixes shared, from a keyed hash.

Two addresses that share their first n bits are mapped to two that share their first n bits (prefix-preserving, as
Crypto-PAn: Xu and others, "Prefix-preserving IP address anonymization", 2002), with keyed BLAKE2s (RFC 7693) for each
bit. What an address is *for* stays visible: private stays private, loopback, multicast and broadcast stay as they are.
Whoever holds pairs of old and new addresses learns about their neighbours: the price of keeping prefixes.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from hashlib import blake2s
from ipaddress import ip_address, ip_network

from kacap.wire.replace import IPV4, IPV6, MAC

KEY_BYTES = 32

# Blocks that are mapped onto themselves, by the IANA special-purpose registries; the longest that holds an address
# counts. Of those that are kept, every address stays as it is.
_KEPT = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8")
_WITHIN = (
    "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "fc00::/7", "fe80::/10", "ff02::1:ff00:0/104",
)  # fmt: skip

def _blocks(bits: int) -> list[tuple[int, int, bool]]:
    """Return the blocks of one address size as (first address, prefix length, kept), longest first."""
    named = [(ip_network(text), text in _KEPT) for text in (*_KEPT, *_WITHIN)]
    found = [(int(net.network_address), net.prefixlen, kept) for net, kept in named if net.max_prefixlen == bits]
    return sorted(found, key=lambda block: -block[1])


_BLOCKS = {bits: _blocks(bits) for bits in (8 * IPV4, 8 * IPV6)}

# MACs with the group bit stay as they are, except those that spell a part of an IPv6 address (RFC 2464 section 7).
_GROUP = 1 << 40
_LOCAL_UNICAST = 0x02 << 40
_SOLICITED, _SOLICITED_BITS = 0x3333FF, 24


class Anonymiser:
    """Maps addresses under one key; the same key gives the same addresses. Call it as ``replace_addresses`` does."""

    def __init__(self, key: bytes | None = None) -> None:
        """Use ``key`` (up to 32 bytes), or one drawn for this object alone and kept nowhere."""
        self._key = secrets.token_bytes(KEY_BYTES) if key is None else key
        self._mapped = lru_cache(maxsize=1 << 18)(self._map)
        self._flipped = lru_cache(maxsize=1 << 18)(self._flip)

    def __call__(self, size: int, hi: int, lo: int) -> tuple[int, int]:
        """Return the halves of what replaces an address of ``size`` bytes (4, 6 or 16)."""
        return self._mapped(size, hi, lo)

    def text(self, address: str) -> str:
        """Return what replaces an IP address, both as text."""
        parsed = ip_address(address)
        value = int(parsed)
        hi, lo = self(parsed.max_prefixlen // 8, value >> 64, value & (1 << 64) - 1)
        return str(type(parsed)(hi << 64 | lo))

    def _map(self, size: int, hi: int, lo: int) -> tuple[int, int]:
        """Return the halves of the replacement, from scratch."""
        if size == MAC:
            return 0, self._mac(lo)
        value = self._address(hi << 64 | lo, 8 * size)
        return value >> 64, value & (1 << 64) - 1

    def _address(self, value: int, bits: int) -> int:
        """Return the replacement of an IP address of 32 or 128 bits."""
        for start, length, keep in _BLOCKS[bits]:
            if value >> (bits - length) == start >> (bits - length):
                if keep:
                    return value
                break
        result = 0
        for n in range(bits):
            bit = value >> (bits - 1 - n) & 1
            result = result << 1 | bit ^ self._flipped(bits, n, value >> (bits - n))
        return result

    def _flip(self, bits: int, n: int, prefix: int) -> int:
        """Return whether the bit after the ``n`` bits of ``prefix`` changes; never on the way to a block of its own."""
        for start, length, _ in _BLOCKS[bits]:
            if n < length and start >> (bits - n) == prefix:
                return 0
        return self._hash(b"%d/%d/%d" % (bits, n, prefix)) & 1

    def _mac(self, value: int) -> int:
        """Return a locally administered unicast MAC; groups, broadcast and the empty address stay."""
        if value >> _SOLICITED_BITS == _SOLICITED:
            return _SOLICITED << _SOLICITED_BITS | self._hash(b"mac/%d" % value) & (1 << _SOLICITED_BITS) - 1
        if value == 0 or value & _GROUP:
            return value
        return self._hash(b"mac/%d" % value) & ~(_GROUP | _LOCAL_UNICAST) & (1 << 48) - 1 | _LOCAL_UNICAST

    def _hash(self, message: bytes) -> int:
        """Return 64 pseudo-random bits."""
        return int.from_bytes(blake2s(message, key=self._key, digest_size=8).digest(), "big")
