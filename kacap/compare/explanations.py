"""Why kacap and tshark differ on a segment: one table, looked through from its first row to its last.

Each row names what tshark's rule does not look at, as run against tshark 4.0 and 4.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kacap.classify.kind_reasons import SENTENCES, KindReason
from kacap.classify.kinds import Kind

UNSET = 0xFFFF_FFFF  # one below 0, which tshark takes for "no segment seen yet"
_AGAIN = ("retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order")


@dataclass(slots=True)
class Seen:
    """A segment on which they differ, and what the reason depends on."""

    kind: str
    grade: str
    reason: str
    role: str
    labels: tuple[str, ...]
    seq: int | None = None
    probe_known: bool = True  # of a reply: tshark labels the probe that it answers
    before_probe: bool = False  # of a reply: it was captured before its probe
    earlier: set[str] = field(default_factory=set)  # what happened before it, in the words of ``label_differences``

    def is_kind(self, *kinds: Kind) -> bool:
        """Return whether kacap says one of ``kinds``."""
        return self.kind in {kind.word for kind in kinds}

    def is_because(self, *reasons: KindReason) -> bool:
        """Return whether kacap's reason is one of ``reasons``."""
        return self.reason in {SENTENCES[why] for why in reasons}


@dataclass(frozen=True, slots=True)
class Explanation:
    """When it holds, and what to say then."""

    id: str
    holds: Callable[[Seen], bool]
    sentence: str


