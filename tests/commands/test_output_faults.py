"""Disks that fill up, devices that fail, readers that go away, signals at any moment: whole files or none, one line."""

from __future__ import annotations

import errno
import os
import pty
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands.test_outputs import CAPTURE, NAMES, PROGRAM, ROOT, WRITERS
from forked import run, start

import kacap
from kacap import outputs

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
STREAMS = {
    "report": ["report", CAPTURE, "-o", "-"],
    "annotate": ["annotate", CAPTURE, "-o", "-"],
    "read": ["read", CAPTURE],
    "json": ["read", CAPTURE, "--json"],
    "check": ["check", CAPTURE, "--idle", "1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_wherever_the_disk_becomes_full_the_old_file_stays_and_one_line_says_so(name, tmp_path):
    target, rng = tmp_path / NAMES[name], random.Random(name)
    assert run(*WRITERS[name], target).returncode == 0
    size = target.stat().st_size
    for limit in (0, 1, size - 1, *(rng.randrange(size) for _ in range(3))):
        target.write_text("old")
        done = run(*WRITERS[name], target, file_bytes=limit)
        assert done.returncode == 1, limit
        assert done.stderr.splitlines() == [f"kacap: {target}: cannot be written: File too large"]
        assert [path.name for path in tmp_path.iterdir()] == [target.name] and target.read_text() == "old"


@as_root
@pytest.mark.namespaces
@pytest.mark.parametrize("name", WRITERS)
def test_on_a_disk_that_is_really_full_nothing_is_left_behind(name, tmp_path):
    script = (
        f"mount -t tmpfs -o size=4k tmpfs {tmp_path} && echo old > {tmp_path}/{NAMES[name]} && "
        f"{' '.join([*PROGRAM, *WRITERS[name]])} {tmp_path}/{NAMES[name]}; "
        f"echo $?; ls -A {tmp_path}; cat {tmp_path}/{NAMES[name]}"
    )
    words = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, errors="replace")
    assert done.stdout.splitlines()[-3:] == ["1", NAMES[name], "old"], done.stdout + done.stderr
    assert done.stderr == f"kacap: {tmp_path}/{NAMES[name]}: cannot be written: No space left on device\n"


@pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("name", ["report", "json"])
def test_standard_output_that_ends_in_the_middle_is_a_failure_with_or_without_a_buffer(name, buffered, tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [*PROGRAM, *map(str, STREAMS[name])],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "" if buffered else "1"},
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=limit,
        )
    assert done.returncode == 1
    assert re.fullmatch(r"kacap: (standard output: )?cannot be written: File too large\n", done.stderr)
    assert (tmp_path / "out").stat().st_size == 3000


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_device_that_fails_leaves_the_old_file_and_no_other(call, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    target = tmp_path / "x"
    target.write_text("old")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    if call == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    told = "x: cannot be written: Input/output error"
    with pytest.raises(outputs.OutputError, match=told), outputs.output(target) as out:
        out.write(b"new")
        if call == "write":
            fail()
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and target.read_text() == "old"


@pytest.mark.parametrize("name", STREAMS)
def test_a_terminal_that_has_gone_is_a_failure_in_one_line_and_no_traceback(name):
    master, slave = pty.openpty()
    os.close(master)  # from now on a write is EIO
    done = run(*STREAMS[name], stdout=slave)
    os.close(slave)
    assert done.returncode == 1
    assert "cannot be written: Input/output error" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_read_is_a_failure_in_one_line():
    done = run("read", "/proc/self/mem")  # open(2) succeeds, read(2) is EIO
    assert done.returncode == 1
    assert done.stderr == "kacap: /proc/self/mem: cannot be read: Input/output error\n"


@pytest.mark.parametrize("name", STREAMS)
def test_a_reader_who_goes_away_in_the_middle_ends_it_without_a_word(name):
    reading, writing = os.pipe()
    running = start(*STREAMS[name], stdout=writing)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    process = running.ended()
    told = process.stderr
    assert len(told.splitlines()) < 2 and "cannot" not in told and "unexpected" not in told
    assert process.returncode == (3 if name == "check" else 0)


def test_a_reader_who_was_never_there_ends_it_without_a_word():
    for words in STREAMS.values():
        reading, writing = os.pipe()
        os.close(reading)
        done = run(*words, stdout=writing)
        os.close(writing)
        assert len(done.stderr.splitlines()) < 2 and "cannot" not in done.stderr and "unexpected" not in done.stderr
        assert done.returncode == (3 if words[0] == "check" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGKILL"])
def test_whenever_a_watch_is_ended_its_file_holds_whole_packets(number, tmp_path):
    """The watch reads a pipe that grows; its file does so in the open, and is a capture at every moment."""
    data, rng = (ROOT / "captures/lab/up/capture.pcapng").read_bytes(), random.Random(number)
    took_s, seen = None, set()
    for _ in range(4):
        file = tmp_path / "x.pcap"
        file.unlink(missing_ok=True)
        (reading, writing), (hearing, saying) = os.pipe(), os.pipe()
        began_s = time.monotonic()
        running = start("live", "-r", "-", "-U", "-w", file, stdin=reading, stdout=saying)
        os.close(reading)
        os.close(saying)
        os.write(writing, data)
        if took_s is None:  # until the first line
            os.read(hearing, 1)
            took_s = time.monotonic() - began_s
        else:
            time.sleep(took_s * rng.uniform(0.1, 1.2))
        running.send_signal(getattr(signal, number))
        os.close(writing)
        process = running.ended(timeout=180)
        os.close(hearing)
        told = process.stderr
        seen.add(process.returncode)
        assert "Traceback" not in told
        if number in ("SIGINT", "SIGTERM", "SIGHUP"):
            assert process.returncode in (0, 130, -getattr(signal, number), -signal.SIGINT), told
        if file.exists() and file.stat().st_size >= 24:
            read = kacap.read(str(file))
            assert number == "SIGKILL" or read.damages == []
        assert [path.name for path in tmp_path.iterdir()] in ([], ["x.pcap"])
    print(number, "ended with", seen)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("words", [["read"], ["read", "--json"], ["check", "--idle", "1"]], ids=" ".join)
def test_whenever_reading_is_ended_it_says_so_in_one_line(words, number):
    words, rng = [words[0], CAPTURE, *words[1:]], random.Random(number)
    began_s = time.monotonic()
    run(*words)
    took_s = time.monotonic() - began_s
    for _ in range(4):
        running = start(*words)
        time.sleep(took_s * rng.uniform(0, 1.1))
        running.send_signal(number)
        done = running.ended()
        is_interrupted(done.returncode, done.stderr, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whenever_it_is_ended_while_it_begins_it_says_so_in_one_line(number):
    rng, words = random.Random(number), [*PROGRAM, "read", CAPTURE]
    began_s = time.monotonic()
    subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    took_s = time.monotonic() - began_s
    for _ in range(2):
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(took_s * rng.uniform(0.3, 1.1))
        process.send_signal(number)
        told = process.communicate(timeout=60)[1]
        is_interrupted(process.returncode, told, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["click", "kacap.commands.compiling", "kacap.commands.read", "numba"])
def test_ended_while_it_imports_a_module_it_says_so_in_one_line(module, number):
    program = (
        "import os, sys\n"
        "class Ends:\n"
        "    @staticmethod\n"
        f"    def find_spec(name, *_): name == {module!r} and os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Ends)\n"
        "from kacap.__main__ import program; program()\n"
    )
    words = [sys.executable, "-c", program, "read", str(CAPTURE)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == "kacap: interrupted\n"
    assert done.returncode in (130, -signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ended_while_its_last_words_wait_for_their_reader_it_says_so_in_one_line(number):
    (reading, writing) = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    process = subprocess.Popen([*PROGRAM, "read", CAPTURE], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    while not waits_for(process.pid, 1):
        time.sleep(0.01)
    process.send_signal(number)
    os.close(writing)
    with os.fdopen(reading, "rb") as reader:  # what was to be said is still said
        assert b"probe" in reader.read()
    assert process.communicate(timeout=60)[1] == "kacap: interrupted\n"
    assert process.returncode == 130


def waits_for(pid, descriptor):
    """Return whether a process is held up in a system call whose first argument is this descriptor."""
    words = Path(f"/proc/{pid}/syscall").read_text().split()
    return len(words) > 1 and int(words[1], 16) == descriptor


def is_interrupted(code, told, number):
    """What was read is reported, or nothing was: both in one line."""
    assert code in (0, 3, 130, -number, -signal.SIGINT), told
    assert told == "" or re.fullmatch(r"kacap: interrupted[^\n]*\n", told), told
