"""A capture among others, under other names, in other files: what is said of it stays.

Each relation holds for every shipped capture: the record of a connection, its probes, its verdict and the findings
about it do not know what else was captured, how many files there are, of which format, or what the hosts are called.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import analysing
import numpy as np
import pytest
from analysing import Heard, analyse_segments, files_of, frames_of, segments_of, summary

import kacap
from kacap.capture.frames import FrameBatch
from kacap.model import Connection, Finding
from kacap.summary import CaptureSummary

pytestmark = pytest.mark.slow

CASES = analysing.small_cases()
EVERY = pytest.mark.parametrize("case", CASES)
FEW = pytest.mark.parametrize("case", [case for case in CASES if analysing.bytes_of(case) < 50_000])
COPY = 1_000_000  # a copy's frames are numbered from here on
ADDRESS = re.compile(r"\b(\d+\.\d+\.\d+\.\d+|(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4})(?=[':\s.,);\]]|$)")


def renamed(rows: np.ndarray, number: int) -> np.ndarray:
    """The same between hosts of other names: each address gets another low part, private ones stay private."""
    rows = rows.copy()
    for end in ("src", "dst", "by"):
        used = (rows[f"{end}_hi"] != 0) | (rows[f"{end}_lo"] != 0)
        rows[f"{end}_lo"] = np.where(used, rows[f"{end}_lo"] ^ np.uint64(number << 8), rows[f"{end}_lo"])
    return rows


def copied(rows: np.ndarray, number: int) -> np.ndarray:
    """The same again between other hosts, at the same times, in frames of other numbers."""
    rows = renamed(rows, 0x40 * number)
    rows["frame"] += COPY * number
    return rows


def merged(*parts: np.ndarray) -> np.ndarray:
    """Segments of several captures in order of time; of one time in the order of the captures."""
    rows = np.concatenate(parts)
    return rows[np.argsort(rows["time_ns"], kind="stable")]


def names(text: str, number: int) -> str:
    """A record with the addresses that ``renamed`` gave called as before."""

    def before(found: re.Match[str]) -> str:
        if "." not in found[1]:
            if "::" not in found[1] and found[1].count(":") < 7:  # a time of day, an address with its port
                return found[1]
            head, _, last = found[1].rpartition(":")
            return f"{head}:{int(last or '0', 16) ^ (number << 8) & 0xFFFF:x}"
        a, b, c, d = map(int, found[1].split("."))
        return f"{a}.{b}.{c ^ number & 0xFF}.{d}"

    return ADDRESS.sub(before, text)


def frame_number(text: str) -> int:
    """The first frame that a record names."""
    found = re.search(r"FrameRef\(file=\d+, number=(\d+)\)", text)
    return int(found[1]) if found else 0


def plain(text: str) -> str:
    """A record without the numbers that a copy has of its own: of its connection, and of its frames."""
    text = re.sub(r"\b(connection|row)=\d+", r"\1=N", text)
    text = re.sub(r"observed_until_ns=\d+, ", "", text)
    return re.sub(r"(number=|frames? |to |, |and )(\d{7,})", lambda m: f"{m[1]}{int(m[2]) % COPY}", text)


def about(heard: Heard, wanted: Callable[[Connection], bool]) -> list[str]:
    """What was told about the connections ``wanted``, findings left out that hold for several connections."""
    mine = {c.connection for c in heard.analysis.connections if wanted(c)}
    told = [
        plain(text)
        for text, record in zip(heard.records, heard.objects, strict=True)
        if not isinstance(record, CaptureSummary)
        and getattr(record, "connection", None) in mine
        and not (isinstance(record, Finding) and record.connection is None)
    ]
    verdicts = [f"{c.verdict.mood} {c.verdict.sentence}" for c in heard.analysis.connections if wanted(c)]
    return sorted([*told, *verdicts])


@FEW
def test_another_connection_in_the_capture_changes_nothing_that_is_said(case: str) -> None:
    """Two copies between other hosts, one told before and one after it in every moment: the strictest stranger."""
    rows = segments_of(case)
    own = {(c.a, c.b) for c in analyse_segments(rows, keep_all=True).analysis.connections}

    def mine(connection: Connection) -> bool:
        return (connection.a, connection.b) in own

    alone = about(analyse_segments(rows, keep_all=True), mine)
    for parts in ((copied(rows, 1), rows), (rows, copied(rows, 1)), (copied(rows, 1), rows, copied(rows, 2))):
        assert about(analyse_segments(merged(*parts), keep_all=True), mine) == alone


@EVERY
def test_under_other_names_the_same_is_said(case: str) -> None:
    rows = segments_of(case)
    expected = sorted(analyse_segments(rows).records)
    for number in (1, 0x55):
        again = [names(text, number) for text in analyse_segments(renamed(rows, number)).records]
        assert sorted(again) == expected


@EVERY
def test_at_other_ports_the_same_is_said(case: str) -> None:
    rows = segments_of(case).copy()
    ports = sorted({int(p) for end in ("src", "dst") for p in rows[f"{end}_port"]})
    others = {port: port + 1 if port < 65_535 else port for port in ports}
    if len(set(others.values())) < len(others):
        pytest.skip("its ports are neighbours")
    for end in ("src", "dst"):
        rows[f"{end}_port"] = [others[int(port)] for port in rows[f"{end}_port"]]
    back = {str(other): str(port) for port, other in others.items()}

    def before(text: str) -> str:
        text = re.sub(r"port=(\d+)", lambda m: f"port={back[m[1]]}", text)
        return re.sub(r"(?<=[0-9a-f\]]:)(\d+)\b", lambda m: back.get(m[1], m[1]), text)

    found = sorted(map(before, analyse_segments(rows).records))
    raised = [ported(text, others) for text in analyse_segments(segments_of(case)).records]
    assert found == sorted(map(before, raised))


def ported(text: str, others: dict[int, int]) -> str:
    """A record with each port raised, so that both sides of a comparison are read back in the same way."""
    text = re.sub(r"port=(\d+)", lambda m: f"port={others[int(m[1])]}", text)
    return re.sub(r"(?<=[0-9a-f\]]:)(\d+)\b", lambda m: str(others.get(int(m[1]), m[1])), text)


def pcap(batch: FrameBatch, frames: np.ndarray, path: Path) -> str:
    """Write some frames, all of one link type, as a classic capture."""
    with path.open("wb") as out:
        link_type = int(frames["link_type"][0]) if len(frames) else 1
        out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link_type))
        for row in frames:
            second, rest = divmod(int(row["time_ns"]), 10**9)
            data = batch.buffer[row["offset"] :][: row["captured_len"]].tobytes()
            out.write(struct.pack("<IIII", second, rest, len(data), int(row["wire_len"])) + data)
    return str(path)


def read(files: Iterable[str]) -> tuple[str, int]:
    """What reading files tells, frames counted through all of them; and how many frames there were."""
    files = list(files)
    analysis = kacap.read(files)
    starts, number = [], 0
    for name in files:
        starts.append(number)
        number += kacap.read(name).capture.frames
    frame = re.compile(r"FrameRef\(file=(\d+), number=(\d+)\)")
    text = frame.sub(lambda m: f"frame {starts[int(m[1])] + int(m[2])}", summary(analysis))
    return text.partition("first_ns=")[2], number  # before that: names and numbers of files


def as_classic(case: str) -> FrameBatch:
    """The frames of a case that can be written as one classic pcap: one link type, in order of time; else skips."""
    batch = frames_of(case)
    if len(set(batch.frames["link_type"])) > 1 or (np.diff(batch.frames["time_ns"]) < 0).any():
        pytest.skip("more than one link type, or not in order of time")
    return batch


@FEW
def test_split_into_files_the_same_is_said(case: str, tmp_path: Path) -> None:
    batch = as_classic(case)
    expected = read([pcap(batch, batch.frames, tmp_path / "whole.pcap")])
    for parts in (2, 5):
        cuts = np.array_split(batch.frames, min(parts, len(batch.frames)))
        files = [pcap(batch, rows, tmp_path / f"{parts}-{n}.pcap") for n, rows in enumerate(cuts)]
        assert without_breaks(read(files)) == without_breaks(expected)


def without_breaks(told: tuple[str, int]) -> tuple[str, int]:
    """What is said but for where files end: that belongs to the files."""
    return re.sub(r"breaks=\[(\[[^]]*\](, )?)*\]", "breaks=[]", told[0]), told[1]


@pytest.mark.tool("editcap")
@FEW
def test_from_pcap_to_pcapng_and_back_the_same_is_said(case: str, tmp_path: Path) -> None:
    batch = as_classic(case)
    first = pcap(batch, batch.frames, tmp_path / "one.pcap")
    second, third = str(tmp_path / "two.pcapng"), str(tmp_path / "three.pcap")
    subprocess.run([shutil.which("editcap"), "-F", "pcapng", first, second], check=True, capture_output=True)
    subprocess.run([shutil.which("editcap"), "-F", "nsecpcap", second, third], check=True, capture_output=True)
    assert read([first]) == read([second]) == read([third])


@pytest.mark.parametrize("case", ["lab/up", "lab/rotated"])
def test_a_shipped_capture_reads_as_the_classic_one_made_of_its_frames(case: str, tmp_path: Path) -> None:
    """So that the relations above hold for the files that ship, too."""
    batch = as_classic(case)
    made = kacap.read(pcap(batch, batch.frames, tmp_path / "x.pcap"))
    shipped = kacap.read(files_of(case))
    assert [c.verdict.sentence for c in made.connections] == [c.verdict.sentence for c in shipped.connections]
    assert [f.id for f in made.findings] == [f.id for f in shipped.findings]
