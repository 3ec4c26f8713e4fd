"""The documentation builds without a warning, and what is generated from the program is that of the program."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import kacap

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))


@pytest.mark.skipif(find_spec("sphinx") is None, reason="needs the extra docs: pip install '.[docs]'")
def test_the_documentation_builds_with_warnings_as_errors(tmp_path):
    source = tmp_path / "tree"
    for name in ("docs", "notebooks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("generated", "_build"))
    for name in ("kacap", "captures"):
        (source / name).symlink_to(ROOT / name)
    for path in ROOT.glob("*.md"):
        shutil.copy(path, source)
    words = ["-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", source / "docs", tmp_path / "site"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "gave up on" in (tmp_path / "site/tutorials/first-capture.html").read_text(encoding="utf-8")


def test_the_manual_page_knows_every_command_and_option():
    from generated import MANUAL, commands

    page = MANUAL.read_text(encoding="utf-8").replace("\\-", "-")
    assert f"kacap {kacap.__version__}" in page
    missing = [
        f"{name} {option}"
        for name, command, _ in commands()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-") and option not in page.partition(f".SS kacap {name}")[2]
    ]
    assert not missing, "python docs/generated.py writes it again"


@pytest.mark.skipif(not shutil.which("man"), reason="needs man")
def test_man_shows_the_manual_page_without_a_warning():
    words = ["man", "--warnings", "-l", str(ROOT / "docs/man/kacap.1")]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={"MANPAGER": "cat", "PATH": "/usr/bin:/bin"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "KACAP(1)" in done.stdout
