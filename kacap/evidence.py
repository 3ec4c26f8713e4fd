"""What findings rest on: the few facts of a connection that its episodes do not tell."""

from __future__ import annotations

from dataclasses import dataclass, field

from kacap.addresses import address_text
from kacap.classify.events import Event
from kacap.classify.kinds import Kind
from kacap.classify.reasons import Why
from kacap.model import Connection, FrameRef
from kacap.segments import ACK, HAS_TCP_OPTIONS, RST

SUSPENDED_AFTER = 3  # retransmissions of the same bytes
KEPT = 16  # of each sort of fact; the count goes on


@dataclass(frozen=True, slots=True)
class Reset:
    """An RST: who it claims to come from, and what its headers are beside the other segments of that side."""

    frame: FrameRef
    time_ns: int
    from_a: bool
    kind: Kind
    with_ack: bool
    in_window: bool
    ttl: int
    usual_ttl: int  # 0: unknown
    bare: bool  # no TCP options, although that side's other segments carry timestamps


@dataclass(frozen=True, slots=True)
class Refusal:
    """An ICMP error that quoted a probe."""

    frame: FrameRef
    by: str
    type: int
    code: int
    from_a: bool  # whose probe it quotes


@dataclass(slots=True)
class Evidence:
    """Facts of one connection, gathered from its events; the rest comes from its row at the end."""

    resets: list[Reset] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    near_replies: list[FrameRef] = field(default_factory=list)  # replies whose TTL is above that of their side's data
    near_ttls: tuple[int, int] | None = None  # (of the replies, of the data)
    near_from_a: bool = False
    replies: int = 0
    resent: list[FrameRef] = field(default_factory=list)  # retransmissions, the newest KEPT
    resent_times_ns: list[int] = field(default_factory=list)
    copies: int = 0

    def take(self, event: Event) -> None:
        """Take a decided event of the connection."""
        if event.kind == Kind.DUPLICATE_FRAME:
            self.copies += 1
        elif event.flags & RST and event.kind in (Kind.RST, Kind.RESET, Kind.ABORT) and len(self.resets) < KEPT:
            self.resets.append(_reset(event))
        elif event.kind == Kind.UNREACHABLE and len(self.refusals) < KEPT:
            by = address_text(event.by_hi, event.by_lo)
            self.refusals.append(
                Refusal(event.ref, by, event.icmp_type, event.icmp_code, bool(event.from_a))
            )
        elif event.kind == Kind.REPLY:
            self.take_reply(event.ref, event.ttl, event.usual_ttl, bool(event.from_a))
        elif event.kind == Kind.RETRANSMISSION:
            self.resent = [*self.resent[1 - KEPT :], event.ref]
            self.resent_times_ns = [*self.resent_times_ns[1 - KEPT :], event.time_ns]

    def take_reply(self, frame: FrameRef, ttl: int, usual_ttl: int, from_a: bool) -> None:
        """A reply from nearer than its side's data came through fewer hops: something else answered."""
        self.replies += 1
        if usual_ttl and ttl > usual_ttl and len(self.near_replies) < KEPT:
            self.near_replies.append(frame)
            self.near_ttls, self.near_from_a = (ttl, usual_ttl), from_a


def _reset(event: Event) -> Reset:
    """Return what an RST event says."""
    return Reset(
        event.ref, event.time_ns, bool(event.from_a), Kind(event.kind), bool(event.flags & ACK),
        event.why != Why.OUT_OF_WINDOW_RST, event.ttl, event.usual_ttl,
        bool(event.stamped) and not event.has & HAS_TCP_OPTIONS,
    )


@dataclass(slots=True)
class Case:
    """One connection as the findings see it."""

    connection: Connection
    evidence: Evidence
    survived_ns: int = 0  # longest silence after which both sides were heard again
    killed_ns: int = 0  # shortest silence after which only a reset, or nothing, came back; 0: none
    beats: int = 0  # how often data came after a silence
    beat_ns: tuple[int, int] | None = None  # least and most time between such moments
    beat_bytes: int = 0
    answer_bytes: int = 0
    resent_n: int = 0  # how often the bytes that were resent most were resent
    resent_ns: tuple[int, int] = (0, 0)  # when first sent, when last resent
    resent_open: bool = False  # the peer has not been heard since
    resent_from_a: bool = False

    @property
    def opened(self) -> bool:
        """Whether anything worth a finding was seen on a connection on which nobody probes."""
        return bool(self.killed_ns or self.resent_n >= SUSPENDED_AFTER or self.beat_ns)
