"""A watch of days in minutes, by the analyzer's clock: memory, tables and time while connections probe and come and go.

    python tests/bench/bench_soak.py week [connections] [idle seconds] [days]
    python tests/bench/bench_soak.py churn [connections a second] [seconds]
    python tests/bench/bench_soak.py live [connections a second] [seconds]      (root: a namespace, real time)

``week`` probes on every connection and answers; ``churn`` opens, probes and closes connections, and resets some. Both
feed frames to the analyzer, the live events and the tallies, as ``kacap live --metrics`` does. ``live`` runs that
command beside connections that come and go, and looks at its memory, threads and descriptors.
"""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from generate import ACK, FIN, START_NS, SYN, plan, put, render

from kacap.analyzer import Analyzer
from kacap.capture.frames import FRAME, FrameBatch
from kacap.lab.process import CLONE_NEWNET, unshare
from kacap.options import Options
from kacap.report.live_events import LiveTracker
from kacap.report.tallies import Tallies

SECOND, HOUR, SIZE = 1_000_000_000, 3_600_000_000_000, 66
Columns = dict[str, np.ndarray]
RST, HANDSHAKE_NS, ANSWER_NS = 4, 50_000_000, 200_000


class Watch:
    """What ``kacap live --metrics`` is made of, without an interface; the clock is whatever the frames say."""

    def __init__(self) -> None:
        self.analyzer = Analyzer(Options(segments="events", keep_episodes=4096, marks=False), sink=lambda _: None)
        self.live, self.tallies = LiveTracker(self.analyzer), Tallies(20)

    def feed(self, columns: Columns) -> None:
        """Take the frames of some columns."""
        batch = batch_of(columns)
        now_ns = int(batch.frames["time_ns"][-1])
        self.tallies.take(self.live.feed(batch, now_ns))
        self.tallies.states(self.live.open_rows(), now_ns)

    def sizes(self) -> dict[str, int]:
        """Return how many rows each map holds: all that could grow."""
        a, g = self.analyzer, self.analyzer.gatherer
        tables = ("watched", "probers", "probes", "episodes", "waiting", "steps")
        return {
            **{name: getattr(g, name).used for name in tables},
            "connections": a.tracker.used,
            "notes": int(a.observations.pools["notes"][0]),
            "spans": int(a.observations.pools["spans"][0]),
            "over": a.past.held,
            "looked at": sum(len(rows) for rows, _ in a.past.looked_at),
            "heard": sum(map(len, a.heard.parts)),
            "survived": sum(map(len, a.deaths.survived)),
            "withheld": len(a.withheld),
            "live rows": len(self.live.rows),
            "labels": len(self.tallies.by_label),
        }


