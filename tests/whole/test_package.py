"""The wheel and the sdist: what is in them, and that the wheel works where nothing else of the checkout is."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import kacap

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The directory that holds the sdist and the wheel made of it."""
    target = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, ROOT]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return target


@pytest.fixture(scope="module")
def wheel(built) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_says_what_it_is(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    said = message_from_string(wheel.read(name).decode())
    assert (said["Name"], said["Version"]) == ("kacap", kacap.__version__)
    assert said["Author"] == "kacap developers"
    assert said["License-Expression"] == "GPL-2.0-or-later"
    classifiers = said.get_all("Classifier")
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} <= set(classifiers)


def test_the_wheel_holds_the_package_its_data_and_the_manual_page_and_nothing_else(wheel):
    names = wheel.namelist()
    assert {"kacap/py.typed", "kacap/report/schema.json"} <= set(names)
    assert any(name.endswith(".data/data/share/man/man1/kacap.1") for name in names)
    assert not [name for name in names if not name.startswith(("kacap/", f"kacap-{kacap.__version__}."))]


def test_the_sdist_holds_what_tests_and_documentation_need(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "CHANGELOG.md", "docs/conf.py", "tests/conftest.py", "captures/README.md"}
    assert wanted <= names


def test_the_wheel_alone_reads_a_capture(built, tmp_path):
    (path,) = built.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "site", path]
    subprocess.run(install, check=True, timeout=300)
    capture = ROOT / "captures/lab/cut-off/capture.pcapng"
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    words = [sys.executable, "-m", "kacap", capture, "-q"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "gave up on" in done.stdout
    assert (tmp_path / "site/share/man/man1/kacap.1").exists()
