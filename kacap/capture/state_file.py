"""The file of a state: a line that says what it is, then, compressed with zstd, a header in JSON and rows one by one.

Nothing in it is executed, and nothing is believed: each table has the very columns that this version writes, the size
that is claimed is the size that is there, and zstd's checksum covers all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import zstandard
from numpy.typing import NDArray

from kacap.errors import KacapError
from kacap.outputs import output

Rows: TypeAlias = NDArray[Any]  # of a dtype that the name of their table tells
Tables: TypeAlias = Mapping[str, Rows]
Layout: TypeAlias = Mapping[str, np.dtype[Any]]

MAGIC = b"kacap state "
VERSION = 1
LEVEL = 3  # of zstd: fast, and within a tenth of what more effort would save
HEADER_LIMIT = 64 << 20  # bytes of JSON: names of files, mostly
EXPANSION, AT_LEAST = 1000, 256 << 20  # no state of kacap's is so much larger than its file
ADVICE = "read everything again without it"


class StateFileError(KacapError):
    """A state file that cannot be read, or that is of another version."""


def layout_digest(dtype: np.dtype[Any]) -> str:
    """Return a digest of a table's columns: their names, types and places."""
    return hashlib.sha256(repr(np.lib.format.dtype_to_descr(dtype)).encode()).hexdigest()[:16]


def write_state(path: str, facts: Mapping[str, object], tables: Tables, inputs: Iterable[str]) -> None:
    """Write a state, whole or not at all. Raises what ``outputs.output`` raises."""
    with output(path, inputs) as out:
        pack(out, facts, tables)


def pack(out: BinaryIO, facts: Mapping[str, object], tables: Tables) -> None:
    """Write a state to a binary file."""
    listed = [[name, layout_digest(rows.dtype), len(rows)] for name, rows in tables.items()]
    header = json.dumps({"tables": listed, "facts": facts}, separators=(",", ":")).encode()
    out.write(MAGIC + str(VERSION).encode() + b"\n")
    options = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    with options.stream_writer(out, closefd=False) as packed:
        packed.write(len(header).to_bytes(8, "little") + header)
        for rows in tables.values():
            packed.write(np.ascontiguousarray(rows).view(np.uint8).data)


def read_state(path: str, layout: Layout) -> tuple[dict[str, object], Tables] | None:
    """Return the facts and the tables of a state file; None: there is none yet. Raises StateFileError.

    ``layout`` is the columns that every table has to have; an empty one asks for the facts alone.
    """
    try:
        with Path(path).open("rb") as file:
            return unpack(file, Path(path).stat().st_size, layout)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateFileError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except StateFileError as error:
        raise StateFileError(f"{path}: {error}") from None


def unpack(file: BinaryIO, size: int, layout: Layout) -> tuple[dict[str, object], Tables]:
    """Return facts and tables of a binary file of ``size`` bytes. Raises StateFileError."""
    first = file.readline(64)
    if not first.startswith(MAGIC) or not first.endswith(b"\n"):
        raise StateFileError("is no state of kacap's; name another file, or one that is not there yet")
    if first[len(MAGIC) : -1] != str(VERSION).encode():
        raise StateFileError(f"was written by another version of kacap; {ADVICE}")
    try:
        with zstandard.ZstdDecompressor().stream_reader(file, closefd=False) as packed:
            found = _tables(packed, max(EXPANSION * size, AT_LEAST), layout)
            if layout and packed.read(1):
                raise StateFileError(f"is damaged: it goes on after its end; {ADVICE}")
            return found
    except (zstandard.ZstdError, MemoryError) as error:
        raise StateFileError(f"is damaged: {error or 'it claims more than the memory holds'}; {ADVICE}") from None


def _tables(packed: zstandard.ZstdDecompressionReader, limit: int, layout: Layout) -> tuple[dict[str, object], Tables]:
    """Return facts and tables from the decompressed stream, at most ``limit`` bytes of them."""
    header = _header(packed)
    listed, facts = header.get("tables"), header.get("facts")
    if not layout and isinstance(facts, dict):
        return facts, {}
    wanted = [[name, layout_digest(dtype)] for name, dtype in layout.items()]
    if not isinstance(listed, list) or not isinstance(facts, dict):
        raise StateFileError(f"is damaged: its header lists no tables; {ADVICE}")
    if [each[:2] if isinstance(each, list) else None for each in listed] != wanted:
        raise StateFileError(f"was written by a version of kacap with other tables; {ADVICE}")
    sizes = [each[2] if len(each) == 3 and type(each[2]) is int and each[2] >= 0 else limit for each in listed]
    if sum(rows * dtype.itemsize for rows, dtype in zip(sizes, layout.values(), strict=True)) > limit:
        raise StateFileError(f"is damaged: it claims more rows than a file of its size holds; {ADVICE}")
    tables = {}
    for (name, dtype), rows in zip(layout.items(), sizes, strict=True):
        table = np.empty(rows, dtype)
        _fill(packed, table)
        tables[name] = table
    return facts, tables


def _header(packed: zstandard.ZstdDecompressionReader) -> dict[str, object]:
    """Return the header of the decompressed stream."""
    size = int.from_bytes(_exactly(packed, 8), "little")
    if size > HEADER_LIMIT:
        raise StateFileError(f"is damaged: its header claims {size:,} bytes; {ADVICE}")
    try:
        header = json.loads(_exactly(packed, size))
    except (ValueError, RecursionError):
        raise StateFileError(f"is damaged: its header is no JSON; {ADVICE}") from None
    return header if isinstance(header, dict) else {}


def _exactly(packed: zstandard.ZstdDecompressionReader, count: int) -> bytes:
    rows = np.empty(count, np.uint8)
    _fill(packed, rows)
    return rows.tobytes()


def _fill(packed: zstandard.ZstdDecompressionReader, rows: Rows) -> None:
    """Fill rows with the next bytes of the stream. Raises StateFileError where it ends before."""
    view, at = memoryview(rows.view(np.uint8).data).cast("B"), 0
    while at < len(view):
        got = packed.readinto(view[at:])
        if not got:
            raise StateFileError(f"is cut: {at:,} of {len(view):,} bytes of a table are there; {ADVICE}")
        at += got
