"""Decompress gzip and zstd while reading: members and frames may follow one another, and a cut stream is damage."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Callable
from functools import partial

from kacap.capture.blocks import StreamDamage, Window

GZIP_MAGIC = b"\x1f\x8b"

GZIP_STEP = 1 << 16  # bytes that are decompressed at once: what follows a member in them is copied
PART = 1 << 20  # of the contents of a zstd frame that is skipped

# zstd's format, RFC 8878 section 3.1.
MOST_OF_A_BLOCK = 1 << 17  # bytes that a block decompresses to
LARGEST_BLOCK = 3 + (1 << 21)  # bytes that it may claim to have, with its header
SKIPPED_MAGICS = tuple(magic.to_bytes(4, "little") for magic in range(0x184D2A50, 0x184D2A60))  # pzstd begins with one
ZSTD_MAGICS = b"\x28\xb5\x2f\xfd", *SKIPPED_MAGICS
RLE = 1  # a block of one byte, repeated
SINGLE_SEGMENT, HAS_CHECKSUM = 0x20, 0x04  # of a frame header's descriptor
ID_BYTES = 0, 1, 2, 4  # of a dictionary's number, by the last two bits of the descriptor
SIZE_BYTES = 0, 2, 4, 8  # of the size of the content, by the first two

Part = tuple[int, Callable[[], "Part"]]


class Enough(Exception):  # noqa: N818 (no error: it goes no further than the stream)
    """What is at hand is used up, and reading on could wait."""


class Input:
    """Compressed bytes that are not used yet; ``waits`` says whether more may be waited for."""

    def __init__(self, window: Window) -> None:
        """Go on where ``window`` stands."""
        self._window, self.waits = window, True

    @property
    def fault(self) -> str | None:
        """Why the input ended early."""
        return self._window.fault

    def some(self, most: int) -> memoryview:
        """Return the next bytes that are at hand, ``most`` at most; none at the end. Raises Enough."""
        return self._next(1, most)

    def all_of(self, count: int) -> memoryview:
        """Return the next ``count`` bytes; fewer at the end. Raises Enough."""
        return self._next(count, count)

    def use(self, count: int) -> None:
        """Go on behind the next bytes."""
        self._window.start += count

    def close(self) -> None:
        """Close the stream beneath."""
        self._window.close()

    def _next(self, least: int, most: int) -> memoryview:
        window = self._window
        if window.unread < least:
            if not self.waits:
                raise Enough
            window.fill(least)
        return memoryview(window.buffer.data)[window.start : min(window.end, window.start + most)]


class Decompressor:
    """A stream of decompressed bytes; subclasses say how some of them are made."""

    def __init__(self, window: Window) -> None:
        """Decompress what ``window`` shows, from its beginning."""
        self._input = Input(window)
        self._failure: StreamDamage | None = None  # raised once what came before it was handed out

    def readinto(self, view: memoryview) -> int:
        """Decompress the input at hand into ``view``, at least a byte; return 0 at the end. Raises StreamDamage."""
        filled, self._input.waits = 0, True
        while filled < len(view) and self._failure is None:
            try:
                got = self._step(view[filled:])
            except Enough:
                break
            except StreamDamage as failure:
                self._failure = failure
                break
            if got == 0:
                if why := self._input.fault or ("the compressed file is cut" if self._within else None):
                    self._failure = StreamDamage(why)
                break
            filled, self._input.waits = filled + got, False
        if self._failure is not None and not filled:
            raise self._failure
        return filled

    @property
    def _within(self) -> bool:
        """Whether more input must follow."""
        raise NotImplementedError

    def _step(self, view: memoryview) -> int:
        """Decompress some into ``view``, and return how many bytes; 0 at the end. Raises StreamDamage and Enough."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the stream beneath."""
        self._input.close()


