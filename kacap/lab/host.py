"""One host of the lab: a process inside its own network namespace that does what it is told over a pipe.

It holds the sockets, and so it alone can say what they were set to and what they ended with.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from kacap.errors import KacapError
from kacap.lab.companion import Companion
from kacap.lab.delay import carry
from kacap.lab.process import CLONE_NEWNET, spawn, unshare
from kacap.lab.record import Recording, record
from kacap.lab.truth import SocketFacts
from kacap.sockets.keepalive import Keepalive

if TYPE_CHECKING:
    from kacap.lab.forge import Segment

_OPTIONS = {
    "so_keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "tcp_keepidle": (socket.IPPROTO_TCP, 4),
    "tcp_keepintvl": (socket.IPPROTO_TCP, 5),
    "tcp_keepcnt": (socket.IPPROTO_TCP, 6),
    "tcp_user_timeout": (socket.IPPROTO_TCP, 18),
}
# Checkpoint/restore of a socket, tcp(7): the kernel's own sequence numbers, and an end without a word.
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21
_RECV_QUEUE, _SEND_QUEUE, _REPAIR_OFF_QUIETLY = 1, 2, -1
_TCP_INFO, _SND_WND_AT = 11, 228  # tcpi_snd_wnd, linux/tcp.h
_PATIENCE_S = 60  # for ip and nft: the kernel takes down one network namespace at a time, and makes none meanwhile
_CLOCK_MONOTONIC_COARSE = 6  # the time of the last tick, clock_gettime(2); Python has no name for it
_COUNTERS = ("TCPKeepAlive", "TCPWinProbe", "TCPAbortOnTimeout", "TCPACKSkippedSeq", "OutOfWindowIcmps")


def _await_tick() -> None:
    """Wait for the kernel's next tick, awake, as a sleeper would be late for it."""
    now = time.clock_gettime(_CLOCK_MONOTONIC_COARSE)
    while time.clock_gettime(_CLOCK_MONOTONIC_COARSE) == now:
        pass


def options_of(sock: socket.socket) -> dict[str, int]:
    """Return what getsockopt says: switches and seconds as in tcp(7), the user timeout in milliseconds."""
    return {name: sock.getsockopt(level, number) for name, (level, number) in _OPTIONS.items()}