def batch_of(columns: Columns) -> FrameBatch:
    """Return the frames of some columns (``generate.plan``), in order of time."""
    order = np.argsort(columns["time_ns"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    data = render(columns, SIZE)
    put(data, 62, columns["echo_ns"] // 1_000_000 & 0xFFFFFFFF, 4)
    frames = np.zeros(len(data), FRAME)
    frames["frame"], frames["time_ns"] = np.arange(1, len(data) + 1), columns["time_ns"]
    frames["offset"] = np.arange(len(data)) * SIZE
    frames["captured_len"], frames["wire_len"] = SIZE, SIZE + columns["payload"]
    frames["link_type"] = 1
    return FrameBatch(data.reshape(-1), frames)


def rss_mb() -> float:
    """Return the resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def round_of(who: np.ndarray, time_ns: int, heard_ns: int, *, turn: int) -> Columns:
    """Return a probe of each connection, from its server, which last heard its client at ``heard_ns``; and the answer.

    A probe echoes the timestamp of what was heard last, an answer that of the handshake, as Linux does.
    """
    n = len(who)
    spread = np.arange(n) * 1000
    both = {
        "who": np.concatenate([who, who]),
        "from_server": np.repeat([1, 0], n),
        "payload": np.zeros(2 * n, np.int64),
        "flags": np.full(2 * n, ACK),
        "seq": np.concatenate([77_000_000 + who * 1000, 11_000_001 + who * 1000]),
        "ack": np.concatenate([11_000_001 + who * 1000, 77_000_001 + who * 1000]),
        "time_ns": np.concatenate([time_ns + spread, time_ns + spread + ANSWER_NS]),
        "id": np.full(2 * n, turn & 0xFFFF),
        "echo_ns": np.concatenate([heard_ns + spread, np.full(n, START_NS)]),
    }
    return both


def opening(who: np.ndarray, time_ns: int) -> Columns:
    """Return the handshakes of some connections."""
    columns = plan(0, len(who), len(who), 4, SIZE)
    n, spread = len(who), np.arange(len(who)) * 1000
    syn = {name: values.copy() for name, values in columns.items()}
    syn["seq"] = 11_000_000 + who * 1000
    parts = [syn]
    for from_server, flags, seq, ack in ((1, SYN | ACK, 77_000_000, 11_000_001), (0, ACK, 11_000_001, 77_000_001)):
        parts.append({
            "who": who, "from_server": np.full(n, from_server), "payload": np.zeros(n, np.int64),
            "flags": np.full(n, flags), "seq": seq + who * 1000, "ack": ack + who * 1000, "id": np.ones(n, np.int64),
        })  # fmt: skip
    syn["who"] = who
    for number, part in enumerate(parts):
        part["time_ns"] = time_ns + spread + number * HANDSHAKE_NS
        part["echo_ns"] = part["time_ns"] - HANDSHAKE_NS if number else np.zeros(n, np.int64)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[1]}


def closing(who: np.ndarray, time_ns: int) -> Columns:
    """Return the end of some connections: every tenth is reset, the others are closed by both sides."""
    n, spread = len(who), np.arange(len(who)) * 1000
    reset = who % 10 == 3
    parts = []
    for number, (from_server, seq, ack) in enumerate(((1, 77_000_001, 11_000_001), (0, 11_000_001, 77_000_002))):
        parts.append({
            "who": who, "from_server": np.full(n, from_server), "payload": np.zeros(n, np.int64),
            "flags": np.where(reset, RST | ACK, FIN | ACK), "seq": seq + who * 1000, "ack": ack + who * 1000,
            "time_ns": time_ns + spread + number * 1_000_000, "id": np.full(n, 9),
            "echo_ns": np.full(n, time_ns - 1_000_000),
        })  # fmt: skip
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def week(connections: int, idle_s: int, days: float) -> float:
    """Probe on all connections for so many days; return by how many MB memory grew after the first hour."""
    watch, who, started = Watch(), np.arange(connections), time.monotonic()
    watch.feed(opening(who, START_NS))
    rounds, per_hour = int(days * 86400 / idle_s), max(1, 3600 // idle_s)
    after_hour = 0.0
    for turn in range(1, rounds + 1):
        now_ns = START_NS + turn * idle_s * SECOND
        heard_ns = now_ns - idle_s * SECOND + ANSWER_NS if turn > 1 else START_NS + 2 * HANDSHAKE_NS
        watch.feed(round_of(who, now_ns, heard_ns, turn=turn))
        if turn == per_hour:
            after_hour = rss_mb()
        if turn % max(rounds // 8, 1) == 0 or turn == per_hour:
            took_s = time.monotonic() - started
            print(f"{turn * idle_s / 3600:8.1f} h {rss_mb():8.1f} MB {took_s:7.1f} s  {watch.sizes()}", flush=True)
    return rss_mb() - after_hour


def come_and_go(rate: int, second: int) -> Iterator[Columns]:
    """Yield so many connections that open in a second, and the probes and ends of those of two seconds before."""
    now_ns, who = START_NS + second * SECOND, np.arange(second * rate, (second + 1) * rate)
    yield opening(who, now_ns)
    if second >= 2:
        heard_ns = now_ns - 2 * SECOND + 2 * HANDSHAKE_NS
        yield round_of(who - 2 * rate, now_ns + 200_000_000, heard_ns, turn=1)
        yield closing(who - 2 * rate, now_ns + 400_000_000)


def churn(rate: int, seconds: int) -> float:
    """Open, probe once and close connections; return by how many MB memory grew in the second half."""
    watch, half = Watch(), 0.0
    for second in range(seconds):
        for columns in come_and_go(rate, second):
            watch.feed(columns)
        if second == seconds // 2:
            half = rss_mb()
        if second % max(seconds // 8, 1) == 0:
            print(f"{second:6} s {rss_mb():8.1f} MB  {watch.sizes()}", flush=True)
    return rss_mb() - half


def serve(stop: threading.Event) -> None:
    """Accept connections on port 7, answer what comes, and close when the other end does."""
    with socket.create_server(("127.0.0.1", 7), backlog=1000) as server:
        server.settimeout(0.2)
        while not stop.is_set():
            try:
                peer, _ = server.accept()
            except TimeoutError:
                continue
            threading.Thread(target=echo, args=(peer,), daemon=True).start()


def echo(peer: socket.socket) -> None:
    """Send back what comes."""
    with peer, suppress(ConnectionResetError):
        while data := peer.recv(100):
            peer.sendall(data)


def status_of(pid: int) -> tuple[float, int, int]:
    """Return the resident memory of a process in MB, its threads and its descriptors."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(found["VmRSS"].split()[0]) / 1000, int(found["Threads"]), len([*Path(f"/proc/{pid}/fd").iterdir()])


def live(rate: int, seconds: int) -> None:
    """Let connections come and go beside ``kacap live --metrics``; print what it takes, ten times."""
    unshare(CLONE_NEWNET)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    stop = threading.Event()
    threading.Thread(target=serve, args=(stop,), daemon=True).start()
    words = [sys.executable, "-m", "kacap", "live", "-q", "-i", "lo", "--metrics", "0", "tcp"]
    kacap = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while "listening" not in (line := kacap.stderr.readline()):
        assert line
    started, made = time.monotonic(), 0
    held: list[socket.socket] = []
    while (now := time.monotonic()) - started < seconds:
        if (now - started) * rate <= made:
            time.sleep(0.002)
            continue
        one = socket.create_connection(("127.0.0.1", 7))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        one.sendall(b"x")
        held.append(one)
        made += 1
        if len(held) > 3 * rate:  # each lives for three seconds, and is probed
            done = held.pop(0)
            if made % 10:
                done.recv(100)  # what closes with data unread resets the connection
            done.close()
        if made % max(rate * seconds // 10, 1) == 0:
            print(f"{now - started:7.1f} s, {made:,} connections: {status_of(kacap.pid)}", flush=True)
    kacap.send_signal(signal.SIGINT)
    print(kacap.communicate()[1])
    stop.set()


def main() -> None:
    """Run what the first word names, with the numbers that follow."""
    what, *numbers = sys.argv[1:] or ["week"]
    if what == "week":
        connections, idle_s, days = [*map(float, numbers), *[10_000.0, 300.0, 7.0][len(numbers) :]]
        print(f"memory grew by {week(int(connections), int(idle_s), days):.2f} MB after the first hour")
    elif what == "churn":
        rate, seconds = [*map(int, numbers), *[200, 600][len(numbers) :]]
        print(f"memory grew by {churn(rate, seconds):.2f} MB in the second half")
    else:
        rate, seconds = [*map(int, numbers), *[200, 600][len(numbers) :]]
        live(rate, seconds)


if __name__ == "__main__":
    main()
