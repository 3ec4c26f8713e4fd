"""Ctrl-C in the middle of a reading, and the line that says how far it is."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from analysing import CAPTURES
from click.testing import CliRunner

from kacap.capture import open_captures
from kacap.commands.progress import Progress
from kacap.commands.read import read

CAPTURE = CAPTURES / "lab" / "cut-off" / "capture.pcapng"


def fed(*words: str, **streams: object) -> subprocess.Popen[bytes]:
    """kacap read of a pipe that has brought a whole capture and stays open."""
    command = [sys.executable, "-m", "kacap", "read", "-", *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, **streams)
    assert process.stdin is not None
    process.stdin.write(CAPTURE.read_bytes())
    process.stdin.flush()
    return process


@pytest.mark.slow
def test_an_interrupt_reports_what_was_read_leaves_the_state_and_ends_with_130(tmp_path: Path) -> None:
    process = fed("--json", "--state", str(tmp_path / "watch.state"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 300)[0], "nothing was told of what the pipe brought"
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    records = [json.loads(line) for line in (first + out).splitlines()]
    assert (records[-1]["type"], records[-1]["frames"]) == ("capture", 13)
    assert "gave up on" in next(record for record in records if record["type"] == "connection")["verdict"]
    assert b"interrupted: what is reported is of the first 13 frames" in err
    assert b"watch.state is as it was" in err
    assert not (tmp_path / "watch.state").exists()


@pytest.mark.slow
def test_a_terminal_sees_how_far_the_reading_is() -> None:
    main, side = pty.openpty()
    process = fed(stdout=subprocess.DEVNULL, stderr=side)
    os.close(side)
    shown, until = b"", time.monotonic() + 120
    while b"kacap: 13 frames" not in shown and time.monotonic() < until:
        if select.select([main], [], [], 1)[0]:
            shown += os.read(main, 1 << 16)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)
    os.close(main)
    assert b"kacap: 13 frames" in shown
    assert process.returncode == 130


def test_rate_and_time_left_follow_from_the_bytes_read() -> None:
    progress = Progress(io.StringIO())
    assert "kernels are compiled" in progress.words(0)
    source = open_captures([str(CAPTURE)])
    progress.begun(source)
    assert not progress.reading
    batches = iter(source)
    next(batches)
    assert progress.reading
    first = progress.words(1_000_000_000)
    assert first.startswith("100 % of 0 MB")
    assert " MB/s" in progress.words(1_000_001_000)
    source.close()


def test_where_nobody_watches_nothing_is_drawn() -> None:
    done = CliRunner().invoke(read, [str(CAPTURE)], standalone_mode=False)
    assert "MB/s" not in done.output