class GzipStream(Decompressor):
    """gzip (RFC 1952), several members one after the other."""

    _codec: zlib._Decompress | None = None  # of the member at hand; None between them
    _holds = False  # the codec may give more without further input

    @property
    def _within(self) -> bool:
        return self._codec is not None

    def _step(self, view: memoryview) -> int:
        """Decompress until there is something."""
        while (step := memoryview(b"") if self._holds else self._input.some(GZIP_STEP)) or self._holds:
            if output := self._decompressed(step, len(view)):
                view[: len(output)] = output
                return len(output)
        return 0

    def _decompressed(self, step: memoryview, most: int) -> bytes:
        """Decompress the next bytes of the input, to at most so many. Raises StreamDamage where nothing precedes it."""
        if self._codec is None:
            padding = len(step) - len(bytes(step).lstrip(b"\0"))  # between members it is allowed
            self._input.use(padding)
            step = step[padding:]
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
        self._input.use(len(step) - len(left))
        self._holds = len(output) == most and not left and not self._codec.eof
        if self._codec.eof:
            self._codec = None
        return output

    def _salvaged(self, codec: zlib._Decompress, step: memoryview, most: int) -> bytes:
        """Return what precedes the damage in a step: zlib gives back nothing of one that fails.

        It is found by less input, and by less room: damage may lie right behind a byte, or in what zlib holds.
        """

        def made(size: int, room: int) -> bytes | None:
            """Return what so much of the step gives into so much room; None where zlib refuses it."""
            try:
                return codec.copy().decompress(step[:size], room)
            except zlib.error:
                return None

        sizes, rooms = range(len(step) + 1), range(1, most + 1)
        fitting = bisect_left(sizes, True, key=lambda size: made(size, most) is None)
        roomy = bisect_left(rooms, True, key=lambda room: made(len(step), room) is None)
        less = made(sizes[fitting - 1], most) if fitting else None
        narrow = made(len(step), rooms[roomy - 1]) if roomy else None
        return max(less or b"", narrow or b"", key=len)


class ZstdParts:
    """What zstd data consists of, one part at a time: a frame's header, a block, a checksum.

    A part makes one block at most, so that memory is bounded whatever the input claims, and of what precedes damage no
    block is lost.
    """

    def __init__(self, data: Input) -> None:
        """Go through ``data`` from the beginning of a frame."""
        self._input = data
        self._part = self._header  # returns how many bytes the next part has, and what tells that of the one behind it
        self.cut = False  # the data ends within a frame

    def read(self, size: int = -1) -> bytes:
        """Return the next part, however many bytes are asked for; nothing at the end of the data.

        Raises Enough while it is not all at hand, and may then be called again.
        """
        count, behind = self._part()
        part = self._input.all_of(count).tobytes()
        self._input.use(len(part))
        self._part, self.cut = behind, self.cut or len(part) < count
        return part

    def _header(self) -> Part:
        """Return the part that begins a frame, be it one that is skipped; what is no frame has no other."""
        head = self._input.all_of(5)
        if not head:
            return 0, self._header
        if head[:4] in SKIPPED_MAGICS:
            return 8, partial(self._skipped, int.from_bytes(self._input.all_of(8)[4:], "little"))
        bits = int.from_bytes(head[4:], "little")
        single = bits & SINGLE_SEGMENT != 0
        sizes = (0 if single else 1) + ID_BYTES[bits & 3] + (SIZE_BYTES[bits >> 6] or int(single))
        return 5 + sizes, partial(self._block, bits & HAS_CHECKSUM != 0)

    def _block(self, checksum: bool) -> Part:
        """Return a block of a frame that does or does not end with a checksum."""
        header = int.from_bytes(self._input.all_of(3), "little")
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        end = self._sum if checksum else self._header
        return 3 + (1 if kind == RLE else size), end if is_last else partial(self._block, checksum)

    def _sum(self) -> Part:
        """Return the checksum of a frame."""
        return 4, self._header

    def _skipped(self, left: int) -> Part:
        """Return some of the contents of a frame that is skipped, or what comes behind them."""
        count = min(left, PART)
        return (count, partial(self._skipped, left - count)) if left else self._header()


class ZstdStream(Decompressor):
    """zstd (RFC 8878), several frames one after the other."""

    def __init__(self, window: Window) -> None:
        """Decompress what ``window`` shows, from its beginning."""
        import zstandard

        super().__init__(window)
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

    @property
    def _within(self) -> bool:
        return self._parts.cut

    def _step(self, view: memoryview) -> int:
        """Decompress a block."""
        if not self._block and len(view) >= MOST_OF_A_BLOCK:
            return self._read(view)
        if not self._block:
            self._block = self._spare[: self._read(self._spare)]
        count = min(len(view), len(self._block))
        view[:count], self._block = self._block[:count], self._block[count:]
        return count

    def _read(self, view: memoryview) -> int:
        """Decompress the next block that is not empty into ``view``, which has room for it."""
        try:
            return self._codec.readinto1(view)
        except self._error as error:
            raise StreamDamage(f"the zstd data is damaged ({error})") from None
