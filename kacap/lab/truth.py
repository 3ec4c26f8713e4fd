"""What was true in a run, from the sockets and the kernel alone, as TOML.

The writer knows the few shapes that a truth has: text, whole numbers, switches, lists of them, tables and lists of
tables. ``tomllib`` reads it back; a value that is not known is left out, because TOML has no null.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict


class SocketFacts(TypedDict, total=False):
    """What is known of a socket: its ends, its options at four moments, and how it ended."""

    local: tuple[str, int]
    remote: tuple[str, int]
    earlier: dict[str, int]  # of a socket of the same name before it
    before: dict[str, int]
    after: dict[str, int]
    end: dict[str, int]
    error: str
    error_ns: int
    end_of_stream_ns: int


class EndFacts(TypedDict, total=False):
    """One end of a connection in the truth."""

    address: str
    keepalive: bool
    error: str | None
    error_ns: int | None
    end_of_stream_ns: int | None
    earlier: dict[str, int]
    before: dict[str, int]
    after: dict[str, int]
    end: dict[str, int]


class CaptureFacts(TypedDict):
    """One recording in the truth."""

    host: str
    interface: str
    place: str
    started_ns: int
    files: list[str]
    frames: int
    dropped: int
    stopped_ns: int


class Truth(TypedDict):
    """What of a truth is read back."""

    capture: list[CaptureFacts]
    connection: list[dict[str, EndFacts]]
    ended_early: bool


def write(path: Path, truth: Mapping[str, object]) -> None:
    """Write ``truth`` as TOML; ``None`` is left out."""
    path.write_text("\n".join(_table(truth, "")) + "\n")


def read(path: Path) -> Truth:
    """Read a truth back."""
    import tomllib

    truth: Truth = tomllib.loads(path.read_text())  # type: ignore[assignment]
    return truth


def _table(table: Mapping[str, object], prefix: str) -> list[str]:
    """Return the lines of one table: plain values first, then what is nested."""
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if value is not None and not _nested(value)]
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and _nested(value):
            lines += ["", f"[{name}]", *_table(value, f"{name}.")]
        elif isinstance(value, list) and _nested(value):
            for entry in value:
                lines += ["", f"[[{name}]]", *_table(entry, f"{name}.")]
    return lines


def _nested(value: object) -> bool:
    """Tell what needs lines of its own: a list of tables, and a table that holds tables."""
    if isinstance(value, dict):
        return any(isinstance(inner, dict) for inner in value.values())
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        inner = (f"{key} = {_value(plain)}" for key, plain in value.items() if plain is not None)
        return f"{{ {', '.join(inner)} }}"
    return json.dumps(value, ensure_ascii=False)  # TOML's text, numbers and switches are JSON's


def kernel() -> str:
    """Return the kernel's version without what its packager added: behaviour goes with the version."""
    return re.split(r"[^0-9.]", os.uname().release)[0]


def hz() -> int | None:
    """Return the kernel's timer frequency where its configuration is readable, else None."""
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{os.uname().release}")):
        try:
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except OSError:
            continue
        for line in text.decode(errors="replace").splitlines():
            if line.startswith("CONFIG_HZ="):
                return int(line.removeprefix("CONFIG_HZ="))
    return None


def connection(facts: dict[str, SocketFacts], number: int) -> dict[str, EndFacts]:
    """Return the truth of connection ``number``: each end's address, options (before, set, at the end) and error.

    ``earlier`` are those of a connection of the same addresses and ports before it."""
    return {end: _end(facts[f"{end}-{number}"]) for end in ("client", "server")}


def _end(facts: SocketFacts) -> EndFacts:
    host, port = facts["local"]
    on = any(facts[when]["so_keepalive"] for when in ("earlier", "after", "end") if when in facts)
    found: EndFacts = {"address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "keepalive": on}
    found["error"], found["error_ns"] = facts.get("error"), facts.get("error_ns")
    found["end_of_stream_ns"] = facts.get("end_of_stream_ns")
    for when in ("earlier", "before", "after", "end"):
        if when in facts:
            found[when] = facts[when]
    return found


_COLUMNS = ("so_keepalive", "tcp_keepidle", "tcp_keepintvl", "tcp_keepcnt", "tcp_user_timeout")


def write_table(path: Path, connections: list[dict[str, EndFacts]]) -> None:
    """Write one line for each end of each connection: addresses, options as set, error and its time."""
    lines = [",".join(["connection", "end", "address", "peer", *_COLUMNS, "error", "error_ns"])]
    for number, pair in enumerate(connections):
        for end, other in (("client", "server"), ("server", "client")):
            options = [pair[end]["after"][name] for name in _COLUMNS]
            outcome = [pair[end]["error"] or "", pair[end]["error_ns"] or ""]
            cells = [number, end, pair[end]["address"], pair[other]["address"], *options, *outcome]
            lines.append(",".join(map(str, cells)))
    path.write_text("\n".join(lines) + "\n")


def host(before: dict[str, int], after: dict[str, int]) -> dict[str, dict[str, int]]:
    """Return a host's TcpExt counters before the connections and after the last probe, and what they grew by."""
    return {"before": before, "after": after, "grew": {name: after[name] - before[name] for name in after}}
