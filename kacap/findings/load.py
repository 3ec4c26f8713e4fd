"""Findings over a whole capture about what probing costs, and about what the capture itself lost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kacap.addresses import address_text
from kacap.clock import SECOND_NS
from kacap.findings.connection_facts import Claim
from kacap.findings.context import Context
from kacap.model import FrameRef
from kacap.rows import by_group, numbered
from kacap.summary import Drop
from kacap.timing.episodes import ANSWER_WAIT_NS
from kacap.units import counted, duration, moment
from kacap.views import Views

FAST_NS = 15 * SECOND_NS  # the shortest idle of a common runtime (Go); a timer is never early
FEWEST = 10  # answered probes of one sender
SHOWN = 8  # frames
BYTES_ON_WIRE = {4: 66, 6: 86}  # Ethernet, IP and TCP with timestamps, per probe and per reply


def too_many(context: Context) -> Iterator[Claim]:
    """Senders that probe more often than any common runtime does: rate and bytes a day, over all their connections."""
    probing = context.probing
    pace = probing.pace_ns(FAST_NS)
    busy = probing.one_each(np.flatnonzero(pace))
    senders, of_sender = numbered(*(half[busy] for half in probing.address(peer=False)))
    order, bounds = by_group(of_sender, len(senders))
    found = []
    for (hi, lo), (start, end) in zip(senders, pairwise(bounds.tolist()), strict=True):
        own = busy[order[start:end]]
        if probing.probers["replies"][own].sum() >= FEWEST:
            found.append((float((3600 * SECOND_NS / pace[own]).sum()), address_text(hi, lo), own))
    views = Views(probing.gatherer)
    for per_hour, sender, own in sorted(found, key=lambda one: (-one[0], one[1])):
        day = int(per_hour * 24 * 2 * BYTES_ON_WIRE[6 if ":" in sender else 4])
        fastest = int(own[pace[own].argmin()])
        _, side, peer = views.connection_of(fastest)
        sentence = (
            f"{sender} probes {counted(len(own), 'connection')} {per_hour:,.0f} times an hour in all while answered, "
            f"about {day / 1e6:,.1f} MB a day with the replies; fastest {side} > {peer}, every "
            f"{duration(int(pace[fastest]))}"
        )
        firsts = probing.gatherer.probes.rows[probing.probers["first_probe"][own[:SHOWN]]]
        yield Claim(sentence, [FrameRef(int(probe["file"]), int(probe["frame"])) for probe in firsts])


def dropped(context: Context) -> Iterator[Claim]:
    """Frames were lost while capturing: whatever was missed may be one of them."""
    if context.dropped:
        lost = counted(context.dropped, "frame")
        when = _when(context.timed_drops, context.dropped)
        yield Claim(f"{lost} dropped while capturing{when}: {_which(context)}", [])


def _which(context: Context) -> str:
    """Say which misses may be frames that were lost: where all losses have their time, those of that time."""
    probing, drops = context.probing, context.timed_drops
    missed = probing.missed
    if not missed:
        return "a probe or reply may be among them"
    if sum(drop.frames for drop in drops) >= context.dropped:
        wait_ns = max(int(ANSWER_WAIT_NS), probing.slowest_reply_ns)
        missed = int(np.logical_or.reduce([_meet(probing.missed_ns, wait_ns, drop) for drop in drops]).sum())
        if not missed:
            return "no reply was missed at that time"
    return f"{counted(missed, 'missed reply', 'missed replies')} may be among them"


def _meet(probes_ns: NDArray[np.int64], wait_ns: int, drop: Drop) -> NDArray[np.bool_]:
    """Return which probes' replies would have come while frames were lost, at most ``wait_ns`` after them."""
    since_ns = -1 if drop.since_ns is None else drop.since_ns
    met: NDArray[np.bool_] = (since_ns <= probes_ns + wait_ns) & (probes_ns <= drop.until_ns)
    return met


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
