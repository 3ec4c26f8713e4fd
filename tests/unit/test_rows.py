"""Tables that grow: what was written stays, the rest is zero, and views that somebody holds stay what they were."""

from __future__ import annotations

import mmap
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kacap import rows
from kacap.rows import Table, chain, copied, joined, keep

PAIR = np.dtype([("number", "<i8"), ("small", "u1")], align=True)


def some(first: int, number: int) -> np.ndarray:
    made = np.zeros(number, PAIR)
    made["number"] = np.arange(first, first + number)
    made["small"] = made["number"] % 251
    return made


def test_a_new_table_is_empty_and_zero() -> None:
    table = Table(PAIR, 7)
    assert (table.used, len(table.rows), len(table.filled)) == (0, 7, 0)
    assert not table.rows["number"].any()


def test_rows_of_a_table_can_be_written_in_place() -> None:
    table = Table(PAIR)
    table.rows[3]["number"] = 5
    assert table.rows["number"].tolist()[:5] == [0, 0, 0, 5, 0]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.integers(0, 9), st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=8))
def test_however_a_table_grows_it_holds_what_was_appended_and_zeros_behind(
    room: int, steps: list[tuple[int, bool]]
) -> None:
    table, expected = Table(PAIR, room), some(0, 0)
    held: list[tuple[np.ndarray, np.ndarray]] = []
    for number, hold in steps:
        if hold:
            held.append((table.filled, table.filled.copy()))
        more = some(len(expected), number)
        table.append(more)
        expected = np.concatenate([expected, more])
        assert table.used == len(expected)
        assert (table.filled == expected).all()
        assert not table.rows["number"][table.used :].any()
    assert all((view == copy).all() for view, copy in held)


@pytest.mark.parametrize("holding", [False, True])
def test_what_is_reserved_is_there_and_twice_as_much_as_before(holding: bool) -> None:
    table = Table(PAIR, 100)
    table.append(some(0, 100))
    view = table.filled if holding else None
    table.reserve(0)
    assert len(table.rows) == 100
    table.reserve(1)
    assert len(table.rows) == 200
    table.reserve(5000)
    assert len(table.rows) == 5100
    assert (table.filled == some(0, 100)).all()
    table.rows["number"][:100] = -1
    if view is not None:
        assert (view == some(0, 100)).all()


def test_where_memory_cannot_grow_in_place_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(mmap.mmap):
        def resize(self, _: int) -> None:
            raise SystemError("mmap: resizing not available--no mremap()")

    monkeypatch.setattr(rows, "_zeros", lambda size: Fixed(-1, size))
    table = Table(PAIR, 2)
    for first in range(0, 1000, 10):
        table.append(some(first, 10))
    assert (table.filled == some(0, 1000)).all()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork(2) on this system")
def test_a_process_that_is_forked_off_has_its_own_rows() -> None:
    table = Table(PAIR, 10)
    table.append(some(0, 10))
    child = os.fork()
    if child == 0:
        table.rows["number"] = 99
        table.append(some(0, 5000))
        os._exit(0 if (table.rows["number"][:10] == 99).all() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (table.filled == some(0, 10)).all()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc on this system")  # noqa: PTH110
def test_room_that_nobody_writes_to_takes_no_memory() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * mmap.PAGESIZE

    before = resident()
    table = Table(PAIR, 10_000_000)
    table.reserve(20_000_000)
    assert len(table.rows) == 20_000_000
    assert resident() - before < 20_000_000


def test_rows_are_copied_with_all_their_fields_also_every_second_one() -> None:
    rows = some(0, 20)
    copy = copied(rows[::2])
    rows["number"] = 99
    assert copy.dtype == PAIR and (copy == some(0, 20)[::2]).all()


def test_parts_are_joined_in_order_and_a_single_one_is_not_copied() -> None:
    assert (joined([some(0, 3), some(0, 0), some(3, 4)]) == some(0, 7)).all()
    assert joined([rows := some(0, 3)]) is rows


def test_parts_that_lie_behind_one_another_are_joined_without_a_copy_and_others_with_one() -> None:
    rows = some(0, 20)
    whole = joined([rows[3:5], rows[5:12][:0], rows[5:12]])
    assert (whole == some(3, 9)).all() and np.shares_memory(whole, rows)
    for parts in ([rows[3:5], rows[6:8]], [rows[5:7], rows[3:5]], [rows[3:5], some(5, 2)], [rows[2:6:2], rows[4:6]]):
        apart = joined(parts)
        assert (apart == np.concatenate(parts)).all() and not np.shares_memory(apart, rows)


def test_rows_that_are_kept_move_to_the_front_also_in_pairs() -> None:
    rows, pairs = some(0, 9000), some(0, 18_000).reshape(-1, 2)
    kept = np.arange(0, 9000, 2)
    keep(rows, kept)
    keep(pairs, kept)
    assert rows["number"][:4500].tolist() == kept.tolist()
    assert pairs["number"][:4500].tolist() == np.column_stack([2 * kept, 2 * kept + 1]).tolist()


@pytest.mark.slow
def test_a_chain_is_followed_back_and_returned_in_order() -> None:
    previous = np.array([-1, 0, 0, 1, 3, 2], np.int32)
    assert chain(previous, 4, 4).tolist() == [0, 1, 3, 4]
    assert chain(previous, 4, 2).tolist() == [3, 4]
    assert chain(previous, 5, 3).tolist() == [0, 2, 5]
    assert chain(previous, 5, 0).tolist() == []
