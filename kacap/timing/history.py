"""What is kept of a prober's firings to invert its timer later: rows, bounded however long it probes.

``HISTORY`` is one row a prober (all zero: nothing seen yet), ``STEP`` one kept firing. ``take_firing`` is called once
for each decided probe, and for the abort after the last, in time order; ``take_run_end`` once for each run of
unanswered probes.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kacap.flows import NEVER
from kacap.kernels import Row, entry, inlined
from kacap.rows import I1, I2, I4, I8, U1, dtype_of

FIRINGS_KEPT = 64  # firings; more narrow nothing that these have not
ALIKE = 4  # of one shape in a row
HEARD = 4  # moments that are kept for one firing
SAME_NS = 20_000_000
CROSSING_NS = 200_000_000  # what the capture shows so shortly before a probe had not reached the prober yet

# FIRING["flags"], STEP["flags"]; HISTORY["flags"] holds all that occurred
UNSEEN = 2  # the prober heard or sent something that the capture lacks since its firing before
EXACT = 4  # timestamps prove that what the capture shows is what the prober heard
ABORT = 16  # not a probe: the RST that the prober gave up with

# One firing, as the classifier knows it. heard_ns: the first moments at which the prober heard something since its
# firing before; heard_n counts all of them. since_ns: when it had last heard anything; NEVER: before the capture.
FIRING = np.dtype(
    [
        ("time_ns", "<i8"),
        ("since_ns", "<i8"),
        ("heard_ns", "<i8", (HEARD,)),
        ("heard_n", "<i8"),
        ("prober", "<i4"),
        ("flags", "u1"),
    ],
    align=True,
)
# One firing that was kept. before_ns: the firing before (NEVER: this is the first); since_ns: what it had heard last.
STEP = np.dtype(
    [
        ("time_ns", "<i8"),
        ("before_ns", "<i8"),
        ("since_ns", "<i8"),
        ("prober", "<i4"),
        ("n", "<i4"),  # it stands for so many, alike
        ("heard", "i1"),  # 1: something was heard since the firing before, 0: nothing, -1: not known
        ("flags", "u1"),
    ],
    align=True,
)
StepRows = NDArray[np.void]  # of STEP

POOL = np.dtype([("used", "<i8")])  # how many STEP rows are in use
_Moments: TypeAlias = Annotated[NDArray[np.int64], ("<i8", (HEARD + 1,))]


class HistoryRow(NamedTuple):
    """A prober's firings in numbers.

    Gap: between firings; idle: from what was last heard to the probe; interval: between firings with nothing heard
    in between; timeout: a TCP_USER_TIMEOUT above the one and up to the other would have ended the last run as well
    (0: no run was given up); run: firings since anything was heard. Lengths of runs: exhausted ones ended in an
    abort, the longest that did not.
    """

    newest_ns: I8  # the newest firing
    since_ns: I8  # what it had heard
    newest_step: I8
    idle_min_ns: I8
    idle_max_ns: I8
    interval_min_ns: I8
    interval_max_ns: I8
    gap_min_ns: I8
    gap_max_ns: I8
    timeout_min_ns: I8
    timeout_max_ns: I8
    shape_ns: _Moments  # of the newest firing: its time and what was heard, from the one before
    idle_n: I4
    interval_n: I4
    firings: I4
    alike: I4
    run: I4
    kept: I2
    shape_n: I1  # how many moments were heard in it, -1: not known
    began: U1  # the capture shows the connection's SYN
    flags: U1
    holes: U1  # 1: probes of a run that was given up may be missing, as IP IDs or timestamps show
    exhausted_n: I4
    exhausted_min: I4
    exhausted_max: I4
    longest_run: I4
    inexact: I4  # firings whose prober may have heard something that is not in the capture


HISTORY = dtype_of(HistoryRow)
HistoryRows = NDArray[np.void]  # of HISTORY


@inlined
def take_firing(history: Row, pool: Row, firing: Row) -> None:
    """Take the next probe of a prober, or its abort. ``pool`` is (a POOL row, STEP rows with room for one more).

    A firing that is one of many alike, or finds no room, is not kept.
    """
    head, steps = pool
    heard_n = _heard_by(firing)
    since_ns = firing.since_ns
    if firing.time_ns - since_ns < CROSSING_NS:  # then what it had heard by then was the moment before
        since_ns = firing.heard_ns[heard_n - 1] if 0 < heard_n <= HEARD else NEVER
        if heard_n == 0 and history.firings:
            since_ns = history.since_ns
    first = history.firings == 0
    _count_gaps(history, firing, heard_n, since_ns)
    if not first and _repeats(history, firing, heard_n):
        steps[history.newest_step].n += 1
    elif history.kept < FIRINGS_KEPT and head.used < len(steps):
        step = steps[head.used]
        history.newest_step = head.used
        head.used += 1
        history.kept += 1
        step.prober, step.time_ns, step.since_ns = firing.prober, firing.time_ns, since_ns
        step.before_ns = NEVER if first else history.newest_ns
        step.heard, step.flags, step.n = min(heard_n, 1), firing.flags, 1
    if firing.flags & ABORT and since_ns != NEVER:
        history.timeout_max_ns = firing.time_ns - since_ns
        history.timeout_min_ns = history.newest_ns - since_ns if history.run > 1 and heard_n == 0 else 0
    history.run = history.run + 1 if heard_n == 0 and not first else 1
    history.newest_ns, history.since_ns = firing.time_ns, since_ns
    history.firings += 1
    history.flags |= firing.flags
    history.inexact += 0 if firing.flags & EXACT else 1


@inlined
def _heard_by(firing: Row) -> Row:
    """Return how many moments the prober had heard by a firing, without what crossed it on the way; -1: not known."""
    if firing.flags & UNSEEN:
        return -1
    n = firing.heard_n
    if n > HEARD:
        return n if firing.time_ns - firing.since_ns >= CROSSING_NS else -1
    while n > 0 and firing.time_ns - firing.heard_ns[n - 1] < CROSSING_NS:
        n -= 1
    return n


@inlined
def _count_gaps(history: Row, firing: Row, heard_n: Row, since_ns: Row) -> None:
    """Take a firing's gaps into their ranges; it is the interval's where nothing was heard since the one before."""
    gap_ns = firing.time_ns - history.newest_ns
    if history.firings:
        history.gap_min_ns = min(history.gap_min_ns, gap_ns) if history.firings > 1 else gap_ns
        history.gap_max_ns = max(history.gap_max_ns, gap_ns) if history.firings > 1 else gap_ns
    if firing.flags & UNSEEN:
        return
    if history.firings and heard_n == 0:
        history.interval_min_ns = min(history.interval_min_ns, gap_ns) if history.interval_n else gap_ns
        history.interval_max_ns = max(history.interval_max_ns, gap_ns) if history.interval_n else gap_ns
        history.interval_n += 1
    elif since_ns != NEVER and not firing.flags & ABORT:
        gap_ns = firing.time_ns - since_ns
        history.idle_min_ns = min(history.idle_min_ns, gap_ns) if history.idle_n else gap_ns
        history.idle_max_ns = max(history.idle_max_ns, gap_ns) if history.idle_n else gap_ns
        history.idle_n += 1


@inlined
def _repeats(history: Row, firing: Row, heard_n: Row) -> Row:
    """Return whether enough firings before this one looked just like it: it would narrow nothing.

    A shape is the times of a firing and of what was heard before it, counted from the firing before.
    """
    before_ns = history.newest_ns
    heard_n = heard_n if heard_n <= HEARD else -1
    same = heard_n >= 0 and history.shape_n == heard_n
    same = same and history.alike > 0 and abs(firing.time_ns - before_ns - history.shape_ns[0]) < SAME_NS
    for i in range(heard_n):
        same = same and abs(firing.heard_ns[i] - before_ns - history.shape_ns[i + 1]) < SAME_NS
    if same:
        history.alike += 1
        return history.alike > ALIKE and history.kept > 0
    history.alike, history.shape_n = 1, heard_n
    history.shape_ns[0] = firing.time_ns - before_ns
    for i in range(heard_n):
        history.shape_ns[i + 1] = firing.heard_ns[i] - before_ns
    return False


@inlined
def take_run_end(history: Row, length: Row, exhausted: Row) -> None:
    """Take the length of a run of unanswered probes; ``exhausted``: the prober gave up after it, and it is whole."""
    if not exhausted:
        history.longest_run = max(history.longest_run, length)
        return
    if history.exhausted_n == 0 or length < history.exhausted_min:
        history.exhausted_min = length
    if history.run <= length:  # what was heard before one of its firings is not known
        history.holes = 1
    history.exhausted_max = max(history.exhausted_max, length)
    history.exhausted_n += 1


@entry
def take_firings(histories: Row, pool: Row, steps: Row, firings: Row) -> None:
    """Take FIRING rows in time order; each names its prober's row in ``histories``."""
    for i in range(len(firings)):
        take_firing(histories[firings[i].prober], (pool[0], steps), firings[i])
