"""Compiled kernels: what is kept, whose it is, and that nothing about it is in the way of work or of other people's."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import analysing
import pytest

from kacap.kernel_cache import OF_KERNELS
from kacap.kernels import is_known

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user: needs root")
NOBODY = 65534
ROOT = Path(__file__).resolve().parents[2]
PROBE = """
import os
from kacap.kernels import entry, kernel

@kernel
def doubled(x):
    return 2 * x

@entry
def answer(x):
    return doubled(x) + 2
"""
RUN = """
import json, os, sys
{before}
from kacap.kernel_cache import CACHE
heard, faults = [], []
CACHE.on_compile, CACHE.on_fault = lambda: heard.append(1), faults.append
import probe
print(json.dumps({{"answer": probe.answer(20), "compiled": bool(heard), "faults": faults}}))
"""
PLANTED = 666  # what a planted kernel answers


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a kernel and its warm cache, and another with a kernel of that name that answers otherwise."""
    base = tmp_path_factory.mktemp("warm")
    for name, source in (("mine", PROBE), ("other", PROBE.replace("doubled(x) + 2", f"doubled(x) + {PLANTED - 40}"))):
        (base / name).mkdir()
        (base / name / "probe.py").write_text(source)
        answer = 42 if name == "mine" else PLANTED
        for compiled in (True, False):
            assert run(base / name / "cache") == {"answer": answer, "compiled": compiled, "faults": []}
    return base


@pytest.fixture
def cache(warm: Path, tmp_path: Path) -> Path:
    """A warm cache of the test's own."""
    shutil.copytree(warm / "mine", tmp_path, dirs_exist_ok=True)
    return tmp_path / "cache"


def run(place: Path, *, before: str = "", limit: int | None = None, **environment: str) -> dict[str, object]:
    """Run a kernel in a process of its own, with ``place`` as its cache; ``limit``: the longest file it may write."""
    directory = place.parent
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(before=before)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{directory}", "KACAP_CACHE": str(place), **environment},
        preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file())


def planted(warm: Path, place: Path) -> None:
    """Put other machine code in the place of each kernel, as somebody does who knows the format."""
    for path in files(place):
        (code,) = [each for each in files(warm / "other" / "cache") if each.name == path.name]
        path.write_bytes(code.read_bytes())


def test_planted_code_would_be_run_from_a_cache_that_is_trusted(warm: Path, cache: Path) -> None:
    planted(warm, cache)
    assert run(cache) == {"answer": PLANTED, "compiled": False, "faults": []}


@as_root
@pytest.mark.parametrize("whose", [".", "*", "*/*"], ids=["directory", "below", "files"])
def test_nothing_of_another_users_is_loaded(warm: Path, cache: Path, whose: str) -> None:
    planted(warm, cache)
    for path in [cache, *cache.rglob("*")]:
        if path.match(f"cache/{whose}") or (whose == "." and path == cache):
            os.chown(path, NOBODY, NOBODY)
    told = run(cache)
    assert (told["answer"], told["compiled"]) == (42, True)
    if whose != "*/*":
        assert f"belongs to the user with number {NOBODY}" in str(told["faults"])


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_nothing_is_loaded_from_where_others_can_write(warm: Path, cache: Path, mode: int) -> None:
    planted(warm, cache)
    (inner,) = cache.iterdir()
    os.chown(inner, -1, next((g for g in os.getgroups() if g), NOBODY) if os.geteuid() else NOBODY)
    inner.chmod(mode)
    told = run(cache)
    assert (told["answer"], told["compiled"]) == (42, True)
    assert "can be written by" in str(told["faults"])


def test_a_file_that_others_can_write_is_not_loaded(warm: Path, cache: Path) -> None:
    planted(warm, cache)
    for path in files(cache):
        path.chmod(0o646)
    assert run(cache)["answer"] == 42


def test_a_link_is_no_cache(warm: Path, cache: Path) -> None:
    planted(warm, cache)
    (inner,) = cache.iterdir()
    inner.rename(cache.parent / "elsewhere")
    inner.symlink_to(cache.parent / "elsewhere")
    told = run(cache)
    assert (told["answer"], told["compiled"]) == (42, True)
    assert "is a link" in str(told["faults"])


