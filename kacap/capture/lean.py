"""What the analysis cannot do without, as a filter that the kernel runs: short segments, flags and ICMP errors.

A segment of more than a byte is never a probe, a reply or a reset; what it teaches (the sender's numbers, that the peer
lives) its acknowledgement teaches too. So a host that moves gigabits passes only its acknowledgements.
"""

from __future__ import annotations

_SHORT = "ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) <= 1"
_FLAGS = "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0"
_SHORT_6, _FLAGS_6 = "ip6[4:2] - ((ip6[52] & 0xf0) >> 2) <= 1", "ip6[53] & 7 != 0"  # without extension headers
LEAN = f"((tcp and ({_SHORT} or {_FLAGS})) or (ip6[6] == 6 and ({_SHORT_6} or {_FLAGS_6})) or icmp or icmp6)"

COST = (
    "--lean passes no data: a probe that data alone answered is told as missed, retransmissions and heartbeats are not "
    "seen, and nothing in VLANs and tunnels"
)


def lean(expression: str | None) -> str:
    """Return the filter that passes what an expression does (None: everything), and of that what is needed."""
    return LEAN if expression is None else f"({expression}) and {LEAN}"
