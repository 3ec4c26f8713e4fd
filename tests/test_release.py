"""What a release is made of: built twice it is the same, its dependencies are listed, licensed and in bounds."""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Licences under whose terms a program under GPL-2.0-or-later may use a library.
COMPATIBLE = {
    "MIT", "MIT-CMU", "0BSD", "BSD-2-Clause", "BSD-3-Clause", "PSF-2.0", "Zlib", "CC0-1.0", "LGPL-2.1-or-later",
    "GPL-2.0-only", "Apache-2.0", "Apache-2.0 WITH LLVM-exception",
}  # fmt: skip
# How the metadata of packages call them.
CALLED = {
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "Apache Software License": "Apache-2.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "Historical Permission Notice and Disclaimer (HPND)": "MIT-CMU",
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, metadata.Distribution]:
    """Everything that kacap needs, and what that needs."""
    found: dict[str, metadata.Distribution] = {}
    todo = [Requirement(text) for text in PROJECT["dependencies"]]
    while todo:
        wanted = todo.pop()
        if normal(wanted.name) in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        found[normal(wanted.name)] = metadata.distribution(wanted.name)
        todo += [Requirement(text) for text in found[normal(wanted.name)].requires or []]
    return found


def listed() -> dict[str, list[str]]:
    """The table in DEPENDENCIES.md: package to licences."""
    rows = re.findall(r"^\| ([\w-]+) \| ([^|]+) \|", (ROOT / "DEPENDENCIES.md").read_text(), re.M)
    return {name: [word.strip() for word in words.split(",")] for name, words in rows if name != "package"}


def own_words(about: metadata.PackageMetadata) -> set[str]:
    """What a package says of its licence."""
    text = about.get("License-Expression") or ""
    if not text:
        lines = about.get_all("Classifier") or []
        classes = [line.split(" :: ")[-1] for line in lines if line.startswith("License ::")]
        text = " AND ".join(CALLED.get(name, name) for name in classes if name != "OSI Approved")
    text = text or ((about.get("License") or "").splitlines() or [""])[0]
    return {word.strip(" ()") for word in re.split(r"\bAND\b|\bOR\b", text) if word.strip(" ()")}


def test_every_dependency_is_listed_with_a_licence_that_goes_with_kacaps():
    table = listed()
    assert {name for words in table.values() for name in words} <= COMPATIBLE
    for name, distribution in installed().items():
        assert name in table, f"{name} is not in DEPENDENCIES.md"
        for word in own_words(distribution.metadata):
            known = word in table[name] or (word == "BSD" and any("BSD" in each for each in table[name]))
            assert known, f"{name} says {word}, DEPENDENCIES.md {table[name]}"


def test_what_is_installed_fits_together():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("no pip here")
    assert done.returncode == 0, done.stdout


def test_every_dependency_has_a_lowest_version_and_the_compiler_a_highest():
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        assert any(each.operator == ">=" for each in wanted.specifier), text
        assert (wanted.name != "numba") == all(each.operator != "<" for each in wanted.specifier), text


def built(place: Path, umask: int) -> dict[str, str]:
    """Build wheel and sdist from a copy of the tree; return their names and digests."""
    place.mkdir()
    for name in ("kacap", "tests", "captures", "contrib", "docs", "notebooks"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md", "DEPENDENCIES.md"):
        shutil.copy(ROOT / name, place / name)
        os.utime(place / name, (umask, umask))  # other times, other permissions, another directory
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", "out"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        umask=umask,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
    )
    assert done.returncode == 0, done.stderr
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (place / "out").iterdir()}


@pytest.mark.slow
def test_built_twice_wheel_and_sdist_are_the_same_byte_by_byte(tmp_path):
    pytest.importorskip("hatchling")
    one, two = built(tmp_path / "one", 0o022), built(tmp_path / "somewhere-else", 0o077)
    assert len(one) == 2 and one == two
    with tarfile.open(next((tmp_path / "one" / "out").glob("*.tar.gz"))) as archive:
        held = {name.split("/")[1] for name in archive.getnames()}
    assert {"kacap", "tests", "captures", "contrib", "docs", "notebooks", "SECURITY.md", "LICENSE"} <= held