TABLE = (
    Explanation("captured-twice", lambda s: s.is_kind(Kind.DUPLICATE_FRAME),
        "the same packet was captured twice; tshark counts the copy as one more segment"),
    Explanation("one-connection", lambda s: "encapsulations" in s.earlier,
        "the same addresses and ports in two VLANs or tunnels are one connection to tshark"),
    Explanation("port-reuse", lambda s: "reused" in s.earlier,
        "the ports were reused and the SYN was not captured; tshark measures the new numbers by the old connection's"),
    Explanation("stray-reset", lambda s: "reset" in s.earlier and s.role != "keep_alive" and not s.is_kind(Kind.REPLY),
        "an RST out of the window moved the sequence number that tshark expects; the connection survived it"),
    Explanation("byte-unacknowledged", lambda s: s.is_kind(Kind.RETRANSMISSION) and s.role.startswith("keep_alive"),
        "a byte that was sent before is sent again; tshark does not look whether it was acknowledged, or is the same"),
    Explanation("window-closed", lambda s: s.is_kind(Kind.WINDOW_PROBE) and s.role == "keep_alive",
        "the peer's window is 0, and data waits: a window probe in Linux's form; tshark does not look at the peer's "
        "window when the probe carries nothing"),
    Explanation("earlier-file", lambda s: "file" in s.earlier,
        "the connection began in an earlier file; tshark reads each file by itself"),
    Explanation("window-byte-taken", lambda s: "window-probe" in s.earlier and s.role in ("", "duplicate_ack"),
        "the peer took the byte of an earlier window probe; tshark before 4.4 does not count it"),
    Explanation("window-closed-before", lambda s: s.is_kind(Kind.WINDOW_PROBE) and "unseen" in s.earlier
        and s.role in ("", "duplicate_ack"),
        "the capture begins in front of a closed window: tshark knows no segment of the prober to place the probe by"),
    Explanation("window-closed-keepalive", lambda s: s.is_kind(Kind.PROBE) and s.role == "zero_window_probe",
        "the peer's window is 0, but nothing waits or the gaps are constant: a keepalive; tshark looks at the window "
        "only"),
    Explanation("next-is-zero", lambda s: s.is_kind(Kind.PROBE) and s.seq == UNSET and s.role != "keep_alive",
        "the prober's next sequence number is exactly 0, which tshark takes for none seen yet"),
    Explanation("first-is-last-number", lambda s: s.role == "keep_alive" and s.seq == UNSET
        and s.is_kind(Kind.ACK, Kind.DATA),
        "the first segment of its direction has the sequence number 2^32-1; tshark takes none seen yet for 0"),
    Explanation("data-missing", lambda s: s.is_kind(Kind.PROBE) and "lost_segment" in s.labels,
        "the last segment before it is missing from the capture; tshark takes the probe for the one after a gap"),
    Explanation("began-later", lambda s: s.is_kind(Kind.PROBE) and s.grade != "proven",
        "the capture begins after the last data: tshark knows no segment of the prober to site the probe by"),
    Explanation("first-probe-missed", lambda s: s.is_kind(Kind.PROBE) and "missed-probe" in s.earlier,
        "tshark did not know an earlier probe for one, and takes its number for the prober's next one"),
    Explanation("probe-unknown", lambda s: s.is_kind(Kind.REPLY) and not s.probe_known,
        "tshark did not know the probe that it answers for one"),
    Explanation("reply-first", lambda s: s.is_kind(Kind.REPLY) and s.before_probe,
        "it was captured before the probe that it answers; tshark pairs it with the probe before, or with none"),
    Explanation("window-differs", lambda s: s.is_kind(Kind.REPLY) and s.role == "window_update",
        "its window is not the one its sender told last (after the handshake it never is: a SYN's is not scaled); "
        "tshark asks a reply for the same one"),
    Explanation("window-zero-reply", lambda s: s.is_kind(Kind.REPLY) and "zero_window" in s.labels,
        "the answering side's window is 0; tshark asks a reply for one above"),
    Explanation("gap-before-reply", lambda s: s.is_kind(Kind.REPLY) and "lost_segment" in s.labels,
        "a segment of its sender is missing from the capture before it; tshark takes it for the one after a gap"),
    Explanation("first-to-acknowledge", lambda s: s.is_kind(Kind.REPLY) and s.role == "" and "unheard" in s.earlier,
        "the ACK of what was sent before the probe is missing from the capture, so that this is the first with its "
        "number; tshark asks a reply for one that its sender acknowledged before"),
    Explanation("something-between", lambda s: s.is_kind(Kind.REPLY) and s.role == "duplicate_ack",
        "the prober sent another segment between its probe and this answer (data, an ACK, its own answer where both "
        "ends probe); tshark looks at its last segment only"),
    Explanation("overtaken", lambda s: s.role == "keep_alive" and s.is_because(KindReason.OLD_ACK),
        "an older ACK that was overtaken on the way; tshark looks at no timestamp, IP ID or acknowledgement"),
    Explanation("no-ack-flag", lambda s: s.role == "keep_alive" and s.is_because(KindReason.NO_ACK_FLAG),
        "it has no ACK flag, so the peer discards it; tshark does not look at that flag"),
    Explanation("before-the-fin", lambda s: s.role == "keep_alive" and s.is_kind(Kind.ACK) and "fin" in s.earlier,
        "an ACK sent before its sender's FIN and captured after it"),
    Explanation("data-out-of-order", lambda s: s.role == "keep_alive" and s.is_kind(Kind.DATA),
        "one byte of data captured after what follows it; the peer had not acknowledged it, which tshark does not "
        "look at"),
    Explanation("stray-ack", lambda s: s.role == "keep_alive" and s.is_kind(Kind.ACK),
        "a lone ACK one below what was expected; only its number suggests a probe"),
    Explanation("nothing-to-answer", lambda s: s.role == "keep_alive_ack",
        "no probe waits for it: tshark pairs nothing and sets no limit, and takes every ACK for a reply until the "
        "prober sends again"),
    Explanation("fin-at-closed-window", lambda s: s.role == "zero_window_probe" and s.is_kind(Kind.FIN),
        "a FIN with one byte into a closed window; tshark looks at no flag, and does not count what it carried"),
    Explanation("window-byte", lambda s: s.role.startswith("zero_window_probe"),
        "one byte into a closed window; tshark looks at nothing else"),
    Explanation("copy-of-data", lambda s: s.role in _AGAIN and s.is_kind(Kind.DATA),
        "bytes that this capture shows for the first time; tshark goes by the numbers it expected"),
    Explanation("sent-again", lambda s: s.is_kind(Kind.RETRANSMISSION),
        "all of its bytes were sent before; tshark goes by the highest number it counted"),
    Explanation("short-segments", lambda s: s.is_kind(Kind.RESET, Kind.ABORT, Kind.RST),
        "an RST; tshark sites it by its number only"),
    Explanation("one-segment", lambda s: True,
        "tshark judges a segment by its number beside the last ones of either side, kacap by the connection"),
)  # fmt: skip


def reason(seen: Seen) -> Explanation:
    """Return the first row that holds."""
    return next(row for row in TABLE if row.holds(seen))
