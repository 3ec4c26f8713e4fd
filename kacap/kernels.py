"""One way to compile a kernel, and to run what was compiled before without the compiler.

A kernel is compiled by numba, in nopython mode, for the types of its arguments; what that gives is one object file,
kept in a cache that nobody else can write to. From there it is loaded by llvmlite alone and called through ctypes:
numba is imported only where something has to be compiled, so that commands start fast. Nothing of numba's own is
changed: its settings, its cache and its events are those of whoever imports kacap.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import cached_property, update_wrapper
from threading import RLock
from typing import Any, TypeVar

import numpy as np

from kacap.kernel_cache import CACHE, compiler_version, settings

F = TypeVar("F", bound=Callable[..., Any])
Row = Any  # inside kernels: a row of a structured array, one of its fields, or columns of them

# What is used of numba beyond its documented interface is known for these versions, the last one left out.
KNOWN = ((0, 62), (0, 69))
# No kernel allocates: without numba's runtime there are no references to count, which would take longer than all else.
# Nobody calls kernels by numba's wrappers, which would take half of the compilation.
_OPTIONS = {"_nrt": False, "nogil": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": True}
_NOTHING = -2  # numba's status of a function that returns None (numba.core.callconv)
_SCALARS = {"b": ctypes.c_int64, "i": ctypes.c_int64, "u": ctypes.c_uint64, "f": ctypes.c_double}
_RETURNED: dict[str, Any] = {
    "none": None,
    "bool": ctypes.c_bool,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "float64": ctypes.c_double,
}
_FUNCTION: Any = ctypes.CFUNCTYPE(None).__base__  # the type of every function of a C library
_MARK = b"kacap kernel"  # what code that is kept begins with: a loader that is given anything else may crash
_LOADING = RLock()
LINE = 64  # bytes of a cache line


def is_known(version: str) -> bool:
    """Return whether kacap knows what this version of numba compiles a kernel to, and how to call that."""
    numbers = version.split(".")[:2]
    return all(each.isdecimal() for each in numbers) and KNOWN[0] <= tuple(map(int, numbers)) < KNOWN[1]


def _plain() -> bool:
    """Return whether this numba is not known: kernels are compiled and called as its manual has it, and not kept."""
    numba = sys.modules.get("numba")
    return not is_known(numba.__version__ if numba else compiler_version())


class _Kernel:
    """A kernel that only kernels call: numba asks for ``_numba_type_`` when it compiles one of these."""

    def __init__(self, function: Callable[..., Any], **options: bool) -> None:
        self.function, self._options = function, options
        update_wrapper(self, function)

    @cached_property
    def dispatcher(self) -> Any:
        """What compiles it."""
        import numba

        options: dict[str, Any] = {**_OPTIONS, **self._options}
        return numba.njit(**options)(self.function)

    @property
    def _numba_type_(self) -> Any:
        return self.dispatcher._numba_type_

    def __call__(self, *_: object) -> float | None:
        """Refuse. Raises TypeError."""
        name = self.function.__name__
        raise TypeError(f"{name} is a kernel that only kernels call; to call it from Python, make it an entry")


class Entry(_Kernel):
    """A kernel that Python calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._codes: dict[tuple[object, ...], tuple[_Code, tuple[object, ...]]] = {}

    def __call__(self, *given: object) -> float | None:
        """Run it, without the interpreter's lock. Raises RuntimeError where the kernel does, by a division by zero."""
        key: list[object] = []
        values: list[int | float] = []
        for value in given:
            _take(value, key, values)
        found = self._codes.get(tuple(key))
        if found is None:
            with _LOADING:
                # What was given stays with its code, so that the identities in the key stay its own.
                found = self.code(given), tuple(_types(given))
                self._codes[tuple(key)] = found
        return found[0](values)

    def code(self, given: tuple[object, ...]) -> _Code:
        """Return the code for arguments of these types: what was kept, else what numba makes now."""
        function = f"{self.function.__module__}.{self.function.__qualname__}"
        words = repr((function, list(map(_spelled, given)), _processor()))
        name = hashlib.sha256(words.encode()).hexdigest()[:32]
        kinds = list(_kinds(given))
        found = _kept(name, function, kinds)
        if found is None and CACHE.on_compile is not None:
            CACHE.on_compile()
            found = _kept(name, function, kinds)  # by the process that has compiled everything since
        if found is not None:
            return found
        data = self._compiled(given)
        CACHE.save(name, data)
        return _Code(function, data, kinds)

    def _compiled(self, given: tuple[object, ...]) -> bytes:
        """Compile it: return a mark, its symbol and what it returns, each on a line, then an object file."""
        import numba

        types = tuple(map(numba.typeof, given))
        self.dispatcher.compile(types)
        made = self.dispatcher.overloads[types]
        _, (code, _) = made.library.serialize_using_object_code()[1:]
        of_kind: Any = numba.types.unliteral
        returned = str(of_kind(made.signature.return_type))
        if returned not in _RETURNED:
            raise TypeError(f"{self.function.__name__} returns {returned}: an entry returns one number, or nothing")
        return b"\n".join([_MARK, made.fndesc.llvm_func_name.encode(), returned.encode(), bytes(code)])


