"""What a capture shows, read by scapy and judged by nothing but sequence numbers: a second opinion for the lab."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import CookedLinuxV2, Ether  # noqa: F401  (registers the link types)
from scapy.utils import PcapNgReader


@dataclass(frozen=True)
class Segment:
    """One TCP segment: times in nanoseconds, numbers as on the wire, ``ttl`` also for a hop limit."""

    time_ns: int
    source: str
    target: str
    seq: int
    ack: int
    flags: str
    payload: int
    ttl: int
    window: int
    options: tuple[str, ...]

    @property
    def end(self) -> int:
        """Return the sequence number after this segment."""
        return (self.seq + self.payload + ("S" in self.flags) + ("F" in self.flags)) % 2**32


def packets(path: Path) -> list:
    """Return every packet of a capture, as scapy sees it."""
    with PcapNgReader(str(path)) as reader:
        return list(reader)


def segments(path: Path, distinct: bool = False) -> list[Segment]:
    """Return the TCP segments of a capture; ``distinct`` counts a segment that was captured twice once."""
    found = [_segment(packet) for packet in packets(path) if TCP in packet and (IP in packet or IPv6 in packet)]
    found = [segment for segment in found if segment is not None]
    return list(once(found)) if distinct else found


def _segment(packet) -> Segment | None:
    network = packet[IP] if packet.haslayer(IP) else packet[IPv6]
    if "ICMP" in network.summary().split("/")[1]:
        return None
    tcp = packet[TCP]
    if packet.haslayer(IP):
        length, ttl = network.len - 4 * network.ihl - 4 * tcp.dataofs, network.ttl
    else:
        length, ttl = network.plen - 4 * tcp.dataofs, network.hlim
    return Segment(
        time_ns=int(packet.time * 1_000_000_000),
        source=_name(network.src, tcp.sport),
        target=_name(network.dst, tcp.dport),
        seq=tcp.seq,
        ack=tcp.ack,
        flags=str(tcp.flags),
        payload=length,
        ttl=ttl,
        window=tcp.window,
        options=tuple(str(name) for name, _ in tcp.options),
    )


def _name(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def once(found: list[Segment]) -> Iterator[Segment]:
    """Leave out a segment equal to one at most 100 ms earlier, but for its TTL; Linux waits 200 to send it again."""
    last: dict[tuple, int] = {}
    for segment in found:
        key = (segment.source, segment.target, segment.seq, segment.ack, segment.flags, segment.payload)
        if segment.time_ns - last.get(key, -(10**9)) > 100_000_000:
            yield segment
        last[key] = segment.time_ns


def probes(found: list[Segment], begun: bool = True) -> list[Segment]:
    """Return the segments one below what their sender has had acknowledged, with nothing of it outstanding.

    ``begun``: the capture holds the handshake; else what the other side acknowledges later stands for it.
    """
    nxt: dict[tuple[str, str], int] = {}
    una: dict[tuple[str, str], int] = {}
    if not begun:
        for segment in found:
            back = (segment.target, segment.source)
            una[back] = nxt[back] = max(una.get(back, 0), segment.ack)
    shown = []
    for segment in found:
        way, back = (segment.source, segment.target), (segment.target, segment.source)
        quiet = way in nxt and nxt[way] == una.get(way)
        if segment.flags == "A" and segment.payload <= 1 and quiet and (segment.seq + 1) % 2**32 == nxt[way]:
            shown.append(segment)
            continue
        if "R" not in segment.flags:
            nxt[way] = segment.end if way not in nxt or _after(segment.end, nxt[way]) else nxt[way]
        if "A" in segment.flags:
            una[back] = segment.ack if back not in una or _after(segment.ack, una[back]) else una[back]
    return shown


def _after(a: int, b: int) -> bool:
    return 0 < (a - b) % 2**32 < 2**31
