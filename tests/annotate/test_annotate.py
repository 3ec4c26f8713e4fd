"""An annotated capture: what other programs read back, what stayed byte for byte, what is gone when asked to go."""

from __future__ import annotations

import io
import ipaddress
import struct
import subprocess
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from analysing import CAPTURES, files_of, small_cases
from forked import run
from make_broken import FRAME, block, interface, option, packet, pcap_header, record, section

import kacap
from kacap.annotate.annotated_copy import Changes, annotate
from kacap.annotate.anonymise import Anonymiser
from kacap.capture import open_captures
from kacap.timing.expectations import Expectation

KEY = bytes(range(32))


def annotated(files, **changes) -> bytes:
    """What annotating these files writes."""
    out = io.BytesIO()
    annotate([str(file) for file in files], out, Changes(**changes))
    return out.getvalue()


def blocks(data: bytes) -> list[tuple[str, int, bytes]]:
    """The blocks of a pcapng: byte order, type, body."""
    found, at, order = [], 0, "<"
    while at < len(data):
        if data[at : at + 4] == b"\n\r\r\n":
            order = ">" if data[at + 8] == 0x1A else "<"
        kind, total = struct.unpack_from(order + "II", data, at)
        found.append((order, kind, data[at + 8 : at + total - 4]))
        assert struct.unpack_from(order + "I", data, at + total - 4) == (total,)
        at += total
    return found


def options(order: str, data: bytes) -> list[tuple[int, bytes]]:
    """The options of a block, without the end of the list."""
    found, at = [], 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from(order + "HH", data, at)
        if code == 0:
            break
        found.append((code, data[at + 4 : at + 4 + size]))
        at += 4 + size + -size % 4
    return found


def without_comments(data: bytes) -> list:
    """Everything that a pcapng says but kacap's comments and how long its sections are."""
    found = []
    for order, kind, body in blocks(data):
        if kind == 6:
            size = 20 + (struct.unpack_from(order + "I", body, 12)[0] + 3) // 4 * 4
            kept = [one for one in options(order, body[size:]) if not (one[0] == 1 and one[1].startswith(b"kacap: "))]
            found.append((order, kind, body[:size], kept))
        else:
            found.append((order, kind, body[:8] + body[16:] if kind == 0x0A0D0D0A else body))
    return found


