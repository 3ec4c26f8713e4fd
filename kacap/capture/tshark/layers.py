"""The order of a frame's headers, as ``frame.protocols`` tells it: which occurrence of each field is the one."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import lru_cache

from kacap.wire.skip_reasons import SkipReason

# A header of a tunnel: its name, and which occurrence of that name it is.
Header = tuple[str, int]

# Between two IP headers these name no tunnel: link layers, what only announces the next header, labels (which each
# direction numbers for itself).
_NEUTRAL = frozenset(
    ("udp", "eth", "ethertype", "ethsize", "llc", "ppp", "chdlc", "mpls", "pwethcw", "pwethheuristic", "pwethnocw",
     "raw", "sll", "wlan", "wlan_radio", "radiotap", "data")
)  # fmt: skip
_NUMBERED = frozenset(("vlan", "ieee8021ad", "pppoes", "gre", "vxlan", "geneve"))


@dataclass(slots=True)
class Layers:
    """Where the segment's headers are. ``ip`` is (version, occurrence) of the IP header before TCP, ``outer`` that
    of the ICMP error where there is one (``icmp``: 4 or 6), else the same; ``tunnels`` are in order."""

    reason: SkipReason | None = None  # why there is no segment
    ip: tuple[int, int] = (0, 0)
    outer: tuple[int, int] = (0, 0)
    icmp: int = 0
    fragment: int = -1  # occurrence of the IPv6 fragment header
    tunnels: list[Header] = field(default_factory=list)


@lru_cache(4096)
def layers(protocols: str) -> Layers:
    """Return what ``frame.protocols`` says, for instance ``eth:ethertype:ip:icmp:ip:tcp``."""
    found = Layers()
    counts: dict[str, int] = {}
    last_ip = ""  # the header that IP would be directly inside of
    for name in protocols.split(":"):
        at = counts.get(name, 0)
        counts[name] = at + 1
        if name == "tcp" and found.ip[0]:
            return found
        if name in ("ip", "ipv6"):
            if last_ip:
                found.tunnels.append((name, at))
            found.ip, found.fragment, last_ip = (6 if name == "ipv6" else 4, at), -1, name
            if not found.icmp:
                found.outer = found.ip
        elif name in ("icmp", "icmpv6") and not found.icmp:
            found.icmp, last_ip = (6 if name == "icmpv6" else 4), ""
        elif name == "ipv6.fraghdr":
            found.fragment = at
        elif name.partition(".")[0] not in ("ipv6", "ah"):
            last_ip = ""
            if name in _NUMBERED or (found.ip[0] and name not in _NEUTRAL):
                found.tunnels.append((name, at))
    found.reason = _reason(found, protocols)
    return found


def _reason(found: Layers, protocols: str) -> SkipReason:
    """Return why a frame whose headers end before TCP is left out."""
    if not found.ip[0]:
        return SkipReason.NOT_IP
    if found.icmp:
        return SkipReason.OTHER_ICMP
    return SkipReason.ENCRYPTED if "esp" in protocols.split(":") else SkipReason.NOT_TCP


def digest(name: str) -> int:
    """Return the number that stands for a tunnel known by name only."""
    return zlib.crc32(name.encode())
