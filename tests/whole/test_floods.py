"""Floods of single segments: how many connections are kept for what may come, and that the others are counted."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from bench_reader import ACK, FRAME, RST, SYN, strangers

import kacap

KEPT = {SYN: 1 << 15, RST: 1 << 15, ACK: 1 << 16}
SIZE = 70  # bytes of a record
MORE = 1000


def flood(flags: int) -> bytes:
    """Return a pcap of some more segments than are kept, each of another sender."""
    return strangers((KEPT[flags] + MORE) * SIZE, flags)


def replies(capture: bytes, to: tuple[int, ...]) -> bytes:
    """Return records of what answers these segments of a capture if they are probes, a millisecond after its last."""
    records = np.frombuffer(capture, np.uint8, offset=24).reshape(-1, SIZE)
    found = b""
    for number in to:
        client = records[number, 42:46].tobytes()
        packet = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, bytes([10, 0, 0, 1]), client)
        packet += struct.pack(">HHIIBBHHH", 80, 1, 0, 1, 0x50, ACK, 1000, 0, 0)
        found += struct.pack("<IIII", 1_700_000_000, 999_999, SIZE - 16, SIZE - 16) + FRAME[:14] + packet
    return found


@pytest.mark.parametrize("flags", KEPT)
def test_of_connections_of_one_segment_the_oldest_are_let_go_and_counted(flags: int, tmp_path: Path):
    path = tmp_path / "flood.pcap"
    path.write_bytes(flood(flags))
    found = kacap.read(str(path)).unprobed
    assert (found.connections, found.let_go) == (KEPT[flags] + MORE, MORE)


def test_an_ack_among_very_many_proves_to_be_a_probe_if_it_is_answered_before_it_is_let_go(tmp_path: Path):
    path, capture = tmp_path / "flood.pcap", flood(ACK)
    path.write_bytes(capture + replies(capture, (MORE, len(capture) // SIZE - 1, MORE - 1)))
    probes = kacap.read(str(path)).probes
    assert [probe.frame.number for probe in probes] == [MORE + 1, len(capture) // SIZE]
