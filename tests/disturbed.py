"""The lab's captures with frames lost, copied, delayed or cut at random, and what no statement about them may say.

Truth is what the sockets said (``truth.toml``) and, of what happened on the path, what kacap says of the whole capture
(its expected records are held against the sockets by tests of their own).

    python tests/disturbed.py [--runs N] [--seed N] [--case NAME] [--seeds N ...]

prints every false statement with the seed that brings it out, and exits 1 if there is one.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from analysing import CAPTURES, Heard, analyse_segments, frames_in

from kacap.capture.frames import FrameBatch
from kacap.model import Connection, Finding, Prober, SegmentRecord
from kacap.timing.giving_up import user_timeout
from kacap.wire import SkipReason, decode

# Both ends probe in the same millisecond there: a timestamp does not tell which of two segments it echoes.
TOGETHER = ("crossing", "many", "both-probe")
BY_HAND = ("one-byte-probe",)  # no socket probes there
COPY_NUMBER = 1_000_000  # added to the number of a frame that was copied
MS, SECOND = 1_000_000, 1_000_000_000
# What says that a peer, a box or the path is at fault, or that a timer is not what it should be.
ACCUSATIONS = {
    "forged-reset", "path-forgot", "peer-gone", "peer-restarted", "close-wait", "unreachable", "gave-up-early",
    "detection-time", "swallowed-probes", "reply-lost", "outage", "probe-loss", "rate-limited", "regular-misses",
    "not-end-to-end", "never-probed", "other-side", "two-timers", "idle-death", "idle-deaths",
}  # fmt: skip
# ... and what may be said instead where frames are lost: the same thing seen with less beside it.
INSTEAD = {
    "unreachable": {"peer-gone"},
    "reply-lost": {"peer-gone", "outage"},
    "regular-misses": {"outage"},
    "peer-restarted": {"path-forgot", "idle-death"},
    "forged-reset": {"idle-death"},
    "path-forgot": {"peer-restarted", "forged-reset", "idle-death"},
}


@dataclass(frozen=True)
class Sockets:
    """What one end's socket was set to while it lived: every value of each option, and the error it ended with."""

    idle: frozenset[int]
    interval: frozenset[int]
    count: frozenset[int]
    user_timeout_ns: frozenset[int]
    late: bool  # keepalive or idle was set after the connection stood
    error: str | None


def _option(end: dict, name: str) -> frozenset[int]:
    return frozenset(end[when][name] for when in ("earlier", "after", "end") if when in end)


@cache
def sockets_of(case: str) -> Mapping[tuple[str, str], Sockets]:
    """The sockets of a case that probe, by their own address and port and the peer's; a box may hide the peer's."""
    truth = tomllib.loads((CAPTURES / case / "truth.toml").read_text())
    changes = [event["what"].split() for event in truth["event"]]
    found = {}
    for pair in truth["connection"]:
        for name in ("client", "server"):
            end = pair[name]
            own = [words for words in changes if len(words) > 1 and words[1] == name]
            if not (end["keepalive"] or any(words[0] == "keepalive" for words in own)):
                continue
            other = pair["server" if name == "client" else "client"]["address"]
            found[end["address"], other] = Sockets(
                _option(end, "tcp_keepidle") | {int(words[2]) for words in own if words[0] == "set_idle"},
                _option(end, "tcp_keepintvl"),
                _option(end, "tcp_keepcnt"),
                frozenset(ms * MS for ms in _option(end, "tcp_user_timeout")),
                any(words[0] in ("set_idle", "keepalive", "sysctl") for words in own),
                end.get("error"),
            )
    alone = {own for own, _ in found}
    if len(alone) == len(found):
        found |= {(own, ""): socket for (own, _), socket in found.items()}
    return found


def socket_of(sockets: Mapping[tuple[str, str], Sockets], side: object, peer: object) -> Sockets | None:
    """The socket of one side of a connection; None: it does not probe, or several may be meant."""
    return sockets.get((str(side), str(peer)), sockets.get((str(side), "")))