def frames(*files) -> list[tuple]:
    """Every frame of the files: time, lengths, link type, bytes."""
    found = []
    for batch in open_captures([str(file) for file in files]):
        for row in batch.frames:
            data = batch.buffer[int(row["offset"]) :][: int(row["captured_len"])].tobytes()
            found.append((int(row["time_ns"]), int(row["wire_len"]), int(row["link_type"]), data))
    return found


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """One row for each frame with the fields asked for."""
    checks = [word for name in ("ip", "tcp", "udp") for word in ("-o", f"{name}.check_checksum:TRUE")]
    words = ["tshark", "-r", str(path), "-n", *checks, "-T", "fields", *(w for name in fields for w in ("-e", name))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def capinfos(path: Path) -> list[str]:
    """Counts, times, encapsulation and lengths of a capture."""
    done = subprocess.run(["capinfos", "-TmrBcauelE", str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip().split(",")[1:]


@pytest.fixture
def cut_off(captures) -> Path:
    return captures / "lab" / "cut-off" / "capture.pcapng"


@pytest.mark.slow
@pytest.mark.tool("tshark")
def test_tshark_reads_the_comments_back_on_the_frames_of_evidence_and_nowhere_else(cut_off, tmp_path):
    path = tmp_path / "out.pcapng"
    path.write_bytes(annotated([cut_off]))
    said = {int(number): comment for number, comment in tshark(path, "frame.number", "frame.comment") if comment}
    analysis = kacap.read(str(cut_off))
    evidence = {probe.frame.number for probe in analysis.probes}
    evidence |= {frame.number for finding in analysis.findings for frame in finding.frames}
    evidence |= {episode.ending_frame.number for episode in analysis.episodes}
    assert evidence <= set(said)
    assert len(set(said) - evidence) == 1, "the first frame of the connection, and no other"
    assert said[min(said)].startswith("kacap: connection 1: 10.1.0.2:40000 gave up on 10.2.0.2:12345")


@pytest.mark.slow
def test_a_probe_says_its_place_in_the_run_what_came_of_it_and_when_it_was_expected(cut_off):
    out = io.BytesIO()
    annotate(str(cut_off), out, expect=Expectation(2, 1, 3))
    said = out.getvalue().decode(errors="replace")
    start = "kacap: keepalive probe 1 of a run of 3, unanswered; "
    assert f"{start}expected 2.00 s after the peer was last heard, came 2.0" in said
    assert "probe 3 of a run of 3, unanswered; expected 1.00 s after the last, came 1.0" in said


@pytest.mark.slow
def test_a_reply_names_the_frame_of_its_probe_as_it_is_numbered_in_the_copy(captures):
    one = captures / "lab" / "mid-connection" / "capture.pcapng"
    assert b"kacap: reply to the keepalive probe in frame 3, " in annotated([one])
    earlier, later = sorted([one, captures / "lab" / "up" / "capture.pcapng"], key=lambda name: frames(name)[0])
    last = kacap.read([str(later), str(earlier)]).probes[-1]
    assert (last.frame.file, last.reply_frame is None) == (0, False)
    number = len(frames(earlier)) + last.frame.number
    assert f"reply to the keepalive probe in frame {number}, ".encode() in annotated([later, earlier])


@pytest.mark.parametrize("case", [case for case in small_cases() if case.startswith("lab/")])
def test_all_but_the_comments_stays_byte_for_byte(case):
    for name in files_of(case):
        data = annotated([name])
        assert without_comments(data) == without_comments(Path(name).read_bytes())
        assert b"kacap: " in data or not kacap.read(name).connections


def swapped(data: bytes) -> bytes:
    """A little-endian pcapng made of section, interface and packet blocks, in big-endian."""
    found = b""
    for _, kind, body in blocks(data):
        if kind == 0x0A0D0D0A:
            body = struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1)
        elif kind == 1:
            link, zero, snap = struct.unpack_from("<HHI", body)
            body = struct.pack(">HHI", link, zero, snap) + swapped_options(body[8:])
        else:
            head = struct.unpack_from("<IIIII", body)
            size = 20 + (head[3] + 3) // 4 * 4
            body = struct.pack(">IIIII", *head) + body[20:size] + swapped_options(body[size:])
        found += struct.pack(">II", kind, len(body) + 12) + body + struct.pack(">I", len(body) + 12)
    return found


def swapped_options(data: bytes) -> bytes:
    found = b"".join(
        struct.pack(">HH", code, len(value)) + value + bytes(-len(value) % 4) for code, value in options("<", data)
    )
    return found + (bytes(4) if found else b"")


def probing(with_options: bool = True, start: int = 0) -> bytes:
    """A hand-made pcapng in which one ACK repeats every 10 s without an answer: a patterned keepalive."""
    end = option(0, b"")
    data = section() + interface(option(2, b"eth0") + option(9, b"\x09") + end) + interface()
    for n in range(6):
        more = option(1, b"seen by hand") + option(2, b"\0\0\0\1") + (end if n % 2 else b"") if with_options else b""
        data += packet(start + 10 * n, number=1, options=more)
    return data


def test_options_and_comments_that_were_there_stay_before_the_new_one():
    data = annotated([written(probing())])
    packets = [(order, body) for order, kind, body in blocks(data) if kind == 6]
    for order, body in packets:
        said = options(order, body[20 + len(FRAME) + -len(FRAME) % 4 :])
        assert said[:2] == [(1, b"seen by hand"), (2, b"\0\0\0\1")]
        assert [code for code, _ in said[2:]] == [1]
        assert said[2][1].startswith(b"kacap: ")
    assert len(packets) == 6


def written(data: bytes) -> Path:
    """A file of these bytes."""
    with tempfile.NamedTemporaryFile(prefix="kacap-test-", suffix=".pcapng", delete=False) as file:
        file.write(data)
    MADE.append(Path(file.name))
    return Path(file.name)


MADE: list[Path] = []


@pytest.fixture(autouse=True)
def _tidy():
    yield
    while MADE:
        MADE.pop().unlink()


@pytest.mark.slow
@pytest.mark.parametrize("turn", [bytes, swapped], ids=["little", "big"])
def test_sections_interfaces_clocks_and_unknown_blocks_of_either_byte_order_stay(turn):
    odd = block(0x0B, b"abcd") + block(5, struct.pack("<III", 0, 0, 0))
    data = turn(probing()) + (odd if turn is bytes else b"") + turn(probing(with_options=False, start=60))
    out = annotated([written(data)])
    assert without_comments(out) == without_comments(data)
    assert out.count(b"kacap: ") == 12


def test_a_section_whose_length_was_stated_states_none_any_more():
    data = probing()
    stated = data[:16] + struct.pack("<q", len(data) - 28) + data[24:]
    assert annotated([written(stated)])[16:24] == b"\xff" * 8


@pytest.mark.slow
def test_a_simple_packet_block_is_copied_and_counted_as_having_no_room():
    simple = block(3, struct.pack("<I", len(FRAME)) + FRAME + bytes(-len(FRAME) % 4))
    data = section() + interface() + packet(1) + simple * 3
    out = io.BytesIO()
    done = annotate(str(written(data)), out)
    assert done.without_room == 3
    assert without_comments(out.getvalue()) == without_comments(data)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_a_classic_pcap_keeps_its_times_link_type_lengths_and_bytes(order, magic):
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 96, 1)
    for n in range(6):
        data += struct.pack(order + "IIII", 4_000_000_000 + 10 * n, 123_457, 54, 1500) + FRAME
    before = written(data)
    after = written(annotated([before]))
    assert frames(after) == frames(before)
    assert after.read_bytes().count(b"kacap: ") == 6


@pytest.mark.slow
@pytest.mark.tool("capinfos")
@pytest.mark.parametrize("case", ["lab/unreachable", "lab/on-any", "crafted/18b-gave-up", "crafted/68-ipv6"])
def test_capinfos_agrees_on_counts_times_encapsulation_and_lengths(case, tmp_path):
    (name,) = files_of(case)
    path = tmp_path / "out.pcapng"
    path.write_bytes(annotated([name]))
    assert capinfos(path) == capinfos(Path(name))


@pytest.mark.slow
@pytest.mark.tool("capinfos")
def test_rotated_files_follow_one_another_in_time_order(captures, tmp_path):
    files = sorted((captures / "lab" / "rotated").glob("*.pcapng"))
    path = tmp_path / "out.pcapng"
    path.write_bytes(annotated(files[::-1]))
    assert frames(path) == frames(*files)
    assert kacap.read(str(path)).episodes[0].ending == kacap.read([str(f) for f in files]).episodes[0].ending


@pytest.mark.slow
def test_only_keeps_exactly_the_frames_with_a_comment(cut_off):
    whole, only = annotated([cut_off]), annotated([cut_off], only=True)
    with_comment = [one for one in blocks(whole) if one[1] == 6 and b"kacap: " in one[2]]
    kept = [one for one in blocks(only) if one[1] == 6]
    assert [body[:40] for _, _, body in kept] == [body[:40] for _, _, body in with_comment]


@pytest.mark.slow
def test_headers_only_leaves_no_payload_and_the_original_lengths(captures):
    case = captures / "lab" / "one-byte-data" / "capture.pcapng"
    after = written(annotated([case], headers_only=True))
    pairs = list(zip(frames(case), frames(after), strict=True))
    assert any(len(now[3]) < len(was[3]) for was, now in pairs)
    for was, now in pairs:
        assert now[:3] == was[:3]
        assert was[3].startswith(now[3])
    analyses = [kacap.read(str(name)) for name in (case, after)]
    assert analyses[0].probes == analyses[1].probes


@pytest.mark.slow
@pytest.mark.tool("tshark")
@pytest.mark.parametrize("case", ["lab/unreachable", "lab/unreachable-ipv6", "lab/on-any", "crafted/32-two-vlans"])
def test_headers_only_ends_every_segment_where_tshark_sees_its_header_end(case, tmp_path):
    path = tmp_path / "out.pcapng"
    path.write_bytes(annotated(files_of(case), headers_only=True))
    rows = tshark(path, "frame.protocols", "frame.cap_len", "frame.len", "tcp.len")
    for protocols, captured, length, payload in rows:
        assert not protocols.endswith(":data")
        if protocols.endswith(":tcp") and "icmp" not in protocols:
            assert int(length) - int(captured) >= int(payload)


@pytest.mark.slow
@pytest.mark.tool("tshark")
@pytest.mark.parametrize(
    "case", ["crafted/00-baseline", "crafted/18c-host-unreachable", "crafted/68-ipv6", "lab/unreachable", "lab/on-any",
             "lab/unreachable-ipv6", "crafted/60-unreachable-eight-bytes"],
)  # fmt: skip
def test_anonymised_checksums_are_as_right_or_wrong_as_they_were(case, tmp_path):
    names = ("ip.checksum.status", "tcp.checksum.status", "icmp.checksum.status", "icmpv6.checksum.status")
    path = tmp_path / "out.pcapng"
    path.write_bytes(annotated(files_of(case), anonymiser=Anonymiser(KEY)))
    (name,) = files_of(case)
    before, after = tshark(Path(name), *names), tshark(path, *names)
    cut = [row != "" and "2" in row for row in map("".join, after)]  # 2: cut, cannot be verified
    assert [r for r, gone in zip(before, cut, strict=True) if not gone] == [
        r for r, gone in zip(after, cut, strict=True) if not gone
    ]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["lab/unreachable", "lab/unreachable-ipv6", "lab/nat-forgot-inside"])
