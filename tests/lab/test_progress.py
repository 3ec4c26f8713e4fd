"""What a run shows of itself: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from kacap.lab.progress import Bars, Lines, shown
from kacap.lab.runner import Request

RUN = Request("cut-off", Path())
STEPS = (
    {"step": "building"},
    {"step": "running", "seconds": 8},
    {"step": "event", "at": 0.5, "what": "cut"},
)


def test_lines_tell_each_step_with_its_time() -> None:
    stream = io.StringIO()
    view = shown(stream)
    assert isinstance(view, Lines)
    for step in (*STEPS, {"step": "done"}):
        view.on_step(RUN, step)
    view.tick()
    view.close()
    assert stream.getvalue().splitlines() == [
        "cut-off: builds its network",
        "cut-off: runs for 8 s",
        "cut-off:   0.5 s  cut",
        "cut-off: done",
    ]


@pytest.mark.slow
def test_a_bar_counts_down_and_leaves_the_terminal_as_it_was() -> None:
    stream = io.StringIO()
    view = Bars(Console(file=stream, force_terminal=True, width=100))
    for step in STEPS:
        view.on_step(RUN, step)
    time.sleep(0.2)
    view.tick()
    view.progress.refresh()
    drawn = stream.getvalue()
    assert "7.8 s" in drawn or "7.7 s" in drawn
    assert "cut" in drawn
    view.on_step(RUN, {"step": "done"})
    assert not view.progress.tasks
    view.tick()
    view.close()
    assert stream.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in stream.getvalue()[len(drawn) :]


@pytest.mark.slow
def test_a_failure_before_the_first_bar_is_no_trouble() -> None:
    view = Bars(Console(file=io.StringIO(), force_terminal=True))
    view.on_step(RUN, {"step": "failed", "why": "no"})
    view.close()