@as_root
def test_the_cache_of_who_called_sudo_is_not_roots(warm: Path, cache: Path) -> None:
    """As sudo leaves it where it keeps HOME: root with the home of somebody else."""
    home = cache.parent / "home"
    place = home / ".cache" / "kacap"
    place.parent.mkdir(parents=True)
    shutil.copytree(cache, place)
    planted(warm, place)
    for path in [home, *home.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    told = run(
        cache,
        before=f"os.environ['HOME'] = {str(home)!r}; del os.environ['KACAP_CACHE']",
        SUDO_USER="nobody",
        XDG_CACHE_HOME="",
    )
    assert told["answer"] == 42


@as_root
def test_a_process_that_can_become_root_again_loads_nothing(warm: Path, cache: Path) -> None:
    planted(warm, cache)
    told = run(cache, before=f"os.setresuid(0, 0, {NOBODY})")
    assert told == {"answer": 42, "compiled": True, "faults": ["this process can still become another user"]}


@pytest.mark.parametrize("length", [0, 10, 40, -1], ids=["empty", "cut", "cut after the digest", "one byte short"])
def test_a_damaged_file_is_compiled_again_and_mended(cache: Path, length: int) -> None:
    for path in files(cache):
        path.write_bytes(path.read_bytes()[:length])
    assert run(cache) == {"answer": 42, "compiled": True, "faults": []}
    assert run(cache)["compiled"] is False


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps((1, 2)), b"answer\nint64\n", b"answer\nint64\n\x7fELF"])
def test_what_is_whole_and_yet_no_kernel_is_compiled_again(cache: Path, content: bytes) -> None:
    for path in files(cache):
        path.write_bytes(sha256(content).digest() + content)
    assert run(cache)["answer"] == 42


@pytest.mark.parametrize("what", ["file", "fifo", "device", "directory"])
def test_what_is_no_plain_file_is_passed_over(cache: Path, what: str) -> None:
    for path in files(cache):
        path.unlink()
        if what == "fifo":
            os.mkfifo(path)
        elif what == "directory":
            path.mkdir()
        elif what == "device":
            path.symlink_to("/dev/zero")
    assert run(cache)["answer"] == 42


def test_on_a_full_disk_it_is_compiled_each_time_and_nothing_is_left_behind(cache: Path) -> None:
    for path in files(cache):
        path.unlink()
    assert run(cache, limit=100) == {"answer": 42, "compiled": True, "faults": []}
    assert files(cache) == []


@as_root
def test_a_warm_cache_that_only_root_can_write_is_used(cache: Path) -> None:
    for path in [cache, *cache.iterdir(), cache.parent]:
        path.chmod(0o755)
    for parent in list(cache.parents)[1:4]:
        parent.chmod(parent.stat().st_mode | 0o011)
    before = (  # he may not be able to read the Python of these tests
        "from kacap.kernel_cache import fingerprint; from kacap import kernel_cache, kernels; kernels.rehearse()\n"
        "now = fingerprint(); kernel_cache.fingerprint = lambda: now; import pwd\n"
        f"os.setgroups([]); os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})"
    )
    assert run(cache, before=before) == {"answer": 42, "compiled": False, "faults": []}


def test_where_no_cache_can_be_made_it_says_why(cache: Path) -> None:
    told = run(cache, before="os.environ['KACAP_CACHE'] = '/proc/none'")
    assert (told["answer"], told["compiled"]) == (42, True)
    assert "/proc/none" in str(told["faults"])


