"""The probes of every row as one short text: what the page's script draws its timelines from, and nothing else.

For each probe four unsigned numbers of seven bits a byte, the lowest first (LEB128): microseconds since the probe
before (of the first: since ``start_ns``), the difference of its frame's number (zigzag), microseconds to the reply and
one, 0 for none, and what is known of the silence before it: 0 none, it follows another of its run; 1 not known; else
microseconds since the peer was last heard, and two.
"""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from kacap.clock import MICROSECOND_NS
from kacap.facts.sent import SentRows
from kacap.flows import NEVER

FILE = 1 << 32  # of a frame's number in one of several files


def encoded(sent: SentRows, rows: int, start_ns: int) -> tuple[str, list[int]]:
    """Return probes (SENT, by prober and time) as base64, and where the bytes of each row begin, and the last end."""
    values = np.zeros((len(sent), 4), np.uint64)
    micros = (sent["time_ns"] - start_ns) // MICROSECOND_NS
    frames = sent["frame"] + sent["file"].astype(np.int64) * FILE
    begins = np.append(True, sent["prober"][1:] != sent["prober"][:-1]) if len(sent) else np.zeros(0, np.bool_)
    values[:, 0] = np.maximum(np.where(begins, micros, np.diff(micros, prepend=0)), 0)
    steps = np.where(begins, frames, np.diff(frames, prepend=0))
    values[:, 1] = (steps << 1) ^ (steps >> 63)
    after = (sent["reply_ns"] - sent["time_ns"]) // MICROSECOND_NS
    values[:, 2] = np.where(sent["reply_ns"] == NEVER, 0, np.maximum(after, 0) + 1)
    silent = (sent["time_ns"] - sent["since_ns"]) // MICROSECOND_NS
    known = np.where(sent["since_ns"] == NEVER, 1, np.maximum(silent, 0) + 2)
    values[:, 3] = np.where(sent["first"], known, 0)
    data, sizes = _leb128(values.ravel())
    each = np.bincount(np.repeat(sent["prober"], 4), sizes, minlength=rows)
    return base64.b64encode(data).decode(), [0, *np.cumsum(each).astype(np.int64).tolist()]


def _leb128(values: NDArray[np.uint64]) -> tuple[bytes, NDArray[np.int64]]:
    """Return numbers as bytes of seven bits, the highest bit set in all but the last, and how many each took."""
    sizes = np.ones(len(values), np.int64)
    rest = values >> np.uint64(7)
    while rest.any():
        sizes += rest > 0
        rest >>= np.uint64(7)
    ends = np.cumsum(sizes)
    out = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    starts = ends - sizes
    for place in range(int(sizes.max(initial=0))):
        own = sizes > place
        part = (values[own] >> np.uint64(7 * place)) & np.uint64(127)
        out[starts[own] + place] = part | np.where(sizes[own] > place + 1, 128, 0).astype(np.uint64)
    return out.tobytes(), sizes
