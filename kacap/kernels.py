"""One way to compile a kernel: numba in nopython mode, cached per user in a directory that can be written.

The cache is keyed by kacap's version and by the text of its kernels, because numba itself does not notice when a
kernel that another one calls has changed. numba is imported here and nowhere else, so that commands without a
kernel start fast.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.event import Event, Listener, register
from numba.core.registry import CPUDispatcher

F = TypeVar("F", bound=Callable[..., Any])

Row = Any  # inside kernels: a row of a structured array, one of its fields, or columns of them

PACKAGE = Path(__file__).parent


def _fingerprint() -> str:
    """Return a digest over every module that holds a kernel, and over numba's and Python's versions."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version} {numba.config.BOUNDSCHECK}".encode())  # type: ignore[attr-defined]
    for path in sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("wire/*.py"), *PACKAGE.glob("classify/*.py"),
                        *PACKAGE.glob("capture/*.py"), *PACKAGE.glob("timing/*.py"), *PACKAGE.glob("findings/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _writable(directory: Path) -> bool:
    """Return whether a file can be made in ``directory`` (made on the way if it is absent)."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def cache_directory() -> Path:
    """Return the directory of the compiled kernels: $KACAP_CACHE, the user's cache, else a temporary one."""
    named = os.environ.get("KACAP_CACHE")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kacap"
    temporary = Path(tempfile.gettempdir()) / f"kacap-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    for base in (Path(named) if named else user, temporary):
        directory = base / _fingerprint()
        if _writable(directory):
            return directory
    return Path(tempfile.mkdtemp(prefix="kacap-"))


CACHE = cache_directory()
FIRST_USE = not any(CACHE.iterdir())
_ENTRIES: list[Any] = []
# No kernel allocates: without numba's runtime there are no references to count, which would take longer than all else.
# Wrappers that nobody calls would take half of the compilation.
_ENTRY: dict[str, Any] = {"_nrt": False, "nogil": True, "cache": True, "no_cfunc_wrapper": True}
_WITHIN: dict[str, Any] = {"_nrt": False, "nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
numba.config.CACHE_DIR = str(CACHE)  # type: ignore[attr-defined]


class _Within(CPUDispatcher):
    """A kernel without a way in from Python: calling it would crash the process."""

    def __call__(self, *_: Any) -> Any:
        """Refuse. Raises TypeError."""
        name = self.py_func.__name__
        raise TypeError(f"{name} is a kernel that only kernels call; to call it from Python, make it an entry")


def kernel(function: F) -> F:
    """Compile ``function`` (nopython, no GIL) into the kernels that call it."""
    compiled: F = numba.njit(**_WITHIN)(function)
    if isinstance(compiled, CPUDispatcher):  # not where numba's compiler is switched off
        compiled.__class__ = _Within  # type: ignore[assignment]
    return compiled


def entry(function: F) -> F:
    """Compile ``function``, a kernel that Python calls, on first use, and keep the machine code in the cache.

    It holds that of the kernels within; a cache of their own would only cost time at every start.
    """
    compiled: F = numba.njit(**_ENTRY)(function)
    _ENTRIES.append(compiled)
    return compiled


def keep_no_more() -> None:
    """Go on without the cache where it can be written no more: this process has become another user."""
    from numba.core.caching import NullCache

    if not _writable(CACHE):
        for compiled in _ENTRIES:
            compiled._cache = NullCache()


class _Compiling(Listener):
    """Hears when numba begins to compile a kernel that the cache does not hold."""

    def __init__(self) -> None:
        self.told = False

    def on_start(self, event: Event | None) -> None:
        """Tell a waiting user, once."""
        if not self.told:
            self.told = True
            text = "kacap: compiling its kernels once, about ten seconds (cached afterwards)"
            print(text, file=sys.stderr, flush=True)

    def on_end(self, event: Event) -> None:
        """Have nothing to tell."""


_COMPILING = _Compiling()
register("numba:compile", _COMPILING)  # type: ignore[no-untyped-call]


def announce_compilation() -> None:
    """Tell of a compilation that is to come, before whatever else is told; silent when the cache is warm."""
    if FIRST_USE:
        _COMPILING.on_start(None)
