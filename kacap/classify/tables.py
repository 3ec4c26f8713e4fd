"""The rows that the analysis fills: connections with probes, what of them is undecided, probers, probes, episodes.

Every table is a structured array whose rows are all zero before they are written. Rows refer to each other by index;
times are nanoseconds since 1970, ``flows.NEVER`` where nothing was seen.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kacap.rows import I4, I8, U1, U2, U4, U8, dtype_of


class Outcome(IntEnum):
    """What came of a probe: the values of PROBE["outcome"]."""

    WAITING = 0  # nothing yet, and it may still come
    ANSWERED = 1  # a reply, or other traffic that its prober accepted in time
    MISSED = 2  # nothing in time
    RESET = 3  # a reset
    UNCAPTURED = 4  # an answer that the capture lacks: the timestamp that its sender echoes next shows that it came


class Change(IntEnum):
    """What is new: the values of CHANGE["what"]."""

    SEGMENT = 0  # a segment has its kind; row: of DECIDED
    SENT = 1  # a probe was sent; row: of PROBE
    ANSWERED = 2  # a probe has its answer; row: of PROBE
    REFUSED = 3  # an ICMP error quoted a probe; row: of PROBE
    SUSPECTED = 4  # an ACK repeats as a probe does, unanswered, not sure yet; row: of WATCHED_SIDE
    DOUBTED = 5  # a probe before a closed window, a keepalive's or the persist timer's; row: of WATCHED_SIDE
    ENDED = 6  # an episode is over; row: of EPISODE


class WatchedRow(NamedTuple):
    """A connection with events: its endpoints, and what of it is undecided."""

    a_hi: U8
    a_lo: U8
    b_hi: U8
    b_lo: U8
    first_ns: I8
    id: I8  # serial number, from 1, in order of the first segment
    a_port: U2
    b_port: U2
    began: U1  # 1: its SYN was seen
    closed: U1  # 1: nothing more will come
    queue: I4  # first and last row of WAITING that wait in order, from 1; 0: none
    queue_end: I4
    window_probes: I4


WATCHED = dtype_of(WatchedRow)
WatchedRows = NDArray[np.void]  # of WATCHED


class WatchedSideRow(NamedTuple):
    """One side of a WATCHED row (2 * row: a, 2 * row + 1: b): what of its probes is undecided (``states``)."""

    run_last_ns: I8  # of an undecided run: its newest segment
    run_gap_ns: I8  # ... the gap before that
    run_least_ns: I8  # ... the least and the most of its gaps
    run_most_ns: I8
    run_n: I4  # ... and how many segments it has
    run_seq: U4
    run_ack: U4
    last_seq: U4  # its last probe
    prober: I4  # row of PROBER, from 1; 0: it has not probed
    state: U1  # classify.states.State
    rating_kind: U1  # what a run before a closed window was found to be
    rating_grade: U1
    rating_why: U1
    heard_first: U1  # 1: the silence before the run is one of its gaps
    scan: U1  # 1: its sender sends the same ACK on other connections too
    growths: U1  # gaps at its end that grew, each on the one before
    holes: U1  # gaps that hold firings which were not captured
    from_start: U1  # 1: the capture shows the window closing before the run
    last_n: U1  # 1: there was a probe before
    last_grade: U1
    last_why: U1


WATCHED_SIDE = dtype_of(WatchedSideRow)


class ProberRow(NamedTuple):
    """One side that probes: its numbers so far, its run under way."""

    watched: I4  # row of WATCHED
    first_probe: I4  # rows of PROBE
    last_probe: I4
    last_episode: I4  # row of EPISODE, from 1; 0: none yet
    last_run: I4  # the same of episodes that are more than one probe answered
    episodes: I4
    runs: I4  # of them, those that are more than one probe answered
    probes: I4
    rows: I4  # of them, those whose row of PROBE is not forgotten
    replies: I4
    missed: I4
    reset: I4  # probes that a reset answered
    longest_run: I4  # of misses in a row
    run_first: I4  # row of PROBE of the run under way
    run_n: I4  # its probes; 0: no run
    run_replies: I4
    run_ending_frame: I8  # what a reply has made the ending of the run
    run_ending_ns: I8
    run_gap_ns: I8  # the shortest gap of the run
    run_ending_file: U2
    run_ending: U1
    run_unheard: U1  # 1: its prober goes on as if no reply had come, as its timestamps show
    unheard: I4  # replies in the capture that did not reach the prober
    side: U1  # 0: a, 1: b
    run_spoken: U1  # 1: the peer was heard after the last probe of the run
    overdue: U1  # 1: the newest probe was reported as overdue
    ending: U1  # of its last episode: classify.kinds.ENDINGS
    grade: U1  # the weakest of its probes
    payload: U1  # bytes that its probes carry
    refused_file: U2
    refused_frame: I8  # the first ICMP error of the run that quoted one of its probes; 0: none
    run_since_ns: I8  # when it last accepted something from its peer before the run
    first_ns: I8
    last_ns: I8
    gap_least_ns: I8
    gap_most_ns: I8
    silence_least_ns: I8  # before a run; 0: before no run is it known
    silence_most_ns: I8
    reply_least_ns: I8
    reply_most_ns: I8
    path_ns: I8  # from the capture point to it and back, at most; 0: not seen
    survived_ns: I8  # the longest silence that an answered probe ended


PROBER = dtype_of(ProberRow)
ProberRows = NDArray[np.void]  # of PROBER


class ProbeRow(NamedTuple):
    """A probe and what came of it."""

    time_ns: I8
    frame: I8
    reply_frame: I8  # 0: none
    reply_after_ns: I8
    prober: I4
    previous: I4  # row of the prober's probe before, -1: this is its first
    file: U2
    reply_file: U2
    payload: U1
    grade: U1
    outcome: U1  # Outcome
    answer: U1  # the kind of the segment that answered


PROBE = dtype_of(ProbeRow)
ProbeRows = NDArray[np.void]  # of PROBE


class EpisodeRow(NamedTuple):
    """A run of probes that is over."""

    silent_since_ns: I8  # NEVER: before the capture's view, or by what it lacks
    closed_ns: I8  # when the prober gave up; NEVER: it did not
    ending_ns: I8  # when what ended it came; NEVER: nothing did
    ending_frame: I8  # 0: none
    prober: I4
    first: I4  # rows of PROBE
    last: I4
    probes: I4
    previous: I4  # row of the prober's episode before, from 1; 0: this is its first
    previous_run: I4  # the same of episodes that are more than one probe answered
    ending_file: U2
    ending: U1


EPISODE = dtype_of(EpisodeRow)
EpisodeRows = NDArray[np.void]  # of EPISODE


class DecidedRow(NamedTuple):
    """A segment of a kind other than data and ACK, as decided."""

    time_ns: I8
    frame: I8
    watched: I4
    file: U2
    kind: U1
    grade: U1
    why: U1
    from_a: U1


DECIDED = dtype_of(DecidedRow)
DecidedRows = NDArray[np.void]  # of DECIDED


class ChangeRow(NamedTuple):
    """Something that is new."""

    time_ns: I8
    gap_ns: I8  # SENT, SUSPECTED: before it; ANSWERED: from the probe to its answer
    row: I4
    watched: I4
    number: I4  # SENT, SUSPECTED: its number in its run, from 1
    what: U1


CHANGE = dtype_of(ChangeRow)
ChangeRows = NDArray[np.void]  # of CHANGE

# How many rows of each table are in use: one row, by the names above. ``reported_from``: the least kind reported.
COUNTS = np.dtype(
    [
        (name, "<i8")
        for name in (
            "probers",
            "probes",
            "episodes",
            "waiting",
            "free",
            "decided",
            "changes",
            "listening",
            "reported_from",
        )
    ],
    align=True,
)
