"""Findings over a whole capture about what probing costs, and about what the capture itself lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from kacap.classify.kinds import Ending, Grade
from kacap.facts.runs import missed_probes
from kacap.findings.case import Claim
from kacap.findings.context import Context
from kacap.model import Drop, Prober
from kacap.timing.episodes import ANSWER_WAIT_NS
from kacap.units import counted, duration, moment

SECOND_NS = 1_000_000_000
FAST_NS = 15 * SECOND_NS  # the shortest idle of a common runtime (Go); a timer is never early
FEWEST = 10  # answered probes of one sender
SHOWN = 8  # frames
BYTES_ON_WIRE = {4: 66, 6: 86}  # Ethernet, IP and TCP with timestamps, per probe and per reply


@dataclass(slots=True)
class Load:
    """What one sender's probers do that are answered more often than every ``FAST_NS``: numbers and pace."""

    probers: list[Prober] = field(default_factory=list)
    replies: int = 0
    per_hour: float = 0.0
    fastest_ns: int = FAST_NS
    fastest: Prober | None = None

    def take(self, prober: Prober, every_ns: int) -> None:
        """Take a prober that probes every so many nanoseconds."""
        self.probers.append(prober)
        self.replies += prober.replies
        self.per_hour += 3600 * SECOND_NS / every_ns
        if self.fastest is None or every_ns < self.fastest_ns:
            self.fastest, self.fastest_ns = prober, every_ns


def too_many(probers: list[Prober], context: Context) -> Iterator[Claim]:
    """Senders that probe more often than any common runtime does: rate and bytes a day, over all their connections."""
    by_sender: dict[str, Load] = {}
    for prober in probers:
        every_ns = _pace_ns(prober)
        if every_ns is not None and every_ns < FAST_NS:
            by_sender.setdefault(prober.side.address, Load()).take(prober, every_ns)
    for sender, load in sorted(by_sender.items(), key=lambda item: (-item[1].per_hour, item[0])):
        if load.replies < FEWEST or load.fastest is None:
            continue
        day = int(load.per_hour * 24 * 2 * BYTES_ON_WIRE[6 if ":" in sender else 4])
        connections = counted(len(load.probers), "connection")
        sentence = (
            f"{sender} probes {connections} {load.per_hour:,.0f} times an hour in all while answered, about "
            f"{day / 1e6:,.1f} MB a day with the replies; fastest {load.fastest.side} > {load.fastest.peer}, every "
            f"{duration(load.fastest_ns)}"
        )
        yield sentence, [p.episodes[0].probes[0].frame for p in load.probers[:SHOWN] if p.episodes]


def _pace_ns(prober: Prober) -> int | None:
    """Return how often a prober probes while it is answered, at its slowest; None: that does not show.

    Runs that nothing answers are fast, and end. Ambiguous probes make no rate.
    """
    if prober.replies < 2 or prober.gaps_ns is None or prober.grade == Grade.AMBIGUOUS.word:
        return None
    if not prober.missed:
        return max((prober.last_probe_ns - prober.first_probe_ns) // (prober.probes - 1), 1)
    answered = [e.probes[0].time_ns for e in prober.episodes if e.ending == Ending.ANSWERED and len(e.probes) == 1]
    if len(answered) <= prober.missed:
        return None
    gaps = sorted(b - a for a, b in pairwise(answered))
    return max(gaps[len(gaps) // 2], 1) if gaps else None


def dropped(probers: list[Prober], context: Context) -> Iterator[Claim]:
    """Frames were lost while capturing: whatever was missed may be one of them."""
    if context.dropped:
        lost = counted(context.dropped, "frame")
        which = _which(probers, context)
        yield f"{lost} dropped while capturing{_when(context.timed_drops, context.dropped)}: {which}", []


def _which(probers: list[Prober], context: Context) -> str:
    """Say which misses may be frames that were lost: where all losses have their time, those of that time."""
    missed = sum(prober.missed for prober in probers)
    if not missed:
        return "a probe or reply may be among them"
    drops = context.timed_drops
    found = [probe for prober in probers for probe in missed_probes(prober)]
    if sum(drop.frames for drop in drops) >= context.dropped and len(found) == missed:
        slowest_ns = max((prober.reply_after_ns[1] for prober in probers if prober.reply_after_ns), default=0)
        wait_ns = max(ANSWER_WAIT_NS, slowest_ns)
        missed = sum(any(_meet(probe.time_ns, wait_ns, drop) for drop in drops) for probe in found)
        if not missed:
            return "no reply was missed at that time"
    return f"{counted(missed, 'missed reply', 'missed replies')} may be among them"


def _meet(probe_ns: int, wait_ns: int, drop: Drop) -> bool:
    """Return whether the reply to a probe would have come while frames were lost, at most ``wait_ns`` after it."""
    return (drop.since_ns is None or drop.since_ns <= probe_ns + wait_ns) and probe_ns <= drop.until_ns


def _when(drops: list[Drop], dropped: int) -> str:
    """Return when frames were dropped, as far as that is known: ``, 3 of them in 2 spans between ... and ...``."""
    if not drops:
        return ""
    frames, last = sum(drop.frames for drop in drops), moment(max(drop.until_ns for drop in drops))
    starts = [drop.since_ns for drop in drops if drop.since_ns is not None]
    which = "" if frames >= dropped else f", {frames:,} of them"
    spans = f" in {len(drops)} spans" if len(drops) > 1 else ""
    between = f"between {moment(min(starts))} and {last}" if len(starts) == len(drops) else f"before {last}"
    return f"{which}{spans} {between}"
