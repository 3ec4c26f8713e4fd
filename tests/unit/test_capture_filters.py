"""BPF expressions select the frames that tcpdump selects, for every link type, whole frames and cut ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_broken import BROKEN, FIRST_S, TWO, interface, packet, section

from kacap.capture import open_captures
from kacap.capture.filters import compile_filter
from kacap.capture.library import function, load_libpcap, packaged
from kacap.errors import FilterError

EXPRESSIONS = [
    "port 12345",
    "tcp port 12345 and host 10.0.0.1",
    "tcp[13] & 4 != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "vlan and tcp",
    "vlan 7 and vlan 9 and port 12345",
    "icmp or icmp6",
    "len - 4 > 56",
    "host 10.0.0.2",
    "src net 10.0.0.0/31",
    "ip6 and tcp",
    "ip6 host fd00::1",
    "ip6 protochain 6",
    "portrange 1000-13000",
    "greater 100",
    "less 60",
    "udp and not port 53",
    "ip[6:2] & 0x1fff = 0 and tcp",
    "tcp[((tcp[12] & 0xf0) >> 2)] = 0x78",
    "ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) <= 1",
    "(tcp[4:4] * 3 + 7) % 5 = 2",
    "tcp[8:4] / 2 ^ 3 > 100",
    "len / tcp[20] > 0",
    "arp",
    "ether[0] & 1 = 1",
]


def segments() -> list[Any]:
    """Return network-layer packets of all kinds."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert
    from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt

    made: list[Any] = []
    for port in (53, 999, 12345, 40000):
        for host in ("10.0.0.1", "10.0.0.2", "192.168.1.9"):
            for flags in ("S", "A", "RA", "FA"):
                made.append(IP(src="10.0.0.1", dst=host) / TCP(sport=port, dport=12345, seq=len(made), flags=flags))
        made += [
            IP(dst="10.0.0.2") / UDP(dport=port) / b"q",
            IPv6(src="fd00::1") / TCP(dport=port) / (b"x" * port)[:90],
        ]
        made.append(IP(options=[IPOption_Router_Alert()]) / TCP(dport=port, seq=7777) / b"x")
        made.append(IPv6(src="fd00::2") / IPv6ExtHdrDestOpt() / TCP(dport=port))
        made.append(IP(frag=100) / TCP(dport=port))
    return [*made, IP() / ICMP(), IPv6() / ICMPv6EchoRequest()]


def ethernet() -> list[bytes]:
    """Return Ethernet frames: plain, tagged, doubly tagged, ARP, multicast."""
    from scapy.layers.l2 import ARP, Dot1Q, Ether

    frames = [bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / made) for made in segments()]
    frames += [bytes(Ether(dst="02:00:00:00:00:02") / Dot1Q(vlan=7) / made) for made in segments()[::3]]
    frames += [bytes(Ether(dst="02:00:00:00:00:02") / Dot1Q(vlan=7) / Dot1Q(vlan=9) / m) for m in segments()[::2]]
    return [*frames, bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP())]


def behind(header: Callable[[bytes, int], bytes]) -> Callable[[], list[bytes]]:
    """Return what makes frames with ``header(packet, EtherType)`` before each network-layer packet."""

    def frames() -> list[bytes]:
        raw = map(bytes, segments())
        return [header(data, 0x0800 if data[0] >> 4 == 4 else 0x86DD) + data for data in raw]

    return frames


LINKS: dict[int, Callable[[], list[bytes]]] = {
    1: ethernet,
    0: behind(lambda data, kind: (2 if kind == 0x0800 else 10).to_bytes(4, "little")),
    101: behind(lambda data, kind: b""),
    113: behind(lambda data, kind: b"\0\0\0\1\0\6\2\0\0\0\0\1\0\0" + kind.to_bytes(2, "big")),
    276: behind(lambda data, kind: kind.to_bytes(2, "big") + b"\0\0\0\0\0\2\0\1\0\6\2\0\0\0\0\1\0\0"),
}


