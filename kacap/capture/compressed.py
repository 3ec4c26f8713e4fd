"""Decompress gzip and zstd while reading: members and frames may follow one another, and a cut stream is damage."""

from __future__ import annotations

import contextlib
import zlib
from typing import Any

from kacap.capture.blocks import Stream, StreamDamage

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

# How much compressed input is taken in one step. zlib bounds its output; zstd does not, and 4 bytes can stand for
# 128 KiB, so its step is small enough that hostile input stays below 128 MiB.
GZIP_STEP = 1 << 18
ZSTD_STEP = 1 << 12


class Decompressor:
    """A stream of decompressed bytes; subclasses say how one step is decompressed."""

    def __init__(self, stream: Stream, head: bytes):
        """Decompress ``stream``, of which ``head`` was already read."""
        self._stream, self._input = stream, head
        self._output = memoryview(b"")
        self._codec: Any = None  # of the member or frame at hand; None between them
        self._failure: StreamDamage | None = None  # raised once the output before it was handed out

    def readinto(self, view: memoryview) -> int:
        """Decompress some bytes into ``view``; 0 at the end. Raises StreamDamage."""
        while not self._output:
            if self._failure is not None:
                raise self._failure
            if not self._input and not self._more():
                if self._codec is not None:
                    raise StreamDamage("the compressed file is cut")
                return 0
            self._output = memoryview(self._step(len(view)))
        count = min(len(view), len(self._output))
        view[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def close(self) -> None:
        """Close the stream beneath."""
        self._stream.close()

    def _more(self) -> bool:
        """Read more compressed bytes."""
        block = bytearray(GZIP_STEP)
        self._input = bytes(block[: self._stream.readinto(memoryview(block))])
        return bool(self._input)

    def _step(self, wanted: int) -> bytes:
        """Decompress some of ``_input``."""
        raise NotImplementedError


class GzipStream(Decompressor):
    """gzip (RFC 1952), several members one after the other."""

    def _step(self, wanted: int) -> bytes:
        """Decompress at most ``wanted`` bytes."""
        if self._codec is None:
            self._input = self._input.lstrip(b"\0")  # padding between members is allowed
            if not self._input:
                return b""
            self._codec = zlib.decompressobj(wbits=31)
        before = self._codec.copy()
        try:
            output: bytes = self._codec.decompress(self._input, wanted)
        except zlib.error as error:
            self._failure = StreamDamage(f"the gzip data is damaged ({error})")
            return self._salvage(before)
        if self._codec.eof:
            self._input, self._codec = self._codec.unused_data, None
        else:
            self._input = self._codec.unconsumed_tail
        return output

    def _salvage(self, codec: Any) -> bytes:
        """Return what precedes the damage in the input at hand: zlib gives back nothing of a step that fails."""
        pieces: list[bytes] = []
        with contextlib.suppress(zlib.error):
            for byte in self._input:
                pieces.append(codec.decompress(bytes([byte])))
        return b"".join(pieces)


class ZstdStream(Decompressor):
    """zstd (RFC 8878), several frames one after the other."""

    def _step(self, wanted: int) -> bytes:
        """Decompress one small step of the input."""
        import zstandard

        if self._codec is None:
            self._codec = zstandard.ZstdDecompressor().decompressobj()
        step, self._input = self._input[:ZSTD_STEP], self._input[ZSTD_STEP:]
        try:
            output: bytes = self._codec.decompress(step)
        except zstandard.ZstdError as error:
            self._failure = StreamDamage(f"the zstd data is damaged ({error})")
            return b""
        if self._codec.eof:
            self._input, self._codec = self._codec.unused_data + self._input, None
        return output
