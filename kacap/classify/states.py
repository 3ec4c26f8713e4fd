"""What one segment cannot tell, as a table: the state of a side whose probes are undecided, what comes, what follows.

Three questions take more than one segment. A keepalive or a zero-window probe, while the peer's window is 0: the gaps
tell. An ACK of a connection whose numbers are unknown: its repetition or its answer tells. A probe whose last ACK is
missing from the capture: its company tells. ``TABLE`` owns the answers, ``resolve`` carries them out.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class State(IntEnum):
    """What is undecided of one side's probes."""

    CLEAR = 0  # nothing
    LONE = 1  # one probe, and the ACK of the data before it is missing: the next segment tells
    CLOSED = 2  # a run in front of a closed window, keepalive or persist timer: its gaps tell
    KEEPALIVE = 3  # such a run, found to be keepalive
    PERSIST = 4  # such a run, found to be the persist timer's
    REPEATED = 5  # the same ACK again and again at an unknown place: what answers it, or its gaps, tell
    CONFIRMED = 6  # such a run, found to be probes


class Seen(IntEnum):
    """What comes, as the side sees it."""

    PROBE = 0  # its own probe
    SOON_PROBE = 1  # ... so soon after the last segment that a stray ACK would look the same
    UNPROVEN_PROBE = 2  # ... after data whose ACK is missing from the capture
    CLOSED_PROBE = 3  # its own segment shaped like a probe while the peer's window is 0
    REPEAT = 4  # its own ACK once more, of the run under way or the first of one
    OTHER_REPEAT = 5  # ... with another number
    ABORT = 6  # its own RST
    SAME_BYTES = 7  # its own data from the number of the run
    BYTES = 8  # ... from another number
    ONE_HIGHER = 9  # the peer acknowledges one more than the run carried
    REPLY = 10  # the peer's reply with a closed window
    OPENING_REPLY = 11  # ... with an open one
    SPEECH = 12  # what else the peer sends that answers, with a closed window
    OPENING_SPEECH = 13
    RESET = 14  # the peer's reset
    END = 15  # the connection, or the capture, is over
    OTHER = 16


class Act(IntEnum):
    """What to do. Where AGAIN follows, the new state is asked again for the same segment."""

    PASS = 0  # it is what it is
    AS_BEFORE = 1  # it gets grade and reason of the side's last probe, if it repeats it
    WAIT = 2  # it waits for company
    JOIN_CLOSED = 3  # it joins the run before a closed window, which its gap may decide
    RATE_AS_RUN = 4  # it is what its run was found to be
    JOIN_REPEATS = 5  # it joins the run of equal ACKs, which its gap may decide
    HOLD_REPLY = 6  # it is a reply if the run is keepalive
    REPLY_IS_ACK = 7  # the persist timer's probes get ACKs, not replies
    CONFIRM = 8  # the run is probes
    CONFIRM_ABORT = 9  # ... and this RST gives up
    ANSWER = 10  # the run is probes, answered one higher
    DROP = 11  # the run is plain ACKs
    DOUBT_CLOSED = 12  # the run stays undecided between keepalive and persist timer
    DOUBT_CLOSED_AGAIN = 13
    HOLD_REPLY_DOUBT = 14  # HOLD_REPLY, then DOUBT_CLOSED
    END_REPEATS = 15  # the run is probes if its gaps are constant, else too few to be sure
    END_REPEATS_AGAIN = 16
    FORGET_AGAIN = 17  # the run was decided
    COMPANY_AGAIN = 18  # the lone probe is what it seems; a reply right after it proves it


S, E, A = State, Seen, Act
_PROBES = (E.PROBE, E.SOON_PROBE, E.UNPROVEN_PROBE)
_REPEATS = (E.REPEAT, E.OTHER_REPEAT)
_OPENING = (E.OPENING_REPLY, E.OPENING_SPEECH)

