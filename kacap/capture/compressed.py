"""Decompress gzip and zstd while reading: members and frames may follow one another, and a cut stream is damage."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Generic, TypeVar

from kacap.capture.blocks import Stream, StreamDamage

if TYPE_CHECKING:
    import zstandard  # noqa: F401 (named in quotes below)

Codec = TypeVar("Codec")  # what decompresses one member or frame

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

# How much compressed input is taken at once: what follows a member or frame in it is copied for the next one. zlib
# bounds its output; zstd does not, and 4 bytes can stand for 128 KiB, so its step is small enough that hostile input
# stays below 128 MiB.
INPUT_BYTES = 1 << 16
ZSTD_STEP = 1 << 12


class Decompressor(Generic[Codec]):
    """A stream of decompressed bytes; subclasses say how one step is decompressed."""

    def __init__(self, stream: Stream, head: bytes):
        """Decompress ``stream``; its first bytes ``head`` were already read."""
        self._stream, self._input = stream, head
        self._output = memoryview(b"")
        self._codec: Codec | None = None  # of the member or frame at hand; None between them
        self._failure: StreamDamage | None = None  # raised once the output before it was handed out

    def readinto(self, view: memoryview) -> int:
        """Decompress the input at hand into ``view``, at least a byte; return 0 at the end. Raises StreamDamage."""
        filled = 0
        while filled < len(view):
            if not self._output:
                if filled and (self._failure is not None or not self._input):
                    break
                if self._failure is not None:
                    raise self._failure
                if not self._input and not self._more():
                    if self._codec is not None:
                        raise StreamDamage("the compressed file is cut")
                    break
                self._output = memoryview(self._step(len(view) - filled))
            count = min(len(view) - filled, len(self._output))
            view[filled : filled + count] = self._output[:count]
            self._output = self._output[count:]
            filled += count
        return filled

    def close(self) -> None:
        """Close the stream beneath."""
        self._stream.close()

    def _more(self) -> bool:
        """Read more compressed bytes."""
        block = bytearray(INPUT_BYTES)
        self._input = bytes(block[: self._stream.readinto(memoryview(block))])
        return bool(self._input)

    def _step(self, wanted: int) -> bytes:
        """Decompress some of ``_input``."""
        raise NotImplementedError


class GzipStream(Decompressor["zlib._Decompress"]):
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
            output = self._codec.decompress(self._input, wanted)
        except zlib.error as error:
            self._failure = StreamDamage(f"the gzip data is damaged ({error})")
            return self._salvage(before, wanted)
        if self._codec.eof:
            self._input, self._codec = self._codec.unused_data, None
        else:
            self._input = self._codec.unconsumed_tail
        return output

    def _salvage(self, codec: zlib._Decompress, wanted: int) -> bytes:
        """Return what precedes the damage in the input at hand: zlib gives back nothing of a step that fails."""
        good, bad = 0, len(self._input)  # bytes of input that decompress, and that do not
        output = b""
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                output, good = codec.copy().decompress(self._input[:middle], wanted), middle
            except zlib.error:
                bad = middle
        return output


class ZstdStream(Decompressor["zstandard.ZstdDecompressionObj"]):
    """zstd (RFC 8878), several frames one after the other."""

    def _step(self, wanted: int) -> bytes:
        """Decompress one small step of the input."""
        import zstandard

        if self._codec is None:
            self._codec = zstandard.ZstdDecompressor().decompressobj()
        step, self._input = self._input[:ZSTD_STEP], self._input[ZSTD_STEP:]
        try:
            output = self._codec.decompress(step)
        except zstandard.ZstdError as error:
            self._failure = StreamDamage(f"the zstd data is damaged ({error})")
            return b""
        if self._codec.eof:
            self._input, self._codec = self._codec.unused_data + self._input, None
        return output
