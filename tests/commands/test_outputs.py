"""Files that commands write: whole or not at all, through links and devices, and never what is read."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from forked import run, start
from namespaced import KACAP, inside

import kacap
from kacap import outputs
from kacap.annotate import annotated_copy as annotating
from kacap.errors import CaptureError, UsageError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "kacap"]
CAPTURE = ROOT / "captures" / "lab" / "up" / "capture.pcapng"
NOBODY = 65534
PARTLY = "kacap: interrupted: what is reported is of the first "  # what reading says; its chart is of that
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
WRITERS = {
    "report": ["report", str(CAPTURE), "-o"],
    "annotate": ["annotate", str(CAPTURE), "-o"],
    "chart": ["chart", str(CAPTURE), "-o"],
    "read": ["read", str(CAPTURE), "-q", "--chart"],
}
NAMES = {"report": "x.html", "annotate": "x.pcapng", "chart": "x.png", "read": "x.svg"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What each writer writes, begun from nothing: those of a process that has all imported write the same bytes."""
    directory = tmp_path_factory.mktemp("whole")
    for name, words in WRITERS.items():
        subprocess.run([*PROGRAM, *words, directory / NAMES[name]], check=True, cwd=ROOT, capture_output=True)
    return {name: (directory / NAMES[name]).read_bytes() for name in WRITERS}


@as_root
def test_a_device_stays_a_device(tmp_path):
    device = tmp_path / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    assert run(*WRITERS["report"], device).returncode == 0
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


@pytest.mark.parametrize("name", ["report", "annotate"])
def test_a_pipe_gets_all_of_it_and_stays_a_pipe(name, tmp_path, whole):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    assert run(*WRITERS[name], pipe).returncode == 0
    reader.join(30)
    assert heard == [whole[name]]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


@pytest.mark.parametrize("name", ["report", "chart"])
def test_a_link_is_written_through_and_stays_a_link(name, tmp_path, whole):
    there, link = tmp_path / f"there-{NAMES[name]}", tmp_path / NAMES[name]
    link.symlink_to(there.name)
    for before in (None, b"longer than nothing" * 100_000):
        if before is not None:
            there.write_bytes(before)
        assert run(*WRITERS[name], link).returncode == 0
        assert link.is_symlink() and there.read_bytes() == whole[name]


def test_the_name_of_standard_output_is_standard_output(tmp_path, whole):
    with (tmp_path / "out").open("wb") as out:
        assert run(*WRITERS["report"], "/dev/stdout", stdout=out).returncode == 0
    assert (tmp_path / "out").read_bytes() == whole["report"]


def test_a_file_keeps_its_mode_and_a_new_one_has_that_of_new_files(tmp_path, whole):
    secret, new = tmp_path / "secret.html", tmp_path / "new.html"
    secret.write_text("old")
    secret.chmod(0o600)
    for target in (secret, new):
        assert run(*WRITERS["report"], target, umask=0o027).returncode == 0
        assert target.read_bytes() == whole["report"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (secret, new)] == [0o600, 0o640]


