"""One way to compile a kernel: numba in nopython mode, kept in a cache that nobody else can write to.

numba is imported here and nowhere else, so that commands without a kernel start fast. Nothing of numba's own is
changed: its settings, its cache and its events are those of whoever imports kacap.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import compiler
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps

from kacap.kernel_cache import CACHE

CompileResult: Any = compiler.CompileResult
F = TypeVar("F", bound=Callable[..., Any])

Row = Any  # inside kernels: a row of a structured array, one of its fields, or columns of them

# What is used of numba beyond its documented interface is known for these versions, the last one left out.
KNOWN = ((0, 62), (0, 69))
# No kernel allocates: without numba's runtime there are no references to count, which would take longer than all else.
# Wrappers that nobody calls would take half of the compilation.
_ENTRY = {"_nrt": False, "nogil": True, "no_cfunc_wrapper": True}
_WITHIN = {**_ENTRY, "no_cpython_wrapper": True}


def is_known(version: str) -> bool:
    """Return whether kacap knows how this version of numba keeps what it has compiled."""
    numbers = version.split(".")[:2]
    return all(each.isdecimal() for each in numbers) and KNOWN[0] <= tuple(map(int, numbers)) < KNOWN[1]


class _Kept:
    """What numba asks for compiled code before it compiles, and gives it afterwards (numba.core.caching)."""

    cache_path = None

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = f"{function.__module__}.{function.__qualname__}"

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the code for ``signature``; None if there is no such code, or it cannot be used."""
        found = self._loaded(signature, target)
        if found is None and CACHE.on_compile is not None:
            CACHE.on_compile()
            found = self._loaded(signature, target)
        return found

    def _loaded(self, signature: Any, target: Any) -> Any:
        """Return the code that is kept, ready to run; None if there is none."""
        try:
            target.refresh()
            if (data := CACHE.load(self._name(signature, target.codegen()))) is not None:
                return CompileResult._rebuild(target, *pickle.loads(data))
        except Exception:  # then it is compiled
            pass
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep code that can run in another process."""
        try:
            if not (compiled.library.has_dynamic_globals or compiled.lifted):
                CACHE.save(self._name(signature, compiled.codegen), dumps(compiled._reduce()))  # type: ignore[no-untyped-call]
        except Exception:  # then it is compiled again the next time
            pass

    def _name(self, signature: Any, codegen: Any) -> str:
        """Return the name under which code is kept: of a function, for types of arguments, on a processor."""
        words = repr((self._function, str(signature), codegen.magic_tuple()))
        return hashlib.sha256(words.encode()).hexdigest()[:32]


class _Entry(CPUDispatcher):
    """A kernel that Python calls."""

    def enable_caching(self) -> None:
        """Keep the code in kacap's own cache."""
        self._cache = _Kept(self.py_func)


class _Within(CPUDispatcher):
    """A kernel without a way in from Python: calling it would crash the process."""

    def __call__(self, *_: Any) -> Any:
        """Refuse. Raises TypeError."""
        name = self.py_func.__name__
        raise TypeError(f"{name} is a kernel that only kernels call; to call it from Python, make it an entry")


def _made(function: F, kind: type[CPUDispatcher], options: dict[str, Any]) -> F:
    """Return what compiles ``function``: with what kacap knows of this numba, else as numba's manual has it."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return function
    if not is_known(numba.__version__):
        return numba.njit(nogil=True)(function)  # type: ignore[return-value]
    made = kind(py_func=function, targetoptions={"nopython": True, "boundscheck": None, **options})
    if isinstance(made, _Entry):
        made.enable_caching()
    return made  # type: ignore[return-value]


def kernel(function: F) -> F:
    """Compile ``function`` (nopython, no GIL) into the kernels that call it."""
    return _made(function, _Within, _WITHIN)


def entry(function: F) -> F:
    """Compile ``function``, a kernel that Python calls, on first use, and keep the machine code in the cache.

    It holds that of the kernels within; a cache of their own would only cost time at every start.
    """
    return _made(function, _Entry, _ENTRY)


def rehearse() -> None:
    """Compile something small and load it from its own bytes: what numba imports on the way is there afterwards."""
    one = numba.njit(nogil=True)(lambda x: x + 1)
    one(1)
    if is_known(numba.__version__) and isinstance(one, CPUDispatcher):
        compiled: Any = one.get_compile_result(one.nopython_signatures[0])
        CompileResult._rebuild(one.targetctx, *pickle.loads(dumps(compiled._reduce())))  # type: ignore[no-untyped-call]
