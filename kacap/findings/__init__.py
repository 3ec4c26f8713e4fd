"""Findings: one thing worth telling each, with its evidence and what to do. The tables are the owners of their ids.

A rule of ``TABLE`` looks at one connection (``ConnectionFacts``) in its capture (``Context``) and yields sentences with
the frames that show
them; a rule of ``WHOLE`` looks at everything that probes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from kacap.findings import answers, deaths, endings, idle, load, replies, resets, timers
from kacap.findings.connection_facts import Claim, ConnectionFacts
from kacap.findings.context import Context
from kacap.findings.deaths import Deaths, Telling
from kacap.findings.screening import Trait
from kacap.model import Finding

DIED_IDLE = "idle-death"
Finder = Callable[[ConnectionFacts, Context], Iterator[Claim]]


@dataclass(frozen=True, slots=True)
class FindingRule:
    """One finding of the table: its id, when it holds, what to do, and the rule that looks for it."""

    id: str
    when: str
    remedy: str
    find: Finder
    needs: Trait  # it cannot hold on a connection without all of them
    about_keepalive: bool = False  # of use only where somebody probes, or is expected to


TABLE = (
    FindingRule(
        "forged-reset",
        "an RST came over two hops more or fewer than its side's data, after that side's own RST from another IP ID "
        "counter or at a higher number, or faster than that side ever answers",
        "look at the boxes on the path (firewall, load balancer, NAT) for an idle or session limit",
        resets.forged_reset,
        Trait.FORGED,
    ),
    FindingRule(
        "path-forgot",
        "the first probe after a long silence meets nothing or an RST, while the peer is up elsewhere or a known limit "
        "lies just above a silence that was survived",
        "set idle below the box's limit: kacap plan --beat {limit}",
        idle.path_forgot,
        Trait.RUNS,
    ),
    FindingRule(
        "peer-gone",
        "every probe of a run went unanswered, the prober gave up, and the peer was not heard elsewhere",
        "check the peer and the path to it",
        endings.peer_gone,
        Trait.RUNS,
    ),
    FindingRule(
        "peer-restarted",
        "a probe is answered at once by an RST without ACK that no box made: the connection is not known there",
        "look at the peer's uptime and logs at that time",
        endings.peer_restarted,
        Trait.RUNS | Trait.RESET,
    ),
    FindingRule(
        "close-wait",
        "a side goes on probing after its peer has closed",
        "the application should close the socket once it has read the end of the stream",
        endings.probes_after_close,
        Trait.PROBES | Trait.CLOSED,
    ),
    FindingRule(
        "unreachable",
        "ICMP errors quote probes",
        "ask whoever runs the router that sent them",
        endings.refused,
        Trait.PROBES | Trait.QUOTED,
    ),
    FindingRule(
        "gave-up-early",
        "given up before the expected count",
        "make TCP_USER_TIMEOUT at least idle + interval x count, or count what it allows",
        endings.gave_up_early,
        Trait.RUNS,
    ),
    FindingRule(
        "detection-time",
        "detection took less than idle + interval x count as expected, or over 1.3 times as long (timers are late)",
        "compare the expected values with kacap sockets on the prober",
        endings.late_detection,
        Trait.RUNS | Trait.EXPECTED,
    ),
    FindingRule(
        "swallowed-probes",
        "two probes of a run or more go unanswered while the peer is heard on another connection alone",
        "look for a filter on the path, or a stack that does not answer zero-length probes",
        replies.unanswered_while_alive,
        Trait.RUNS,
    ),
    FindingRule(
        "reply-lost",
        "replies are in the capture, but the prober went on echoing an older timestamp, or gave up as if none had come",
        "capture at the prober too, and compare: where the replies are missing they are lost",
        replies.reply_lost,
        Trait.UNHEARD,
    ),
    FindingRule(
        "outage",
        "two or more probes in a row went unanswered, then the peer answered again; the prober's timestamps, or probes "
        "at its interval, show that it heard nothing; not where several such runs are "
        "of one length, with no probe in between answered at once (a limit on replies looks so)",
        "find what was cut at that time; idle + interval x count says how long an outage may last",
        replies.outage,
        Trait.RUNS,
    ),
    FindingRule(
        "probe-loss",
        "probes are missed in three runs or more, with answers in between",
        "capture at the peer too, and compare: where the probes or replies are missing they are lost",
        replies.probe_loss,
        Trait.RUNS,
    ),
    FindingRule(
        "rate-limited",
        "probes less than 0.5 s after an answered one are not answered",
        "nothing is lost: Linux answers such segments at most twice a second (tcp_invalid_ratelimit)",
        replies.rate_limited,
        Trait.RUNS | Trait.ANSWERED,
    ),
    FindingRule(
        "regular-misses",
        "one probe in k is answered, k above one and the same in every run after the first, two such runs or more, "
        "and the longest time between two replies is at most half as long again as the shortest",
        "compare with the peer's net.ipv4.tcp_invalid_ratelimit and TcpExtTCPACKSkippedSeq",
        replies.regular_misses,
        Trait.RUNS | Trait.ANSWERED,
    ),
    FindingRule(
        "not-end-to-end",
        "all replies come over two hops fewer than all data, or more",
        "the far leg needs a keepalive of its own, on the box that answers",
        answers.nearer_answer,
        Trait.ANSWERED,
    ),
    FindingRule(
        "suspended",
        "bytes were resent three times or more, and unacknowledged for longer than idle (5 s if not known)",
        "set TCP_USER_TIMEOUT: it bounds retransmission as well as keepalive",
        timers.suspended,
        Trait.RESENT,
        about_keepalive=True,
    ),
    FindingRule(
        "masked",
        "data of at most 512 B at a regular cadence (gaps within a tenth), five times or more, 5 s apart or more, "
        "over at least half of what was watched, and no probe",
        "no TCP keepalive is needed while the application's heartbeat runs on both sides",
        timers.heartbeat,
        Trait.BEAT,
        about_keepalive=True,
    ),
    FindingRule(
        "never-probed",
        "silent for longer than the expected idle, and no probe",
        "set SO_KEEPALIVE on this socket, and look with kacap sockets whether it arrived",
        timers.never_probed,
        Trait.EXPECTED,
    ),
    FindingRule(
        "other-side",
        "somebody probes, but not the side that was expected to",
        "set the options on the expected side's socket",
        timers.other_side_only,
        Trait.PROBES | Trait.EXPECTED,
    ),
    FindingRule(
        "two-timers",
        "six silences or more before one side's answered probes fall into two groups, by turns, that no single timer "
        "makes",
        "look for a second keepalive: a proxy, a VPN client, an application's own",
        timers.two_timers,
        Trait.MANY,
    ),
    FindingRule(
        DIED_IDLE,
        "the first use of a connection without keepalive after 3 s of silence or more met an RST that only who has no "
        "such connection sends, or nothing until resending ended",
        "switch keepalive on with an idle below the limit: kacap plan --beat {limit}",
        idle.died_idle,
        Trait.DEAD,
    ),
)


@cache
def rules_for(traits: int) -> tuple[FindingRule, ...]:
    """Return the rules that may hold on a connection, gravest first; ``traits`` are what it has of ``Trait``."""
    return tuple(row for row in TABLE if row.needs & traits == row.needs)


@dataclass(frozen=True, slots=True)
class CaptureRule:
    """One finding about a capture as a whole: its id, when it holds, what to do."""

    id: str
    when: str
    remedy: str


DROPS = CaptureRule(
    "drops",
    "frames were dropped while capturing: whatever was missed may be one of them",
    "capture again with a larger buffer (-B) or a narrower filter",
)
IDLE_DEATHS = CaptureRule(
    "idle-deaths",
    "two connections to one destination or more died at first use after a silence while it was up, or one did after at "
    "most twice the longest silence survived",
    "set idle below the bracket: kacap plan --beat {limit}",
)
TOO_MANY = CaptureRule(
    "too-many-probes",
    "a sender's probes are answered ten times or more, less than 15 s apart on each connection",
    "raise idle to 60 s or more; most idle limits are minutes",
)
WHOLE = (DROPS, IDLE_DEATHS, TOO_MANY)
RANKS = tuple(row.id for row in (*WHOLE, *TABLE))  # gravest first, after what concerns the capture as a whole


def of_connection(facts: ConnectionFacts, context: Context) -> Iterator[Finding]:
    """Yield what the table's rules find on one connection, gravest first."""
    expected = context.expected(facts.connection) is not None
    nobody = not facts.connection.probers and not expected
    if expected:
        facts.traits |= int(Trait.EXPECTED)
    for row in rules_for(facts.traits):
        for claim in row.find(facts, context):
            yield _finding(row, claim, facts.connection.connection, row.about_keepalive and nobody)


