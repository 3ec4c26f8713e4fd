"""32-bit sequence numbers that wrap (RFC 9293 section 3.4): the one place of this arithmetic.

Each function is a kernel, callable from other kernels and from plain Python; all work in signed 64-bit numbers, so
that mixing unsigned kinds never yields a float.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kacap.kernels import kernel

Int = int | np.integer[Any]  # what kernels pass around, compiled or not

MASK = 0xFFFFFFFF
SIGN = 0x80000000


@kernel
def seq_diff(a: Int, b: Int) -> Int:
    """Return how far ``a`` lies ahead of ``b`` modulo 2^32: from -2^31 to 2^31 - 1, negative when before."""
    distance = (np.int64(a) - np.int64(b)) & MASK
    return distance - ((distance & SIGN) << 1)


@kernel
def seq_add(a: Int, n: Int) -> Int:
    """Return the sequence number ``n`` (may be negative) after ``a``: from 0 to 2^32 - 1."""
    return (np.int64(a) + np.int64(n)) & MASK


@kernel
def seq_before(a: Int, b: Int) -> bool:
    """Return whether ``a`` lies before ``b`` on the half circle."""
    return bool(seq_diff(a, b) < 0)