def test_a_command_says_in_one_line_why_it_compiles_for_this_run_alone(cache: Path) -> None:
    script = "from kacap.commands.compiling import announce_compilation as announce; announce(); import probe; "
    done = subprocess.run(
        [sys.executable, "-c", script + "print(probe.answer(20))"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{cache.parent}", "KACAP_CACHE": "/proc/none"},
    )
    assert done.stdout == "42\n"
    assert len(done.stderr.splitlines()) == 1
    assert "for this run alone" in done.stderr and "/proc/none" in done.stderr


def test_what_is_held_in_memory_needs_no_directory_and_what_is_closed_is_not_loaded(cache: Path) -> None:
    held = f"from kacap.kernel_cache import CACHE; CACHE.hold(); import shutil; shutil.rmtree({str(cache)!r})"
    assert run(cache, before=held) == {"answer": 42, "compiled": False, "faults": []}
    assert not cache.exists()
    assert run(cache)["compiled"] is True
    assert run(cache, before="from kacap.kernel_cache import CACHE; CACHE.close()")["compiled"] is True
    again = "from kacap.kernel_cache import CACHE; CACHE.close(); CACHE.reopen()"
    assert run(cache, before=again)["compiled"] is False


def test_a_numba_that_is_not_known_gives_the_same_results_without_a_cache() -> None:
    capture = analysing.files_of("crafted/00-baseline")[0]
    script = (
        "import sys, numba\nnumba.__version__ = sys.argv[1]\nimport kacap.kernels as k\n"
        "from kacap.capture import open_captures\nfrom kacap.capture.pcap import walk_pcap\n"
        "print(type(walk_pcap).__module__.split('.')[0], k.is_known(numba.__version__))\n"
        "for batch in open_captures([sys.argv[2]]):\n"
        "    print(batch.frames.tolist())"
    )
    from numba import __version__ as installed

    told = [
        subprocess.run(
            [sys.executable, "-c", script, version, capture], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split("\n", 1)
        for version in (installed, "99.0.0")
    ]
    assert [first for first, _ in told] == ["kacap True", "numba False"]
    assert len({rows for _, rows in told}) == 1 and len(told[0][1]) > 100


def test_only_a_numba_that_was_tried_is_known() -> None:
    assert list(map(is_known, ["0.61.2", "0.62.0", "0.68.1", "0.69.0", "0.69.0rc1", "1.0.0", "x"])) == [
        False,
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_change_of_any_module_that_holds_a_kernel_makes_what_was_kept_useless() -> None:
    package = ROOT / "kacap"
    regarded = {path for pattern in OF_KERNELS for path in package.glob(pattern)}
    held = {
        path for path in package.rglob("*.py") if "\n@entry\n" in path.read_text() or "\n@kernel\n" in path.read_text()
    }
    assert held and held <= regarded


USERS_OWN = """
import gc, json, sys
before = gc.get_threshold(), sys.getswitchinterval(), gc.isenabled()
import numba
from numba.core import event
settings = {name: getattr(numba.config, name) for name in dir(numba.config) if name.isupper()}
{kacap}
import own
assert own.square(3) == 9 and own.lengths([1.0, 2.0]).sum() == 3.0
after = gc.get_threshold(), sys.getswitchinterval(), gc.isenabled()
print(json.dumps({
    "same": [before == after,
             settings == {name: getattr(numba.config, name) for name in dir(numba.config) if name.isupper()}],
    "hits": [sum(own.square.stats.cache_hits.values()), own.square.stats.cache_path],
    "listeners": sum(map(len, event._registered.values())),
    "class": type(own.square).__name__,
}))
"""
OWN = """
import numba, numpy as np

@numba.njit(cache=True)
def square(x):
    return x * x

@numba.njit
def lengths(x):
    return np.array(x)
"""


def test_a_users_own_kernels_behave_as_before_after_kacap_is_imported_and_used(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    capture = analysing.files_of("lab/up")[0]
    told = []
    for words in ("", f"import kacap; kacap.read({capture!r})", f"import kacap; kacap.read({capture!r})"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", USERS_OWN.replace("{kacap}", words)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.stderr == ""
        told.append(json.loads(done.stdout))
    assert [each["hits"][0] for each in told] == [0, 1, 1]
    assert {each["hits"][1] for each in told} == {str(tmp_path / "__pycache__")}
    assert all(each["same"] == [True, True] for each in told)
    assert {(each["listeners"], each["class"]) for each in told} == {(told[0]["listeners"], told[0]["class"])}
