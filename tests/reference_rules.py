"""The plain twin of the classifier: kinds and grades from the rules, with the whole connection in view.

Imports nothing of kacap. It may look ahead and remembers everything, so each rule is a sentence of its own. Where the
rule table leaves a number open, it stands here as a constant.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
SECOND = 1_000_000_000
DUPLICATE_NS = 10_000_000  # the same content again within 10 ms is the same packet
SAME_ID_NS = 100_000_000  # with an IP ID that is not 0, within 100 ms
SAME_STAMP_NS = 10 * SECOND  # with timestamps as well, as far apart as two captures of a slow path may be
EARLY_REPLY_NS = 1_000_000  # a reply may be captured up to 1 ms before its probe
LATE_REPLY_NS = 120 * SECOND  # two minutes, RFC 9293's maximum segment lifetime: later is no reply
AFTER_DATA_NS = SECOND  # once data has answered, a bare ACK is the reply for so long
NO_IDLE_NS = SECOND // 2  # the prober heard from its peer so recently that no idle time can have run out
SOON_NS = SECOND  # a retransmission timer's first firing comes within a second
LEAST_IDLE_NS = 9 * SECOND // 10  # keepalive is set in whole seconds
JUMP = 2**20  # numbers off by so much on both sides, after a silence of a second, are another connection's
ARRIVED_NS = 9 * SECOND // 10  # what the capture shows sooner may still be on its way
HALF, SPACE = 2**31, 2**32

Verdict = tuple[str, str]


class SegmentLike(Protocol):
    """What a segment must tell; ``reference_decode.Segment`` does."""

    src: int
    dst: int
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    payload_len: int
    timestamps: tuple[int, int] | None
    sack: tuple[int, int] | None
    last_byte: int | None
    has_options: bool
    ip_id: int
    is_quote: bool
    encapsulation: tuple[tuple[str, int], ...]
    time_ns: int


@dataclass
class Item:
    """A segment with its place in the input, its side (0 or 1) and numbers that do not wrap."""

    index: int
    segment: SegmentLike
    side: int
    seq: int = 0
    ack: int = 0

    @property
    def time(self) -> int:
        return self.segment.time_ns

    @property
    def length(self) -> int:
        return self.segment.payload_len

    def has(self, flags: int) -> bool:
        return bool(self.segment.flags & flags)

    @property
    def end(self) -> int:
        return self.seq + self.length + self.has(SYN) + self.has(FIN)

    @property
    def bare(self) -> bool:
        """A pure ACK: no payload, and of the flags that matter only ACK."""
        return self.length == 0 and self.segment.flags & (FIN | SYN | RST | ACK) == ACK

    @property
    def shaped(self) -> bool:
        """Could be a probe by its form alone."""
        return self.length <= 1 and self.segment.flags & (FIN | SYN | RST | ACK) == ACK


@dataclass
class Side:
    """What one side has sent and the other has told of it."""

    nxt: int | None = None
    una: int | None = None
    window: int | None = None
    tsval: int | None = None
    seen: list[tuple[int, int]] = field(default_factory=list)  # bytes sent: stretches with gaps between them, in order
    ends: set[int] = field(default_factory=set)  # where segments ended
    sent: dict[int, tuple[int | None, int]] = field(default_factory=dict)  # position: last byte there, when last sent
    heard: int | None = None  # when it last accepted a segment of the other side
    coming: list[tuple[int, int]] = field(default_factory=list)  # bytes that it has not acknowledged: end, when sent
    came: int = 0  # when the last of them was sent
    fin: int | None = None  # the number of its FIN
    open: Item | None = None  # its last probe, while nobody answered
    answered_by_data: bool = False
    resent_gap: int = 0
    replied: tuple[int, int] | None = None  # timestamp and time of its last reply to a probe


def classify(segments: Sequence[SegmentLike]) -> list[Verdict]:
    """Return (kind, grade) for each segment of a capture, in order."""
    verdicts: list[Verdict] = [("", "")] * len(segments)
    flows: dict[object, list[Item]] = defaultdict(list)
    for index, segment in enumerate(segments):
        a, b = (segment.src, segment.sport), (segment.dst, segment.dport)
        flows[segment.encapsulation, min(a, b), max(a, b)].append(Item(index, segment, int(a > b)))
    scans = scans_of(segments)
    for items in flows.values():
        for item in duplicates(items):
            verdicts[item.index] = ("duplicate-frame", "proven")
        rest = [item for item in items if not verdicts[item.index][0]]
        for incarnation in incarnations(rest):
            Incarnation(incarnation, verdicts, scans).run()
    return verdicts


def scans_of(segments: Sequence[SegmentLike]) -> set[tuple[int, int, int]]:
    """The (host, seq, ack) of bare ACKs that go to several places: connections choose their numbers at random."""
    places = defaultdict(set)
    for s in segments:
        if s.payload_len == 0 and s.flags & (FIN | SYN | RST | ACK) == ACK and not s.is_quote:
            places[s.src, s.seq, s.ack].add((s.sport, s.dst, s.dport))
    return {numbers for numbers, found in places.items() if len(found) > 1}


def duplicates(items: list[Item]) -> Iterator[Item]:
    """Packets seen a moment ago; the TTL may differ (a router in between), nothing else."""
    last: dict[object, int] = {}
    for item in items:
        s = item.segment
        content = (
            item.side, s.seq, s.ack, s.flags, s.window, s.payload_len, s.timestamps, s.sack, s.last_byte, s.has_options,
            s.ip_id, s.is_quote,
        )  # fmt: skip
        limit = DUPLICATE_NS if not s.ip_id else SAME_STAMP_NS if s.timestamps else SAME_ID_NS
        if content in last and abs(item.time - last[content]) <= limit:
            yield item
        last[content] = item.time


def incarnations(items: list[Item]) -> Iterator[list[Item]]:
    """Cut where a SYN brings another ISN, or where both sides' numbers jump after a silence; numbers are unwrapped."""
    current: list[Item] = []
    where: list[int | None] = [None, None]
    isn: list[int | None] = [None, None]
    for item in items:
        s, me, other = item.segment, item.side, 1 - item.side
        new_syn = item.has(SYN) and not s.is_quote and where[me] is not None and isn[me] != s.seq
        if new_syn or jumped(item, current, where):
            yield current
            current, where, isn = [], [None, None], [None, None]
        item.seq = unwrap(s.seq, where[me])
        item.ack = unwrap(s.ack, where[other])
        if not item.has(RST) and not s.is_quote:
            isn[me] = s.seq if item.has(SYN) else isn[me]
            where[me] = item.end if where[me] is None else max(where[me] or 0, item.end)
            if item.has(ACK):
                where[other] = item.ack if where[other] is None else max(where[other] or 0, item.ack)
        current.append(item)
    yield current


