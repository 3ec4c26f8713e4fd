"""Decompress gzip and zstd while reading: members and frames may follow one another, and a cut stream is damage."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from kacap.capture.blocks import Stream, StreamDamage

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

INPUT_BYTES = 1 << 20  # of compressed input that are asked for at once
GZIP_STEP = 1 << 16  # of them, that are decompressed at once: what follows a member in them is copied

# zstd's format, RFC 8878 section 3.1.
MOST_OF_A_BLOCK = 1 << 17  # bytes that a block decompresses to
LARGEST_BLOCK = 3 + (1 << 21)  # bytes that it may claim to have, with its header
SKIPPABLE = 0x184D2A50  # magic of a frame of other contents, but for its last four bits
RLE = 1  # a block of one byte, repeated
SINGLE_SEGMENT, HAS_CHECKSUM = 0x20, 0x04  # of a frame header's descriptor
ID_BYTES = 0, 1, 2, 4  # of a dictionary's number, by the last two bits of the descriptor
SIZE_BYTES = 0, 2, 4, 8  # of the size of the content, by the first two


class Input:
    """Compressed bytes that were read and not used yet."""

    def __init__(self, stream: Stream, head: bytes) -> None:
        """Read from ``stream``, whose first bytes ``head`` were already read."""
        self._stream, self.rest = stream, memoryview(head)

    def more(self) -> bool:
        """Read on behind ``rest``; return False at the end."""
        block = memoryview(bytearray(INPUT_BYTES))
        got = self._stream.readinto(block)
        self.rest = memoryview(bytes(self.rest) + block[:got]) if self.rest else block[:got]
        return got > 0

    def take(self, count: int) -> bytes:
        """Return the next bytes; fewer at the end."""
        while len(self.rest) < count and self.more():
            pass
        taken, self.rest = bytes(self.rest[:count]), self.rest[count:]
        return taken


class Decompressor:
    """A stream of decompressed bytes; subclasses say how some of them are made."""

    def __init__(self, stream: Stream, head: bytes) -> None:
        """Decompress ``stream``; its first bytes ``head`` were already read."""
        self._stream, self._input = stream, Input(stream, head)
        self._failure: StreamDamage | OSError | None = None  # raised once what came before it was handed out

    def readinto(self, view: memoryview) -> int:
        """Decompress the input at hand into ``view``, at least a byte; return 0 at the end. Raises StreamDamage."""
        filled = 0
        while filled < len(view) and self._failure is None and not (filled and not self._input.rest):
            try:
                got = self._step(view[filled:])
            except (StreamDamage, OSError) as failure:
                self._failure = failure
                break
            if got == 0:
                break
            filled += got
        if self._failure is not None and not filled:
            raise self._failure
        return filled

    def _step(self, view: memoryview) -> int:
        """Decompress some into ``view``, and return how many bytes; 0 at the end. Raises StreamDamage."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the stream beneath."""
        self._stream.close()


class GzipStream(Decompressor):
    """gzip (RFC 1952), several members one after the other."""

    _codec: zlib._Decompress | None = None  # of the member at hand; None between them

    def _step(self, view: memoryview) -> int:
        """Decompress until there is something. Raises StreamDamage."""
        while self._input.rest or self._input.more():
            if output := self._decompressed(self._input.rest[:GZIP_STEP], len(view)):
                view[: len(output)] = output
                return len(output)
        if self._codec is not None:
            raise StreamDamage("the compressed file is cut")
        return 0

    def _decompressed(self, step: memoryview, most: int) -> bytes:
        """Decompress the next bytes of the input, to at most so many. Raises StreamDamage where nothing precedes it."""
        if self._codec is None:
            padding = len(step) - len(bytes(step).lstrip(b"\0"))  # between members it is allowed
            self._input.rest, step = self._input.rest[padding:], step[padding:]
            if not step:
                return b""
            self._codec = zlib.decompressobj(wbits=31)
        before = self._codec.copy()
        try:
            output = self._codec.decompress(step, most)
        except zlib.error as error:
            self._failure = StreamDamage(f"the gzip data is damaged ({error})")
            if output := self._salvaged(before, step, most):
                return output
            raise self._failure from None
        left = self._codec.unused_data or self._codec.unconsumed_tail
        self._input.rest = self._input.rest[len(step) - len(left) :]
        if self._codec.eof:
            self._codec = None
        return output

    def _salvaged(self, codec: zlib._Decompress, step: memoryview, most: int) -> bytes:
        """Return what precedes the damage in a step: zlib gives back nothing of one that fails."""
        good, bad = 0, len(step)  # bytes of input that decompress, and that do not
        output = b""
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                output, good = codec.copy().decompress(step[:middle], most), middle
            except zlib.error:
                bad = middle
        return output