def test_no_address_of_the_original_is_left_anywhere_when_anonymised(case):
    (name,) = files_of(case)
    analysis = kacap.read(name)
    data = annotated([name], anonymiser=Anonymiser(KEY), headers_only=True)
    ends = {end.address for c in analysis.connections for end in (c.a, c.b)}
    for address in ends:
        assert ipaddress.ip_address(address).packed not in data
        assert address.encode() not in data
    macs = {frame[at : at + 6] for _, _, _, frame in frames(name) for at in (0, 6)}
    single = {mac for mac in macs if not mac[0] & 1}
    assert len(single) >= 2
    assert not [mac for mac in single if mac in data]


@pytest.mark.slow
def test_an_anonymised_capture_tells_the_same_story_with_other_addresses(captures):
    name = captures / "lab" / "cut-off" / "capture.pcapng"
    mapped = Anonymiser(KEY)
    before = kacap.read(str(name))
    after = kacap.read(str(written(annotated([name], anonymiser=mapped))))
    assert [(p.frame, p.time_ns, p.reply_frame) for p in after.probes] == [
        (p.frame, p.time_ns, p.reply_frame) for p in before.probes
    ]
    for was, now in zip(before.connections, after.connections, strict=True):
        assert (now.a.address, now.a.port) == (mapped.text(was.a.address), was.a.port)
    assert [f.id for f in after.findings] == [f.id for f in before.findings]