@cache
def views() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each capture of the lab (but the population) as a case and its files."""
    found = []
    for path in sorted(CAPTURES.glob("lab/*/truth.toml")) + sorted(CAPTURES.glob("both/*/truth.toml")):
        case = str(path.parent.relative_to(CAPTURES))
        files = sorted(str(file) for file in path.parent.glob("*.pcapng"))
        if {Path(name).name for name in files} == {"peer.pcapng", "prober.pcapng"}:
            found += [(case, (name,)) for name in files]
        elif files:
            found.append((case, tuple(files)))
    return tuple(found)


@cache
def _frames(files: tuple[str, ...]) -> FrameBatch:
    whole = frames_in(files)
    whole.frames["frame"], whole.frames["file"] = np.arange(1, len(whole.frames) + 1), 0
    return whole


def _segments(batch: FrameBatch) -> np.ndarray:
    return decode(batch, np.zeros(len(SkipReason), np.int64)).copy()


def segments_of(files: tuple[str, ...]) -> np.ndarray:
    """The segments of a whole capture."""
    return _segments(_frames(files))


@cache
def untouched(files: tuple[str, ...]) -> Heard:
    """What kacap says of a whole capture."""
    return analyse_segments(segments_of(files))


@dataclass
class Disturbed:
    """A capture with something done to it: its segments, what was done, and what that breaks."""

    segments: np.ndarray
    done: list[str] = field(default_factory=list)
    lost: bool = False  # frames are missing in the middle
    unstamped: bool = False  # frames are cut before their timestamps
    far: bool = False  # captured at two places that are half a second apart
    slow: bool = False  # a round trip takes a second
    misleads: bool = False  # it holds replies that the prober did not hear
    delayed_ns: int = 0


def _lose_some(d: Disturbed, dice: random.Random) -> None:
    n = len(d.segments)
    gone = dice.sample(range(n), min(dice.choice((1, 1, 1, 2, 3, 5)), n))
    _drop(d, gone, "lost")


def _lose_span(d: Disturbed, dice: random.Random) -> None:
    n = len(d.segments)
    start = dice.randrange(n)
    _drop(d, range(start, min(start + dice.randint(2, 8), n)), "lost span")


def _lose_side(d: Disturbed, dice: random.Random) -> None:
    """Lose part of what one port sends: a capture point that one direction passes only at times."""
    port = dice.choice(sorted(set(d.segments["src_port"].tolist())))
    own = np.flatnonzero(d.segments["src_port"] == port)
    share = dice.choice((0.1, 0.3, 0.5))
    _drop(d, [int(i) for i in own if dice.random() < share], f"lost of port {port}")


def _drop(d: Disturbed, gone, what: str) -> None:
    gone = sorted(set(gone))
    d.done.append(f"{what} {d.segments['frame'][gone].tolist()}")
    d.segments = np.delete(d.segments, gone)
    d.lost = d.lost or bool(gone)


def _cut_begin(d: Disturbed, dice: random.Random) -> None:
    n = dice.randrange(max(len(d.segments), 1))
    d.done.append(f"begins after segment {n}")
    d.segments = d.segments[n:]


def _cut_end(d: Disturbed, dice: random.Random) -> None:
    n = dice.randrange(max(len(d.segments), 1))
    d.done.append(f"ends after segment {n}")
    d.segments = d.segments[:n]


def _copy(d: Disturbed, dice: random.Random) -> None:
    picked = sorted(dice.sample(range(len(d.segments)), min(dice.choice((1, 2, 5, 20)), len(d.segments))))
    copies = d.segments[picked].copy()
    copies["time_ns"] += int(10 ** dice.uniform(3, 8))
    copies["frame"] += COPY_NUMBER
    if dice.random() < 0.5:
        copies["ttl"] -= 1
    d.done.append(f"copied {d.segments['frame'][picked].tolist()}")
    _sort(d, np.concatenate([d.segments, copies]))


def _delay(d: Disturbed, dice: random.Random) -> None:
    picked = sorted(dice.sample(range(len(d.segments)), min(dice.choice((1, 1, 2, 3)), len(d.segments))))
    by_ns = int(10 ** dice.uniform(4, 9))
    d.segments = d.segments.copy()
    d.segments["time_ns"][picked] += by_ns
    d.delayed_ns = max(d.delayed_ns, by_ns)
    d.done.append(f"delayed {d.segments['frame'][picked].tolist()} by {by_ns / MS:.2f} ms")
    _sort(d, d.segments)


def _sort(d: Disturbed, rows: np.ndarray) -> None:
    d.segments = rows[np.argsort(rows["time_ns"], kind="stable")]


CHANGES: tuple[Callable[[Disturbed, random.Random], None], ...] = (
    _lose_some,
    _lose_some,
    _lose_span,
    _lose_side,
    _cut_begin,
    _cut_end,
    _copy,
    _delay,
)


def disturb(files: tuple[str, ...], dice: random.Random) -> Disturbed:
    """Return a capture with one to three things done to it; some have their frames cut short first."""
    batch, done = _frames(files), []
    if dice.random() < 0.15:
        frames, snap = batch.frames.copy(), dice.choice((54, 60, 66, 68, 80, 96))
        frames["captured_len"] = np.minimum(frames["captured_len"], snap)
        batch = FrameBatch(batch.buffer, frames)
        done.append(f"frames cut at {snap} B")
    d = Disturbed(_segments(batch), done)
    d.unstamped = not d.segments["tsval"].any()
    for _ in range(dice.choice((0, 1, 2) if done else (1, 1, 2, 3))):
        if len(d.segments):
            dice.choice(CHANGES)(d, dice)
    return d


def false_statements(case: str, d: Disturbed, found: Heard, whole: Heard) -> Iterator[str]:
    """Yield each statement about a disturbed capture that is false."""
    sockets = {} if case.endswith(BY_HAND) else sockets_of(case)
    for connection in found.of(Connection):
        yield from _false_verdict(connection, sockets, whole)
        for prober in connection.probers:
            own = socket_of(sockets, prober.side, prober.peer)
            if own is not None and prober.grade != "ambiguous" and not (d.delayed_ns and d.unstamped):
                yield from _false_settings(prober, own, d)
    yield from _false_findings(d, found, whole)
    yield from _false_kinds(d, found, whole, case.endswith(TOGETHER))


def _broken(own: Sockets, d: Disturbed) -> set[str]:
    """What a candidate set may assume that is not so."""
    broken = {"no-frame-missing"} if d.lost or d.misleads else set()
    # Where a frame that was delayed belongs, it is missing.
    broken |= {"no-frame-delayed", "no-frame-missing"} if d.delayed_ns or d.far else set()
    broken |= {"near-prober"} if d.slow else set()
    broken |= {"enabled-at-connect"} if own.late else set()
    broken |= {"interval<=idle"} if max(own.interval) > min(own.idle) else set()
    return broken | ({"no-user-timeout"} if max(own.user_timeout_ns) else set())


def _false_settings(prober: Prober, own: Sockets, d: Disturbed) -> Iterator[str]:
    broken = _broken(own, d)
    for name in ("idle", "interval", "count"):
        setting, true = getattr(prober, name), getattr(own, name)
        if setting.candidates and not true & set(setting.candidates) and not broken & set(setting.assumes):
            said = f"{setting.candidates[:9]} {setting.assumes} {setting.why}"
            observed = setting.observed_ns or setting.observed
            yield f"{name} of {prober.side} is {sorted(true)}, said: {said}, observed {observed}"


def _false_verdict(connection: Connection, sockets: Mapping[tuple[str, str], Sockets], whole: Heard) -> Iterator[str]:
    verdict, ended = connection.verdict, connection.ended
    befores = [c for c in whole.of(Connection) if {c.a, c.b} == {connection.a, connection.b}]
    endings = {(c.ended.how, _party(c, c.ended.by)) for c in befores}
    by = _party(connection, ended.by)
    own = {"a": socket_of(sockets, connection.a, connection.b), "b": socket_of(sockets, connection.b, connection.a)}
    gave_up = own.get(ended.by or "") if ended.how in ("gave-up", "user-timeout") else None
    if gave_up is not None and gave_up.error != "ETIMEDOUT":
        yield f"ended {ended.how} by {by}, whose error is {gave_up.error}: {verdict.sentence}"
    itself = "the application of" not in verdict.sentence and by in {who for _, who in endings}
    if ended.how == "reset" and by not in ("unclear", None) and (ended.how, by) not in endings and not itself:
        yield f"ended by reset of {by}, before {endings}: {verdict.sentence}"
    waiting = "unacknowledged after" in verdict.sentence  # the acknowledgement came, but not in what is left
    if verdict.mood == "bad" and not waiting and befores and all(c.verdict.mood == "good" for c in befores):
        yield f"bad: {verdict.sentence}, before: {[c.verdict.sentence for c in befores]}"
    reading = re.search(r"\(count (\d+), or a TCP_USER_TIMEOUT of (.*?)\)", verdict.sentence)
    prober = next((p for p in connection.probers if p.ending == "gave-up"), None)
    if reading and prober is not None and (socket := socket_of(sockets, prober.side, prober.peer)):
        low_ns, high_ns = user_timeout(prober) or (0, 0)
        timeout = max(socket.user_timeout_ns)
        right = low_ns - 30 * MS < timeout <= high_ns + 30 * MS if timeout else int(reading[1]) in socket.count
        if not right:
            yield f"count {sorted(socket.count)}, user timeout {timeout}: {verdict.sentence}"


def _party(connection: Connection, letter: str | None) -> str | None:
    return {"a": str(connection.a), "b": str(connection.b)}.get(letter or "", letter)


def _false_findings(d: Disturbed, found: Heard, whole: Heard) -> Iterator[str]:
    before = {finding.id for finding in whole.of(Finding)}
    allowed = before | {other for one in before for other in INSTEAD.get(one, ())}
    if any(c.ended.how == "reset" for c in whole.of(Connection)):
        allowed |= {"idle-death"}
    if d.unstamped and d.lost:  # nothing in the capture tells that answers are missing
        allowed |= {"outage", "probe-loss"}
    for finding in found.of(Finding):
        if finding.id in ACCUSATIONS - allowed and "in what the capture does not show" not in finding.sentence:
            yield f"{finding.id}: {finding.sentence}"


def _outcomes(heard: Heard) -> dict[int, tuple[str, str, str]]:
    """What was said of each probe's frame: its outcome, grade and prober."""
    probers = [p for c in heard.of(Connection) for p in c.probers]
    probes = [probe for p in probers for e in p.episodes for probe in e.probes]
    return {probe.frame.number: (probe.outcome, probe.grade, f"{probe.connection} {probe.prober}") for probe in probes}


