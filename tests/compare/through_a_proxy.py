"""Run in a namespace: two conversations through a proxy on lo, each leg captured in a file of its own, both watched.

``python through_a_proxy.py DIRECTORY``: writes front.pcap, rear.pcap, and in live.txt and live.json what ``kacap live``
tells. Prints the process id of the proxy. The first client has keepalive on, and the server resets its leg at the end;
the second conversation goes on.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

FRONT, REAR, MESSAGES = 8000, 9000, 30


def pump(front: socket.socket) -> None:
    """Pass on what comes on either leg until one of them ends; leave the other open for a second."""
    rear = socket.create_connection(("127.0.0.1", REAR))
    other = {front: rear, rear: front}
    try:
        while True:
            for ready in select.select([front, rear], [], [])[0]:
                if not (data := ready.recv(1000)):
                    return
                other[ready].sendall(data)
    except ConnectionResetError:
        time.sleep(1.5)


def serve(port: int, work) -> None:
    """Accept connections for ever, each served by a thread of its own."""
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            threading.Thread(target=work, args=(server.accept()[0],), daemon=True).start()


def answer(peer: socket.socket) -> None:
    """Send back what comes; reset the connection at the word bye."""
    while data := peer.recv(1000):
        if data == b"bye":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            return
        peer.sendall(data)


def talk(seed: int, *, keepalive: bool) -> None:
    """Send messages at random times; with keepalive, be silent for a while and have the server reset its leg."""
    chance = random.Random(seed)
    with socket.create_connection(("127.0.0.1", FRONT)) as client:
        if keepalive:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        for number in range(MESSAGES):
            client.sendall(b"message %d" % number)
            client.recv(1000)
            time.sleep(chance.uniform(0.05, 0.25))
        time.sleep(6)  # long enough that a watch asks for the sockets meanwhile
        if keepalive:
            client.sendall(b"bye")
        time.sleep(3)


def begin(words: list[str], directory: Path, output: str) -> subprocess.Popen:
    """Start who watches; return when it does."""
    with (directory / output).open("w") as out:
        started = subprocess.Popen(words, stdout=out, stderr=subprocess.PIPE, text=True)
    while "listening" not in (line := started.stderr.readline()):
        assert line
    return started


def main() -> None:
    """Capture and watch while two clients talk."""
    if sys.argv[1] in WORK:
        serve(*WORK[sys.argv[1]])
    directory = Path(sys.argv[1])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    live = [sys.executable, "-m", "kacap", "live", "-i", "lo", "-Z", "root"]
    watching = [
        *(
            begin(
                ["tcpdump", "-i", "lo", "-U", "-w", f"{directory}/{name}.pcap", f"tcp port {port}"], directory, "none"
            )
            for name, port in (("front", FRONT), ("rear", REAR))
        ),
        begin([*live, "tcp"], directory, "live.txt"),
        begin([*live, "--json", "tcp"], directory, "live.json"),
    ]
    served = {name: subprocess.Popen([sys.executable, __file__, name]) for name in WORK}
    time.sleep(1)
    clients = [threading.Thread(target=talk, args=(seed,), kwargs={"keepalive": seed == 1}) for seed in (1, 2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    time.sleep(0.5)
    for each in (*watching, *served.values()):
        each.terminate()
        each.wait(30)
    print(served["proxy"].pid)


WORK = {"proxy": (FRONT, pump), "server": (REAR, answer)}

if __name__ == "__main__":
    main()
