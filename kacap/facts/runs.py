"""Facts of runs of probes: what was missed, when a run was over, which frames show it."""

from __future__ import annotations

from kacap.classify.tables import Outcome
from kacap.model import Episode, FrameRef, Probe, Prober

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