class Host:
    """The verbs of a host; each public method can be called over the pipe by its name."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._facts: dict[str, SocketFacts] = {}
        self._recorders: list[tuple[int, Connection]] = []
        self._companions: list[Companion] = []
        self._carriers: list[tuple[int, Connection]] = []
        self._poller = select.poll()
        self._on_tick = False

    def serve(self, pipe: Connection) -> None:
        """Answer calls until the call to leave; between them, note errors and ends of the sockets."""
        unshare(CLONE_NEWNET)
        pipe.send(None)
        self._poller.register(pipe, select.POLLIN)
        while True:
            # What came to a socket is noted before a call that may close it, or give its name to another.
            for descriptor, _ in sorted(self._poller.poll(), key=lambda event: event[0] == pipe.fileno()):
                if descriptor == pipe.fileno():
                    verb, words = pipe.recv()
                    if verb == "leave":
                        return
                    pipe.send(self._answer(verb, words))
                else:
                    self._notice(descriptor)

    def _answer(self, verb: str, words: tuple[object, ...]) -> tuple[bool, object]:
        try:
            return True, getattr(self, verb)(*words)
        except (OSError, KacapError) as error:
            return False, f"{verb} {' '.join(map(str, words))}: {error}"

    def _notice(self, descriptor: int) -> None:
        """Write down the error or the end of stream that just came, with its time, as the application sees it."""
        now = time.time_ns()
        name, sock = next((n, s) for n, s in self._sockets.items() if s.fileno() == descriptor)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._facts[name]["error"], self._facts[name]["error_ns"] = errno.errorcode[number], now
            self._poller.unregister(sock)
        elif "end_of_stream_ns" not in self._facts[name]:
            self._facts[name]["end_of_stream_ns"] = now
            self._poller.modify(sock, 0)  # errors and hang-ups are always counters
        else:
            self._poller.unregister(sock)

    # The system ----------------------------------------------------------------------------------------------------

    def command(self, argv: list[str], text: str = "") -> str:
        """Run a program of the system here (ip, nft) and return its output."""
        try:
            done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
        except FileNotFoundError:
            raise KacapError(
                f"the program {argv[0]} is not installed (iproute2 and nftables bring ip and nft)"
            ) from None
        except subprocess.TimeoutExpired:
            raise KacapError(f"{' '.join(argv)}: not done after {_PATIENCE_S} s") from None
        if done.returncode:
            raise KacapError(f"{' '.join(argv)}: {done.stderr.strip().splitlines()[0] if done.stderr else 'failed'}")
        return done.stdout

    def sysctl(self, key: str, value: int | str) -> bool:
        """Set one of the namespace's settings; False where this kernel has none of that name."""
        path = Path("/proc/sys") / key.replace(".", "/")
        if not path.exists():
            return False
        path.write_text(f"{value}\n")
        return True

    def counters(self) -> dict[str, int]:
        """Return the TcpExt counters of the namespace that matter here."""
        lines = [line.split() for line in Path("/proc/net/netstat").read_text().splitlines()]
        names, values = (line for line in lines if line[0] == "TcpExt:")
        counters = dict(zip(names, values, strict=True))
        return {name: int(counters[name]) for name in _COUNTERS if name in counters}

    def arm_together(self) -> None:
        """Run on one CPU from now on, and connect right after a tick: timers armed there in one tick fire together.

        From 64 ticks on a timer fires with its bucket of 8 or more (``calc_wheel_index``, kernel/time/timer.c).
        """
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self._on_tick = True

    def carry(self, interfaces: tuple[str, ...], seconds: float) -> None:
        """Carry TCP between interfaces by hand, so much later; it ends with this host."""
        pid, pipe = spawn(lambda there: carry(interfaces, seconds, there))
        pipe.recv()
        self._carriers.append((pid, pipe))

    def start_recording(self, wanted: Recording) -> None:
        """Start a recorder; frames are kept when this returns."""
        pid, pipe = spawn(lambda there: record(wanted, there))
        try:
            pipe.recv()
        except EOFError:
            raise KacapError(f"nothing can be recorded on {wanted.interface}") from None
        self._recorders.append((pid, pipe))

    def start_companion(self, words: Sequence[str], wanted: Recording) -> None:
        """Start a program beside a recorder; it watches when this returns."""
        self._companions.append(Companion(words, wanted.interface, Path(wanted.path)))

    def stop_companions(self) -> None:
        """Stop what runs beside the recorders of this host."""
        for program in self._companions:
            program.stop()
        self._companions.clear()

    def stop_recording(self) -> list[tuple[list[str], int, int]]:
        """Stop the recorders of this host; return (files, frames, dropped) of each."""
        recorded = []
        for pid, pipe in self._recorders:
            pipe.send("stop")
            recorded.append(pipe.recv())
            os.waitpid(pid, 0)
        self._recorders.clear()
        return recorded

    # Sockets -------------------------------------------------------------------------------------------------------

    def listen(self, name: str, address: str, port: int, settings: Keepalive | None, receive_buffer: int) -> None:
        """Open a listener; ``settings`` on it are inherited by what it accepts."""
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        before = options_of(sock)
        if settings:
            settings.apply(sock)
        sock.bind((address, port))
        sock.listen(1024)
        self._sockets[name] = sock
        self._facts[name] = {"before": before, "after": options_of(sock)}

    def accept(self, listener: str, name: str, settings: Keepalive | None) -> None:
        """Accept one connection as ``name``."""
        sock, _ = self._sockets[listener].accept()
        self._adopt(name, sock, options_of(sock), settings)

    def connect(self, name: str, local: tuple[str, int], remote: tuple[str, int], settings: Keepalive | None) -> None:
        """Connect as ``name``; the settings go in before the SYN."""
        sock = socket.socket(socket.AF_INET6 if ":" in local[0] else socket.AF_INET)
        before = options_of(sock)
        if settings:
            settings.apply(sock)
        sock.bind(local)
        sock.settimeout(10)
        if self._on_tick:
            _await_tick()
        sock.connect(remote)
        self._adopt(name, sock, before, None)

    def _adopt(self, name: str, sock: socket.socket, before: dict[str, int], settings: Keepalive | None) -> None:
        if settings:
            settings.apply(sock)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[name] = sock
        self._poller.register(sock, select.POLLRDHUP)
        facts: SocketFacts = {"local": sock.getsockname()[:2], "remote": sock.getpeername()[:2]}
        if name in self._facts:
            facts["earlier"] = self._facts[name]["after"]
        self._facts[name] = {**facts, "before": before, "after": options_of(sock)}

    def facts(self) -> dict[str, SocketFacts]:
        """Return what is known of each socket."""
        return self._facts

    def silence(self) -> None:
        """Note the options of every open socket, then switch its keepalive off, which puts nothing on the wire."""
        for name, sock in self._sockets.items():
            if sock.fileno() >= 0:
                self._facts[name]["end"] = options_of(sock)
                self.keepalive_off(name)

    def send(self, name: str, size: int) -> int:
        """Queue up to ``size`` bytes; return how many the kernel took."""
        return self._sockets[name].send(b"k" * size)

    def read(self, name: str) -> int:
        """Read all that waits; return how many bytes."""
        total = 0
        try:
            while data := self._sockets[name].recv(1 << 20):
                total += len(data)
        except BlockingIOError:
            pass
        return total

    def fill(self, name: str) -> int:
        """Send exactly what the peer's window allows, again and again, until it is 0 and nothing waits."""
        total = 0
        for _ in range(200):
            room = self._window(name)
            if room == 0:
                return total
            total += self._sockets[name].send(b"k" * min(room, 1000))
            time.sleep(0.06)  # beyond a delayed ACK
        raise KacapError("the peer's window did not close")

    def _window(self, name: str) -> int:
        info = self._sockets[name].getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _SND_WND_AT + 4)
        if len(info) < _SND_WND_AT + 4:
            raise KacapError("this kernel does not tell a peer's window (TCP_INFO before Linux 5.4)")
        return int(struct.unpack_from("I", info, _SND_WND_AT)[0])

    def apply(self, name: str, settings: Keepalive) -> None:
        """Set the options of a live socket."""
        settings.apply(self._sockets[name])

    def shutdown(self, name: str) -> None:
        """Send FIN and keep reading."""
        self._sockets[name].shutdown(socket.SHUT_WR)

    def close(self, name: str) -> None:
        """Close as an application does."""
        self._leave(name)
        self._sockets[name].close()

    def abort(self, name: str) -> None:
        """Close with SO_LINGER 0: the kernel sends an RST and keeps nothing."""
        self._sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close(name)

    def keepalive_off(self, name: str) -> None:
        """Switch SO_KEEPALIVE off on a live socket."""
        self._sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)

    def forget(self, name: str) -> None:
        """Lose the connection without a word, as at a power cut."""
        self._sockets[name].setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        self.close(name)

    def _leave(self, name: str) -> None:
        self._facts[name]["end"] = options_of(self._sockets[name])
        self._poller.unregister(self._sockets[name])

    def sequence(self, name: str) -> tuple[int, int]:
        """Return the kernel's (SND.NXT, RCV.NXT) of a connection."""
        sock = self._sockets[name]
        numbers = []
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        for queue in (_SEND_QUEUE, _RECV_QUEUE):
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, queue)
            numbers.append(sock.getsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ) & 0xFFFFFFFF)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _REPAIR_OFF_QUIETLY)
        return numbers[0], numbers[1]

    # Forged segments -----------------------------------------------------------------------------------------------

    def prepare_forging(self) -> None:
        """Load what forging needs, before time matters."""
        import kacap.lab.forge  # noqa: F401

    def forge(self, segment: Segment) -> None:
        """Send a segment that no socket of this host made; see ``kacap.lab.forge.segment``."""
        from kacap.lab.forge import send

        send(segment)

    def forge_after(self, interface: str, seq: int, segment: Segment) -> None:
        """Wait up to 20 s for a segment with that sequence number on ``interface``, then forge at once."""
        from kacap.lab.forge import packet, send_packet, wait_for

        ready = packet(**segment)
        wait_for(interface, seq, seconds=20)
        send_packet(ready, segment["target"][0])
