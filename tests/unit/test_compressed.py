"""gzip and zstd streams: the same bytes whatever the pieces, all that precedes damage, and a cut that is told."""

from __future__ import annotations

import gzip
import io
import itertools
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zstandard
from zstandard import COMPRESSOBJ_FLUSH_BLOCK as FLUSH_BLOCK

from kacap.capture.blocks import Stream, StreamDamage, Window
from kacap.capture.compressed import GzipStream, ZstdStream

BLOCK = 1 << 17  # of zstd, decompressed
SKIPPED = b"\x5a\x2a\x4d\x18" + (9).to_bytes(4, "little") + b"not frame"
RANDOM = random.Random(5)
NOISE = RANDOM.randbytes(200_000)  # blocks that are stored as they are
ZEROS = bytes(300_000)  # blocks of one byte that is repeated
TEXT = b"".join(b"%d probes of %d\n" % (n * n % 97, n) for n in range(40_000))


class Pieces(io.RawIOBase):
    """A source that gives a few bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__()
        self.data, self.most = memoryview(data), most

    def readinto(self, view: memoryview) -> int:  # type: ignore[override]
        """Give some bytes."""
        count = min(len(view), len(self.data), RANDOM.randint(1, self.most))
        view[:count], self.data = self.data[:count], self.data[count:]
        return count


def zstd(source: Stream, size: int = 1 << 20) -> ZstdStream:
    return ZstdStream(Window(source, size))


def gzipped(source: Stream, size: int = 1 << 20) -> GzipStream:
    return GzipStream(Window(source, size))


def read(stream: Stream, views: Iterator[int]) -> tuple[bytes, str | None]:
    """Return all that a stream gives into views of these sizes, and why it ends early."""
    parts = []
    try:
        while got := stream.readinto(view := memoryview(bytearray(next(views)))):
            parts.append(bytes(view[:got]))
    except StreamDamage as damage:
        return b"".join(parts), str(damage)
    return b"".join(parts), None


def sizes(most: int) -> Iterator[int]:
    """Yield sizes of views, any up to ``most``."""
    while True:
        yield RANDOM.randint(1, most)


def frame(data: bytes, **options: bool) -> bytes:
    """Return a zstd frame whose size is not told in advance, so that it has a window of its own."""
    packing = zstandard.ZstdCompressor(level=3, **options).compressobj()
    return packing.compress(data) + packing.flush()


FRAMES = [
    zstandard.compress(TEXT),
    frame(NOISE + ZEROS, write_checksum=True),
    zstandard.compress(b""),
    SKIPPED,
    frame(b"", write_checksum=True),
    frame(TEXT, write_content_size=False),
    b"\x50\x2a\x4d\x18" + bytes(4),
    zstandard.ZstdCompressor(write_checksum=True).compress(ZEROS[:1000]),
]
WHOLE = TEXT + NOISE + ZEROS + TEXT + ZEROS[:1000]


@pytest.mark.parametrize("most", [1, 13, 5000, 1 << 22])
@pytest.mark.parametrize("view", [7, 70_000, 1 << 22])
@pytest.mark.parametrize("size", [64, 1 << 20])
def test_zstd_gives_the_same_bytes_whatever_the_pieces(most: int, view: int, size: int) -> None:
    frames = FRAMES[2:5] + FRAMES[-2:] if most == 1 or view == 7 else FRAMES
    packed, whole = b"".join(frames), WHOLE if frames is FRAMES else ZEROS[:1000]
    assert read(zstd(Pieces(packed, most), size), sizes(view)) == (whole, None)


def test_zstd_that_is_cut_gives_what_precedes_and_says_so_unless_a_frame_ends_there() -> None:
    data = TEXT[:3000], b"", NOISE[:500], ZEROS[:2000]
    frames = [*(frame(part, write_checksum=True) for part in data), SKIPPED, zstandard.compress(data[0])]
    packed, whole = b"".join(frames), b"".join([*data, data[0]])
    ends = {sum(map(len, frames[:n])) for n in range(len(frames) + 1)}
    before = b""
    for cut in range(1, len(packed) + 1):
        found, why = read(zstd(Pieces(packed[:cut], 50)), sizes(5000))
        assert whole.startswith(found)
        assert found.startswith(before)  # more input never gives less
        assert why == (None if cut in ends else "the compressed file is cut"), cut
        before = found
    assert before == whole


@pytest.mark.parametrize("block", range(6))
def test_zstd_that_is_damaged_gives_every_block_before(block: int) -> None:
    data = RANDOM.randbytes(6 * BLOCK)  # stored as it is: where its blocks stand is known
    packed = bytearray(frame(data))
    at = packed.index(data[block * BLOCK : block * BLOCK + 50]) - 3
    packed[at] |= 6  # a block of the type that is reserved
    found, why = read(zstd(Pieces(bytes(packed), 1 << 20)), sizes(1 << 22))
    assert found == data[: block * BLOCK]
    assert why is not None and why.startswith("the zstd data is damaged")


def test_zstd_with_a_wrong_checksum_gives_all_and_says_so() -> None:
    packed = bytearray(frame(TEXT, write_checksum=True))
    packed[-1] ^= 1
    found, why = read(zstd(Pieces(bytes(packed), 1 << 20)), sizes(1 << 22))
    assert (found, (why or "")[:24]) == (TEXT, "the zstd data is damaged")


@pytest.mark.parametrize("garbage", [b"no frame", bytes(100)])
def test_what_follows_zstd_frames_and_is_none_is_damage(garbage: bytes) -> None:
    found, why = read(zstd(Pieces(frame(TEXT) + garbage, 1 << 20)), sizes(1 << 22))
    assert (found, (why or "")[:24]) == (TEXT, "the zstd data is damaged")


@pytest.mark.parametrize("make", [gzipped, zstd])
def test_a_source_that_fails_gives_what_came_before(make: Callable[[Stream], Stream]) -> None:
    packed = 2 * (gzip.compress(TEXT) if make is gzipped else frame(TEXT))

    class Failing(Pieces):
        def readinto(self, view: memoryview) -> int:  # type: ignore[override]
            """Fail once all is given."""
            if not self.data:
                raise OSError(5, "Input/output error")
            return super().readinto(view)

    found, why = read(make(Failing(packed[:-10], 40_000)), sizes(1 << 20))
    assert found.startswith(TEXT)
    assert why == "reading failed: Input/output error"


class Bursts(Pieces):
    """A source that gives its bytes up to one end after the other, and counts how often it is asked."""

    def __init__(self, data: bytes, ends: list[int]) -> None:
        super().__init__(data, len(data))
        self.ends, self.at, self.asked = ends, 0, 0

    def readinto(self, view: memoryview) -> int:  # type: ignore[override]
        """Give all up to the next end."""
        self.asked += 1
        end = self.ends.pop(0) if self.ends else len(self.data)
        count = end - self.at
        view[:count], self.at = self.data[self.at : end], end
        return count


def flushed(packing: Any, flag: int, parts: list[bytes]) -> list[bytes]:
    """Return parts of one stream, packed so that each can be unpacked without the next."""
    return [packing.compress(part) + packing.flush(flag) for part in parts]


PARTS = [TEXT[:50_000], NOISE[:3000], ZEROS[:200_000], NOISE[3000:30_000], b"end"]
STREAMS = {
    "gzip, flushed": (gzipped, flushed(zlib.compressobj(wbits=31), zlib.Z_SYNC_FLUSH, PARTS)),
    "gzip, members": (gzipped, [gzip.compress(part) + bytes(5) for part in PARTS]),
    "zstd, flushed": (zstd, flushed(zstandard.ZstdCompressor().compressobj(), FLUSH_BLOCK, PARTS)),
    "zstd, frames": (zstd, [frame(part, write_checksum=True) for part in PARTS]),
}


@pytest.mark.parametrize("extra", [0, 1, 2, 3, 9, 11, 400])
@pytest.mark.parametrize("form", STREAMS)
def test_what_can_be_decompressed_is_handed_on_before_more_is_waited_for(form: str, extra: int) -> None:
    make, packed = STREAMS[form]
    ends = [sum(map(len, packed[: n + 1])) for n in range(len(packed))]
    until = [min(end + extra, after - 1) for end, after in itertools.pairwise(ends)]
    source = Bursts(b"".join(packed), until)
    stream, view = make(source), memoryview(bytearray(1 << 22))
    whole, found = b"".join(PARTS), b""
    for bursts, due in enumerate(itertools.accumulate(map(len, PARTS)), 1):
        while len(found) < due:
            got = stream.readinto(view)
            assert got > 0
            found += bytes(view[:got])
            assert source.asked <= bursts
    assert found == whole


@pytest.mark.parametrize("most", range(240, 520, 7))
def test_gzip_that_is_cut_gives_all_that_zlib_gives_whatever_the_room(most: int) -> None:
    packed = gzip.compress(bytes(range(200)) * 100)
    for cut in range(150, len(packed)):
        expected = zlib.decompressobj(wbits=31).decompress(packed[:cut])
        assert read(gzipped(io.BytesIO(packed[:cut])), itertools.repeat(most)) == (
            expected,
            "the compressed file is cut",
        )


@pytest.mark.parametrize("most", [1, 999, 1 << 22])
@pytest.mark.parametrize("size", [64, 1 << 20])
def test_gzip_gives_the_same_bytes_whatever_the_pieces(most: int, size: int) -> None:
    whole = TEXT[:2000] if most == 1 else TEXT + NOISE + ZEROS
    members = (whole[: len(whole) // 3], b"", whole[len(whole) // 3 :])
    packed = b"".join(gzip.compress(part) + bytes(n * 700) for n, part in enumerate(members))
    assert read(gzipped(Pieces(packed, most), size), sizes(1 << 20)) == (whole, None)


@pytest.mark.parametrize("view", [1, 7, 100, 258, 259, 300, 1000, 1 << 20])
@pytest.mark.parametrize("data", [bytes(2065), TEXT[:5000], NOISE[:3000] + bytes(5000)])
def test_gzip_that_is_damaged_gives_all_that_precedes(data: bytes, view: int) -> None:
    packing = zlib.compressobj(wbits=31)
    packed = packing.compress(data) + packing.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 40  # no block begins so
    found, why = read(gzipped(io.BytesIO(packed)), itertools.repeat(view))
    assert found == data
    assert why is not None and why.startswith("the gzip data is damaged")