def unwrap(number: int, near: int | None) -> int:
    return number if near is None else near + (number - near + HALF) % SPACE - HALF


def jumped(item: Item, current: list[Item], where: list[int | None]) -> bool:
    """Whether both numbers of a segment are far from anything seen, after a second of silence."""
    mine, theirs = where[item.side], where[1 - item.side]
    if item.has(RST | SYN) or not item.has(ACK) or mine is None or theirs is None or item.segment.is_quote:
        return False
    far = all(abs(unwrap(n, w) - w) > JUMP for n, w in ((item.segment.seq, mine), (item.segment.ack, theirs)))
    return far and item.time - current[-1].time >= SECOND


def steady(gaps: list[int]) -> bool:
    """One timer's gaps: never early, late by an eighth at most, and not below what keepalive can be set to."""
    return min(gaps) >= LEAST_IDLE_NS and max(gaps) <= min(gaps) * 9 // 8 + SECOND // 20


def whole_gaps(gaps: list[int]) -> list[int]:
    """Without the gaps of two to four times the shortest: the capture lacks what was sent in them."""
    shortest = min(gaps)
    return [g for g in gaps if not any(abs(g - n * shortest) <= g // 20 for n in (2, 3, 4))]


class Incarnation:
    """One connection from its first segment to its last."""

    def __init__(self, items: list[Item], verdicts: list[Verdict], scans: set[tuple[int, int, int]]) -> None:
        self.items = items
        self.verdicts = verdicts
        self.scans = scans
        self.sides = (Side(), Side())
        self.foreseen: dict[int, Verdict] = {}  # by input index: probes that only later segments show
        self.early: set[int] = set()  # by input index: replies captured before their probes, and those probes

    def run(self) -> None:
        for at, item in enumerate(self.items):
            verdict = self.quote(at, item) if item.segment.is_quote else self.judge(at, item)
            self.verdicts[item.index] = verdict
            if not item.segment.is_quote and not item.has(RST):
                self.note(item, verdict)

    def following(self, at: int) -> Iterator[Item]:
        return (item for item in self.items[at + 1 :] if not item.segment.is_quote)

    def quote(self, at: int, item: Item) -> Verdict:
        """An error is about the last segment that carried the quoted number."""
        for earlier in reversed(self.items[:at]):
            if earlier.side == item.side and not earlier.segment.is_quote and earlier.segment.seq == item.segment.seq:
                kind, grade = self.verdicts[earlier.index]
                return ("unreachable", grade) if kind == "probe" else ("ack", "proven")
        return "ack", "proven"

    def judge(self, at: int, item: Item) -> Verdict:
        me, peer = self.sides[item.side], self.sides[1 - item.side]
        if item.has(RST):
            return self.reset(item, me, peer)
        if item.has(SYN):
            return "syn", "proven"
        if item.has(FIN):
            return "fin", "proven"
        if item.shaped:
            verdict = self.probe(at, item, me, peer)
            if verdict:
                return verdict
        if item.bare:
            return self.reply(at, item, me, peer) or ("ack", "proven")
        if item.length:
            return ("retransmission", "proven") if old(item, me) else ("data", "proven")
        return "ack", "proven"

    def reset(self, item: Item, me: Side, peer: Side) -> Verdict:
        """The prober gives up with RST and ACK at its next number; the peer answers a waiting probe with any RST."""
        unseen = item.has(ACK) and peer.nxt is not None and item.ack > peer.nxt  # it was answered since
        if item.has(ACK) and item.seq == me.nxt and unheard(item, peer) and not unseen:
            return "abort", "proven"
        if me.open and not unseen and item.has(ACK) and item.seq == me.nxt and not me.answered_by_data:
            return "abort", self.verdicts[me.open.index][1]
        if peer.open and not peer.answered_by_data and item.time - peer.open.time <= LATE_REPLY_NS:
            return "reset", self.verdicts[peer.open.index][1]
        return "rst", "proven"

    # Probes

    def probe(self, at: int, item: Item, me: Side, peer: Side) -> Verdict | None:
        if item.index in self.foreseen:
            return self.foreseen[item.index]
        if item.length == 1 and item.seq == me.fin == (me.nxt or 0) - 1:
            return "probe", "proven"  # no data comes after a FIN
        if item.length == 1 and peer.window == 0 and me.una == item.seq and me.nxt in (item.seq, item.end):
            return "window-probe", "proven"
        if me.una is None or me.nxt is None or item.seq > me.nxt:
            self.foresee(at, item, me, peer)
            return self.foreseen.get(item.index)
        if item.seq != me.una - 1 or me.nxt != me.una:
            return None
        if item.segment.timestamps and me.tsval is not None and behind(item.segment.timestamps[0], me.tsval):
            return None
        if item.length == 1 and item.has(PSH) and item.seq in me.ends:
            return "data", "proven"  # a byte that the capture had not shown: its ACK was captured before it
        if item.length == 1 and (verdict := resent(item, me)):
            return verdict
        if peer.window == 0:
            return self.into_closed_window(at, item, me, peer)
        heard = [me.heard or 0, *(when for end, when in me.coming if end <= item.ack)]
        if item.time - max(heard) < NO_IDLE_NS:
            return "probe", "ambiguous"
        return "probe", "proven"

    def into_closed_window(self, at: int, item: Item, me: Side, peer: Side) -> Verdict:
        """A window probe by growing gaps, keepalive by steady ones; the whole run gets one verdict."""
        run = [item]
        for later in self.following(at):
            if later.side == item.side:
                if later.seq != item.seq or not later.shaped:
                    break
                run.append(later)
            elif later.segment.window or later.length:
                break
        first = item.time - (me.heard if me.heard is not None else item.time)
        gaps = [b.time - a.time for a, b in itertools.pairwise(run)]
        verdict = window_verdict(first, gaps)
        self.foreseen.update({each.index: verdict for each in run})
        return verdict

    def foresee(self, at: int, item: Item, me: Side, peer: Side) -> None:
        """Where the capture lacks what went before: is one more acknowledged, or does it repeat and end one higher?"""
        if me.nxt is not None and item.seq <= me.nxt and item.seq != me.nxt - 1:
            return
        run, grade = [item], ""
        for later in self.following(at):
            if later.side != item.side:
                told = later.has(ACK) and not later.has(RST) and later.ack == item.seq + 1
                # A byte that is reported as a duplicate, or that nobody pushed, is not an application's.
                garbage = item.length == 0 or later.segment.sack is not None or not item.has(PSH)
                grade = "answered" if told and garbage else "refuted"
                if grade == "answered" and not later.segment.window and not item.length:
                    self.into_closed_window(at, item, me, peer)
                    return
                break
            if later.has(RST):
                grade = "patterned" if later.has(ACK) and later.seq == item.seq + 1 else "refuted"
                break
            if later.seq != item.seq or later.length != item.length or not later.shaped:
                grade = "refuted" if later.seq <= item.seq else ""
                break
            run.append(later)
        gaps = [b.time - a.time for a, b in itertools.pairwise(run)]
        scan = (item.segment.src, item.segment.seq, item.segment.ack) in self.scans
        if not grade and not scan and len(gaps) >= 2 and len(whole_gaps(gaps)) >= 2 and steady(whole_gaps(gaps)):
            grade = "patterned"
        if grade in ("answered", "patterned"):
            self.foreseen.update({each.index: ("probe", grade) for each in run})

    # Replies

    def reply(self, at: int, item: Item, me: Side, peer: Side) -> Verdict | None:
        """The peer's bare ACK at its own next number, for exactly what the probe stood below."""
        if me.nxt is not None and item.seq != me.nxt:
            return None
        early = self.early_reply(at, item, peer)
        if early:
            return early
        asked = peer.open
        if not asked or item.ack != asked.seq + 1:
            return None
        limit = AFTER_DATA_NS if peer.answered_by_data else LATE_REPLY_NS
        return ("reply", self.verdicts[asked.index][1]) if item.time - asked.time <= limit else None

    def early_reply(self, at: int, item: Item, peer: Side) -> Verdict | None:
        """Captured a moment before its probe: acknowledges nothing new, and the probe follows at once."""
        following = next(self.following(at), None)
        if not following or following.side == item.side or following.time - item.time > EARLY_REPLY_NS:
            return None
        probing = following.shaped and following.seq == item.ack - 1
        if not probing or not peer.una == peer.nxt == item.ack:
            return None
        self.early.update((item.index, following.index))
        return "reply", "proven"

    # Bookkeeping

    def note(self, item: Item, verdict: Verdict) -> None:
        me, peer = self.sides[item.side], self.sides[1 - item.side]
        kind = verdict[0]
        me.nxt = item.end if me.nxt is None else max(me.nxt, item.end)
        me.window = item.segment.window
        if item.segment.timestamps and (me.tsval is None or behind(me.tsval, item.segment.timestamps[0])):
            me.tsval = item.segment.timestamps[0]
        if item.length:
            before = me.sent.get(item.end - 1)
            me.resent_gap = item.time - before[1] if before and kind == "retransmission" else 0
            me.sent[item.end - 1] = (before[0] if before else item.segment.last_byte, item.time)
            me.ends.add(item.end)
            cover(me.seen, item.seq, item.end)
        if item.has(ACK):
            peer.una = item.ack if peer.una is None else max(peer.una, item.ack)
            peer.nxt = peer.una if peer.nxt is None else max(peer.nxt, peer.una)
        if kind == "reply":
            me.replied = (item.segment.timestamps[0], item.time) if item.segment.timestamps else None
        if kind == "probe":
            me.open, me.answered_by_data = (None if item.index in self.early else item), False
            me.nxt = max(me.nxt, item.seq + 1)
        me.fin = item.end - 1 if item.has(FIN) else me.fin
        if item.length or item.has(FIN):
            peer.coming.append((item.end, item.time))
            peer.came = max(peer.came, item.time)
        elif kind not in ("probe", "window-probe") and item.index not in self.early:
            peer.heard = item.time
        if item.bare and kind == "ack":  # an ACK at once: what it answers has arrived
            me.heard = max(me.heard or 0, me.came)
        if kind in ("reply", "ack") or (item.length and kind not in ("probe", "window-probe")):
            self.answer(item, kind, peer)

    def answer(self, item: Item, kind: str, peer: Side) -> None:
        """A reply closes the probe; so does any other sign of life, except that a bare reply may follow data."""
        if peer.open and item.ack > peer.open.seq:
            if kind == "data":
                peer.answered_by_data = True
            else:
                peer.open = None


def window_verdict(first: int, gaps: list[int]) -> Verdict:
    """``first``: from the peer's last segment to the first of the run; ``gaps``: within the run."""
    if len(gaps) < 2:
        whole = [first, *gaps]
        if first < LEAST_IDLE_NS and (not gaps or 2 * gaps[0] >= 3 * first):
            return "window-probe", "proven"
        return ("probe", "proven") if gaps and steady(whole) else ("window-probe", "ambiguous")
    if steady(gaps):
        return "probe", "proven"
    pairs = list(itertools.pairwise(gaps))
    grows = any(2 * b >= 3 * a for a, b in pairs) and all(10 * b >= 9 * a for a, b in pairs)
    return "window-probe", "proven" if grows else "ambiguous"


def resent(item: Item, me: Side) -> Verdict | None:
    """An acknowledged byte once more: the same byte, with PSH, as soon as a retransmission timer would send it?"""
    value, when = me.sent.get(item.seq, (None, 0))
    if value is None or value != item.segment.last_byte:
        return None
    gap = item.time - when
    soon = gap < SOON_NS or (me.resent_gap > 0 and gap <= me.resent_gap * 5 // 2)
    if soon and item.has(PSH):
        return "retransmission", "proven"
    return ("probe", "ambiguous") if soon or item.has(PSH) else None


def old(item: Item, me: Side) -> bool:
    """Whether every byte was sent before: below what the peer acknowledged, or seen."""
    at = item.seq if me.una is None else max(item.seq, me.una)
    stretch = bisect_right(me.seen, (at, math.inf)) - 1
    return max(at, me.seen[stretch][1] if stretch >= 0 else at) >= item.end


def cover(seen: list[tuple[int, int]], start: int, end: int) -> None:
    """Add a stretch, joined with those that it overlaps or touches."""
    first = bisect_left(seen, start, key=lambda stretch: stretch[1])
    last = bisect_right(seen, end, key=lambda stretch: stretch[0])
    joined = seen[first:last]
    seen[first:last] = [(min([start, *(s for s, _ in joined)]), max([end, *(e for _, e in joined)]))]


def unheard(item: Item, peer: Side) -> bool:
    """Whether a side did not receive its peer's last reply: what it echoes is older (RFC 7323 section 4.3)."""
    if peer.replied is None or item.segment.timestamps is None or item.time - peer.replied[1] < ARRIVED_NS:
        return False
    return behind(item.segment.timestamps[1], peer.replied[0])


def behind(a: int, b: int) -> bool:
    """Whether timestamp ``a`` is older than ``b`` (RFC 7323 section 5.2)."""
    return 0 < (b - a) % SPACE < HALF