def test_names_comments_and_secrets_beside_the_packets_go_when_anonymised():
    end = option(0, b"")
    names = block(4, struct.pack("<HH", 1, 13) + b"\x0a\0\0\1secret\0\0" + bytes(2) + bytes(4))
    data = section() + interface(option(2, b"secret0") + option(9, b"\x09") + end) + names
    data += block(10, b"TLSKsecret") + packet(1, options=option(1, b"secret") + option(2, b"\0\0\0\1") + end)
    out = annotated([written(data)], anonymiser=Anonymiser(KEY))
    assert b"secret" not in out
    kinds = [(kind, options(order, body[8:]) if kind == 1 else None) for order, kind, body in blocks(out)]
    assert kinds == [(0x0A0D0D0A, None), (1, [(9, b"\x09")]), (6, None)]
    assert out.count(option(2, b"\0\0\0\1")) == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    sizes = []
    for count in (80_000, 240_000):
        path = tmp_path / f"{count}.pcap"
        with path.open("wb") as file:
            file.write(pcap_header())
            for start in range(0, count, 1000):
                file.write(b"".join(record((start + n) // 1000) for n in range(1000)))
        with (tmp_path / "out").open("wb") as out:
            tracemalloc.start()
            annotate(str(path), out)
            sizes.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert sizes[1] < sizes[0] + (8 << 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["missing.pcap", "-o", "{out}"], 1, "missing.pcap: no such file"),
        (["{capture}", "-o", "{dir}/no/such/out.pcapng"], 2, "cannot be written: No such file or directory"),
        (["{capture}", "-o", "{dir}"], 2, "cannot be written: is a directory"),
        (["{capture}", "-o", "{capture}"], 2, "output would overwrite the input; name another file"),
        (["-", "-o", "{out}"], 2, "a pipe cannot be read twice"),
        (["{capture}", "port", "1", "-o", "{out}"], 2, "takes no filter"),
        (["{capture}"], 2, "Missing option '-o'"),
        (["{text}", "-o", "{out}"], 1, "is text, not a capture"),
    ],
)
def test_a_failure_is_one_line_an_exit_code_and_no_file(cut_off, captures, tmp_path, words, code, says):
    names = {"capture": cut_off, "out": tmp_path / "out", "dir": tmp_path, "text": captures / "broken" / "text.pcap"}
    done = run("annotate", *(w.format(**names) for w in words))
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (code, 1, "")
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_damage_is_named_and_what_precedes_it_is_written(captures, tmp_path):
    broken = captures / "broken" / "text-after-frames.pcap"
    out = tmp_path / "out.pcapng"
    done = run("annotate", broken, "-o", out)
    assert done.returncode == 1
    assert "damaged at byte" in done.stderr
    assert frames(out) == frames(broken)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(CAPTURES.joinpath("broken").iterdir()), ids=lambda path: path.name)