def write(path: Path, link_type: int, frames: list[bytes], snaplen: int) -> None:
    """Write frames a second apart, cut to ``snaplen``."""
    from make_broken import pcap_header, record

    cut = ((i, data[:snaplen], len(data)) for i, data in enumerate(frames))
    path.write_bytes(pcap_header(link_type) + b"".join(record(i, len(data), wire, data) for i, data, wire in cut))


def seconds(path: Path, expression: str | None) -> list[int]:
    """Return which frames match, by their second."""
    source = open_captures([str(path)], filter=expression)
    return [int(t) // 1_000_000_000 - FIRST_S for batch in source for t in batch.frames["time_ns"]]


@pytest.mark.slow
@pytest.mark.tool("tcpdump")
@pytest.mark.parametrize("link_type", LINKS)
def test_expressions_select_the_frames_that_tcpdump_selects(link_type: int, tmp_path: Path) -> None:
    selected, refused = 0, 0
    for snaplen in (65535, 60):
        source, target = tmp_path / "source.pcap", tmp_path / "target.pcap"
        write(source, link_type, LINKS[link_type](), snaplen)
        for expression in EXPRESSIONS:
            done = subprocess.run(["tcpdump", "-r", source, "-w", target, expression], capture_output=True, check=False)
            if done.returncode != 0:
                refused += 1
                with pytest.raises(FilterError, match="refused by libpcap"):
                    seconds(source, expression)
            else:
                expected = seconds(target, None)
                assert seconds(source, expression) == expected, expression
                selected += len(expected)
    assert selected > 500
    assert refused <= 2 * 5


def test_each_link_type_of_a_capture_gets_its_own_program(tmp_path: Path) -> None:
    path = tmp_path / "two.pcapng"
    path.write_bytes(section() + interface() + interface(link_type=113) + packet(0, 0) + packet(1, 1) + packet(2, 0))
    assert seconds(path, "tcp") == [0, 2]
    assert seconds(path, "not tcp") == [1]


def test_frames_left_out_are_counted_and_keep_their_numbers() -> None:
    captures = open_captures([str(BROKEN / "backwards-time.pcap")], filter="tcp port 5432 and less 60")
    assert [batch.frames["frame"].tolist() for batch in captures] == [[1, 2, 3]]
    assert (captures.frames, captures.filtered_out) == (3, 0)
    captures = open_captures([str(BROKEN / "backwards-time.pcap")], filter="udp")
    assert list(captures) == []
    assert (captures.frames, captures.filtered_out) == (3, 3)


@pytest.mark.parametrize("expression", ["tcp port", "nonsense here", "port 99999", "tcp\0udp", "ip broadcast", "((("])
def test_an_expression_that_libpcap_refuses_is_a_usage_error_in_one_line(expression: str, tmp_path: Path) -> None:
    path = tmp_path / "two.pcap"
    path.write_bytes(TWO)
    with pytest.raises(FilterError) as refused:
        open_captures([str(path)], filter=expression)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


def forget_libpcap() -> None:
    load_libpcap.cache_clear()
    function.cache_clear()


@pytest.mark.skipif(not list(packaged()), reason="the package libpcap has no library for this machine")
def test_the_library_that_the_package_brings_compiles_the_same_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from kacap.capture import library

    expected = compile_filter("tcp port 12345", 1)
    monkeypatch.setattr(library, "LINUX_NAMES", ["no-such-libpcap.so"])
    forget_libpcap()
    try:
        assert load_libpcap()._name in list(packaged())
        assert compile_filter("tcp port 12345", 1).tolist() == expected.tolist()
    finally:
        forget_libpcap()


def test_without_any_libpcap_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from kacap.capture import library

    monkeypatch.setattr(library, "_candidates", lambda: iter(["no-such-libpcap.so"]))
    forget_libpcap()
    try:
        with pytest.raises(FilterError, match="pip install libpcap"):
            compile_filter("tcp", 1)
    finally:
        forget_libpcap()