class _Fetch:
    """Asks for the memory of a row that a kernel will come to, and does not wait for it; in Python it does nothing."""

    def __call__(self, row: object) -> None:
        """Do nothing."""

    @cached_property
    def _numba_type_(self) -> Any:
        """How numba knows it: one instruction of the processor for each cache line of the row."""
        from llvmlite import ir
        from numba import types
        from numba.core.registry import cpu_target
        from numba.extending import intrinsic

        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)

        def fetch(_: Any, row: Any) -> Any:
            def build(context: Any, builder: Any, __: Any, values: Any) -> Any:
                start = builder.bitcast(values[0], byte)
                how = [number(one) for one in (0, 3, 1)]  # to be read, to stay in all caches, data
                kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
                ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
                for offset in (*range(0, row.size, LINE), row.size - 1):
                    builder.call(ask, [builder.gep(start, [number(offset)]), *how])
                return context.get_dummy_value()

            return types.void(row), build

        made = intrinsic(fetch)
        cpu_target.typing_context.refresh()
        return cpu_target.typing_context.resolve_value_type(made)


fetch = _Fetch()


class _Code:
    """Machine code, ready to run."""

    def __init__(self, function: str, data: bytes, kinds: list[Any]) -> None:
        mark, symbol, returned, code = data.split(b"\n", 3)
        if mark != _MARK:
            raise ValueError(f"no code of {function}")
        self._function, self._returned = function, _RETURNED[returned.decode()]
        self._engine, address = _loaded(code, symbol.decode())
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *kinds)(address)

    def __call__(self, values: list[int | float]) -> float | None:
        """Call it as numba's convention has it: where to leave what it returns and raises, then its arguments."""
        result, raised = (self._returned or ctypes.c_void_p)(), ctypes.c_void_p()
        status = self._call(ctypes.addressof(result), ctypes.addressof(raised), *values)
        if status not in (0, _NOTHING):
            raise RuntimeError(f"{self._function} failed with status {status}")
        return None if self._returned is None else result.value


def _take(value: Any, key: list[object], values: list[int | float]) -> None:
    """Add one argument to the numbers that a kernel is called with, and its type to the key of its code."""
    if isinstance(value, np.ndarray):
        flags = value.flags
        key.append((id(value.dtype), value.ndim, flags.c_contiguous, flags.writeable))
        values.extend((0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides))
    elif isinstance(value, tuple):
        key.append(type(value))
        for each in value:
            _take(each, key, values)
        key.append(None)
    elif isinstance(value, _FUNCTION):
        key.append(type(value))
        values.append(ctypes.cast(value, ctypes.c_void_p).value or 0)
    else:
        key.append(type(value))
        values.append(value.item() if isinstance(value, np.generic) else value)


