"""Findings over a whole capture about what probing costs, and about what the capture itself lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kacap.findings.case import Context, Told
from kacap.model import Drop, Prober
from kacap.timing.episodes import ANSWER_WAIT_NS, missed_by
from kacap.units import counted, duration, moment

SECOND_NS = 1_000_000_000
FAST_NS = 15 * SECOND_NS  # the shortest idle of a common runtime (Go); a timer is never early
FEWEST = 10  # probes
BYTES_ON_WIRE = {4: 66, 6: 86}  # Ethernet, IP and TCP with timestamps, per probe and per reply


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a prober probes while it is answered, in nanoseconds."""

    prober: Prober
    every_ns: int

    @property
    def per_hour(self) -> float:
        """Probes an hour."""
        return 3600 * SECOND_NS / max(self.every_ns, 1)


def too_many(probers: list[Prober], context: Context) -> Iterator[Told]:
    """Senders that probe more often than any common runtime does: rate and bytes a day."""
    by_sender: dict[str, list[Pace]] = {}
    for prober in probers:
        pace = _pace(prober)
        if pace is not None and pace.every_ns < FAST_NS:
            by_sender.setdefault(prober.side.address, []).append(pace)
    for sender, busy in sorted(by_sender.items(), key=lambda item: (-sum(p.per_hour for p in item[1]), item[0])):
        rate = sum(pace.per_hour for pace in busy)
        day = int(rate * 24 * 2 * BYTES_ON_WIRE[6 if ":" in sender else 4])
        fastest = min(busy, key=lambda pace: pace.every_ns)
        sentence = (
            f"{sender} probes {counted(len(busy), 'connection')} {rate:,.0f} times an hour in all, about "
            f"{day / 1e6:,.1f} MB a day with the replies; fastest {fastest.prober.side} > {fastest.prober.peer}, every "
            f"{duration(fastest.every_ns)}"
        )
        yield sentence, [pace.prober.episodes[0].probes[0].frame for pace in busy[:8] if pace.prober.episodes]


def _pace(prober: Prober) -> Pace | None:
    """Return how often a prober probes while answered: runs that nothing answers are fast, and end."""
    if prober.replies < FEWEST or prober.missed > prober.replies // 10:
        return None
    return Pace(prober, (prober.last_probe_ns - prober.first_probe_ns) // max(prober.probes - 1, 1))


def dropped(probers: list[Prober], context: Context) -> Iterator[Told]:
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
    found = [probe for prober in probers for probe in missed_by(prober)]
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
