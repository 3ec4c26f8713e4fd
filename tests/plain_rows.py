"""Kernels as plain Python: rows that know ``row.field`` as compiled code does, which NumPy's own do not."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import kacap

PACKAGE = Path(kacap.__file__).parent


class PlainRow:
    """A row as compiled kernels see it: ``row.field`` reads and writes."""

    def __init__(self, row: np.void) -> None:
        object.__setattr__(self, "row", row)

    def __getattr__(self, name: str) -> object:
        return as_compiled(self.row[name])

    def __setattr__(self, name: str, value: object) -> None:
        self.row[name] = plain(value)


def plain(value: object) -> object:
    return value.row if isinstance(value, PlainRow) else value


class PlainRows:
    """A structured array as compiled kernels see it."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ctypes(self) -> object:
        return self.rows.ctypes

    def __getitem__(self, place: object) -> object:
        return as_compiled(self.rows[place])

    def __setitem__(self, place: object, value: object) -> None:
        self.rows[place] = plain(value)


def as_compiled(value: object) -> object:
    if isinstance(value, tuple):
        parts = map(as_compiled, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, np.void):
        return PlainRow(value)
    return PlainRows(value) if isinstance(value, np.ndarray) and value.dtype.names else value


def with_rows_as_compiled() -> None:
    """Let kernels run as plain Python; NumPy's own rows do not know ``row.field``."""
    modules = [module for name, module in sys.modules.items() if name.startswith("kacap.")]
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in re.findall(r"^@entry\ndef (\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            known = [module for module in modules if getattr(module, "__file__", "") == str(path)]
            for kernel in (getattr(module, name) for module in known):
                run = partial(with_rows, kernel)
                for module in modules:
                    for bound in [each for each, value in vars(module).items() if value is kernel]:
                        setattr(module, bound, run)


def with_rows(kernel: Callable[..., object], *given: object) -> object:
    return kernel(*map(as_compiled, given))
