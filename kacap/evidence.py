"""What findings rest on: the few facts of a connection that its episodes do not tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_text
from kacap.classify.events import Answered, Event
from kacap.classify.kinds import Kind
from kacap.classify.reasons import Why
from kacap.flows import A_FIN, B_FIN, NEVER, TOLD
from kacap.model import Connection, Endpoint, FrameRef
from kacap.segments import ACK, HAS_TCP_OPTIONS, RST

LONG_IDLE_NS = 30_000_000_000  # the shortest idle limit of any known box is above this
SUSPENDED_AFTER = 3  # retransmissions of the same bytes
REGULAR_GAPS = 3  # between data, as alike as learn.REGULAR says
_NEVER = int(NEVER)
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
    ip_id: int
    usual_ip_id: int  # of that side's segment before; 0: unknown, or not counted
    silence_ns: int  # before it, on the whole connection
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
class Replies:
    """The replies of one side, and those whose TTL is above that of its data."""

    number: int = 0
    near: int = 0
    near_ttls: tuple[int, int] = (0, 0)  # (of the reply, of the data), the last such
    near_frames: list[FrameRef] = field(default_factory=list)

    def take(self, file: int, frame: int, ttl: int, usual_ttl: int) -> None:
        """A reply from nearer than its side's data came through fewer hops: something else answered."""
        self.number += 1
        if usual_ttl and ttl > usual_ttl:
            self.near += 1
            self.near_ttls = ttl, usual_ttl
            if len(self.near_frames) < KEPT:
                self.near_frames.append(FrameRef(file, frame))


@dataclass(slots=True)
class Evidence:
    """Facts of one connection, gathered from its events; the rest comes from its row at the end."""

    resets: list[Reset] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    replies: tuple[Replies, Replies] = field(default_factory=lambda: (Replies(), Replies()))  # of side b, of side a
    resent: list[FrameRef] = field(default_factory=list)  # retransmissions, the newest KEPT
    resent_times_ns: list[int] = field(default_factory=list)
    fins_ns: dict[bool, int] = field(default_factory=dict)  # whether of side a, to when its last FIN was seen
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
            self.replies[event.from_a].take(event.file, event.frame, event.ttl, event.usual_ttl)
        elif event.kind == Kind.FIN:
            self.fins_ns[bool(event.from_a)] = event.time_ns
        elif event.kind == Kind.RETRANSMISSION:
            self.resent = [*self.resent[1 - KEPT :], event.ref]
            self.resent_times_ns = [*self.resent_times_ns[1 - KEPT :], event.time_ns]

    def take_answered(self, probe: Answered) -> None:
        """Take a probe that was answered at once: its reply."""
        replies = self.replies[1 - probe.from_a]
        replies.take(probe.reply_file, probe.reply_frame, probe.reply_ttl, probe.reply_usual_ttl)


def _reset(event: Event) -> Reset:
    """Return what an RST event says."""
    return Reset(
        event.ref, event.time_ns, bool(event.from_a), Kind(event.kind), bool(event.flags & ACK),
        event.why != Why.OUT_OF_WINDOW_RST, event.ttl, event.usual_ttl, event.ip_id, event.usual_ip_id,
        event.silence_ns, bool(event.stamped) and not event.has & HAS_TCP_OPTIONS,
    )


class Presence(NamedTuple):
    """When one side of a connection was heard, in nanoseconds: first, last, and its longest pause in between.

    An RST does not count: it may be anybody's.
    """

    first_ns: int
    last_ns: int
    quiet_ns: int


class Beat(NamedTuple):
    """Data at regular times, the longest such run: how often, least and most time between, the largest payloads."""

    number: int
    least_ns: int
    most_ns: int
    bytes: int
    answer_bytes: int


class Resent(NamedTuple):
    """The bytes that were resent most often: when first sent, when last resent, and whether the peer is silent."""

    number: int
    since_ns: int
    until_ns: int
    still: bool
    from_a: bool


class Killed(NamedTuple):
    """The shortest silence that the connection did not survive: how long, when it was ended, by whom, and by what.

    ``by_reset``: the other side answered with an RST; else it was not heard again.
    """

    silence_ns: int
    at_ns: int
    from_a: bool
    by_reset: bool


@dataclass(slots=True)
class Case:
    """One connection as the findings see it."""

    connection: Connection
    evidence: Evidence
    survived_ns: int = 0  # longest silence after which both sides were heard again
    killed: Killed | None = None
    beat: Beat | None = None
    resent: Resent | None = None
    closed: tuple[bool, bool] = (False, False)  # whether a FIN of side b, of side a was seen
    present: tuple[Presence | None, Presence | None] = (None, None)  # side b, side a

    @property
    def opened(self) -> bool:
        """Whether anything worth a finding was seen on a connection on which nobody probes."""
        return bool(self.killed or self.resent or self.beat or self.evidence.resets)

    def end(self, from_a: bool) -> Endpoint:
        """Return side a or side b."""
        return self.connection.a if from_a else self.connection.b


def is_plain(rows: NDArray[np.void], *, beats: bool) -> NDArray[np.bool_]:
    """Return which CONNECTION rows hold nothing that a finding could rest on, beside who was heard when.

    ``beats``: regular data is worth a finding.
    """
    told = (rows["state"] & TOLD != 0) | (rows["killed_ns"] != 0) | (rows["survived_ns"] >= LONG_IDLE_NS)
    told |= (rows["resent_n"] >= SUSPENDED_AFTER) | (beats & (rows["beats"] >= REGULAR_GAPS))
    plain: NDArray[np.bool_] = ~told
    return plain


def case_of(row: Any, connection: Connection, evidence: Evidence) -> Case:
    """Turn what a ConnectionRow measured into what findings rest on."""
    return Case(
        connection, evidence, survived_ns=row.survived_ns, killed=_killed(row), beat=_beat(row), resent=_resent(row),
        closed=(bool(row.state & B_FIN), bool(row.state & A_FIN)),
        present=presence_in(row),
    )


def presence_in(row: Any) -> tuple[Presence | None, Presence | None]:
    """Return when side b and side a of a ConnectionRow were heard."""
    return (
        _present(row.b_first_ns, row.b_last_ns, row.b_quiet_ns),
        _present(row.a_first_ns, row.a_last_ns, row.a_quiet_ns),
    )


def _present(first_ns: int, last_ns: int, quiet_ns: int) -> Presence | None:
    """Return when a side was heard."""
    return None if first_ns == _NEVER else Presence(first_ns, last_ns, quiet_ns)


def _beat(row: Any) -> Beat | None:
    """Return the longest regular run of data."""
    if row.beats < REGULAR_GAPS:
        return None
    return Beat(row.beats, row.beat_least_ns, row.beat_most_ns, row.beat_bytes, row.answer_bytes)


def _resent(row: Any) -> Resent | None:
    """Return which bytes were resent often enough to tell of."""
    if row.resent_n < SUSPENDED_AFTER:
        return None
    return Resent(
        row.resent_n, row.resent_since_ns, row.resent_until_ns, bool(row.resent_open), bool(row.resent_from_a)
    )


def _killed(row: Any) -> Killed | None:
    """Return the silence that killed: its end was answered with an RST, or with nothing."""
    if row.killed_ns:
        return Killed(row.killed_ns, row.killed_at_ns, bool(row.killed_from_a), True)
    resent, trial_from_a = _resent(row), bool(row.trial_from_a)
    if row.trial_ns and resent is not None and resent.still and resent.from_a == trial_from_a:
        return Killed(row.trial_ns, row.trial_at_ns, trial_from_a, False)
    return None