def _false_kinds(d: Disturbed, found: Heard, whole: Heard, together: bool) -> Iterator[str]:
    """Yield certain probes that are none, and misses that a later segment of the prober shows to be none."""
    before, now = _outcomes(whole), _outcomes(found)
    copies = {r.frame.number for r in whole.of(SegmentRecord) if r.kind == "duplicate-frame"}
    ambiguous = {number for number, (_, grade, _) in before.items() if grade == "ambiguous"}
    last = {side: max(n for n, (_, _, other) in now.items() if other == side) for _, _, side in now.values()}
    shows = bool(len(d.segments) and d.segments["tsval"].any()) and not (together or d.delayed_ns or d.misleads)
    for number, (outcome, grade, side) in now.items():
        if grade in ("proven", "answered") and number % COPY_NUMBER not in before.keys() | copies:
            yield f"frame {number} is no probe, said: {grade}"
        was_answered = before.get(number, ("missed",))[0] == "answered" and number not in ambiguous
        if shows and outcome == "missed" and grade != "ambiguous" and was_answered and number != last[side]:
            yield f"probe in frame {number} was answered, said: missed"


def check(seed: int, case: str | None = None) -> tuple[str, list[str], list[str]]:
    """Disturb one capture as a seed says; return which, what was done, and what was said that is false."""
    dice = random.Random(seed)
    chosen = [view for view in views() if case in (None, view[0], view[0].partition("/")[2])]
    name, files = dice.choice(chosen)
    d = disturb(files, dice)
    d.misleads = any(prober.unheard for c in untouched(files).of(Connection) for prober in c.probers)
    d.far, d.slow = name.endswith("far-merged"), name.endswith(("far", "far-merged"))
    if not len(d.segments):
        return name, d.done, []
    found = list(false_statements(name, d, analyse_segments(d.segments), untouched(files)))
    return f"{name} {Path(files[0]).name}", d.done, found


def main() -> int:
    """Parse the command line, check, and print what is false."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, nargs="+", help="these alone")
    parser.add_argument("--case")
    args = parser.parse_args()
    wrong = 0
    for seed in args.seeds or range(args.seed, args.seed + args.runs):
        name, done, false = check(seed, args.case)
        if false or args.seeds:
            wrong += bool(false)
            print(f"seed {seed}: {name}: {'; '.join(done)}", *false, sep="\n    ", flush=True)
    print(f"{wrong} captures with a false statement")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