def test_every_broken_capture_is_copied_up_to_its_damage_or_refused(path):
    from kacap.errors import KacapError

    for changes in ({}, {"headers_only": True, "anonymiser": Anonymiser(KEY)}):
        try:
            data = annotated([path], **changes)
        except KacapError:
            continue
        copy = written(data)
        assert len(frames(copy)) == len(frames(path))
        assert {damage.what for damage in kacap.read(copy).damages} <= {
            damage.what for damage in kacap.read(path).damages
        }


@pytest.mark.slow
@pytest.mark.parametrize("pad", [0, 1])
def test_addresses_in_options_become_nops_and_the_checksums_stay_right(pad):
    scapy = pytest.importorskip("scapy.all")
    hidden = bytes([198, 51, 100, 7])
    options = [("NOP", None)] * pad + [("Timestamp", (1, 2)), (30, b"\x30\x01" + hidden), (254, b"\x0b" + hidden)]
    route = scapy.IPOption_RR(routers=["198.51.100.7", "198.51.100.7"], pointer=12)
    inner = scapy.IP(src="8.8.8.8", dst="9.9.9.9", options=[route]) / scapy.TCP(options=options) / b"12345"
    whole = scapy.Ether(src="00:11:22:33:44:55", dst="00:11:22:33:44:66") / scapy.IP(src="1.1.1.1", dst="2.2.2.2")
    tunnel = whole / scapy.UDP(dport=4789) / scapy.VXLAN(vni=7) / scapy.Ether(src="00:11:22:33:44:77") / inner
    for packet_ in (whole / scapy.IP(bytes(inner)), tunnel):
        data = bytes(packet_)
        before = written(pcap_header() + record(0, len(data), len(data), data))
        ((_, _, _, after),) = frames(written(annotated([before], anonymiser=Anonymiser(KEY))))
        assert data.count(hidden) == 4
        assert hidden not in after
        again = scapy.Ether(after)
        sums = [layer.fields["chksum"] for layer in again.iterpayloads() if layer.fields.get("chksum") is not None]
        for layer in list(again.iterpayloads()):
            if layer.fields.get("chksum") is not None:
                del layer.chksum
        rebuilt = scapy.Ether(bytes(again))
        assert sums == [x.fields["chksum"] for x in rebuilt.iterpayloads() if x.fields.get("chksum") is not None]
        assert len(sums) >= 3


@pytest.mark.slow
def test_wireless_addresses_are_replaced_and_frames_of_other_kinds_emptied():
    scapy = pytest.importorskip("scapy.all")
    macs = [f"00:11:22:33:44:0{n}" for n in range(4)]
    inner = scapy.LLC() / scapy.SNAP() / scapy.IP(src="8.8.8.8", dst="9.9.9.9") / scapy.TCP()
    wifi = scapy.Dot11(type=2, FCfield=3, addr1=macs[0], addr2=macs[1], addr3=macs[2], addr4=macs[3]) / inner
    beacon = scapy.Dot11(addr1=macs[0], addr2=macs[1], addr3=macs[2]) / scapy.Dot11Beacon()
    nflog = b"\x02\0\0\0" + struct.pack("<HH", 10, 5) + bytes.fromhex("0006 0000") + b"\0\x11\x22\x33\x44\x01\0\0"
    for link_type, packet_, length in ((105, wifi, None), (105, beacon, 0), (239, nflog, 0), (147, beacon, 0)):
        data = bytes(packet_)
        before = written(pcap_header(link_type) + record(0, len(data), len(data), data))
        ((_, _, _, after),) = frames(written(annotated([before], anonymiser=Anonymiser(KEY))))
        assert len(after) == (len(data) if length is None else length)
        assert b"\x00\x11\x22\x33\x44" not in after
        assert b"\x08\x08\x08\x08" not in after
