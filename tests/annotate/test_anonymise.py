"""The mapping of addresses: prefixes kept, nothing mapped twice, special addresses left what they are."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacap.annotate.anonymise import Anonymiser

MAPPED = Anonymiser(bytes(range(32)))


def shared_bits(one: str, other: str) -> int:
    """How many leading bits two addresses have in common."""
    a, b = ip_address(one), ip_address(other)
    return a.max_prefixlen - (int(a) ^ int(b)).bit_length()


def mac(value: int) -> int:
    """What a MAC is mapped to, both as numbers."""
    row = np.frombuffer(value.to_bytes(6, "big"), np.uint8).reshape(1, 6)
    return int.from_bytes(MAPPED(row).tobytes(), "big")


@pytest.mark.slow
@given(st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)) | st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)))
def test_two_addresses_share_as_many_leading_bits_as_before(pair):
    one, other = map(str, pair)
    assert shared_bits(MAPPED.text(one), MAPPED.text(other)) == shared_bits(one, other)


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("10.1.2.3", "10.0.0.0/8"),
        ("172.20.1.1", "172.16.0.0/12"),
        ("192.168.1.1", "192.168.0.0/16"),
        ("169.254.9.9", "169.254.0.0/16"),
        ("100.64.1.1", "100.64.0.0/10"),
        ("fe80::1", "fe80::/10"),
        ("fd00::1", "fc00::/7"),
    ],
)
def test_private_and_link_local_addresses_stay_in_their_block_and_change(address, block):
    assert ip_address(MAPPED.text(address)) in ip_network(block)
    assert MAPPED.text(address) != address


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.251", "255.255.255.255", "::", "::1", "ff02::fb"])
def test_loopback_multicast_and_broadcast_stay_as_they_are(address):
    assert MAPPED.text(address) == address


@pytest.mark.slow
@given(st.lists(st.ip_addresses(v=4), min_size=1) | st.lists(st.ip_addresses(v=6), min_size=1))
def test_addresses_are_mapped_together_as_each_alone(addresses):
    rows = sorted({address.packed for address in addresses})
    together = MAPPED(np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1))
    assert [str(ip_address(row.tobytes())) for row in together] == [MAPPED.text(str(ip_address(row))) for row in rows]


def test_the_same_key_gives_the_same_addresses_and_another_key_others():
    assert Anonymiser(bytes(range(32))).text("8.8.8.8") == MAPPED.text("8.8.8.8")
    assert Anonymiser(b"another").text("8.8.8.8") != MAPPED.text("8.8.8.8")
    assert Anonymiser().text("2001:db8::1") != Anonymiser().text("2001:db8::1")


@pytest.mark.slow
@given(st.integers(0, (1 << 48) - 1))
def test_a_mac_becomes_local_and_unicast_and_groups_stay(value):
    mapped = mac(value)
    if value >> 40 & 1:
        assert mapped == value or value >> 24 == mapped >> 24 == 0x3333FF
    elif value:
        assert mapped >> 40 & 3 == 2
        assert mac(value) == mapped
