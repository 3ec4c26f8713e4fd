"""What every live source does, whoever captures: order, limits, time that passes without frames."""

from __future__ import annotations

import itertools
import os
import time

import numpy as np
import pytest

from kacap.capture.frames import FRAME, FrameBatch
from kacap.capture.live_capture import ENGINES, open_live
from kacap.capture.live_program import commands, counts_in, refusal
from kacap.capture.live_source import SETTLE_NS, LiveSource, no_frames
from kacap.capture.rights import CannotCaptureError
from kacap.errors import FilterError, UsageError
from kacap.summary import Drop

S = 1_000_000_000
T0 = 1_700_000_000_000_000_000


class FakeInterface:
    """Hands out prepared batches, one for each call; its descriptor is always readable."""

    engine, fault, counting = "fake", None, True

    def __init__(self, index: int, *batches: list[int]):
        self.name, self.index, self.batches, self.ended, self.halted = f"eth{index}", index, list(batches), False, False
        self.link_types, self.damages, self.drops, self.closed = [1], [], [], False
        self.dropped = itertools.repeat(2)
        self._fd = os.open(os.devnull, os.O_RDONLY)
        self._frame = 0

    def fileno(self):
        return self._fd

    def drain(self, limit):
        if not self.batches:
            self.ended = True
            return no_frames()
        times = self.batches.pop(0)
        rows = np.zeros(len(times), FRAME)
        rows["time_ns"], rows["captured_len"], rows["wire_len"], rows["file"] = times, 2, 2, self.index
        rows["offset"] = 2 * np.arange(len(times))
        rows["frame"] = np.arange(self._frame + 1, self._frame + len(times) + 1)
        self._frame += len(times)
        return FrameBatch(np.repeat(np.uint8([(t - T0) % 256 for t in times]), 2), rows[:limit])

    def counts(self):
        return 10, next(self.dropped), None

    def halt(self):
        self.halted = True

    def close(self):
        self.closed = True


def seen(source) -> list[tuple[int, int, int]]:
    """Return (time since T0, interface, first byte) of every frame, in order."""
    found = []
    for batch in source:
        for row in batch.frames:
            found.append((int(row["time_ns"]) - T0, int(row["file"]), int(batch.buffer[row["offset"]])))
    return found


def test_frames_of_several_interfaces_come_in_time_order_with_their_own_bytes():
    interfaces = FakeInterface(0, [T0 + 1, T0 + 5], [T0 + 9]), FakeInterface(1, [T0 + 2, T0 + 7], [T0 + 8])
    found = seen(LiveSource(interfaces, now=lambda: T0 + 10))
    assert [time for time, _, _ in found] == [1, 2, 5, 7, 8, 9]
    assert [index for _, index, _ in found] == [0, 1, 0, 1, 1, 0]
    assert all(byte == time for time, _, byte in found)


