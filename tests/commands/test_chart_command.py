from pathlib import Path

import pytest
from click.testing import CliRunner

from kacap.commands import main

LAB = Path(__file__).resolve().parents[2] / "captures" / "lab"
CUT_OFF = str(LAB / "cut-off" / "capture.pcapng")
SILENT = str(LAB / "heartbeat" / "capture.pcapng")


def run(*words):
    return CliRunner().invoke(main, ["chart", *map(str, words)])


@pytest.mark.slow
@pytest.mark.parametrize("view", ["timeline", "silence", "residuals", "ecdf", "all"])
def test_each_view_of_a_capture_is_written_into_one_file(tmp_path, view):
    out = tmp_path / "x.svg"
    done = run(CUT_OFF, "-o", out, "--view", view, "--expect", "idle=2,interval=1,count=3")
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"written to {out}" in done.stderr
    assert "configured: idle 2 s, interval 1 s, count 3 (--expect)" in out.read_text()
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_a_trailing_filter_and_a_width_are_honoured(tmp_path):
    out = tmp_path / "x.png"
    assert run(CUT_OFF, "port", "12345", "-o", out, "--width", "800", "--dark").exit_code == 0
    assert int.from_bytes(out.read_bytes()[16:20], "big") == 800
    done = run(CUT_OFF, "port", "1", "-o", tmp_path / "none.svg")
    assert done.exit_code == 0
    assert "no keepalive probe seen" in (tmp_path / "none.svg").read_text()


@pytest.mark.slow
def test_a_capture_without_a_probe_gives_a_chart_that_says_so(tmp_path):
    done = run(SILENT, "-o", tmp_path / "x.svg")
    assert done.exit_code == 0
    assert "no keepalive probe seen" in (tmp_path / "x.svg").read_text()


@pytest.mark.slow
def test_a_connection_without_a_probe_can_be_drawn_by_its_number(tmp_path):
    assert run(SILENT, "-o", tmp_path / "x.svg", "--connection", 1).exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "x.gif"], "x.gif: a chart is a .png, .svg or .pdf file"),
        (["-o", "x"], "x: a chart is a .png, .svg or .pdf file"),
        (["-o", "none/x.png"], "none/x.png: cannot be written: No such file or directory"),
        (["-o", "x.png", "--view", "pie"], "'pie' is not one of"),
        (["-o", "x.png", "--connection", "99"], "connection 99: not in this capture; the only one is 1"),
        (["-o", "x.png", "--width", "3"], "3 is not in the range"),
        ([], "Missing option '-o'"),
    ],
)
def test_a_wrong_request_is_one_line_exit_2_and_no_file(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    done = run(CUT_OFF, *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_replaced_is_one_line_and_exit_2(tmp_path):
    (tmp_path / "x.png").mkdir()
    done = run(CUT_OFF, "-o", tmp_path / "x.png")
    assert done.exit_code == 2
    assert "is a directory" in done.stderr


@pytest.mark.parametrize(("view", "what"), [("all", "6 charts"), ("auto", "timeline chart"), ("ecdf", "ecdf chart")])
def test_what_was_drawn_is_said(tmp_path, view, what):
    target = tmp_path / "x.svg"
    assert run(CUT_OFF, "-o", target, "--view", view).stderr == f"kacap: {what} written to {target}\n"


@pytest.mark.slow
def test_the_same_capture_gives_the_same_bytes(tmp_path):
    for name in ("a.svg", "b.svg"):
        assert run(CUT_OFF, "-o", tmp_path / name, "--view", "all").exit_code == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
