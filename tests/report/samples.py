"""Analyses built by hand, one for each thing a report must be able to say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from kacap.analysis import MARK, UnprobedSummary
from kacap.classify.kinds import Kind
from kacap.errors import Damage
from kacap.facts.ended import UNKNOWN_CONNECTION
from kacap.facts.verdicts import GRAVE, verdict
from kacap.library import Analysis
from kacap.model import (
    Connection,
    Ended,
    Endpoint,
    Episode,
    Finding,
    FrameRef,
    Probe,
    Prober,
    Setting,
)
from kacap.summary import CaptureSummary, Drop

S = 1_000_000_000
MS = 1_000_000
START = 1_795_168_345_369_000_000  # 2026-11-20 09:52:25.369 UTC

A = Endpoint("10.9.0.1", 42952)
B = Endpoint("10.9.0.2", 12345)
V6 = Endpoint("fd00::1", 5432)


def at(seconds: float) -> int:
    """Return the time so many seconds after the samples' start."""
    return START + round(seconds * S)


def probe(frame: int, seconds: float, *, reply_ms: float | None, side=A, peer=B, number=0, grade="proven", payload=0):
    """Return a probe; its reply is the next frame."""
    return Probe(
        number,
        FrameRef(0, frame),
        at(seconds),
        side,
        peer,
        grade,
        payload,
        None if reply_ms is None else FrameRef(0, frame + 1),
        None if reply_ms is None else round(reply_ms * MS),
        "missed" if reply_ms is None else "answered",
    )


def episode(probes: Sequence[Probe], ending: str, *, heard: float | None = None, ended=None, frame=None) -> Episode:
    """Return an episode; ``heard`` is when the peer was last heard, ``ended`` when the prober aborted."""
    if ending == "reset":
        probes[-1].outcome = "reset"
    times = [p.time_ns for p in probes] + ([] if ended is None else [at(ended)])
    return Episode(
        probes[0].connection,
        probes[0].prober,
        list(probes),
        None if heard is None else at(heard),
        None if heard is None else probes[0].time_ns - at(heard),
        [later - earlier for earlier, later in pairwise(times)],
        ending,
        None if frame is None else FrameRef(0, frame),
    )


def prober(episodes: Sequence[Episode], **settings: Setting) -> Prober:
    """Return the prober of some episodes, its numbers counted from them."""
    probes = [p for e in episodes for p in e.probes]
    times = [p.time_ns for p in probes]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    replies = [p.reply_after_ns for p in probes if p.reply_after_ns is not None]
    made = Prober(
        side=probes[0].prober, peer=probes[0].peer, probes=len(probes), replies=len(replies),
        missed=sum(one.outcome == "missed" for one in probes), ending=episodes[-1].ending, grade=probes[-1].grade,
        payload_bytes=probes[0].payload_bytes, first_probe_ns=times[0], last_probe_ns=times[-1],
        reply_after_ns=(min(replies), max(replies)) if replies else None,
        gaps_ns=(min(gaps), max(gaps)) if gaps else None, _episodes=list(episodes),
    )  # fmt: skip
    for name, setting in settings.items():
        setattr(made, name, setting)
    return made


def connection(probers: Sequence[Prober], *, number=0, last: float = 10.0, a=A, b=B, began=True) -> Connection:
    """Return a connection seen from the start to ``last`` seconds, with the verdict on how its probers ended."""
    ends = [ended_by(prober, "a" if prober.side == a else "b") for prober in probers]
    ended = next((one for one in ends if one.how != "open"), Ended())
    made = Connection(
        number, a, b, at(0), at(last), 3 * S, 20, began, probers=list(probers), observed_until_ns=at(last), ended=ended
    )
    made.verdict = lambda one: verdict(one, one.ended, None, one.observed_until_ns)
    return made


def ended_by(prober: Prober, side: str) -> Ended:
    """Return how a connection ended whose side a or b this prober is: by it, by its peer's reset, or not."""
    newest = prober.episodes[-1]
    if newest.ending in GRAVE and len(newest.gaps_ns) == len(newest.probes):
        return Ended(str(newest.ending), side, newest.ending_frame, newest.probes[-1].time_ns + newest.gaps_ns[-1])
    if newest.ending == "reset":
        peer = "b" if side == "a" else "a"
        return Ended("reset", peer, newest.ending_frame, newest.probes[-1].time_ns, UNKNOWN_CONNECTION, peer)
    return Ended()


def marks(*rows: tuple[float, Kind, int, int], number: int = 0) -> np.ndarray:
    """Return marks from (seconds, kind, 1 when sent by a, payload length)."""
    filled = [(at(t), 100 + i, number, size, 0, kind, from_a) for i, (t, kind, from_a, size) in enumerate(rows)]
    return np.array(filled, MARK)


