"""Findings: one thing worth telling each, with its evidence and what to do. The table is the one owner of their ids.

A rule looks at one connection (``Case``) in its capture (``Context``) and yields sentences with the frames that
show them; rules of the capture as a whole follow the table.
"""

from __future__ import annotations

from collections.abc import Iterator

from kacap.evidence import Case
from kacap.findings import boxes, clocks, endings
from kacap.findings.case import Context, Row, Told
from kacap.findings.deaths import Deaths
from kacap.model import Finding, Prober

TABLE = (
    Row(
        "forged-reset", "an RST has another TTL than its side's data, or comes faster than the path allows",
        "look at the boxes on the path (firewall, load balancer, NAT) for an idle or session limit",
        boxes.forged_reset,
    ),
    Row(
        "path-forgot", "the first probe after a long silence meets nothing or an RST, shorter silences were survived",
        "set idle below the box's limit: kacap plan --beat LIMIT", boxes.path_forgot,
    ),
    Row(
        "peer-gone", "every probe of a run went unanswered and the prober gave up",
        "check the peer and the path to it; the prober's own timing is in the episode", endings.peer_gone,
    ),
    Row(
        "peer-restarted", "a probe is answered by a reset that looks like the peer's own",
        "look at the peer's uptime and logs at that time", endings.peer_restarted,
    ),
    Row(
        "unreachable", "ICMP errors quote probes", "ask whoever runs the router that sent them", endings.refused,
    ),
    Row(
        "gave-up-early", "given up before the expected count",
        "make TCP_USER_TIMEOUT at least idle + interval x count, or count what it allows", endings.gave_up_early,
    ),
    Row(
        "detection-time", "detection took clearly longer or shorter than idle + interval x count",
        "compare the expected values with kacap sockets on the prober", endings.late_detection,
    ),
    Row(
        "swallowed-probes", "probes go unanswered while the peer answers elsewhere",
        "look for a filter on the path, or a stack that does not answer zero-length probes",
        endings.unanswered_while_alive,
    ),
    Row(
        "reply-lost", "replies are in the capture, but the prober gave up as if none had come",
        "capture at the prober too: kacap compare shows where they are lost", boxes.reply_swallowed,
    ),
    Row(
        "not-end-to-end", "replies come over fewer hops than data",
        "the far leg needs a keepalive of its own, on the box that answers", boxes.nearer_answer,
    ),
    Row(
        "suspended", "bytes are unacknowledged and were resent three times or more",
        "set TCP_USER_TIMEOUT: it bounds retransmission as well as keepalive", clocks.suspended,
    ),
    Row(
        "masked", "small data at a regular cadence, and no probe",
        "no TCP keepalive is needed while the application's heartbeat runs on both sides", clocks.heartbeat,
    ),
    Row(
        "never-probed", "silent for longer than the expected idle, and no probe",
        "set SO_KEEPALIVE on this socket, and look with kacap sockets whether it arrived", clocks.never_probed,
    ),
    Row(
        "other-side", "somebody probes, but not the side that was expected to",
        "set the options on the expected side's socket", clocks.other_side_only,
    ),
    Row(
        "two-timers", "the gaps of one side fall into two groups that no single timer makes",
        "look for a second keepalive: a proxy, a VPN client, an application's own", clocks.two_timers,
    ),
    Row(
        "rate-limited", "probes less than 0.5 s after an answered one are not answered",
        "nothing is lost: Linux answers such segments at most twice a second (tcp_invalid_ratelimit)",
        endings.rate_limited,
    ),
    Row(
        "regular-misses", "one probe in k is answered, k the same again and again",
        "compare with the peer's net.ipv4.tcp_invalid_ratelimit and TcpExtTCPACKSkippedSeq", endings.regular_misses,
    ),
    Row(
        "idle-death", "a connection without keepalive died at its first use after a silence",
        "switch keepalive on with an idle below the limit: kacap plan --beat LIMIT", boxes.died_idle,
    ),
)

IDLE_DEATHS = "idle-deaths", "set idle below the bracket: kacap plan --beat LIMIT"
TOO_MANY = "too-many-probes", "raise idle: a probe keeps a path open for minutes, not seconds"
DROPS = "drops", "capture again with a larger buffer (-B) or a narrower filter"


def of_connection(case: Case, context: Context) -> Iterator[Finding]:
    """Yield what the table's rules find on one connection, gravest first."""
    for row in TABLE:
        for sentence, frames in row.find(case, context):
            yield Finding(row.id, case.connection.connection, sentence, frames, row.remedy)


def of_capture(probers: list[Prober], deaths: Deaths, context: Context) -> Iterator[Finding]:
    """Yield what the capture as a whole shows."""
    if context.dropped:
        lost = f"{context.dropped:,} frames were dropped while capturing"
        sentence = f"{lost}: a missed probe may be one that was not captured"
        yield Finding(DROPS[0], None, sentence, [], DROPS[1])
    yield from _told(IDLE_DEATHS, deaths.told())
    yield from _told(TOO_MANY, clocks.too_many(probers))


def _told(row: tuple[str, str], told: Iterator[Told]) -> Iterator[Finding]:
    """Turn sentences about the capture into findings."""
    for sentence, frames in told:
        yield Finding(row[0], None, sentence, frames, row[1])
