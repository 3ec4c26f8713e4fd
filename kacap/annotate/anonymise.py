"""Other addresses for a capture that leaves the house: consistent, the same prefixes shared, from a keyed hash.

Two addresses that share their first n bits are mapped to two that share their first n bits (prefix-preserving, as
Crypto-PAn: Xu and others, "Prefix-preserving IP address anonymization", 2002). One keyed BLAKE2s (RFC 7693) of the
bytes before a byte says which of its bits change, for every value of it: 255 answers of one digest. What an address is
*for* stays visible: private stays private, loopback, multicast and broadcast stay as they are.
Whoever holds pairs of old and new addresses learns about their neighbours: the price of keeping prefixes.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from hashlib import blake2s
from ipaddress import ip_address, ip_network
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kacap.wire.replace import IPV4, IPV6, MAC

KEY_BYTES = 32
DIGEST_BYTES = 32  # a bit for each n < 8 and each first n bits of a byte

# Blocks that are mapped onto themselves, by the IANA special-purpose registries; the longest that holds an address
# counts. Of those that are kept, every address stays as it is.
_KEPT = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8")
_WITHIN = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
    "ff02::1:ff00:0/104",
)

# Addresses of one size, a row of bytes each.
Addresses: TypeAlias = NDArray[np.uint8]


def _blocks(size: int) -> list[tuple[Addresses, Addresses, bool]]:
    """Return the blocks of addresses of ``size`` bytes as (first address, mask, kept), shortest first."""
    named = [(ip_network(text), text in _KEPT) for text in (*_KEPT, *_WITHIN)]
    found = sorted(((net, kept) for net, kept in named if net.max_prefixlen == 8 * size), key=lambda n: n[0].prefixlen)
    return [
        (np.frombuffer(net.network_address.packed, np.uint8), np.frombuffer(net.netmask.packed, np.uint8), kept)
        for net, kept in found
    ]


def _fixed(size: int) -> dict[bytes, int]:
    """Return by the bytes before a byte which of its bits never change: those on the way to a block of its own.

    They are bits of a digest, as ``Anonymiser._digest`` has them.
    """
    found: dict[bytes, int] = defaultdict(int)
    for start, mask, _ in _blocks(size):
        for n in range(int(np.unpackbits(mask).sum())):
            at, first = n // 8, n % 8
            found[start[:at].tobytes()] |= 1 << (1 << first | int(start[at]) >> (8 - first))
    return dict(found)


_BLOCKS = {size: _blocks(size) for size in (IPV4, IPV6)}
_FIXED = {size: _fixed(size) for size in (IPV4, IPV6)}

# MACs with the group bit stay as they are, except those that spell a part of an IPv6 address (RFC 2464 section 7).
_GROUP = 1 << 40
_LOCAL_UNICAST = 0x02 << 40
_SOLICITED, _SOLICITED_BITS = 0x3333FF, 24


class Anonymiser:
    """Maps addresses under one key; the same key gives the same addresses. Call it as ``replace_addresses`` does."""

    def __init__(self, key: bytes | None = None) -> None:
        """Use ``key`` (up to 32 bytes), or one drawn for this object alone and kept nowhere."""
        self._key = secrets.token_bytes(KEY_BYTES) if key is None else key

    def __call__(self, addresses: Addresses) -> Addresses:
        """Return what replaces addresses of one size (4, 6 or 16 bytes), which are in order."""
        size = addresses.shape[1]
        if size == MAC:
            mapped = b"".join(self._mac(row.tobytes()) for row in addresses)
            return np.frombuffer(mapped, np.uint8).reshape(-1, MAC)
        new = np.empty_like(addresses)
        fresh = np.zeros(len(addresses), np.bool_)  # unlike the address before it in one of the bytes so far
        fresh[:1] = True
        for at in range(size):
            before = addresses[fresh, :at].tobytes()
            digests = b"".join(self._digest(before[i * at : i * at + at], size) for i in range(int(fresh.sum())))
            bits = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)
            new[:, at] = _changed(addresses[:, at], bits, np.cumsum(fresh) - 1)
            fresh[1:] |= addresses[1:, at] != addresses[:-1, at]
        stays = np.zeros(len(addresses), np.bool_)
        for start, mask, kept in _BLOCKS[size]:
            stays[((addresses & mask) == start).all(axis=1)] = kept
        new[stays] = addresses[stays]
        return new

    def text(self, address: str) -> str:
        """Return what replaces an IP address, both as text."""
        parsed = ip_address(address)
        mapped = self(np.frombuffer(parsed.packed, np.uint8)[np.newaxis])
        return str(ip_address(mapped.tobytes()))

    def _digest(self, before: bytes, size: int) -> bytes:
        """Return which bits change in the byte behind ``before``, the first bytes of an address of ``size``.

        Bit ``1 << n | first`` of it says, where the first n bits of the byte are ``first``, whether the next changes.
        """
        digest = blake2s(b"%d/%d/%b" % (size, len(before), before), key=self._key, digest_size=DIGEST_BYTES).digest()
        fixed = _FIXED[size].get(before)
        if fixed is not None:
            digest = (int.from_bytes(digest, "little") & ~fixed).to_bytes(DIGEST_BYTES, "little")
        return digest

    def _mac(self, address: bytes) -> bytes:
        """Return a locally administered unicast MAC; groups, broadcast and the empty address stay."""
        value = int.from_bytes(address, "big")
        if value >> _SOLICITED_BITS == _SOLICITED:
            value = _SOLICITED << _SOLICITED_BITS | self._hash(address) & (1 << _SOLICITED_BITS) - 1
        elif value and not value & _GROUP:
            value = self._hash(address) & ~(_GROUP | _LOCAL_UNICAST) & (1 << 48) - 1 | _LOCAL_UNICAST
        return value.to_bytes(MAC, "big")

    def _hash(self, address: bytes) -> int:
        """Return 64 pseudo-random bits for a MAC."""
        return int.from_bytes(blake2s(b"mac/%b" % address, key=self._key, digest_size=8).digest(), "big")


def _changed(values: Addresses, bits: Addresses, which: NDArray[np.int64]) -> Addresses:
    """Return bytes with those bits changed that their digests (``which`` of them) say."""
    node, new = np.ones(len(values), np.int64), np.zeros(len(values), np.uint8)
    for shift in range(7, -1, -1):
        bit = values >> shift & 1
        new = new << 1 | bit ^ (bits[which, node >> 3] >> (node & 7).astype(np.uint8) & 1)
        node = node << 1 | bit
    return new
