"""What another user could have put in the way is passed over: programs, settings, directories, links."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import analysing
import pytest

from kacap.trusted import UntrustedError, find_program, plain_environment, search_path, trusted

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user: needs root")
posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes as POSIX has them")
NOBODY = 65534
ROOT = Path(__file__).resolve().parents[2]
LISTENING = "from kacap.capture.live_capture import open_live; open_live(['nosuch0'], engine='scapy')"
UNKNOWN_LINK_TYPE = ROOT / "captures" / "broken" / "unknown-link-type.pcap"


def kacap_in(directory: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run kacap with ``directory`` as the current one."""
    return subprocess.run(
        [sys.executable, "-m", "kacap", *words],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=120,
    )


def planted(directory: Path, name: str, witness: Path) -> Path:
    """Put a program into ``directory`` that makes the file ``witness`` when it is started."""
    program = directory / name
    program.write_text(f"#!/bin/sh\ntouch {witness}\n")
    program.chmod(0o755)
    return program


@pytest.mark.tool("tshark")
@pytest.mark.parametrize(
    "command",
    [["read"], ["report", "-o", "x.html"], ["compare"], ["explain", "--frame", "1"]],
    ids=lambda words: words[0],
)
def test_the_config_file_of_the_current_directory_starts_no_program(command: list[str], tmp_path: Path) -> None:
    witness = tmp_path / "was-here"
    program = planted(tmp_path, "tshark", witness)
    (tmp_path / "config.ini").write_text(f"[tshark]\ntshark_path = {program}\n")
    words = [command[0], str(UNKNOWN_LINK_TYPE), *command[1:]]
    with_one = kacap_in(tmp_path, *words)
    assert not witness.exists()
    (tmp_path / "config.ini").write_text("this is no configuration of pyshark's")
    assert kacap_in(tmp_path, *words).stderr == with_one.stderr
    (tmp_path / "config.ini").unlink()
    without = kacap_in(tmp_path, *words)
    assert (with_one.returncode, with_one.stderr) == (without.returncode, without.stderr)


@posix
@pytest.mark.tool("tshark")
def test_no_program_is_found_in_a_relative_part_of_the_path_or_where_anybody_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_program("tshark")
    assert found and Path(found).is_absolute()
    witness, open_place = tmp_path / "was-here", tmp_path / "open"
    open_place.mkdir()
    open_place.chmod(0o777)
    for place in (tmp_path, open_place):
        planted(place, "tshark", witness)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", "open", str(open_place), os.environ["PATH"]]))
    assert find_program("tshark") == found
    assert str(open_place) not in search_path().split(os.pathsep)
    done = kacap_in(tmp_path, "--version", PATH=os.environ["PATH"])
    assert f"tshark: {found}" in done.stdout
    assert not witness.exists()


@posix
def test_a_program_of_ones_own_is_found_until_others_can_write_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = planted(tmp_path, "kacap-no-such", tmp_path / "was-here")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("kacap-no-such") == str(mine)
    mine.chmod(0o757)
    assert find_program("kacap-no-such") is None