def as_nobody(work) -> str:
    """Return what ``work`` raises, as UsageError, when nobody does it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                work()
            except UsageError as error:
                os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


@as_root
def test_what_another_user_put_into_a_shared_directory_is_not_written(tmp_path):
    for parent in list(tmp_path.parents)[:3]:  # below /tmp, with a directory for each worker
        parent.chmod(parent.stat().st_mode | 0o011)
    mine, shared = tmp_path / "mine", tmp_path / "shared"
    mine.write_text("precious")
    shared.mkdir()
    shared.chmod(0o1777)
    link, file = shared / "link", shared / "file"
    link.symlink_to(mine)
    file.write_text("theirs")
    assert run(*WRITERS["report"], link).returncode == 0  # root's own
    mine.write_text("precious")
    os.lchown(link, NOBODY, NOBODY)
    os.chown(file, NOBODY, NOBODY)
    for path in (link, file):
        done = run(*WRITERS["report"], path)
        assert done.returncode == 2
        assert "of another user in a directory that everybody can write to" in done.stderr
        with pytest.raises(UsageError, match="of another user"):
            outputs.create(str(path))
    assert (mine.read_text(), file.read_text()) == ("precious", "theirs")


@as_root
def test_a_file_that_may_not_be_written_is_not_replaced_either(tmp_path):
    for parent in list(tmp_path.parents)[:3]:  # below /tmp, with a directory for each worker
        parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    target = tmp_path / "x"
    target.write_text("old")
    target.chmod(0o444)
    assert "no permission to write" in as_nobody(lambda: outputs.check(target))
    tmp_path.chmod(0o755)
    assert f"no permission to write in {tmp_path}" in as_nobody(lambda: outputs.check(tmp_path / "new"))


@pytest.mark.parametrize("how", ["name", "hard link", "link", "redirection"])
def test_what_is_read_is_never_what_is_written(how, tmp_path):
    source, other = tmp_path / "x.pcapng", tmp_path / "y.pcapng"
    source.write_bytes(CAPTURE.read_bytes())
    if how == "hard link":
        other.hardlink_to(source)
    if how == "link":
        other.symlink_to(source)
    target = {"name": source, "redirection": "-"}.get(how, other)
    for command in ("annotate", "report"):
        with source.open("ab") as out:
            done = run(command, source, "-o", target, stdout=out)
        assert done.returncode == 2
        assert "output would overwrite the input; name another file" in done.stderr
    assert source.read_bytes() == CAPTURE.read_bytes()


def test_a_stream_is_not_saved_into_itself(tmp_path):
    source = tmp_path / "x.pcapng"
    source.write_bytes(CAPTURE.read_bytes())
    done = run("live", "-r", source, "-w", source)
    assert (done.returncode, "output would overwrite the input" in done.stderr) == (2, True)
    assert source.read_bytes() == CAPTURE.read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "words", [["report", "-o", "-"], ["annotate", "-o", "-"], ["read"], ["read", "--json"], ["check", "--idle", "1"],
              ["explain", "--frame", "3"]], ids=" ".join,
)  # fmt: skip
def test_a_full_disk_behind_standard_output_is_a_failure_told_in_one_line(words):
    with Path("/dev/full").open("wb") as full:
        done = run(words[0], CAPTURE, *words[1:], stdout=full)
    assert done.returncode == 1
    assert "cannot be written: No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", WRITERS)
def test_where_the_disk_is_full_the_old_file_stays_and_nothing_else_is_left(name, tmp_path):
    target = tmp_path / NAMES[name]
    target.write_text("old")
    done = run(*WRITERS[name], target, file_bytes=1500)
    assert done.returncode == 1
    assert f"{target}: cannot be written: File too large" in done.stderr
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_whenever_a_signal_comes_there_is_the_whole_file_or_none(name, tmp_path, whole):
    rng, target = random.Random(name), tmp_path / NAMES[name]
    began = time.monotonic()
    assert run(*WRITERS[name], target).returncode == 0
    took_s, ends = time.monotonic() - began, set()
    for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP] * 3 + [signal.SIGKILL]:
        target.unlink(missing_ok=True)
        running = start(*WRITERS[name], target)
        time.sleep(took_s * rng.uniform(0, 1.1))
        running.send_signal(number)
        process = running.ended()
        told = process.stderr
        ends.add(process.returncode)
        if target.exists() and PARTLY not in told:
            assert target.read_bytes() == whole[name]
        if number != signal.SIGKILL:
            assert {path.name for path in tmp_path.iterdir()} <= {target.name}
            # An interrupt inside exec(), as dataclasses call it, has Python end itself by SIGINT: 130 to a shell, too.
            assert process.returncode in (0, 130, -number, -signal.SIGINT), told
            assert "Traceback" not in told
            if process.returncode == 130:
                assert told == "kacap: interrupted\n" or (PARTLY in told and name == "read")
        for path in tmp_path.iterdir():
            path.unlink()
    print(name, "ended with", sorted(ends))


@pytest.mark.namespaces
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_the_packets_of_a_watch_that_is_ended_are_all_in_the_file_for_its_owner_alone(name, tmp_path):
    file = tmp_path / "x.pcap"
    script = f"""
    {KACAP} live -i lo -w {file} port 12345 > {tmp_path}/out 2> {tmp_path}/err & live=$!
    until grep -q answered {tmp_path}/out 2>/dev/null; do sleep 0.1; done
    kill -{name} $live; wait $live; exit $?
    """
    done = inside(script, pair="")
    assert done.returncode == 0
    read = kacap.read(str(file))
    assert read.damages == [] and read.probes
    assert f"{read.capture.frames} packets captured" in (tmp_path / "err").read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.namespaces
def test_a_watch_whose_disk_is_full_leaves_whole_packets_and_says_so(tmp_path):
    file = tmp_path / "x.pcap"
    limit = (
        "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); "
        f"os.execv(sys.executable, [sys.executable, *'-m kacap live -i lo -w {file} port 12345'.split()])"
    )
    done = inside(f'{sys.executable} -c "{limit}"', pair="", cwd=ROOT)
    assert done.returncode == 1
    assert f"-w {file}: cannot be written: File too large" in done.stderr
    read = kacap.read(str(file))
    assert read.damages == [] and 0 < file.stat().st_size <= 500


def test_a_file_that_is_replaced_while_it_is_annotated_is_not_written_with_the_old_comments(tmp_path, monkeypatch):
    source = tmp_path / "x.pcapng"
    source.write_bytes(CAPTURE.read_bytes())
    first_pass = annotating.Survey

    def exchanged(*words):
        survey = first_pass(*words)
        (tmp_path / "new").write_bytes((ROOT / "captures/lab/cut-off/capture.pcapng").read_bytes())
        (tmp_path / "new").replace(source)
        return survey

    monkeypatch.setattr(annotating, "Survey", exchanged)
    with (
        pytest.raises(CaptureError, match=r"x\.pcapng: changed while it was annotated"),
        outputs.output(tmp_path / "out", [str(source)]) as out,
    ):
        annotating.annotate(str(source), out)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fate", ["cut", "deleted", "renamed", "replaced"])
def test_a_followed_file_that_can_grow_no_more_ends_with_a_line_that_says_why(fate, tmp_path):
    growing = tmp_path / "growing.pcapng"
    growing.write_bytes(CAPTURE.read_bytes())
    with subprocess.Popen(
        [*PROGRAM, "read", growing, "--follow", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        running.stdout.readline()
        if fate == "cut":
            os.truncate(growing, 100)
        elif fate == "deleted":
            growing.unlink()
        else:
            growing.rename(tmp_path / "older")
            if fate == "replaced":
                growing.write_bytes(CAPTURE.read_bytes())
        out, told = running.communicate(timeout=60)
    assert running.returncode == 1
    words = {"cut": "was cut", "deleted": "was deleted", "renamed": "or renamed", "replaced": "another file"}
    assert words[fate] in told and len(told.splitlines()) == 1
    assert '"type":"capture"' in out.splitlines()[-1].replace(" ", "")