def analysis(*connections: Connection, last: float = 10.0, **fields) -> Analysis:
    """Return an analysis of one file that holds these connections."""
    capture = fields.pop("capture", None) or CaptureSummary(
        ["idle.pcapng"], [1], 40, 38, {"not TCP": 2}, None, None, at(0), at(last)
    )
    return Analysis(capture, list(connections), **fields)


def up(side=B, peer=A, *, count=10, every=1.02, grade="answered", **more) -> Prober:
    """Return a prober whose every probe is answered, on a connection that was idle before the capture began."""
    times = [0.4 + n * every for n in range(count)]
    return prober(
        [
            episode(
                [probe(1 + 2 * n, t, reply_ms=0.03, side=side, peer=peer, grade=grade, **more)],
                "answered",
                heard=times[n - 1] + 0.00003 if n else None,
                frame=2 + 2 * n,
            )
            for n, t in enumerate(times)
        ]
    )


def answered() -> Analysis:
    """Return a capture that begins mid-connection: ten probes about 1.02 s apart, all answered."""
    side, peer = Endpoint("127.0.0.1", 12345), Endpoint("127.0.0.1", 46216)
    return analysis(connection([up(side, peer)], a=peer, b=side, began=False))


def gave_up() -> Analysis:
    """Return a dead peer at idle 3, interval 1, count 4: four probes, then RST."""
    run = [probe(6 + n, t, reply_ms=None) for n, t in enumerate((3.128, 4.152, 5.176, 6.200))]
    settings = {
        "idle": Setting((3128 * MS, 3128 * MS), 1, [3], 3, "socket option", "ok", ""),
        "interval": Setting((1024 * MS, 1024 * MS), 4, [1], 1, "socket option", "ok", ""),
        "count": Setting(None, 1, [4], 4, "socket option", "ok", "", observed=(4, 4)),
    }
    dead = prober([episode(run, "gave-up", heard=0, ended=7.224, frame=10)], **settings)
    drawn = marks((0, Kind.DATA, 1, 5), (0, Kind.DATA, 0, 5), (7.224, Kind.ABORT, 1, 0))
    return analysis(connection([dead], last=7.224), last=7.224, marks=drawn)


def user_timeout() -> Analysis:
    """Return the same dead peer with TCP_USER_TIMEOUT: three probes, then RST."""
    run = [probe(6 + n, t, reply_ms=None) for n, t in enumerate((3.128, 4.152, 5.176))]
    dead = prober([episode(run, "user-timeout", heard=0, ended=6.216, frame=9)])
    return analysis(connection([dead], last=6.216), last=6.216, marks=marks((6.216, Kind.ABORT, 1, 0)))


def reset() -> Analysis:
    """Return a peer that restarted: the second probe, after 360 s of silence, is answered with a reset."""
    episodes = [
        episode([probe(4, 60.5, reply_ms=21)], "answered", heard=0, frame=5),
        episode([probe(8, 460.6, reply_ms=None)], "reset", heard=100.6, frame=9),
    ]
    drawn = marks((0, Kind.DATA, 1, 50), (100, Kind.DATA, 0, 90), (460.621, Kind.RESET, 0, 0))
    return analysis(connection([prober(episodes)], last=460.621), last=460.621, marks=drawn)


def unreachable() -> Analysis:
    """Return a peer that a router calls unreachable, three times, while the prober goes on."""
    run = [probe(6 + 2 * n, t, reply_ms=None) for n, t in enumerate((3.1, 4.1, 5.1))]
    drawn = marks(*((t + 0.001, Kind.UNREACHABLE, 0, 0) for t in (3.1, 4.1, 5.1)))
    return analysis(connection([prober([episode(run, "unreachable", heard=0, frame=11)])], last=6), last=6, marks=drawn)


def mid_connection_patterned() -> Analysis:
    """Return a capture that begins mid-connection and holds only unanswered probes: their gaps give them away."""
    run = [probe(1 + n, 75.2 * n, reply_ms=None, grade="patterned") for n in range(3)]
    return analysis(connection([prober([episode(run, "open")])], last=200, began=False), last=200)


def long_silence() -> Analysis:
    """Return the system's defaults, 7200/75/9, on a dead peer: two hours of silence, then nine probes, then RST."""
    times = [7290.0 + 75.8 * n for n in range(9)]
    run = [probe(40 + n, t, reply_ms=None) for n, t in enumerate(times)]
    dead = prober([episode(run, "gave-up", heard=60, ended=7972.2, frame=49)])
    talk = [(n * 1.5, Kind.DATA, n % 2, 100) for n in range(40)]
    drawn = marks((-0.2, Kind.SYN, 1, 0), *talk, (7972.2, Kind.ABORT, 1, 0))
    return analysis(connection([dead], last=7972.2), last=7972.2, marks=drawn)