# (state, what comes) -> (what to do, the state after it). What is not listed passes, and changes nothing.
TABLE: dict[tuple[State, Seen], tuple[Act, State]] = {
    (S.CLEAR, E.SOON_PROBE): (A.AS_BEFORE, S.CLEAR),
    (S.CLEAR, E.UNPROVEN_PROBE): (A.WAIT, S.LONE),
    (S.CLEAR, E.CLOSED_PROBE): (A.JOIN_CLOSED, S.CLOSED),
    **{(S.CLEAR, repeat): (A.JOIN_REPEATS, S.REPEATED) for repeat in _REPEATS},
    **{(S.LONE, seen): (A.COMPANY_AGAIN, S.CLEAR) for seen in Seen},
    (S.CLOSED, E.CLOSED_PROBE): (A.JOIN_CLOSED, S.CLOSED),
    (S.CLOSED, E.REPLY): (A.HOLD_REPLY, S.CLOSED),
    (S.CLOSED, E.OPENING_REPLY): (A.HOLD_REPLY_DOUBT, S.CLEAR),
    (S.CLOSED, E.OPENING_SPEECH): (A.DOUBT_CLOSED, S.CLEAR),
    (S.CLOSED, E.RESET): (A.DOUBT_CLOSED, S.CLEAR),
    (S.CLOSED, E.END): (A.DOUBT_CLOSED, S.CLEAR),
    **{(S.CLOSED, probe): (A.DOUBT_CLOSED_AGAIN, S.CLEAR) for probe in (*_PROBES, *_REPEATS)},
    **{(state, E.CLOSED_PROBE): (A.RATE_AS_RUN, state) for state in (S.KEEPALIVE, S.PERSIST)},
    **{
        (state, probe): (A.FORGET_AGAIN, S.CLEAR)
        for state in (S.KEEPALIVE, S.PERSIST)
        for probe in (*_PROBES, *_REPEATS)
    },
    **{(S.KEEPALIVE, opening): (A.PASS, S.CLEAR) for opening in _OPENING},
    (S.PERSIST, E.REPLY): (A.REPLY_IS_ACK, S.PERSIST),
    (S.PERSIST, E.OPENING_REPLY): (A.REPLY_IS_ACK, S.CLEAR),
    (S.PERSIST, E.OPENING_SPEECH): (A.PASS, S.CLEAR),
    (S.REPEATED, E.REPEAT): (A.JOIN_REPEATS, S.REPEATED),
    (S.REPEATED, E.ABORT): (A.CONFIRM_ABORT, S.CONFIRMED),
    (S.REPEATED, E.SAME_BYTES): (A.DROP, S.CLEAR),
    (S.REPEATED, E.BYTES): (A.CONFIRM, S.CONFIRMED),
    (S.REPEATED, E.ONE_HIGHER): (A.ANSWER, S.CLEAR),
    (S.REPEATED, E.RESET): (A.CONFIRM, S.CONFIRMED),
    **{(S.REPEATED, seen): (A.DROP, S.CLEAR) for seen in (E.REPLY, E.OPENING_REPLY, E.SPEECH, E.OPENING_SPEECH)},
    **{(S.REPEATED, probe): (A.END_REPEATS_AGAIN, S.CLEAR) for probe in (*_PROBES, E.CLOSED_PROBE, E.OTHER_REPEAT)},
    (S.REPEATED, E.END): (A.END_REPEATS, S.CLEAR),
    (S.CONFIRMED, E.SOON_PROBE): (A.AS_BEFORE, S.CONFIRMED),
    (S.CONFIRMED, E.UNPROVEN_PROBE): (A.WAIT, S.LONE),
    (S.CONFIRMED, E.CLOSED_PROBE): (A.JOIN_CLOSED, S.CLOSED),
    (S.CONFIRMED, E.OTHER_REPEAT): (A.JOIN_REPEATS, S.REPEATED),
}

# The same for kernels: ACT[state, seen] and NEXT[state, seen].
ACT = np.zeros((len(State), len(Seen)), np.uint8)
NEXT = np.repeat(np.arange(len(State), dtype=np.uint8)[:, None], len(Seen), axis=1)
for (_state, _seen), (_act, _next) in TABLE.items():
    ACT[_state, _seen], NEXT[_state, _seen] = _act, _next
