"""Time `kacap sockets` over many sockets of another process, step by step and whole, beside `ss -tnoepi`.

    python tests/bench/bench_sockets.py [--sockets N] [--rounds N]

The process that holds them is a child of this one. Prints; judges nothing.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing

from kacap.sockets.diag import connection, dump
from kacap.sockets.processes import holders
from kacap.sockets.reader import read_sockets

HOLD = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
held = [listener]
for _ in range(int(sys.argv[1]) // 2):
    client = socket.create_connection(listener.getsockname())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    held += [client, listener.accept()[0]]
print("ready", flush=True)
sys.stdin.read()
"""


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Return the shortest time in seconds of several calls."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def listed() -> int:
    """Dump once; return how many sockets there are."""
    with closing(connection()) as link:
        return len(dump(link))


def command(*words: str) -> Callable[[], object]:
    """Return a call that runs a program whole."""
    return lambda: subprocess.run(words, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    """Print one line for each step."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sockets", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, asked.sockets + 100)), hard))
    words = [sys.executable, "-c", HOLD, str(asked.sockets)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        exact = sum(state.values == "socket" for state in read_sockets(pid=holder.pid))
        print(f"{listed():,} sockets, {exact:,} of them read exactly")
        steps = {
            "sock_diag": listed,
            "scan of /proc": holders,
            "all, with every socket's values": read_sockets,
            "kacap sockets, whole": command(sys.executable, "-m", "kacap", "sockets"),
            "kacap sockets --json, whole": command(sys.executable, "-m", "kacap", "sockets", "--json"),
        }
        if shutil.which("ss"):
            steps["ss -tnoepi, whole"] = command("ss", "-tnoepi")
        for name, work in steps.items():
            print(f"{name:34}{fastest(work, asked.rounds) * 1000:8.0f} ms")
        holder.communicate()


if __name__ == "__main__":
    main()
