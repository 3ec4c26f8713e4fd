"""Which reader a file needs, by its first bytes and never by its name."""

from __future__ import annotations

import os
from collections.abc import Callable

from kacap.capture.blocks import BLOCK_BYTES, READING_FAILED, Spares, Stream, Window
from kacap.capture.compressed import GZIP_MAGIC, ZSTD_MAGICS, GzipStream, ZstdStream
from kacap.capture.pcap import MAGICS, PcapReader
from kacap.capture.pcapng import SECTION_MAGIC, PcapngReader
from kacap.capture.records import RecordReader
from kacap.capture.streams import FileStream, open_stream
from kacap.errors import CaptureError

PCAP_MAGICS = {magic.to_bytes(4, order) for magic in MAGICS for order in ("little", "big")}

# What else people have, and how to turn it into a capture.
FOREIGN = {
    b"\xfd7zX": "is compressed with xz; decompress it first: xz -dc FILE | kacap read -",
    b"BZh": "is compressed with bzip2; decompress it first: bzip2 -dc FILE | kacap read -",
    b"\x04\x22\x4d\x18": "is compressed with lz4; decompress it first: lz4 -dc FILE | kacap read -",
    b"PK\x03\x04": "is a zip archive; unpack it first",
    b"Rar!": "is a rar archive; unpack it first",
    b"7z\xbc\xaf": "is a 7-Zip archive; unpack it first",
}
TAR_MAGIC, TAR_AT = b"ustar", 257  # pax(1); the magic follows name, mode, owner, size, time, checksum and link
ADVICE = "name a pcap or pcapng file, as tcpdump -w writes it (gzip and zstd are fine)"


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


def open_reader(
    name: str,
    index: int,
    *,
    follow: bool = False,
    stop: Callable[[], bool] = never,
    size: int = BLOCK_BYTES,
    stream: Stream | None = None,
    convert: bool = True,
    spares: Spares | None = None,
    whole: bool = False,
) -> RecordReader:
    """Open the capture called ``name`` (``-``: standard input), number ``index``, with buffers of ``size`` bytes.

    ``stream`` is where its bytes come from if not from there, ``spares`` where its buffers come from and go to. With
    ``convert`` tshark reads the formats that only it knows, of a file, which it opens itself. Raises CaptureError where
    nothing of it can be read. Unless frames shall be ``whole``, those of a pcap are captured as far as a packet can
    reach: records of USB may have 128 MiB.
    """
    convert = convert and stream is None and not follow
    stream = stream or open_stream(name, follow, stop)
    try:
        reader = _recognise(stream, name, index, (size, spares), convert, whole)
        reader.growing = follow
        if isinstance(stream, FileStream):
            origin = stream
            reader.taken = lambda: origin.taken
        return reader
    except BaseException:
        stream.close()
        raise


def _recognise(
    stream: Stream, name: str, index: int, room: tuple[int, Spares | None], convert: bool, whole: bool
) -> RecordReader:
    """Return the reader that the first bytes of ``stream`` ask for; ``room``: size and origin of its buffer."""
    window = Window(stream, *room)
    head = _head(window, name)
    if head.startswith((GZIP_MAGIC, *ZSTD_MAGICS)):
        kind = GzipStream if head.startswith(GZIP_MAGIC) else ZstdStream
        window = Window(kind(window), *room)
        head = _head(window, name)
    if head[:4] in PCAP_MAGICS:
        return PcapReader(window, name, index, whole=whole)
    if head[:4] == SECTION_MAGIC:
        return PcapngReader(window, name, index)
    if _head(window, name, TAR_AT + len(TAR_MAGIC))[TAR_AT:] == TAR_MAGIC:
        raise CaptureError(f"{name}: is a tar archive; unpack it first: tar xf {name}")
    if (converted := _converted(name, head, convert)) is not None:
        window.close()
        return PcapngReader(Window(converted, *room), name, index)
    raise CaptureError(f"{name}: {_what_else(head)}")


def _head(window: Window, name: str, count: int = 6) -> bytes:
    """Return the first ``count`` bytes, fewer where there are no more; nothing is consumed. Raises CaptureError."""
    if not window.fill(count) and window.fault is not None:
        raise CaptureError(f"{name}: cannot be read: {window.fault.removeprefix(READING_FAILED)}")
    return window.buffer[window.start : min(window.end, window.start + count)].tobytes()


def _converted(name: str, head: bytes, wanted: bool) -> Stream | None:
    """Return another program's capture as pcapng; None if it is not a capture. Raises CaptureError if tshark fails."""
    from kacap.capture.tshark.convert import FORMATS, convert

    named = head.startswith(tuple(FORMATS))
    if not named and (not head or _is_text(head) or head.startswith(tuple(FOREIGN))):
        return None
    return convert(name, head, wanted and os.path.isfile(name))  # noqa: PTH113 (Path.is_file raises for some names)


def _is_text(head: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)


def _what_else(head: bytes) -> str:
    """Return what a file is that is not a capture, and what to do."""
    if not head:
        return f"is empty; {ADVICE}"
    for magic, what in FOREIGN.items():
        if head.startswith(magic):
            return what
    return f"is {'text' if _is_text(head) else 'of an unknown format'}, not a capture; {ADVICE}"
