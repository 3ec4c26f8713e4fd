"""The rows that the analysis fills: connections with probes, what of them is undecided, probers, probes, episodes.

Every table is a structured array whose rows are all zero before they are written. Rows refer to each other by index;
times are nanoseconds since 1970, ``flows.NEVER`` where nothing was seen.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


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


# A connection with events: its endpoints, and what of it is undecided.
WATCHED = np.dtype(
    [
        ("a_hi", "<u8"),
        ("a_lo", "<u8"),
        ("b_hi", "<u8"),
        ("b_lo", "<u8"),
        ("first_ns", "<i8"),
        ("id", "<i8"),  # serial number, from 1, in order of the first segment
        ("a_port", "<u2"),
        ("b_port", "<u2"),
        ("began", "u1"),  # 1: its SYN was seen
        ("closed", "u1"),  # 1: nothing more will come
        ("queue", "<i4"),  # first and last row of WAITING that wait in order, from 1; 0: none
        ("queue_end", "<i4"),
        ("window_probes", "<i4"),
    ],
    align=True,
)

# One side of a WATCHED row (2 * row: side a, 2 * row + 1: side b): what of its probes is undecided (``states``).
WATCHED_SIDE = np.dtype(
    [
        ("run_last_ns", "<i8"),  # of an undecided run: its newest segment
        ("run_gap_ns", "<i8"),  # ... the gap before that
        ("run_least_ns", "<i8"),  # ... the least and the most of its gaps
        ("run_most_ns", "<i8"),
        ("run_n", "<i4"),  # ... and how many segments it has
        ("run_seq", "<u4"),
        ("run_ack", "<u4"),
        ("last_seq", "<u4"),  # its last probe
        ("prober", "<i4"),  # row of PROBER, from 1; 0: it has not probed
        ("state", "u1"),  # classify.states.State
        ("rating_kind", "u1"),  # what a run before a closed window was found to be
        ("rating_grade", "u1"),
        ("rating_why", "u1"),
        ("heard_first", "u1"),  # 1: the silence before the run is one of its gaps
        ("scan", "u1"),  # 1: its sender sends the same ACK on other connections too
        ("growths", "u1"),  # gaps at its end that grew, each on the one before
        ("holes", "u1"),  # gaps that hold firings which were not captured
        ("from_start", "u1"),  # 1: the capture shows the window closing before the run
        ("last_n", "u1"),  # 1: there was a probe before
        ("last_grade", "u1"),
        ("last_why", "u1"),
    ],
    align=True,
)

# One side that probes: its numbers so far, its run under way.
PROBER = np.dtype([
    ("watched", "<i4"),  # row of WATCHED
    ("first_probe", "<i4"),  # rows of PROBE
    ("last_probe", "<i4"),
    ("last_episode", "<i4"),  # row of EPISODE, from 1; 0: none yet
    ("last_run", "<i4"),  # the same of episodes that are more than one probe answered
    ("episodes", "<i4"),
    ("runs", "<i4"),  # of them, those that are more than one probe answered
    ("probes", "<i4"),
    ("rows", "<i4"),  # of them, those whose row of PROBE is not forgotten
    ("replies", "<i4"),
    ("missed", "<i4"),
    ("reset", "<i4"),  # probes that a reset answered
    ("longest_run", "<i4"),  # of misses in a row
    ("run_first", "<i4"),  # row of PROBE of the run under way
    ("run_n", "<i4"),  # its probes; 0: no run
    ("run_replies", "<i4"),
    ("run_ending_frame", "<i8"),  # what a reply has made the ending of the run
    ("run_ending_ns", "<i8"),
    ("run_gap_ns", "<i8"),  # the shortest gap of the run
    ("run_ending_file", "<u2"),
    ("run_ending", "u1"),
    ("run_unheard", "u1"),  # 1: its prober goes on as if no reply had come, as its timestamps show
    ("unheard", "<i4"),  # replies in the capture that did not reach the prober
    ("side", "u1"),  # 0: a, 1: b
    ("run_spoken", "u1"),  # 1: the peer was heard after the last probe of the run
    ("overdue", "u1"),  # 1: the newest probe was reported as overdue
    ("ending", "u1"),  # of its last episode: classify.kinds.ENDINGS
    ("grade", "u1"),  # the weakest of its probes
    ("payload", "u1"),  # bytes that its probes carry
    ("refused_file", "<u2"),
    ("refused_frame", "<i8"),  # the first ICMP error of the run that quoted one of its probes; 0: none
    ("run_since_ns", "<i8"),  # when it last accepted something from its peer before the run
    ("first_ns", "<i8"),
    ("last_ns", "<i8"),
    ("gap_least_ns", "<i8"),
    ("gap_most_ns", "<i8"),
    ("silence_least_ns", "<i8"),  # before a run; 0: before no run is it known
    ("silence_most_ns", "<i8"),
    ("reply_least_ns", "<i8"),
    ("reply_most_ns", "<i8"),
    ("path_ns", "<i8"),  # from the capture point to it and back, by the handshake; 0: not seen
    ("survived_ns", "<i8"),  # the longest silence that an answered probe ended
], align=True)

PROBE = np.dtype(
    [
        ("time_ns", "<i8"),
        ("frame", "<i8"),
        ("reply_frame", "<i8"),  # 0: none
        ("reply_after_ns", "<i8"),
        ("prober", "<i4"),
        ("previous", "<i4"),  # row of the prober's probe before, -1: this is its first
        ("file", "<u2"),
        ("reply_file", "<u2"),
        ("payload", "u1"),
        ("grade", "u1"),
        ("outcome", "u1"),  # Outcome
        ("answer", "u1"),  # the kind of the segment that answered
    ],
    align=True,
)

EPISODE = np.dtype(
    [
        ("silent_since_ns", "<i8"),  # NEVER: before the capture's view, or by what it lacks
        ("closed_ns", "<i8"),  # when the prober gave up; NEVER: it did not
        ("ending_ns", "<i8"),  # when what ended it came; NEVER: nothing did
        ("ending_frame", "<i8"),  # 0: none
        ("prober", "<i4"),
        ("first", "<i4"),  # rows of PROBE
        ("last", "<i4"),
        ("probes", "<i4"),
        ("previous", "<i4"),  # row of the prober's episode before, from 1; 0: this is its first
        ("previous_run", "<i4"),  # the same of episodes that are more than one probe answered
        ("ending_file", "<u2"),
        ("ending", "u1"),
    ],
    align=True,
)

# A segment of a kind other than data and ACK, as decided.
DECIDED = np.dtype(
    [
        ("time_ns", "<i8"),
        ("frame", "<i8"),
        ("watched", "<i4"),
        ("file", "<u2"),
        ("kind", "u1"),
        ("grade", "u1"),
        ("why", "u1"),
        ("from_a", "u1"),
    ],
    align=True,
)

CHANGE = np.dtype(
    [
        ("time_ns", "<i8"),
        ("gap_ns", "<i8"),  # SENT, SUSPECTED: before it; ANSWERED: from the probe to its answer
        ("row", "<i4"),
        ("watched", "<i4"),
        ("number", "<i4"),  # SENT, SUSPECTED: its number in its run, from 1
        ("what", "u1"),
    ],
    align=True,
)

# How many rows of each table are in use: one row, by the names above. ``reported_from``: the least kind reported.
COUNTS = np.dtype(
    [
        (name, "<i8")
        for name in (
            "probers", "probes", "episodes", "waiting", "free", "decided", "changes", "listening", "reported_from",
        )
    ],
    align=True,
)