def dense() -> Analysis:
    """Return two thousand probes, three of them missed, beside window probes and retransmissions."""
    times = [1.02 * n for n in range(2000)]
    lost = {400, 1000, 1001}
    run = [
        episode(
            [probe(2 * n + 1, t, reply_ms=None if n in lost else 0.4 + n % 7)],
            "resumed" if n in lost else "answered",
            heard=t - 1.019,
            frame=2 * n + 2,
        )
        for n, t in enumerate(times)
    ]
    more = [(600 + 0.2 * 2**n, Kind.WINDOW_PROBE, 1, 0) for n in range(8)]
    more += [(1500 + 0.2 * 2**n, Kind.RETRANSMISSION, 0, 1) for n in range(8)]
    drawn = marks(*more, (2041, Kind.FIN, 1, 0), (2041.1, Kind.FIN, 0, 0))
    return analysis(connection([prober(run)], last=2041.1), last=2041.1, marks=drawn)


def both_ends() -> Analysis:
    """Return a connection on which both ends probe; one of them misses a reply."""
    other = prober(
        [
            episode([probe(60, 2.0, reply_ms=0.2, side=A, peer=B)], "answered", heard=0, frame=61),
            episode(
                [probe(62, 4.0, reply_ms=None, side=A, peer=B), probe(64, 5.0, reply_ms=0.3, side=A, peer=B)],
                "answered",
                heard=2.0,
                frame=65,
            ),
        ]
    )
    return analysis(connection([up(B, A), other]))


def many() -> Analysis:
    """Return thirty probing connections, one of them dead and one reset, beside 4,970 quiet ones."""
    healthy = [
        connection(
            [up(Endpoint("10.0.0.5", 5432), Endpoint("10.0.1.2", 40000 + n), every=60.9, number=n)],
            number=n,
            last=600,
            a=Endpoint("10.0.1.2", 40000 + n),
            b=Endpoint("10.0.0.5", 5432),
        )
        for n in range(28)
    ]
    dead, gone = gave_up().connections[0], reset().connections[0]
    dead.connection, gone.connection = 28, 29
    for run in (*dead.probers[0].episodes, *gone.probers[0].episodes):
        run.connection = 28 if run in dead.probers[0].episodes else 29
        for one in run.probes:
            one.connection = run.connection
    silent = connection([], number=30, last=700, a=V6, b=Endpoint("fd00::2", 40000))
    silent.longest_silence_ns = 611 * S
    return analysis(*healthy, gone, dead, last=700, unprobed=UnprobedSummary(4970, 611 * S, silent, 2, 31))


def quiet() -> Analysis:
    """Return a capture without any probe, every connection kept."""
    silent = connection([], last=14.0, a=V6, b=Endpoint("fd00::2", 40000))
    return analysis(silent, last=14.0, unprobed=UnprobedSummary(1, 3 * S, silent, 0, 0))


def empty() -> Analysis:
    """Return a capture that holds no frame."""
    return Analysis(CaptureSummary(["empty.pcap"], [1]))


def damaged() -> Analysis:
    """Return a capture whose tail is cut."""
    whole = answered()
    whole.damages.append(Damage("idle.pcapng", 4_711, 20, "the record claims 4,294,967,295 bytes, 12 are left"))
    return whole


def drops() -> Analysis:
    """Return two files, recorded with losses, with a finding."""
    found = gave_up()
    found.capture = CaptureSummary(
        ["a.pcap", "b.pcap"], [1, 113], 40, 38, {"not TCP": 1, "fragment": 1}, 12, 0, at(0), at(7.224)
    )
    found.findings.append(Finding("drops", 0, "12 frames were lost", [FrameRef(0, 6), FrameRef(1, 2)], "use -s 128"))
    return found


def drops_in_time() -> Analysis:
    """Return a capture that says when it lost frames: at one moment, for a second, and somewhere in all of it."""
    found = gave_up()
    found.capture.drops = [
        Drop(at(2.1), at(2.102), 3, "eth0"),
        Drop(at(4.5), at(5.5), 1200),
        Drop(at(-1), at(60), 2, "eth0"),
    ]
    found.capture.dropped_kernel, found.capture.dropped_interface = 1203, 2
    return found


ALL = {
    make.__name__: make
    for make in (
        answered, gave_up, user_timeout, reset, unreachable, mid_connection_patterned, both_ends, long_silence,
        dense, many, quiet, empty,
        damaged, drops, drops_in_time,
    )
}  # fmt: skip
