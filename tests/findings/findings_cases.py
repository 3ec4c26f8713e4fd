"""For each finding a capture that raises it, with what it must say, and similar ones that must not."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from analysing import files_of

import kacap
from kacap.model import Finding
from kacap.timing.expectations import Expectation
from kacap.timing.sides import parse_side


@dataclass(frozen=True)
class Pair:
    """``says``: words of the sentence; ``frames``: of the evidence; ``also``: other ids of that capture.

    ``spares``: cases that must not raise it, under ``spared_by`` where something is expected.
    """

    raises: str
    says: tuple[str, ...]
    frames: list[int]
    spares: tuple[str, ...]
    expect: Expectation | None = None
    spared_by: Expectation | None = None
    also: frozenset[str] = field(default=frozenset())


def pair(raises: str, says: str | tuple[str, ...], frames: list[int], *spares: str, also: str = "", **more) -> Pair:
    words = (says,) if isinstance(says, str) else says
    return Pair(raises, words, frames, spares, also=frozenset(also.split()), **more)


def expected(idle: int, interval: int, count: int, **more) -> Expectation:
    return Expectation(idle, interval, count, source="--expect", **more)


PAIRS = {
    "forged-reset": pair(
        "lab/forged-rst",
        ("the RST in the name of 10.2.0.2:12345 was likely made by a box", "TTL is 200, that of its other segments 63",
         "IP ID is 48879, that of the segment before 9060", "no timestamps"),
        [10], "lab/restarted", "crafted/18-reset-answer", "crafted/73b-restart-after-idle", "crafted/31-stray-reset",
    ),
    "path-forgot": pair(
        "crafted/72-path-forgot",
        ("after 361 s of silence the first probe of 10.0.0.1:40000 met nothing; it had survived 200 s",
         "has likely forgotten the connection (10.0.0.2 was heard on another connection then)", "350 s (AWS NLB (TCP)"),
        [31, 32, 33, 34], "crafted/72b-gone-after-idle", "crafted/73b-restart-after-idle", "crafted/53-forged-reset",
        "crafted/74-swallowed-probes", also="idle-deaths masked",
    ),
    "peer-gone": pair(
        "lab/cut-off",
        "10.2.0.2:12345 is gone or cut off: 3 probes unanswered, 10.1.0.2:40000 gave up 5.06 s after its last sign of "
        "life; its application sees ETIMEDOUT",
        [8, 9, 10, 13], "lab/recovered", "lab/up", "lab/restarted", "crafted/72-path-forgot",
        "crafted/74-swallowed-probes",
    ),
    "peer-restarted": pair(
        "lab/restarted", "10.2.0.2:12345 answers the probe with RST after 62 us: it does not know the connection",
        [8, 9], "lab/forged-rst", "lab/close-wait-forgotten", "lab/nat-forgot-outside", "lab/cut-off",
        "lab/firewall-resets",
        "crafted/73-box-resets-the-probe",
    ),
    "close-wait": pair(
        "lab/close-wait-forgotten",
        "10.2.0.2:12345 has closed (FIN) and has forgotten the connection by now (RST), 10.1.0.2:40000 has not and "
        "went on probing: 3 probes in 4.03 s",
        [10, 12, 14], "lab/fin-wait2", "lab/up", "lab/restarted",
    ),
    "unreachable": pair(
        "lab/unreachable",
        "10.1.0.1 says of 10.2.0.2:12345: host unreachable (3 errors quoting probes of 10.1.0.2:40000)",
        [9, 11, 13], "lab/cut-off", "crafted/18b-gave-up",
    ),
    "gave-up-early": pair(
        "lab/user-timeout-short",
        "10.1.0.2:40000 gave up after 1 of 5 probes: a count of 1, or a TCP_USER_TIMEOUT of at most 5.02 s overrides "
        "the count",
        [8, 9], "lab/cut-off", expect=expected(3, 2, 5), spared_by=expected(2, 1, 3),
    ),
    "detection-time": pair(
        "lab/cut-off",
        "10.1.0.2:40000 took 5.06 s to notice, later than the budget of idle 1 + interval 1 x count 2 = 3.00 s",
        [8, 9, 10, 13], "lab/cut-off", "lab/user-timeout-short", expect=expected(1, 1, 2), spared_by=expected(2, 1, 3),
        also="peer-gone",
    ),
    "swallowed-probes": pair(
        "crafted/74-swallowed-probes",
        ("10.0.0.2 is up: it was heard on another connection while 3 probes of 10.0.0.1:40000 to 10.0.0.2:5432 went",
         "none on this connection was ever answered", "10.0.0.1:40000 gave up"),
        [16, 20, 24, 28], "crafted/74b-host-gone", "crafted/72-path-forgot", "lab/cut-off", "lab/many", also="masked",
    ),
    "reply-lost": pair(
        "lab/merged",
        "replies of 10.2.0.2:12345 are in the capture, but at least 3 did not reach 10.1.0.2:40000: it went on echoing "
        "an older timestamp, and 10.1.0.2:40000 gave up",
        [17, 20, 23, 24], "lab/merged-up", "lab/both-ends", "lab/up", "crafted/31-stray-reset",
    ),
    "outage": pair(
        "lab/recovered", "nothing was heard of 10.2.0.2:12345 for 4.06 s (2 probes of 10.1.0.2:40000 unanswered), then",
        [8, 9, 10, 11], "crafted/76b-one-reply-lost", "lab/rate-limited", "crafted/74-swallowed-probes", "lab/cut-off",
    ),
    "probe-loss": pair(
        "crafted/84-probes-lost",
        "4 of 9 probes of 10.0.0.1:40000 to 10.0.0.2:5432 got no answer, in 3 runs with answers in between",
        [9, 14, 17, 18], "crafted/76b-one-reply-lost", "lab/recovered", "lab/rate-limited",
    ),
    "rate-limited": pair(
        "crafted/76-probes-too-close", "3 probes of 10.0.0.1:40000 came within 0.5 s of an answered one and got no",
        [9, 12, 15], "crafted/76b-one-reply-lost", "lab/recovered", "lab/rate-limited",
    ),
    "regular-misses": pair(
        "lab/rate-limited", "10.2.0.2:12345 answers one probe in 3, regularly (3.07 s apart)",
        [10, 11, 12, 13, 16, 17, 18, 19], "lab/recovered", "crafted/76b-one-reply-lost", "crafted/76-probes-too-close",
    ),
    "not-end-to-end": pair(
        "crafted/70-nearer-answer",
        "3 replies in the name of 10.0.0.2:5432 with TTL 64, its data with TTL 52; what answers 10.0.0.1:40000 likely "
        "stands 12 hops nearer",
        [8, 10, 12], "crafted/70b-answer-with-another-start", "lab/up", "crafted/00-baseline",
    ),
    "suspended": pair(
        "crafted/78-suspended-to-the-end",
        ("unacknowledged data on 10.0.0.1:40000: 10 B to 10.0.0.2:5432 were unacknowledged for 27.4 s, sent again 8",
         "3.50 s, 6.90 s, 13.6 s), to the end", "gives up 925 s or more", "not before 2024-01-01 00:15:31.600 UTC"),
        [11, 12, 13, 14, 15, 16, 17, 18, 19], "crafted/78b-brief-loss", "lab/up", "lab/cut-off",
    ),
    "masked": pair(
        "crafted/79-heartbeat",
        ("is kept alive by data of the application, not by TCP: at most 2 B, and at most 2 B back, every 60.0 s (9 ",
         "times in a row, longest silence 60.0 s)", "an idle of 7200 s never fires"),
        [10, 34], "crafted/79b-irregular-data", "crafted/79-heartbeat", expect=Expectation(idle=7200),
        spared_by=Expectation(idle=30),
    ),
    "never-probed": pair(
        "lab/heartbeat", ("idle is expected to be 1 s, and nobody probed", "silent for 1.50 s"), [], "lab/heartbeat",
        "lab/up", "crafted/78-suspended-to-the-end", expect=Expectation(idle=1), spared_by=Expectation(idle=2),
    ),
    "other-side": pair(
        "lab/up", "only 10.1.0.2:40000 probes (4 probes in 8.38 s); expected b to probe; it did not", [10, 12, 14],
        "lab/up", "lab/both-probe", expect=Expectation(idle=2, side=parse_side("b")),
        spared_by=Expectation(idle=2, side=parse_side("a")),
    ),
    "two-timers": pair(
        "crafted/75-two-timers",
        "two timers likely probe from 10.0.0.1:40000: after 9.82 to 9.94 s of silence (5 times) and after 25.0 s (10",
        [7, 9, 11, 13, 15, 17, 19, 21], "crafted/75b-one-timer-and-data", "lab/up", "lab/crossing",
    ),
    "idle-death": pair(
        "crafted/71-reset-after-idle",
        ("10.0.0.1:40000 > 10.0.0.2:5432 died while nobody used it: what came after 350 s of silence got an RST; it "
         "had survived 99.9 s", "the RST is not the peer's own", "350 s (AWS NLB"),
        [11], "crafted/71b-closed-after-idle", "crafted/83-closed-long-ago",
        "crafted/79b-irregular-data", "lab/cut-off", also="forged-reset",
    ),
    "idle-deaths": pair(
        "crafted/77-idle-deaths",
        ("8 connections to 10.0.3.7:5432 died at first use after silence", "longest silence survived is 349 s",
         "the shortest that killed 350 s", "350 s (AWS NLB", "set idle to 300 s or less (timer slack included)"),
        [158, 160, 162, 164, 166, 168, 170, 176], "crafted/77c-host-restarted", "crafted/71b-closed-after-idle",
        "crafted/54-gave-up-with-timestamps", "lab/many", "lab/population",
    ),
    "too-many-probes": pair(
        "crafted/80-probes-every-second",
        "10.0.0.1 probes 1 connection 3,529 times an hour in all while answered, about 11.2 MB a day with the replies; "
        "fastest 10.0.0.1:40000 > 10.0.0.2:5432, every 1.02 s",
        [7], "crafted/50-windows-unanswered", "crafted/75-two-timers", "crafted/00-baseline",
    ),
}  # fmt: skip


@cache
def found(case: str, expect: Expectation | None = None) -> list[Finding]:
    """The findings of a case; shared, so leave them as they are."""
    return kacap.read(files_of(case), expect=expect).findings