def _kinds(given: tuple[object, ...]) -> Iterator[Any]:
    """Yield the C types of the numbers that ``_take`` makes of arguments."""
    for value in given:
        if isinstance(value, np.ndarray):
            yield from [ctypes.c_void_p] * 2 + [ctypes.c_ssize_t] * 2 + [ctypes.c_void_p]
            yield from [ctypes.c_ssize_t] * (2 * value.ndim)
        elif isinstance(value, tuple):
            yield from _kinds(value)
        elif isinstance(value, _FUNCTION):
            yield ctypes.c_void_p
        else:
            yield _SCALARS[np.asarray(value).dtype.kind]


def _types(given: tuple[object, ...]) -> Iterator[object]:
    """Yield the dtypes among arguments."""
    for value in given:
        if isinstance(value, tuple):
            yield from _types(value)
        else:
            yield getattr(value, "dtype", None)


def _spelled(value: object) -> object:
    """Return the type of an argument as it goes into the name of its code."""
    if isinstance(value, np.ndarray):
        return repr(value.dtype), value.ndim, value.flags.c_contiguous, value.flags.writeable
    if isinstance(value, tuple):
        return type(value).__name__, getattr(value, "_fields", None), list(map(_spelled, value))
    if isinstance(value, _FUNCTION):
        return repr((value.restype, value.argtypes))
    return type(value).__name__


def _processor() -> tuple[str, str]:
    """Return which processor code is made for: its name and what it can do; this one, unless numba is told another."""
    from llvmlite import binding

    name = settings("CPU_NAME") or binding.get_host_cpu_name()
    features = settings("CPU_FEATURES")
    if features is None:
        features = "" if name == "generic" else binding.get_host_cpu_features().flatten()
    return name, features


def _loaded(code: bytes, symbol: str) -> tuple[Any, int]:
    """Return what holds an object file in memory, and where a symbol of it is. Raises where it is not there."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(symbol)
    if not address:
        raise ValueError(f"no {symbol} in what was kept")
    return engine, address


def _made(function: F, kind: type[_Kernel], **options: bool) -> F:
    """Return ``function`` as a kernel; where numba's compiler is switched off, as it is."""
    if settings("DISABLE_JIT") == "1":
        return function
    if not _plain():
        return kind(function, **options)  # type: ignore[return-value]
    import numba

    return numba.njit(nogil=True)(function)  # type: ignore[return-value]


def kernel(function: F) -> F:
    """Compile ``function`` (nopython, no GIL) into the kernels that call it."""
    return _made(function, _Kernel)


def inlined(function: F) -> F:
    """Compile ``function`` into each of the kernels that call it, without a call.

    For what is called for every frame or segment: passing tables costs more than most of what is done with them, and a
    frame's headers are read in half the time without calls.
    """
    return _made(function, _Kernel, forceinline=True)


def entry(function: F) -> F:
    """Compile ``function``, a kernel that Python calls, on first use, and keep the machine code in the cache.

    It holds that of the kernels within. It returns one number, or nothing.
    """
    return _made(function, Entry)


def _kept(name: str, function: str, kinds: list[Any]) -> _Code | None:
    """Return the code that is kept under a name; None if there is none, or it cannot be used: then it is compiled."""
    try:
        return None if (data := CACHE.load(name)) is None else _Code(function, data, kinds)
    except Exception:
        return None


def rehearse() -> None:
    """Compile something small and load it from its own bytes: what is imported on the way is there afterwards."""
    if _plain():
        kernel(_next)(1)
    else:
        _Code(_next.__name__, Entry(_next)._compiled((1,)), list(_kinds((1,))))([1])


def _next(number: int) -> int:
    """Return the number after one."""
    return number + 1