@posix
def test_a_started_program_inherits_nothing_but_the_home() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import json; from kacap.trusted import plain_environment as p; print(json.dumps(p()))"],
        env={"PATH": "/tmp/x", "LD_PRELOAD": "", "WIRESHARK_CONFIG_DIR": "/tmp/x", "HOME": str(Path.home()),
             "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert set(told) == {"HOME", "PATH", "LC_ALL"}
    assert "/tmp/x" not in told["PATH"]


@as_root
def test_the_home_of_somebody_else_is_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plain_environment()["HOME"] == "/nonexistent"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory that this user alone can change."""
    made = tmp_path / "place"
    made.mkdir(mode=0o700)
    yield made


def fault(path: Path, **how: bool) -> str:
    """Return why ``path`` is not trusted; empty when it is."""
    try:
        with trusted(path, **how) as descriptor:
            assert os.fstat(descriptor).st_ino == path.stat().st_ino
    except UntrustedError as error:
        return str(error)
    return ""


@posix
def test_a_directory_of_this_users_is_trusted_and_made_for_him_alone(place: Path) -> None:
    wanted = place / "a" / "b"
    assert fault(wanted, make=True) == ""
    assert [path.stat().st_mode & 0o777 for path in (wanted, wanted.parent)] == [0o700, 0o700]


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_where_others_can_write_nothing_is_trusted(place: Path, mode: int) -> None:
    below = place / "below"
    below.mkdir()
    os.chown(place, -1, next((g for g in os.getgroups() if g), NOBODY) if os.geteuid() else NOBODY)
    place.chmod(mode)
    assert f"{place} can be written by" in fault(place)
    assert bool(fault(below)) is (mode != 0o1777)  # a sticky directory lets nobody touch what is mine


@as_root
def test_what_belongs_to_somebody_else_is_not_trusted_wherever_it_is_on_the_way(place: Path) -> None:
    below = place / "below"
    below.mkdir()
    assert fault(below) == ""
    os.chown(place, NOBODY, NOBODY)
    assert f"{place} belongs to the user with number {NOBODY}" in fault(below)
    os.chown(place, 0, 0)
    os.chown(below, NOBODY, NOBODY)
    assert f"{below} belongs to" in fault(below)


@posix
def test_a_link_is_followed_only_where_its_owner_is_trusted_and_never_as_the_last_part_if_so_asked(place: Path) -> None:
    there = place / "there"
    there.mkdir()
    (there / "inner").mkdir()
    link = place / "link"
    link.symlink_to("there")
    assert fault(link) == fault(link / "inner", last_link=False) == ""
    assert "is a link" in fault(link, last_link=False)
    (place / "round").symlink_to("round")
    assert "is a link" in fault(place / "round")


@as_root
def test_a_link_that_somebody_else_put_into_a_sticky_directory_is_not_followed(place: Path) -> None:
    mine, theirs = place / "mine", place / "theirs"
    mine.mkdir()
    theirs.symlink_to(mine)
    place.chmod(0o1777)
    assert fault(theirs) == ""
    os.lchown(theirs, NOBODY, NOBODY)
    assert f"is a link of the user with number {NOBODY}" in fault(theirs)


@pytest.mark.parametrize("script", [LISTENING, "import kacap.lab.forge"], ids=["live", "lab"])
def test_scapy_loads_nothing_from_a_cache_and_writes_none(script: str, tmp_path: Path) -> None:
    names = [
        f"{name}{suffix}" for name in ("ethertypes", "manufdb", "protocols", "services") for suffix in ("", ".pickle")
    ]
    (tmp_path / "scapy").mkdir()
    for name in names:  # what scapy reads and cannot use it takes away or writes anew
        (tmp_path / "scapy" / name).write_bytes(b"planted")
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert ("nosuch0: no such interface" in done.stderr) == (script == LISTENING)
    assert {path.name: path.read_bytes() for path in (tmp_path / "scapy").iterdir()} == dict.fromkeys(names, b"planted")


MATPLOTLIBRC = "text.usetex: True\naxes.facecolor: red\nfont.size: 40\nno.such.setting: 1\n"


@pytest.mark.parametrize("command", [["chart", "-o"], ["report", "-o"], ["read", "--chart"]], ids=lambda w: w[0])
def test_the_matplotlibrc_of_the_current_directory_changes_no_chart_and_starts_no_latex(
    command: list[str], tmp_path: Path
) -> None:
    witness, programs = tmp_path / "was-here", tmp_path / "bin"
    programs.mkdir()
    for name in ("latex", "dvipng", "dvisvgm", "luatex", "kpsewhich"):
        planted(programs, name, witness)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    written = []
    for rc in (MATPLOTLIBRC, None):
        directory = tmp_path / f"with{rc is not None}"
        directory.mkdir()
        shutil.copy(analysing.files_of("lab/up")[0], directory / "capture.pcapng")
        if rc:
            (directory / "matplotlibrc").write_text(rc)
        name = "out.html" if command[0] == "report" else "out.svg"
        done = kacap_in(directory, command[0], "capture.pcapng", command[1], name, PATH=path)
        assert done.returncode == 0, done.stderr
        assert "no.such.setting" not in done.stderr
        written.append((directory / name).read_bytes())
    assert written[0] == written[1]
    assert not witness.exists()


def test_a_user_without_a_home_gets_his_chart_and_one_line(tmp_path: Path) -> None:
    capture = analysing.files_of("lab/up")[0]
    homeless = {"HOME": os.devnull, "XDG_CONFIG_HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "MPLCONFIGDIR": ""}
    done = kacap_in(tmp_path, "chart", str(capture), "-o", "x.svg", **homeless)
    assert (done.returncode, done.stderr) == (0, "kacap: timeline chart written to x.svg\n")


def test_a_chart_in_a_users_own_process_takes_nothing_from_his_settings_and_leaves_them(tmp_path: Path) -> None:
    capture = analysing.files_of("lab/up")[0]
    script = (
        "import sys, hashlib, io, kacap; from kacap.report.chart import render\n"
        "if sys.argv[2] == 'set':\n"
        "    import matplotlib as mpl; mpl.rcParams.update({'text.usetex': True, 'axes.facecolor': 'red'})\n"
        "out = io.BytesIO(); render(kacap.read(sys.argv[1]), out, format='svg')\n"
        "import matplotlib as mpl\n"
        "print(hashlib.sha256(out.getvalue()).hexdigest(), mpl.rcParams['text.usetex'])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", script, capture, word],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ).stdout.split()
        for word in ("set", "unset")
    ]
    assert told[0][0] == told[1][0]
    assert [usetex for _, usetex in told] == ["True", "False"]
