"""The first use compiles everything, once, and later commands nothing."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "kacap"]
CUT_OFF = "captures/lab/cut-off/capture.pcapng"

COMMANDS = [
    f"read {CUT_OFF} --json",
    f"read {CUT_OFF} -w - tcp",
    f"check {CUT_OFF} --idle 2",
    f"explain {CUT_OFF} --frame 8",
    f"report {CUT_OFF} -o -",
    f"annotate {CUT_OFF} -o - --anonymise",
    "annotate captures/crafted/77-idle-deaths/capture.pcap -o - --headers-only",
    "compare captures/lab/both-ends/prober.pcapng captures/lab/both-ends/peer.pcapng",
    "read captures/crafted/77-idle-deaths/capture.pcap port 5432 --expect idle=60",
    f"live -r {CUT_OFF}",
    "read captures/lab/population/capture.pcapng.gz",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_after_the_first_use_no_command_compiles_anything(captures, words):
    done = subprocess.run(
        [*PROGRAM, *words.split()], cwd=captures.parent, capture_output=True, check=False, timeout=300
    )
    assert done.returncode in (0, 1), done.stderr
    assert b"compil" not in done.stderr


def test_what_cannot_be_captured_is_said_before_anything_is_compiled(captures, tmp_path, monkeypatch):
    monkeypatch.setenv("KACAP_CACHE", str(tmp_path))
    words = [*PROGRAM, "live", "-i", "no-such-interface", "--duration", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert "no-such-interface" in done.stderr
    assert "compil" not in done.stderr
