"""Where compiled kernels are kept: a directory of this user that nobody else can write to, or nowhere.

What is kept is machine code, so that loading it is as good as running it. Each file begins with the digest of the
rest: one that is cut short or damaged is as good as absent. Nothing that goes wrong here keeps kacap from its work:
a kernel that cannot be loaded is compiled, and one that cannot be kept is compiled again the next time.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from kacap.trusted import POSIX, UntrustedError, check_owner, trusted

PACKAGE = Path(__file__).parent
DIGEST_BYTES = 32
# The modules that hold kernels.
OF_KERNELS = tuple(
    f"{where}*.py" for where in ("", "wire/", "classify/", "capture/", "timing/", "facts/", "findings/", "report/")
)


class KernelCache:
    """Machine code by name. ``on_compile`` is called before a compilation, which looks once more then.

    ``on_fault`` is called once with a reason in words.

    The reason says why no directory serves. Both are for the program: a library keeps quiet.
    """

    def __init__(self) -> None:
        self.on_compile: Callable[[], None] | None = None
        self.on_fault: Callable[[str], None] | None = None
        self.fault: str | None = None  # why nothing is kept
        self._place: Path | None = None
        self._looked = self._closed = False
        self._held: dict[str, bytes] | None = None
        self._collected: dict[str, bytes] | None = None

    @property
    def is_open(self) -> bool:
        """Whether what another process keeps is found here."""
        return not self._closed and self._held is None

    def load(self, name: str) -> bytes | None:
        """Return what was kept under ``name``; None where there is nothing, or it may not be loaded."""
        if self._closed:
            return None
        if self._held is not None:
            return self._held.get(name)
        with self._open() as at:
            return None if at is None else _read(at, name)

    def save(self, name: str, data: bytes) -> None:
        """Keep ``data`` under ``name`` where that is possible."""
        if self._collected is not None:
            self._collected[name] = data
        if self._held is not None:
            return
        with suppress(OSError), self._open() as at:
            if at is not None:
                _write(at, name, hashlib.sha256(data).digest() + data)

    def has(self, name: str) -> bool:
        """Return whether something whole is kept under ``name``; none of it is run."""
        with self._open() as at:
            return at is not None and _read(at, name) is not None

    @contextmanager
    def _open(self) -> Iterator[int | None]:
        """Yield a descriptor of the directory; None if it is missing or no longer trusted."""
        directory, at = self.directory(), None
        with ExitStack() as stack:
            if directory is not None:
                with suppress(OSError, UntrustedError):
                    at = stack.enter_context(trusted(directory, last_link=False))
            yield at

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process is in here with this cache: what it compiled is found afterwards."""
        with self._open() as at, ExitStack() as stack:
            with suppress(OSError):  # not every file system has locks
                if at is not None:
                    import fcntl

                    lock = os.open(".", os.O_RDONLY, dir_fd=at)
                    stack.callback(os.close, lock)
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def directory(self) -> Path | None:
        """Return the directory in use, made if it was not there; None if no directory can be trusted."""
        if not self._looked:
            self._looked = True
            self._place = self._find()
            if self.fault is not None and self.on_fault is not None:
                self.on_fault(self.fault)
        return self._place

    def _find(self) -> Path | None:
        """Return the first directory that nobody else can change; else ``fault`` says what is wrong with the first."""
        if not POSIX or _may_change_user():
            self.fault = "this process can still become another user" if POSIX else "not on this system"
            return None
        faults = []
        for base in _candidates():
            directory = base / fingerprint()
            try:
                with trusted(directory, make=True, last_link=False):
                    return directory
            except UntrustedError as error:
                faults.append(str(error))
            except OSError as error:
                faults.append(f"{directory}: {error.strerror}")
        self.fault = next(iter(faults), "this user has no home")
        return None

    def close(self) -> None:
        """Load nothing until ``reopen``: this process has rights that it will give up."""
        self._closed = True

    def reopen(self) -> None:
        """Load again: this process has nothing left to lose."""
        self._closed = False

    def collect(self) -> dict[str, bytes]:
        """Return a dictionary that receives everything kept from now on, besides where it is kept now."""
        self._collected = {}
        return self._collected

    def hold(self, code: dict[str, bytes] | None = None) -> None:
        """Have ``code`` in memory, or what the directory holds. From now on nothing is read or written."""
        held = dict(code or {})
        with self._open() as at:
            if at is not None and code is None:
                held = {name: data for name in _names(at) if (data := _read(at, name)) is not None}
        self._held = held


CACHE = KernelCache()


def _candidates() -> Iterator[Path]:
    """Yield the directories to try: $KACAP_CACHE alone, else the user's cache by the environment, then by his entry."""
    if named := os.environ.get("KACAP_CACHE"):
        yield Path(named)
        return
    if (own := os.environ.get("XDG_CACHE_HOME")) and Path(own).is_absolute():
        yield Path(own) / "kacap"
    with suppress(RuntimeError):
        yield Path.home() / ".cache" / "kacap"
    if POSIX:
        import pwd

        with suppress(KeyError):
            yield Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".cache" / "kacap"


def settings(name: str) -> str | None:
    """Return one of numba's settings that somebody has made (its manual lists them), by its name without NUMBA_."""
    return os.environ.get(f"NUMBA_{name}")


@cache
def compiler_version() -> str:
    """Return numba's version without importing numba, which takes longer than all else at the start."""
    found = find_spec("numba")
    place = Path(found.origin).with_name("_version.py") if found is not None and found.origin else None
    if place is not None and place.is_file() and (told := re.search(r'"version": "([^"]+)"', place.read_text("utf-8"))):
        return told[1]
    from importlib.metadata import version

    return version("numba")


def fingerprint() -> str:
    """Return a digest over every module that holds a kernel, and over what else decides what the compiler makes of it.

    A compiler's own check of the source does not notice when a kernel that another one calls has changed.
    """
    switches = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("NUMBA_")]
    digest = hashlib.sha256(" ".join([compiler_version(), sys.version, *switches]).encode())
    for path in sorted(path for pattern in OF_KERNELS for path in PACKAGE.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _names(at: int) -> list[str]:
    """Return what the directory ``at`` holds."""
    listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
    try:
        return os.listdir(listing)  # noqa: PTH208 (of the descriptor)
    finally:
        os.close(listing)


def _read(at: int, name: str) -> bytes | None:
    """Return a file of the directory ``at`` without its digest; None where it is absent, damaged or another's."""
    try:
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at), "rb") as file:
            check_owner(file.fileno(), Path(name))
            data = file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except (OSError, UntrustedError):
        return None
    whole = data[:DIGEST_BYTES] == hashlib.sha256(data[DIGEST_BYTES:]).digest()
    return data[DIGEST_BYTES:] if whole else None


def _write(at: int, name: str, data: bytes) -> None:
    """Write a file of the directory ``at`` aside, and put it in its place in one step. Raises OSError."""
    temporary = f".{name}.{os.urandom(8).hex()}"
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at), "wb") as out:
            out.write(data)
        os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=at)
        raise


def _may_change_user() -> bool:
    """Return whether this process has another user or group to go back to."""
    ids = [os.getresuid(), os.getresgid()] if hasattr(os, "getresuid") else [(os.getuid(), os.geteuid())]
    return any(len(set(each)) > 1 for each in ids)
