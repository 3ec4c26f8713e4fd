"""tshark in the place of kacap's decoder: the same rows, from the same files, and clear words where it is missing."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import analysing
import numpy as np
import pytest
from timelines import write_pcap
from unit.test_wire_tshark import built_by_scapy

import kacap
from kacap.capture import open_captures
from kacap.capture.frames import FRAME, FrameBatch
from kacap.capture.tshark import decoder as decoders
from kacap.capture.tshark import program
from kacap.capture.tshark.decoder import Decoder
from kacap.capture.tshark.fields import AT, FIELDS
from kacap.capture.tshark.layers import layers
from kacap.capture.tshark.rows import ZERO, row_of, table
from kacap.errors import CaptureError, Damage
from kacap.segments import SEGMENT
from kacap.wire import SkipReason, decode

pytestmark = pytest.mark.slow

tshark = pytest.mark.tool("tshark")
CUT_OFF = "lab/cut-off"
C_HDLC, FRELAY = 104, 107  # link types that kacap does not decode and tshark does


@pytest.fixture(scope="module")
def by_tshark() -> Iterator[Decoder]:
    found = Decoder()
    yield found
    found.close()


def differences(batches: Iterable[FrameBatch], other: Decoder) -> list[str]:
    """Decode with both; return what differs, in words."""
    wrong, mine, theirs = [], np.zeros(len(SkipReason), np.int64), np.zeros(len(SkipReason), np.int64)
    for batch in batches:
        one, two = decode(batch, mine), other(batch, theirs)
        frames = [list(zip(rows["file"].tolist(), rows["frame"].tolist(), strict=True)) for rows in (one, two)]
        if frames[0] != frames[1]:
            wrong.append(f"segments of one only: {sorted(set(frames[0]) ^ set(frames[1]))[:5]}")
            continue
        for name in SEGMENT.names or ():
            wrong += [
                f"{one[i]['frame']}: {name} {one[i][name]}, tshark {two[i][name]}"
                for i in np.flatnonzero(one[name] != two[name])[:3]
            ]
    if mine.sum() != theirs.sum():
        wrong.append(f"left out: {mine.sum()}, tshark {theirs.sum()}")
    return wrong


@tshark
@pytest.mark.parametrize("case", analysing.every_case())
def test_both_engines_give_the_same_rows_for_every_shipped_capture(case: str, by_tshark: Decoder) -> None:
    assert differences([analysing.frames_of(case)], by_tshark) == []


@tshark
@pytest.mark.shared
def test_both_engines_give_the_same_rows_for_the_public_captures(shared: Path, by_tshark: Decoder) -> None:
    files = [str(path) for path in sorted(shared.iterdir()) if path.suffix in analysing.SUFFIXES]
    assert len(files) > 20
    wrong = {name: found for name in files if (found := differences(open_captures([name]), by_tshark))}
    assert wrong == {}


@tshark
def test_both_engines_give_the_same_rows_for_every_encapsulation(by_tshark: Decoder) -> None:
    wrong = {}
    for name, (link_type, packet) in built_by_scapy().items():
        if name == "NFLOG, big-endian":  # tshark takes the byte order from the file, not from the frame
            continue
        data = bytes(packet)
        row = np.zeros(1, FRAME)
        row["captured_len"] = row["wire_len"] = len(data)
        row["link_type"], row["frame"] = link_type, 1
        if found := differences([FrameBatch(np.frombuffer(data, np.uint8), row)], by_tshark):
            wrong[name] = found
    assert wrong == {}


@tshark
def test_both_engines_tell_the_same_records() -> None:
    for case in (CUT_OFF, "lab/rotated", "lab/unreachable-ipv6", "crafted/32-two-vlans"):
        told: dict[str, list[str]] = {}
        for engine in ("kacap", "tshark"):
            heard = analysing.Heard()
            kacap.read(analysing.files_of(case), sink=heard.take, segments="all", engine=engine)  # type: ignore[arg-type]
            told[engine] = sorted(heard.records)
        assert told["kacap"] == told["tshark"], case


@tshark
def test_a_filter_keeps_the_frame_numbers_with_either_engine() -> None:
    found = [
        kacap.read(analysing.files_of(CUT_OFF), "tcp and src host 10.1.0.2", engine=engine)  # type: ignore[arg-type]
        for engine in ("kacap", "tshark")
    ]
    assert found[0].probes
    assert found[0].probes == found[1].probes
    assert found[0].capture == found[1].capture


@tshark
def test_a_new_tshark_takes_over_before_the_old_one_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "FRAMES_PER_PROCESS", 3)
    started = []
    monkeypatch.setattr(decoders, "Running", lambda *a, **k: started.append(1) or program.Running(*a, **k))
    ours = Decoder()
    batch = analysing.frames_of(CUT_OFF)
    assert differences(analysing.pieces(batch, range(1, len(batch.frames))), ours) == []
    ours.close()
    assert len(started) > 2


@tshark
def test_it_works_beside_a_running_event_loop_and_in_threads() -> None:
    files = analysing.files_of(CUT_OFF)
    expected = kacap.read(files, engine="kacap").probes
    found: list[list[kacap.model.Probe]] = []  # type: ignore[name-defined]

    def look() -> None:
        found.append(kacap.read(files, engine="tshark").probes)

    async def inside() -> None:
        look()
        await asyncio.to_thread(look)

    asyncio.run(inside())
    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 5


def stripped(case: str, link_type: int, header: bytes, path: Path) -> str:
    """Write the IPv4 packets of an Ethernet capture behind another link header."""
    batch = analysing.frames_of(case)
    frames = []
    for row in batch.frames:
        data = batch.buffer[int(row["offset"]) : int(row["offset"]) + int(row["captured_len"])].tobytes()
        if data[12:14] == b"\x08\x00":
            frames.append((int(row["time_ns"]), header + data[14:]))
    write_pcap(path, frames, link_type)
    return str(path)


@tshark
@pytest.mark.parametrize(("link_type", "header"), [(C_HDLC, b"\x0f\0\x08\0"), (FRELAY, b"\x18\x41\x03\xcc")])
def test_a_link_type_that_only_tshark_knows_is_decoded_by_it(
    link_type: int, header: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.tell.cache_clear()
    known = kacap.read(stripped(CUT_OFF, 1, bytes(12) + b"\x08\0", tmp_path / "known.pcap"))
    other = kacap.read(stripped(CUT_OFF, link_type, header, tmp_path / "other.pcap"))
    assert known.probes
    assert other.probes == known.probes
    assert f"link type {link_type}" in capsys.readouterr().err
    assert kacap.read(str(tmp_path / "other.pcap"), engine="kacap").capture.skipped == {
        SkipReason.UNKNOWN_LINK_TYPE.text: known.capture.frames
    }


@tshark
def test_a_link_type_that_nobody_knows_is_counted(captures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.tell.cache_clear()
    found = kacap.read(str(captures / "broken" / "unknown-link-type.pcap"))
    assert found.capture.skipped == {SkipReason.UNKNOWN_LINK_TYPE.text: 1}
    assert "nor does tshark" in capsys.readouterr().err


@tshark
@pytest.mark.tool("editcap")
@pytest.mark.parametrize("form", ["snoop", "netmon2", "netmon1", "ngsniffer", "5views", "lanalyzer"])
def test_a_file_format_that_only_tshark_knows_is_converted(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.tell.cache_clear()
    source, path = analysing.files_of(CUT_OFF)[0], tmp_path / "capture"
    subprocess.run(["editcap", "-F", form, source, str(path)], check=True, capture_output=True)
    found, expected = kacap.read(str(path)), kacap.read(source)
    assert [probe.frame for probe in found.probes] == [probe.frame for probe in expected.probes]
    assert found.capture.segments == expected.capture.segments
    assert "tshark converts it" in capsys.readouterr().err
    with pytest.raises(CaptureError):
        kacap.read(str(path), engine="kacap")


@tshark
@pytest.mark.tool("editcap")
def test_a_foreign_file_that_ends_too_soon_is_damaged_there(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(["editcap", "-F", "snoop", analysing.files_of(CUT_OFF)[0], str(whole)], check=True)
    cut.write_bytes(whole.read_bytes()[:-30])
    found = kacap.read(str(cut))
    assert found.capture.frames == kacap.read(str(whole)).capture.frames - 1
    assert [type(damage) for damage in found.damages] == [Damage]
    assert "cut short" in found.damages[0].what


def test_without_tshark_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "find_program", lambda _: None)
    program.find.cache_clear()
    with pytest.raises(CaptureError, match=r"not found where only you and root can write; install it: apt install"):
        kacap.read(analysing.files_of(CUT_OFF), engine="tshark")
    snoop = tmp_path / "capture"
    snoop.write_bytes(b"snoop\0\0\0" + struct.pack(">II", 2, 4))
    with pytest.raises(CaptureError, match=r"is a snoop capture, which only tshark reads: tshark is not found where"):
        kacap.read(str(snoop))
    assert kacap.read(analysing.files_of(CUT_OFF)).probes


def test_where_pyshark_cannot_be_imported_only_tshark_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyshark", None)
    monkeypatch.setitem(sys.modules, "pyshark.tshark.tshark", None)
    program.find.cache_clear()
    with pytest.raises(CaptureError, match=r"pyshark, which drives tshark, cannot be used"):
        kacap.read(analysing.files_of(CUT_OFF), engine="tshark")
    assert kacap.read(analysing.files_of(CUT_OFF)).probes


def test_a_capture_that_kacap_decodes_loads_no_pyshark() -> None:
    code = f"import sys, kacap; kacap.read({analysing.files_of(CUT_OFF)!r}); print('pyshark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@tshark
def test_a_tshark_that_dies_ends_in_one_clear_error() -> None:
    ours, batch = Decoder(), analysing.frames_of(CUT_OFF)
    ours(batch, np.zeros(len(SkipReason), np.int64))
    (channel,) = ours.channels.values()
    channel.running.process.kill()
    with pytest.raises(CaptureError, match=r"tshark gave up on link type 1"):
        for _ in range(3):
            ours(batch, np.zeros(len(SkipReason), np.int64))
    ours.close()


@pytest.mark.parametrize(
    ("protocols", "reason"),
    [
        ("eth:ethertype:arp", SkipReason.NOT_IP),
        ("eth:ethertype:ip:udp:dns", SkipReason.NOT_TCP),
        ("eth:ethertype:ip:icmp", SkipReason.OTHER_ICMP),
        ("eth:ethertype:ip:esp", SkipReason.ENCRYPTED),
        ("eth:ethertype:ip:tcp:http", None),
    ],
)
def test_the_layers_tell_why_a_frame_is_left_out(protocols: str, reason: SkipReason | None) -> None:
    assert layers(protocols).reason == reason


def test_a_tunnel_known_by_name_only_is_part_of_the_lane() -> None:
    assert layers("eth:ethertype:ip:udp:l2tp:ppp:ip:tcp").tunnels == [("l2tp", 0)]
    assert layers("eth:ethertype:ip:ipv6:tcp").tunnels == [("ipv6", 0)]
    assert layers("eth:ethertype:vlan:ethertype:ip:ah:tcp").tunnels == [("vlan", 0)]


def test_numbers_that_no_header_holds_are_refused_in_one_line():
    with pytest.raises(CaptureError, match="too large for any header"):
        table([tuple((ZERO | {"seq": 1 << 64}).values())])


def test_a_tunnel_number_beyond_its_header_leaves_the_frame_out():
    words = [""] * len(FIELDS)
    words[AT["frame.protocols"]] = "eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:tcp"
    words[AT["vxlan.vni"]] = str(2**64)
    words[AT["ip.src"]] = words[AT["ip.dst"]] = "10.0.0.1,10.0.0.2"
    words[AT["ip.proto"]] = "17,6"
    words[AT["ip.flags.mf"]] = words[AT["ip.frag_offset"]] = "0,0"
    assert row_of(words, 1, 1, 0) is SkipReason.CUT_TCP
