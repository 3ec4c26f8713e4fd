"""Who decodes: kacap's kernels, tshark, or each what it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kacap.errors import CaptureError, UsageError
from kacap.rows import joined
from kacap.segments import SEGMENT, SegmentRows
from kacap.wire import fields

if TYPE_CHECKING:
    from kacap.capture.frames import FrameBatch
    from kacap.capture.tshark.decoder import Decoder

Engine = Literal["auto", "kacap", "tshark"]
ENGINES: tuple[Engine, ...] = ("auto", "kacap", "tshark")

ROOM = 1 << 14  # rows, two full batches

KNOWN = np.zeros(1 << 16, np.bool_)  # of link types, those that the kernels decode
KNOWN[[value for name, value in vars(fields).items() if name.startswith("LINK_")]] = True


class Decoding(Protocol):
    """What the analyzer calls for each batch; see ``wire.decode``."""

    def __call__(self, batch: FrameBatch, skipped: NDArray[np.int64]) -> SegmentRows:
        """Return the batch's segments in frame order, and count the frames without one."""

    def close(self) -> None:
        """Let go of what was started."""


def decoder(engine: Engine) -> Decoding:
    """Return the decoder that ``engine`` names. Raises NoTsharkError, and UsageError for an unknown name."""
    if engine == "tshark":
        from kacap.capture.tshark.decoder import Decoder
        from kacap.capture.tshark.program import find

        find()
        return Decoder()
    if engine not in ENGINES:
        raise UsageError(f"engine {engine}: one of {', '.join(ENGINES)}")
    return Kernels(tshark=engine == "auto")


class Kernels:
    """``wire.decode``; with ``tshark``, frames of the link types that it does not know go there, if it is to be had."""

    def __init__(self, *, tshark: bool) -> None:
        self._ask = tshark
        self._tshark: Decoder | None = None
        self._room = np.empty(0, SEGMENT)

    def __call__(self, batch: FrameBatch, skipped: NDArray[np.int64]) -> SegmentRows:
        """Return the batch's segments in frame order; ``skipped`` grows by one for each frame without one."""
        from kacap.capture.frames import FrameBatch

        links = batch.frames["link_type"]
        known = KNOWN[links]
        if not self._ask or bool(known.all()) or not self._found(np.unique(links[~known]).tolist()):
            return self._decode(batch, skipped)
        assert self._tshark is not None
        parts = [self._decode(FrameBatch(batch.buffer, batch.frames[known]), skipped)] if bool(known.any()) else []
        parts.append(self._tshark(FrameBatch(batch.buffer, batch.frames[~known]), skipped))
        return _in_order(batch, joined(parts))

    def _decode(self, batch: FrameBatch, skipped: NDArray[np.int64]) -> SegmentRows:
        """Do what the kernels do; rows of small batches lie behind one another, so that to join them copies nothing."""
        from kacap.wire import decode

        if len(self._room) < len(batch.frames):
            self._room = np.empty(max(len(batch.frames), ROOM), SEGMENT)
        found = decode(batch, skipped, self._room)
        self._room = self._room[len(found) :]
        return found

    def _found(self, link_types: list[int]) -> bool:
        """Return whether tshark is there for these link types; say so once."""
        from kacap.capture.tshark.decoder import Decoder
        from kacap.capture.tshark.program import find, tell

        names = ", ".join(map(str, link_types))
        try:
            find()
        except CaptureError as error:
            tell(f"kacap does not decode link type {names}, and {error}")
            return False
        tell(f"kacap does not decode link type {names}: its frames go to tshark")
        self._tshark = self._tshark or Decoder()
        return True

    def close(self) -> None:
        """End tshark, if it was needed."""
        if self._tshark is not None:
            self._tshark.close()


def _in_order(batch: FrameBatch, rows: NDArray[np.void]) -> NDArray[np.void]:
    """Return SEGMENT rows in the order of the batch's frames, which may come from several files."""
    indices = {key: index for index, key in enumerate(_keys(batch.frames))}
    order = np.argsort([indices[key] for key in _keys(rows)]) if len(rows) else np.zeros(0, np.intp)
    return rows.take(order)


def _keys(rows: NDArray[np.void]) -> list[tuple[int, int]]:
    return list(zip(rows["file"].tolist(), rows["frame"].tolist(), strict=True))