class ZstdParts:
    """What zstd data consists of, one part at a time: a frame's header, a block, a checksum.

    A part makes one block at most, so that memory is bounded whatever the input claims, and of what precedes damage
    nothing is lost.
    """

    def __init__(self, data: Input) -> None:
        """Go through ``data`` from the beginning of a frame."""
        self._input = data
        self._part: Callable[[], bytes] = self._header
        self._checksum, self._skip = False, 0
        self.cut = False  # the data ends within a frame

    def read(self, size: int = -1) -> bytes:
        """Return the next part, however many bytes are asked for; nothing at the end of the data."""
        return self._part()

    def _take(self, count: int) -> bytes:
        """Return the next bytes of the frame at hand; fewer where the data is cut."""
        taken = self._input.take(count)
        self.cut = self.cut or len(taken) < count
        return taken

    def _header(self) -> bytes:
        """Return a frame's header, or the beginning of one that is skipped; what is neither has no header."""
        magic = self._input.take(1)
        if not magic:
            return magic
        magic += self._take(3)
        if int.from_bytes(magic, "little") & ~0xF == SKIPPABLE:
            size = self._take(4)
            self._skip, self._part = int.from_bytes(size, "little"), self._skipped
            return magic + size
        descriptor = self._take(1)
        bits = int.from_bytes(descriptor, "little")
        single = bits & SINGLE_SEGMENT != 0
        sizes = (0 if single else 1) + ID_BYTES[bits & 3] + (SIZE_BYTES[bits >> 6] or int(single))
        self._checksum, self._part = bits & HAS_CHECKSUM != 0, self._block
        return magic + descriptor + self._take(sizes)

    def _block(self) -> bytes:
        """Return a block."""
        header = self._take(3)
        number = int.from_bytes(header, "little")
        is_last, kind, size = number & 1, number >> 1 & 3, number >> 3
        content = self._take(1 if kind == RLE else size)
        if is_last:
            self._part = self._sum if self._checksum else self._header
        return header + content

    def _sum(self) -> bytes:
        """Return a frame's checksum."""
        self._part = self._header
        return self._take(4)

    def _skipped(self) -> bytes:
        """Return some of the contents of a frame that is skipped, or what comes behind it."""
        if self._skip == 0:
            self._part = self._header
            return self._header()
        contents = self._take(min(self._skip, INPUT_BYTES))
        self._skip -= len(contents)
        return contents


class ZstdStream(Decompressor):
    """zstd (RFC 8878), several frames one after the other."""

    def __init__(self, stream: Stream, head: bytes) -> None:
        """Decompress ``stream``; its first bytes ``head`` were already read."""
        import zstandard

        super().__init__(stream, head)
        self._parts = ZstdParts(self._input)
        codec = zstandard.ZstdDecompressor()
        self._codec = codec.stream_reader(  # of a source it calls ``read`` alone
            self._parts,  # type: ignore[arg-type]
            read_size=LARGEST_BLOCK,
            read_across_frames=True,
        )
        self._error = zstandard.ZstdError
        self._spare = memoryview(bytearray(MOST_OF_A_BLOCK))  # for a block where there is no room for all of it
        self._block = memoryview(b"")  # what is in it

    def _step(self, view: memoryview) -> int:
        """Decompress a block. Raises StreamDamage."""
        if not self._block and len(view) >= MOST_OF_A_BLOCK:
            return self._read(view)
        if not self._block:
            self._block = self._spare[: self._read(self._spare)]
        count = min(len(view), len(self._block))
        view[:count], self._block = self._block[:count], self._block[count:]
        return count

    def _read(self, view: memoryview) -> int:
        """Decompress the next block that is not empty into ``view``, which has room for it. Raises StreamDamage."""
        try:
            got = self._codec.readinto1(view)
        except self._error as error:
            raise StreamDamage(f"the zstd data is damaged ({error})") from None
        if got == 0 and self._parts.cut:
            raise StreamDamage("the compressed file is cut")
        return got