def test_a_young_frame_waits_for_older_ones_of_another_interface():
    clock = iter(range(T0 + SETTLE_NS, T0 + 100 * SETTLE_NS, SETTLE_NS // 10))
    interfaces = FakeInterface(0, [T0 + SETTLE_NS], [], []), FakeInterface(1, [], [T0 + 3], [])
    assert [time for time, _, _ in seen(LiveSource(interfaces, now=lambda: next(clock)))] == [3, SETTLE_NS]


def test_the_source_ends_after_exactly_the_wanted_number_of_frames():
    first, second = FakeInterface(0, [T0] * 4), FakeInterface(1, [T0] * 4)
    for interfaces in ([FakeInterface(0, [T0] * 3, [T0] * 3, [T0] * 3)], [first, second]):
        source = LiveSource(interfaces, limit=5, now=lambda: T0 + 2 * SETTLE_NS)
        assert len(seen(source)) == 5
        assert source.frames == source.counters().captured == 5
        assert all(interface.closed for interface in interfaces)


def test_a_stopped_source_still_hands_out_what_had_arrived():
    interface = FakeInterface(0, [T0 + 1], [T0 + 2], [T0 + 3])
    source = LiveSource([interface], now=lambda: T0 + 10)
    batches = iter(source)
    next(batches)
    source.stop()
    assert sum(len(batch.frames) for batch in batches) == 2
    assert interface.halted


@pytest.mark.slow
def test_a_batch_comes_although_nothing_arrives():
    read_end, write_end = os.pipe()
    interface = FakeInterface(0, *[[]] * 3)
    interface._fd = read_end
    start = time.monotonic()
    batches = list(LiveSource([interface]))
    assert len(batches) >= 3 and not any(len(batch.frames) for batch in batches)
    assert time.monotonic() - start < 5
    os.close(write_end)


def test_counters_add_up_and_say_nothing_of_what_is_not_known():
    source = LiveSource([FakeInterface(0), FakeInterface(1)], now=lambda: T0)
    assert source.counters().lines() == [
        "0 packets captured",
        "20 packets received by filter",
        "4 packets dropped by kernel",
    ]


def test_a_drop_counter_that_rises_tells_between_which_two_looks_frames_were_dropped():
    interface, other = FakeInterface(0, [T0], [], [], []), FakeInterface(1, [])
    interface.dropped, other.dropped = itertools.chain([0, 3, 3, 6], itertools.repeat(7)), itertools.repeat(0)
    clock = itertools.count(T0, S // 4)
    source = LiveSource([interface, other], now=lambda: next(clock))
    looks = [source.now_ns]
    for _ in source:
        looks.append(source.now_ns)
    assert source.drops == [Drop(looks[1], looks[2], 3, "eth0"), Drop(looks[3], looks[5], 4, "eth0")]
    assert source.dropped == 7


def test_what_tells_of_drops_by_itself_is_not_counted_twice():
    told = Drop(T0, T0 + 5, 2, "eth7")
    interface = FakeInterface(0, [T0], [])
    interface.counting, interface.drops = False, [told]
    source = LiveSource([interface], now=lambda: T0 + 9)
    assert len(seen(source)) == 1
    assert (source.drops, source.dropped) == ([told], 2)


def test_time_of_another_host_goes_on_from_its_newest_frame():
    clock = itertools.count(50, 10)
    source = LiveSource([FakeInterface(0, [T0], [])], now=lambda: next(clock), theirs=True)
    moments = [source.now_ns for _ in source]
    assert moments[0] < 1000
    assert T0 < moments[1] < T0 + 100


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_an_unknown_interface_is_named_by_every_engine(engine):
    if engine == "dumpcap" and not any(commands("lo", _options())):
        pytest.skip("needs dumpcap or tcpdump")
    with pytest.raises(CannotCaptureError, match=r"nosuch0: no such interface|no permission to capture"):
        open_live(["nosuch0"], engine=engine)


def _options():
    from kacap.capture.live_source import CaptureOptions

    return CaptureOptions()


def test_an_unknown_engine_and_no_interface_are_usage():
    with pytest.raises(UsageError, match="known are auto, ring, scapy, dumpcap"):
        open_live(["lo"], engine="bpf")
    with pytest.raises(UsageError, match="name an interface"):
        open_live([])


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        ("8 packets captured\n16 packets received by filter\n3 packets dropped by kernel\n", (16, 3, None)),
        (
            "1 packet captured\n1 packet received by filter\n0 packets dropped by kernel\n"
            "7 packets dropped by interface\n",
            (1, 0, 7),
        ),
        (
            "Packets received/dropped on interface 'lo': 10/2 (pcap:2/dumpcap:0/flushed:0/ps_ifdrop:4) (83.3%)",
            (12, 2, 4),
        ),
        ("Packets received/dropped on interface 'lo': 10/0", (10, 0, 0)),
        ("", (None, None, None)),
    ],
)
def test_the_counters_of_tcpdump_and_dumpcap_are_read_from_their_last_words(words, counts):
    assert counts_in(words) == counts


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ("tcpdump: eth0: You don't have permission to capture on that device\n", CannotCaptureError, "permission"),
        ("tcpdump: can't parse filter expression: syntax error\n", FilterError, "refused by tcpdump"),
        ("tcpdump: eth9: No such device exists\n", CannotCaptureError, "eth0: no such interface"),
        ("", CannotCaptureError, "ended without a word"),
    ],
)
def test_a_program_that_refuses_is_understood(words, error, says):
    refused = refusal("tcpdump", "eth0", words)
    assert type(refused) is error
    assert says in str(refused)
