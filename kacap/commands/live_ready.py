"""What ``kacap live`` has ready before the first packet comes: nothing is compiled while packets wait."""

from __future__ import annotations

import io
import marshal
import os

import numpy as np

from kacap.analyzer import Analyzer
from kacap.capture import live_ring, savefile
from kacap.capture.endpoints import header
from kacap.capture.filters import RAW
from kacap.capture.frames import FRAME, FrameBatch
from kacap.commands.compiling import COMPLETE, compile_all
from kacap.kernel_cache import CACHE
from kacap.kernels import rehearse
from kacap.model import Endpoint
from kacap.options import Options
from kacap.report import text
from kacap.rows import FEW
from kacap.wire import fields

PROBES, EVERY_NS = FEW + 1, 1_020_000_000  # so many that a kernel follows their chain


def warm_up() -> None:
    """Load or compile what the first packet, and the summary, would wait for: watch a connection that probes."""
    analyzer = Analyzer(Options(segments="events"))
    analyzer.feed(probing())
    analyzer.views.times_ns(1)  # as what is told of a run that was missed looks its probes up
    _, moved = analyzer.tracker.sweep(len(analyzer.tracker.connections))
    analyzer.observations.follow(moved)
    text.render(analyzer.finish(), io.StringIO())
    none, frames = np.empty(0, np.uint8), np.zeros(0, FRAME)
    savefile.pack(none, frames, none, none)
    live_ring.warm_up()


def probing() -> FrameBatch:
    """Return probes and their replies between two ends that nobody has."""
    prober, other = Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2)
    packets = []
    for sender, peer, seq, ack in ((prober, other, 999, 2000), (other, prober, 2000, 1000)):
        packet = header(sender, peer).copy()
        tcp = packet[fields.IPV4_LEN :]
        tcp[fields.TCP_SEQ : fields.TCP_SEQ + 4] = np.frombuffer(seq.to_bytes(4, "big"), np.uint8)
        tcp[fields.TCP_ACK : fields.TCP_ACK + 4] = np.frombuffer(ack.to_bytes(4, "big"), np.uint8)
        packets.append(packet)
    frames = np.zeros(2 * PROBES, FRAME)
    frames["frame"] = np.arange(1, len(frames) + 1)
    frames["time_ns"] = frames["frame"] // 2 * EVERY_NS + frames["frame"] % 2 * (EVERY_NS - 20_000)
    frames["offset"] = len(packets[0]) * (np.arange(len(frames)) % 2)
    frames["captured_len"] = frames["wire_len"] = len(packets[0])
    frames["link_type"] = RAW
    return FrameBatch(np.concatenate(packets), frames)


def import_ahead() -> None:
    """Import what is otherwise imported when it is first used: the user whom root becomes may not read root's files."""
    import numpy.ma  # noqa: F401 (np.unique asks it)


def compile_apart() -> None:
    """Have at hand, before a device is opened, what ``warm_up`` will load once this process has no rights any more.

    None of it is loaded now. What the cache does not hold is compiled by another process, which ends with it.
    """
    CACHE.close()
    if CACHE.has(COMPLETE):
        CACHE.hold()
    else:
        CACHE.hold(_compiled())
    rehearse()


def _compiled() -> dict[str, bytes]:
    """Return what another process compiles, and keeps where it can be kept; empty if it fails."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            made = CACHE.collect()
            compile_all()
            with open(writing, "wb") as out:  # noqa: PTH123 (a pipe)
                out.write(marshal.dumps(made))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 (a pipe)
        data = pipe.read()
    if os.waitpid(pid, 0)[1]:
        return {}
    made = marshal.loads(data)
    return {str(name): bytes(code) for name, code in made.items()}
