"""Why a segment got its kind: the codes that the kernel writes, and the sentence for each."""

from __future__ import annotations

from enum import IntEnum


class KindReason(IntEnum):
    """One reason; ``SENTENCES`` holds its words."""

    PLAIN_ACK = 0
    NEW_DATA = 1
    OPENS = 2
    CLOSES = 3
    RESETS = 4
    SAME_FRAME = 5
    SENT_BEFORE = 6
    NO_ACK_FLAG = 7
    OLD_ACK = 8
    BELOW_ACKNOWLEDGED = 9
    SHORT_SILENCE = 10
    ACK_UNSEEN = 11
    ANSWERED_ONE_HIGHER = 12
    REPEATS = 13
    GARBAGE_BYTE = 14
    SAME_BYTE_LATER = 15
    ZERO_WINDOW_SHAPE = 16
    NEW_BYTE_AT_ZERO_WINDOW = 17
    ANSWERS_PROBE = 18
    ANSWERED_LATE = 19
    ANSWERED_BEFORE = 20
    RST_AFTER_PROBE = 21
    GAVE_UP = 22
    QUOTED = 23
    QUOTED_OTHER = 24
    ZERO_WINDOW_GROWING = 25
    ZERO_WINDOW_CONSTANT = 26
    ZERO_WINDOW_UNDECIDED = 27
    WINDOW_STILL_CLOSED = 28
    REPEATS_TOO_LITTLE = 29
    OUT_OF_WINDOW_RST = 30
    LONE_BYTE = 31
    GROWING_REPEATS = 32
    BYTE_AT_FIN = 33
    ANSWERED_AFTER_DATA = 34


SENTENCES = {
    KindReason.PLAIN_ACK: "no payload, at the sender's next sequence number",
    KindReason.NEW_DATA: "carries bytes that the capture had not shown before",
    KindReason.OPENS: "SYN set",
    KindReason.CLOSES: "FIN set",
    KindReason.RESETS: "RST set, no probe of the other side is unanswered",
    KindReason.SAME_FRAME: "the same packet (addresses, sequence numbers, IP ID, timestamps) was captured a moment "
    "before",
    KindReason.SENT_BEFORE: "every byte of it was sent before",
    KindReason.NO_ACK_FLAG: "no ACK flag: no segment of an established connection",
    KindReason.OLD_ACK: "an older ACK that was overtaken: its timestamp, IP ID or acknowledgement is behind the newest "
    "of its sender",
    KindReason.BELOW_ACKNOWLEDGED: "one below what the peer has acknowledged, nothing outstanding",
    KindReason.SHORT_SILENCE: "one below what the peer has acknowledged, but too soon after the last segment to rule "
    "out a stray ACK",
    KindReason.ACK_UNSEEN: "one below this side's next sequence number after a silence; the ACK of its last data is "
    "missing from the capture",
    KindReason.ANSWERED_ONE_HIGHER: "the capture began mid-connection; the peer's answer acknowledges one more than "
    "this segment carried",
    KindReason.REPEATS: "never answered: the same pure ACK repeats at constant gaps with nothing coming in, or a reset "
    "one higher follows",
    KindReason.GARBAGE_BYTE: "one byte, one below what the peer has acknowledged, nothing outstanding",
    KindReason.BYTE_AT_FIN: "one byte at the number of this side's FIN, where no data can be: that is acknowledged",
    KindReason.SAME_BYTE_LATER: "the last byte, acknowledged before, once more: a keepalive or a late retransmission",
    KindReason.ZERO_WINDOW_SHAPE: "shaped like a keepalive, but the peer's window is 0",
    KindReason.NEW_BYTE_AT_ZERO_WINDOW: "one new byte while the peer's window is 0",
    KindReason.ANSWERS_PROBE: "a pure ACK of everything, after an unanswered probe",
    KindReason.ANSWERED_LATE: "one more pure ACK of everything: an earlier probe of the run is answered late",
    KindReason.ANSWERED_AFTER_DATA: "a pure ACK of everything, soon after a probe that the peer's data had crossed",
    KindReason.ANSWERED_BEFORE: "a pure ACK of everything, captured just before the probe that it answers",
    KindReason.RST_AFTER_PROBE: "RST from the peer's address after a probe",
    KindReason.GAVE_UP: "RST and ACK at the prober's next sequence number after unanswered probes",
    KindReason.QUOTED: "an ICMP error quotes a probe",
    KindReason.QUOTED_OTHER: "an ICMP error quotes a segment that is no open probe",
    KindReason.ZERO_WINDOW_GROWING: "the peer's window is 0 and the gaps grow from the retransmission timeout: persist "
    "timer",
    KindReason.ZERO_WINDOW_CONSTANT: "the peer's window is 0, but the gaps are constant: keepalive, not the persist "
    "timer",
    KindReason.ZERO_WINDOW_UNDECIDED: "the peer's window is 0 and the gaps do not tell a keepalive from a window probe",
    KindReason.WINDOW_STILL_CLOSED: "answers a zero-window probe",
    KindReason.REPEATS_TOO_LITTLE: "the same pure ACK after a silence with nothing coming in, too few to be sure",
    KindReason.LONE_BYTE: "the capture began mid-connection; one byte without PSH and nothing behind it, acknowledged "
    "at once: data is not sent so",
    KindReason.GROWING_REPEATS: "never answered: the same segment repeats, but the gaps grow as those of a "
    "retransmission or window probe do",
    KindReason.OUT_OF_WINDOW_RST: "RST whose sequence number is not the one expected: the connection survives it (RFC "
    "5961)",
}
