"""The decoder and its plain twin read every frame alike: built at random, damaged, and cut at every length."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from compiled import checked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_rows import with_rows_as_compiled
from reference_decode import Segment, decode_frame
from strategies import frames, link

from kacap.capture.frames import FRAME, FrameBatch
from kacap.segments import (
    HAS_LAST_BYTE,
    HAS_SACK,
    HAS_TCP_OPTIONS,
    HAS_TIMESTAMPS,
    IS_FRAGMENT,
    IS_IPV6,
    IS_QUOTE,
)
from kacap.wire import SkipReason, decode

pytestmark = pytest.mark.slow

Frame = tuple[bytes, int, int]
INNER_RUN = bool(os.environ.get("KACAP_INNER_RUN"))  # slow, and the same bytes again: fewer of them reach all lines
RELAXED = settings(max_examples=40 if INNER_RUN else 300, deadline=None, suppress_health_check=list(HealthCheck))


if os.environ.get("NUMBA_DISABLE_JIT"):
    with_rows_as_compiled()


def batch_of(given_frames: list[Frame]) -> FrameBatch:
    """Frames one behind the other, with hostile bytes around them that nobody may read."""
    rows = np.zeros(len(given_frames), FRAME)
    buffer = b"\xff" * 7
    for row, (number, (data, wire_len, link_type)) in zip(rows, enumerate(given_frames, 1), strict=True):
        row["offset"], row["captured_len"], row["wire_len"] = len(buffer), len(data), wire_len
        row["link_type"], row["frame"], row["time_ns"] = link_type, number, number * 1000
        buffer += data
    return FrameBatch(np.frombuffer(buffer, np.uint8), rows)


def as_twin(row: np.void) -> Segment:
    """A row in the words of the twin; the encapsulation is compared apart."""
    has = int(row["has"])
    return Segment(
        src=int(row["src_hi"]) << 64 | int(row["src_lo"]),
        dst=int(row["dst_hi"]) << 64 | int(row["dst_lo"]),
        sport=int(row["src_port"]),
        dport=int(row["dst_port"]),
        seq=int(row["seq"]),
        ack=int(row["ack"]),
        flags=int(row["flags"]),
        window=int(row["window"]),
        payload_len=int(row["payload_len"]),
        has_options=bool(has & HAS_TCP_OPTIONS),
        timestamps=(int(row["tsval"]), int(row["tsecr"])) if has & HAS_TIMESTAMPS else None,
        sack=(int(row["sack_left"]), int(row["sack_right"])) if has & HAS_SACK else None,
        last_byte=int(row["last_byte"]) if has & HAS_LAST_BYTE else None,
        ttl=int(row["ttl"]),
        ip_id=int(row["ip_id"]),
        is_ipv6=bool(has & IS_IPV6),
        is_fragment=bool(has & IS_FRAGMENT),
        is_quote=bool(has & IS_QUOTE),
        by=int(row["by_hi"]) << 64 | int(row["by_lo"]),
        icmp_type=int(row["icmp_type"]),
        icmp_code=int(row["icmp_code"]),
    )


def compare(given_frames: list[Frame]) -> None:
    skipped = np.zeros(len(SkipReason), np.int64)
    rows = decode(batch_of(given_frames), skipped)
    twins = [decode_frame(*frame) for frame in given_frames]
    segments = [(number, twin) for number, twin in enumerate(twins, 1) if isinstance(twin, Segment)]
    assert [int(row["frame"]) for row in rows] == [number for number, _ in segments]
    assert len(rows) + skipped.sum() == len(given_frames)
    reasons = [twin for twin in twins if isinstance(twin, str)]
    assert {reason.name: int(skipped[reason]) for reason in SkipReason if skipped[reason]} == {
        name: reasons.count(name) for name in reasons
    }
    encapsulations: dict[tuple[tuple[str, int], ...], int] = {}
    for row, (_, twin) in zip(rows, segments, strict=True):
        encapsulation, twin.encapsulation = twin.encapsulation, ()
        assert as_twin(row) == twin
        assert encapsulations.setdefault(encapsulation, int(row["encapsulation"])) == int(row["encapsulation"])
    assert len(set(encapsulations.values())) == len(encapsulations), "two encapsulations with one number"
    assert encapsulations.get((), 0) == 0


@RELAXED
@given(st.lists(frames(), min_size=1, max_size=12))
def test_decoder_and_twin_agree_on_random_frames(given_frames: list[Frame]) -> None:
    compare(given_frames)


@RELAXED
@given(link())
def test_decoder_and_twin_agree_on_a_frame_cut_at_every_length(whole: tuple[int, bytes]) -> None:
    kind, data = whole
    compare([(data[:length], len(data), kind) for length in range(len(data) + 1)])


@RELAXED
@given(
    st.lists(
        st.tuples(st.binary(max_size=120), st.integers(0, 3000), st.sampled_from([0, 1, 9, 101, 127, 239])), max_size=20
    )
)
def test_decoder_and_twin_agree_on_noise(given_frames: list[Frame]) -> None:
    compare(given_frames)


def test_headers_without_end_are_refused_alike() -> None:
    ipip = bytes.fromhex("4500ffff00004000400400000a0000010a000002")
    label = bytes.fromhex("00001040")
    vlan = bytes.fromhex("00018100")
    compare([(ipip * n, 20 * n, 101) for n in range(20, 40)])
    compare([(b"\2" * 12 + b"\x88\x47" + label * n, 14 + 4 * n, 1) for n in range(20, 40)])
    compare([(b"\2" * 12 + b"\x81\x00" + vlan * n, 14 + 4 * n, 1) for n in range(20, 40)])


@pytest.mark.xdist_group("bounds")
@pytest.mark.parametrize("setting", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
def test_agreement_also_holds_with_bounds_checks_and_without_the_compiler(setting: str) -> None:
    if INNER_RUN:
        pytest.skip("this is the inner run")
    environment = {**os.environ, **checked(setting), "KACAP_INNER_RUN": "1"}
    command = [
        sys.executable,
        "-W",
        "error::RuntimeWarning",
        "-m",
        "pytest",
        "-q",
        "-x",
        "-n0",
        "-p",
        "no:cacheprovider",
        __file__,
    ]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
