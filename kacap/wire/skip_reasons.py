"""Why a frame is left out: one counted reason for each, so that nothing is silently lost."""

from __future__ import annotations

from enum import IntEnum


class SkipReason(IntEnum):
    """Values are indices into the ``skipped`` counts of ``decode``: 0 to len(SkipReason) - 1."""

    UNKNOWN_LINK_TYPE = 0
    NOT_IP = 1
    NOT_TCP = 2
    OTHER_ICMP = 3
    LATER_FRAGMENT = 4
    CUT_LINK = 5
    CUT_IP = 6
    CUT_TCP = 7
    CUT_ICMP = 8
    CUT_TUNNEL = 9
    BAD_IP_VERSION = 10
    BAD_IP_LENGTH = 11
    BAD_DATA_OFFSET = 12
    TOO_DEEP = 13
    ENCRYPTED = 14
    AGGREGATED = 15
    BAD_TUNNEL = 16

    @property
    def text(self) -> str:
        """What users read beside the count."""
        return TEXTS[self]


TEXTS = {
    SkipReason.UNKNOWN_LINK_TYPE: "link type not decoded",
    SkipReason.NOT_IP: "not IP (ARP, LLDP and the like)",
    SkipReason.NOT_TCP: "IP, but not TCP",
    SkipReason.OTHER_ICMP: "ICMP that quotes no TCP segment",
    SkipReason.LATER_FRAGMENT: "IP fragment other than the first: no TCP header",
    SkipReason.CUT_LINK: "frame ends inside its link header",
    SkipReason.CUT_IP: "frame ends inside its IP header",
    SkipReason.CUT_TCP: "frame ends inside its TCP header (a longer snaplen keeps it)",
    SkipReason.CUT_ICMP: "frame ends inside its ICMP header or the segment it quotes",
    SkipReason.CUT_TUNNEL: "frame ends inside a tunnel header (a longer snaplen keeps it)",
    SkipReason.BAD_IP_VERSION: "IP version is neither 4 nor 6, or not the one announced",
    SkipReason.BAD_IP_LENGTH: "IP header or total length too short for what it must hold",
    SkipReason.BAD_DATA_OFFSET: "TCP data offset below 20 bytes or beyond the segment",
    SkipReason.TOO_DEEP: "more headers inside one another than are followed",
    SkipReason.ENCRYPTED: "encrypted (ESP, protected 802.11)",
    SkipReason.AGGREGATED: "several 802.11 frames in one (A-MSDU), or a later part of one",
    SkipReason.BAD_TUNNEL: "tunnel header of an unknown version or form",
}
