"""``kacap compare`` from outside: one capture, two captures, JSON, and what it says to a wrong request."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from kacap.capture.tshark import program
from kacap.commands import main

tshark = pytest.mark.tool("tshark")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """The program in this process: returncode, stdout and stderr of a command."""

    def ran(*words: object) -> SimpleNamespace:
        with pytest.raises(SystemExit) as ended:
            main.main([str(word) for word in words])
        said = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=said.out, stderr=said.err)

    return ran


@pytest.mark.slow
@tshark
def test_one_capture_is_compared_with_tshark(run, captures: Path) -> None:
    done = run("compare", captures / "lab" / "zero-window" / "capture.pcapng")
    assert done.returncode == 0
    assert "kacap says window-probe, tshark keep_alive" in done.stdout
    assert "tshark does not look at the peer's window" in done.stdout
    assert [line for line in done.stderr.splitlines() if "compiling" not in line] == []


def test_two_captures_are_compared_with_each_other(run, captures: Path) -> None:
    done = run("compare", captures / "lab/both-ends/prober.pcapng", captures / "lab/both-ends/peer.pcapng", "-v")
    assert done.returncode == 0
    assert "3 probes at prober.pcapng, 3 arrived at peer.pcapng, 3 answered there, 0 answers came back" in done.stdout
    assert "probe 8 -> 8, answer 9 -> -: reply-lost" in done.stdout


def test_rotated_files_are_one_place(run, captures: Path) -> None:
    whole, pieces = captures / "lab/cut-off/capture.pcapng", captures / "lab/rotated"
    done = run("compare", "--json", whole, str(pieces / "capture*.pcapng"))
    last = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0
    assert len(last["two"]) == 3


@pytest.mark.slow
def test_a_capture_cut_short_is_compared_up_to_there_and_told(run, captures: Path, tmp_path: Path) -> None:
    whole = captures / "lab/both-ends/peer.pcapng"
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(whole.read_bytes()[:-150])
    done = run("compare", captures / "lab/both-ends/prober.pcapng", cut)
    assert done.returncode == 1
    assert "cut.pcapng: damaged at byte" in done.stderr
    assert "reply-lost" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a.pcap", "b.pcap", "c.pcap"], 2, "name one capture file, or two"),
        (["-"], 2, "a pipe cannot be read twice"),
        (["no-such.pcap", "nor-this.pcap"], 1, "no-such.pcap: no such file"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(run, words: list[str], code: int, said: str) -> None:
    done = run("compare", *words)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_one_file_named_twice_is_not_two_places(run, captures: Path) -> None:
    path = captures / "lab/up/capture.pcapng"
    done = run("compare", path, path)
    assert (done.returncode, "is named twice" in done.stderr) == (2, True)


def test_without_tshark_one_capture_cannot_be_compared_and_two_can(
    run, captures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "find_program", lambda name: None)
    program.find.cache_clear()
    done = run("compare", captures / "lab/up/capture.pcapng")
    assert done.returncode == 1
    assert "tshark is not found where only you and root can write; install it" in done.stderr
    done = run("compare", captures / "lab/both-ends/prober.pcapng", captures / "lab/both-ends/peer.pcapng")
    assert done.returncode == 0


@pytest.mark.slow
@tshark
def test_engine_tshark_reads_and_checks_like_kacap(run, captures: Path) -> None:
    path = captures / "lab/cut-off/capture.pcapng"
    for words in (("read", path), ("read", "--json", path), ("check", "--idle", "2", path)):
        mine, theirs = run(*words, "--engine", "kacap"), run(*words, "--engine", "tshark")
        assert (mine.returncode, mine.stdout) == (theirs.returncode, theirs.stdout)
