"""The files of a collection, wherever they are: listed by fsspec, told apart by sensor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from kacap.errors import KacapError, UsageError

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem

SUFFIX = re.compile(r"\.(pcap|pcapng|cap|dmp)[\w.-]*$", re.IGNORECASE)
GLOB = re.compile(r"[*?\[]")
ONE = "all"  # the sensor of files that lie in one directory


class Entry(NamedTuple):
    """One file: its address, its size in bytes, what tells its versions apart, and the sensor that made it."""

    url: str
    size: int
    version: str
    sensor: str

    @property
    def identity(self) -> tuple[str, int, str]:
        """What stays the same as long as the file does."""
        return self.url, self.size, self.version


def fsspec() -> ModuleType:
    """Return fsspec. Raises KacapError, naming the extra, where it is not installed."""
    try:
        import fsspec as found
    except ImportError as error:
        raise KacapError("fsspec is not installed: pip install 'kacap[cluster]'") from error
    library: ModuleType = found
    return library


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the filesystem of an address, and the path in it. Raises KacapError if no filesystem serves it."""
    try:
        fs, path = fsspec().core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise KacapError(f"{url}: no access to such an address: {error}") from error
    return fs, str(path)


def listed(urls: Sequence[str], sensor: str | None = None) -> list[Entry]:
    """Return the captures that addresses name: files, patterns, or directories with all that is below them.

    ``sensor`` is a regular expression: its first group (or all of it) in an address names the sensor; without one it is
    the directory, below what all addresses have in common. Raises UsageError, KacapError.
    """
    try:
        pattern = None if sensor is None else re.compile(sensor)
    except re.error as error:
        raise UsageError(f"--sensor {sensor}: not a regular expression: {error}") from None
    found: dict[str, tuple[int, str]] = {}
    for url in urls:
        more = _found(url)
        if not more:
            raise KacapError(f"{url}: no capture there; check the address")
        found |= more
    names = _sensors(sorted(found), pattern)
    return [Entry(url, *found[url], names[url]) for url in sorted(found)]


def _found(url: str) -> dict[str, tuple[int, str]]:
    """Return size and version of each file that one address names."""
    fs, path = filesystem(url)
    fs.invalidate_cache()  # what is new since the last run counts
    try:
        if GLOB.search(path):
            infos = fs.glob(path, detail=True)
        elif fs.isdir(path):
            infos = {name: info for name, info in fs.find(path, detail=True).items() if SUFFIX.search(name)}
        else:
            infos = {path: fs.info(path)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise KacapError(f"{url}: cannot be listed: {getattr(error, 'strerror', None) or error}") from error
    files = {name: info for name, info in infos.items() if info.get("type") == "file"}
    address = str if is_local(fs) else fs.unstrip_protocol
    return {address(name): (int(info["size"] or 0), _version(info)) for name, info in files.items()}


def _version(info: dict[str, object]) -> str:
    """Return what of a listing tells two versions of a file apart."""
    for name in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created"):
        if info.get(name) is not None:
            return str(info[name])
    return ""


def _sensors(urls: list[str], pattern: re.Pattern[str] | None) -> dict[str, str]:
    """Return the sensor of each file."""
    if pattern is not None:
        return {url: _matched(url, pattern) for url in urls}
    parts = {url: url.split("/")[:-1] for url in urls}
    common = 0
    while len({tuple(part[: common + 1]) for part in parts.values()}) == 1 and all(
        len(part) > common for part in parts.values()
    ):
        common += 1
    return {url: "/".join(part[common:]) or (part[-1] if len(urls) else ONE) or ONE for url, part in parts.items()}


def _matched(url: str, pattern: re.Pattern[str]) -> str:
    """Return the sensor that a pattern finds in an address. Raises UsageError where it finds none."""
    found = pattern.search(url)
    if found is None:
        raise UsageError(f"--sensor {pattern.pattern}: nothing of {url} matches; every file needs a sensor")
    return found[1] if pattern.groups and found[1] else found[0]


def safe(name: str) -> str:
    """Return a sensor's name as part of a path: what means something there is percent-encoded."""
    from urllib.parse import quote

    return quote(name, safe="") or ONE


def read_bytes(url: str) -> bytes | None:
    """Return what is at an address; None: nothing."""
    fs, path = filesystem(url)
    try:
        fs.invalidate_cache()
        return bytes(fs.cat_file(path))
    except FileNotFoundError:
        return None


def write_bytes(url: str, data: bytes) -> None:
    """Put bytes at an address, all of them or none: object stores do so, elsewhere the file is moved in its place."""
    fs, path = filesystem(url)
    try:
        if is_local(fs):
            fs.makedirs(fs._parent(path), exist_ok=True)
            beside = f"{path}.part"
            fs.pipe_file(beside, data)
            fs.mv(beside, path)
        else:
            fs.pipe_file(path, data)
    except OSError as error:
        raise KacapError(f"{url}: cannot be written: {error.strerror or error}") from error


def is_local(fs: AbstractFileSystem) -> bool:
    """Return whether files of a filesystem are on this machine."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def remove(url: str) -> None:
    """Remove what is at an address, if it is there."""
    fs, path = filesystem(url)
    if fs.exists(path):
        fs.rm(path)
