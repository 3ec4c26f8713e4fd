"""Facts of runs of probes: what was missed, when a run was over, which frames show it, how often a prober probes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from kacap.classify.tables import Outcome
from kacap.model import Episode, FrameRef, Probe, Prober
from kacap.units import between, duration

# A cadence holds when this share of the gaps lies within this share of their median (the timer wheel is up to
# one eighth late).
CADENCE_SHARE, CADENCE_SPREAD = 0.8, 1 / 8
UNCAPTURED = Outcome.UNCAPTURED.name.lower()


def unanswered(episode: Episode) -> int:
    """Return how many probes of a run nothing answered: neither a reply in the capture nor one that it lacks."""
    return sum(probe.reply_frame is None and probe.outcome != UNCAPTURED for probe in episode.probes)


def uncaptured(prober: Prober) -> int:
    """Return how many probes were answered by what the capture lacks, as the prober's timestamps show."""
    if prober.replies + prober.missed >= prober.probes:
        return 0
    return sum(probe.outcome == UNCAPTURED for episode in prober.runs for probe in episode.probes)


def missed_probes(prober: Prober) -> list[Probe]:
    """Return a prober's missed probes: nothing answered them in time, where an answer can be told to be missing.

    Not missed are what a reset answered, what the capture's end left no time to answer (``ANSWER_WAIT_NS``), and what
    was answered by something that the capture lacks, as the prober's timestamps show.
    """
    if not prober.missed:
        return []
    return [probe for episode in prober.runs for probe in episode.probes if probe.outcome == "missed"]


def gave_up_ns(episode: Episode) -> int | None:
    """Return when the prober gave up, nanoseconds since 1970; None: it did not."""
    if len(episode.gaps_ns) < len(episode.probes):
        return None
    return episode.probes[-1].time_ns + episode.gaps_ns[-1]


def over_ns(episode: Episode) -> int:
    """Return when a run's last known event was: giving up, else its last probe."""
    gave_up = gave_up_ns(episode)
    return episode.probes[-1].time_ns if gave_up is None else gave_up


def frames_of(episode: Episode) -> list[FrameRef]:
    """Return the frames that show a run: its probes and what ended it."""
    frames = [probe.frame for probe in episode.probes]
    return [*frames, episode.ending_frame] if episode.ending_frame else frames


def probe_gaps(prober: Prober) -> list[int]:
    """Return the gaps between consecutive probes of a prober, in nanoseconds, sorted."""
    return sorted(later - earlier for earlier, later in pairwise(sorted(prober.times_ns)))


def steady(gaps_ns: Sequence[int]) -> int | None:
    """Return the median of sorted gaps in nanoseconds when most of them agree with it, else None."""
    if not gaps_ns:
        return None
    median = gaps_ns[len(gaps_ns) // 2]
    near = sum(abs(gap - median) <= median * CADENCE_SPREAD for gap in gaps_ns)
    return median if near >= CADENCE_SHARE * len(gaps_ns) else None


def cadence(prober: Prober) -> str:
    """Return how often a prober probes: ``every 1.02 s``, ``after 61.4 s of silence``, ``1.02 s to 2 h apart``.

    A single gap that holds more than the silence before a probe says nothing of how often.
    """
    after = steady(sorted(prober.silences_ns))
    if prober.probes == 2 and after is not None and prober.gaps_ns is not None and prober.gaps_ns[0] > 2 * after:
        return f"after {duration(after)} of silence"
    if prober.gaps_ns is not None and prober.gaps_ns[1] <= prober.gaps_ns[0] * (1 + CADENCE_SPREAD):
        return f"every {duration((prober.last_probe_ns - prober.first_probe_ns) // (prober.probes - 1))}"
    gaps = probe_gaps(prober)
    if (every := steady(gaps)) is not None:
        return f"every {duration(every)}"
    if after is not None:
        return f"after {duration(after)} of silence"
    if prober.gaps_ns is not None:
        return f"{between(*prober.gaps_ns)} apart"
    return "once" if prober.probes == 1 else f"{prober.probes:,} times"
