"""32-bit sequence numbers that wrap (RFC 9293 section 3.4): the one place of this arithmetic.

Each function stands here for plain Python, and as a kernel for other kernels; all work in signed 64-bit numbers, so
that mixing unsigned kinds never yields a float.
"""

from __future__ import annotations

import numpy as np

from kacap.kernels import kernel

Int = int | np.integer  # what kernels pass around, compiled or not

MASK = 0xFFFFFFFF
SIGN = 0x80000000


def distance(a: Int, b: Int) -> Int:
    """Return how far ``a`` lies ahead of ``b`` modulo 2^32: from -2^31 to 2^31 - 1, negative when before."""
    ahead = (np.int64(a) - np.int64(b)) & MASK
    return ahead - ((ahead & SIGN) << 1)


def after(a: Int, n: Int) -> Int:
    """Return the sequence number ``n`` (may be negative) after ``a``: from 0 to 2^32 - 1."""
    return (np.int64(a) + np.int64(n)) & MASK


seq_diff, seq_add = kernel(distance), kernel(after)