def findings(all_facts: Iterable[ConnectionFacts], deaths: Deaths, context: Context) -> tuple[list[Finding], Telling]:
    """Return what the capture as a whole shows, then what each connection does; with it the idle deaths that tell.

    Each connection is looked at once, and may be forgotten then: its facts take far more memory than its findings.
    """
    each: list[Finding] = []
    for facts in all_facts:
        deaths.take(facts)
        each += of_connection(facts, context)
    telling = deaths.telling(context)
    told = deaths.told(telling)
    each = [one for one in each if one.id != DIED_IDLE or one.connection not in told]
    return [*of_capture(telling, context), *each], telling


def of_capture(telling: Telling, context: Context) -> Iterator[Finding]:
    """Yield what the capture as a whole shows."""
    yield from _claimed(DROPS, load.dropped(context))
    yield from _claimed(IDLE_DEATHS, deaths.claims(telling, context))
    yield from _claimed(TOO_MANY, load.too_many(context))


def _claimed(row: CaptureRule, claims: Iterator[Claim]) -> Iterator[Finding]:
    """Turn claims about the capture into findings."""
    for claim in claims:
        yield _finding(row, claim, None, False)


def _finding(row: FindingRule | CaptureRule, claim: Claim, connection: int | None, folded: bool) -> Finding:
    """Return a claim with its id and what to do about it."""
    remedy = row.remedy if claim.limit_s is None else row.remedy.format(limit=claim.limit_s)
    return Finding(row.id, connection, claim.sentence, claim.frames, remedy, folded)
