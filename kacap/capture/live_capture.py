"""Interfaces as a source of frames: the same batches as files give, and one at least every tenth of a second.

Three engines open an interface: libpcap's ring, scapy's socket, and a capturing program's pipe. Each is an
``OpenInterface``;
``LiveSource`` waits for all of them at once and puts their frames into one order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from kacap.capture.live_source import WHOLE, CaptureOptions, LiveSource, OpenInterface
from kacap.capture.privileges import User
from kacap.capture.rights import SNAPLEN, CannotCaptureError
from kacap.errors import UsageError

Engine = Callable[[str, int, CaptureOptions], OpenInterface]


def _ring(interface: str, index: int, options: CaptureOptions) -> OpenInterface:
    from kacap.capture.live_ring import Ring

    return Ring(interface, index, options)


def _scapy(interface: str, index: int, options: CaptureOptions) -> OpenInterface:
    from kacap.capture.live_scapy import ScapyInterface

    return ScapyInterface(interface, index, options)


def _program(interface: str, index: int, options: CaptureOptions) -> OpenInterface:
    from kacap.capture.live_program import open_program

    return open_program(interface, index, options)


ENGINES: dict[str, Engine] = {"ring": _ring, "scapy": _scapy, "dumpcap": _program}


def open_live(
    interfaces: Sequence[str],
    *,
    engine: str = "auto",
    filter: str | None = None,
    snaplen: int = SNAPLEN,
    promiscuous: bool = False,
    buffer_kib: int | None = None,
    netns: str | None = None,
    link_type: str | None = None,
    limit: int | None = None,
    user: User | None = None,
    now: Callable[[], int] = time.time_ns,
) -> LiveSource:
    """Open interfaces (``any``: all of them) and return their frames as one source.

    ``filter`` is a BPF expression, ``snaplen`` the bytes kept of each frame (0: all), ``buffer_kib`` the size of the
    kernel's buffer, ``netns`` the name, pid or path of a network namespace. The source ends after ``limit`` frames. A
    program that captures is started as ``user``, so that who becomes that user can end it.
    ``engine`` is one of ``ENGINES``; ``auto`` takes the first that works for all interfaces. Raises CaptureError
    naming the interface and what helps, FilterError when libpcap refuses the expression, UsageError.
    """
    if engine != "auto" and engine not in ENGINES:
        raise UsageError(f"--engine {engine}: known are auto, {', '.join(ENGINES)}")
    if not interfaces:
        raise UsageError("name an interface (kacap live -D lists them)")
    options = CaptureOptions(filter, snaplen or WHOLE, promiscuous, buffer_kib, netns, link_type, user)
    names = list(dict.fromkeys(interfaces))
    opened = _first_that_works(names, options) if engine == "auto" else _open_all(ENGINES[engine], names, options)
    return LiveSource(opened, limit, now, snaplen=options.snaplen)


def _open_all(engine: Engine, interfaces: Sequence[str], options: CaptureOptions) -> list[OpenInterface]:
    """Open every interface with one engine, or none."""
    opened: list[OpenInterface] = []
    try:
        for index, interface in enumerate(interfaces):
            opened.append(engine(interface, index, options))
    except BaseException:
        for each in opened:
            each.close()
        raise
    return opened


def _first_that_works(interfaces: Sequence[str], options: CaptureOptions) -> list[OpenInterface]:
    """Try the engines in order; a wrong interface is wrong for all. Raises the gravest reason when none works."""
    failures: list[CannotCaptureError] = []
    for engine in ENGINES.values():
        try:
            return _open_all(engine, interfaces, options)
        except CannotCaptureError as error:
            if error.why == "interface":
                raise
            failures.append(error)
    raise next((f for f in failures if f.why == "rights"), failures[0])
