"""The table of kinds, grades and endings: what each is, where it is defined, what it is mistaken for.

The one owner of these words; docs and tests run over the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Kind(IntEnum):
    """What a segment is; the values are those of the kernels' columns."""

    ACK = 0
    DATA = 1
    SYN = 2
    FIN = 3
    RST = 4
    DUPLICATE_FRAME = 5
    RETRANSMISSION = 6
    PROBE = 7
    REPLY = 8
    WINDOW_PROBE = 9
    RESET = 10
    ABORT = 11
    UNREACHABLE = 12

    @property
    def word(self) -> str:
        """The name that records carry."""
        return self.name.lower().replace("_", "-")


class Grade(IntEnum):
    """How well a kind is evidenced, best first."""

    PROVEN = 0
    ANSWERED = 1
    PATTERNED = 2
    AMBIGUOUS = 3

    @property
    def word(self) -> str:
        """The name that records carry."""
        return self.name.lower()


GRADE_WORDS = tuple(grade.word for grade in Grade)
KIND_WORDS = tuple(kind.word for kind in Kind)


class Ending(StrEnum):
    """What closed an episode."""

    ANSWERED = "answered"
    RESET = "reset"
    GAVE_UP = "gave-up"
    USER_TIMEOUT = "user-timeout"
    UNREACHABLE = "unreachable"
    RESUMED = "resumed"
    CLOSED = "closed"
    OPEN = "open"


ENDINGS = tuple(Ending)  # by the code that rows carry


@dataclass(frozen=True, slots=True)
class KindRow:
    """One row of the table. ``wireshark`` is what Wireshark 4.0 calls such a segment, where it differs."""

    kind: Kind
    title: str
    rule: str
    source: str
    mistaken_for: str


TABLE = {
    row.kind: row
    for row in (
        KindRow(
            Kind.PROBE,
            "keepalive probe",
            "only ACK set, payload of 0 or 1 byte, one below what the peer has acknowledged, nothing outstanding",
            "RFC 9293 3.8.4; Linux tcp_xmit_probe_skb",
            "a zero-window probe (same bytes on Linux), a one-byte retransmission, an old ACK that was overtaken; "
            "Wireshark misses it when the capture starts mid-connection (TCP Dup ACK)",
        ),
        KindRow(
            Kind.WINDOW_PROBE,
            "zero-window probe",
            "as a probe, or one new byte, while the peer's window is 0; the gaps grow from the RTO",
            "RFC 9293 3.8.6.1; Linux tcp_send_probe0",
            "a keepalive probe: Wireshark labels the Linux form TCP Keep-Alive",
        ),
        KindRow(
            Kind.RETRANSMISSION,
            "retransmission",
            "bytes that this side has sent before",
            "RFC 9293 3.8.1, RFC 6298",
            "a keepalive probe when it is one byte long: Wireshark labels that TCP Keep-Alive",
        ),
        KindRow(
            Kind.REPLY,
            "reply to a probe",
            "the peer's pure ACK at its own next sequence number, acknowledging all, after an unanswered probe",
            "RFC 9293 3.10.7.4; Linux tcp_send_dupack",
            "a duplicate ACK or a window update: Wireshark's names for replies whose window or pairing differs",
        ),
        KindRow(
            Kind.RESET,
            "reset in answer to a probe",
            "RST from the peer's address after a probe",
            "RFC 9293 3.10.7.1; Linux tcp_v4_send_reset",
            "an application's abortive close; a box in between may have forged it",
        ),
        KindRow(
            Kind.ABORT,
            "the prober gave up",
            "RST+ACK from the prober at its next sequence number, after unanswered probes",
            "Linux tcp_keepalive_timer, tcp_send_active_reset",
            "a reset by the peer",
        ),
        KindRow(
            Kind.UNREACHABLE,
            "unreachable",
            "an ICMP or ICMPv6 error that quotes a probe",
            "RFC 792, RFC 4443; Linux tcp_v4_err ignores it",
            "the reason why the connection ended: Linux still waits for its count",
        ),
        KindRow(Kind.DATA, "data", "payload that this side has not sent before", "RFC 9293 3.4", "a keepalive probe"),
        KindRow(
            Kind.ACK,
            "plain ACK",
            "no payload, at the side's next sequence number",
            "RFC 9293 3.4",
            "a keepalive probe: every pure ACK has length 0",
        ),
        KindRow(Kind.SYN, "SYN", "opens a connection", "RFC 9293 3.5", "-"),
        KindRow(Kind.FIN, "FIN", "closes one direction", "RFC 9293 3.6", "-"),
        KindRow(Kind.RST, "RST", "resets the connection, and not in answer to a probe", "RFC 9293 3.5.3", "-"),
        KindRow(
            Kind.DUPLICATE_FRAME,
            "duplicate frame",
            "the same packet captured again",
            "tcpdump -i any, lo, veth",
            "a second probe or reply, a retransmission, a duplicate ACK",
        ),
    )
}
