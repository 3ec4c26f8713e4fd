"""32-bit sequence arithmetic: signed distances on a circle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kacap.wire.sequence import after, distance

NUMBERS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("a", "b", "ahead"),
    [
        (5, 3, 2),
        (3, 5, -2),
        (0, 2**32 - 1, 1),
        (2**32 - 1, 0, -1),
        (2**31, 0, -(2**31)),
        (2**31 - 1, 0, 2**31 - 1),
        (7, 7, 0),
    ],
)
def test_a_distance_is_signed_and_wraps(a: int, b: int, ahead: int) -> None:
    assert distance(a, b) == ahead


@pytest.mark.slow
@given(NUMBERS, st.integers(-(2**31), 2**31 - 1))
def test_adding_and_taking_the_distance_undo_each_other(start: int, n: int) -> None:
    assert 0 <= after(start, n) < 2**32
    assert distance(after(start, n), start) == n
