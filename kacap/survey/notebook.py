"""What of a sensor is done: its chunks in order, each with its files, what it wrote and its checkpoint, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import kacap
from kacap.survey.places import Entry, read_bytes, remove, safe, write_bytes
from kacap.survey.summary import Part, part_of

VERSION = 2
Noted = TypeVar("Noted")


@dataclass(slots=True)
class Chunk:
    """Files of a sensor in order, each with the time of its first frame."""

    files: list[tuple[Entry, int]]
    parts: list[str] = field(default_factory=list)  # what it wrote, below the results
    checkpoint: str = ""  # below the results
    last_ns: int | None = None
    ended: bool = False  # nothing was known to follow: all its segments were taken

    @property
    def first_ns(self) -> int:
        """The time of its first frame."""
        return self.files[0][1]


@dataclass(slots=True)
class Notebook:
    """All that is remembered of one sensor."""

    sensor: str
    chunks: list[Chunk] = field(default_factory=list)
    others: list[tuple[Entry, str]] = field(default_factory=list)  # files without frames, and why they cannot be read
    last_parts: list[str] = field(default_factory=list)
    summary: Part | None = None  # None: what the chunks hold has not been summed up

    @property
    def path(self) -> str:
        """Where it is kept, below the results."""
        return f"notebooks/{safe(self.sensor)}.json"

    def known(self) -> dict[tuple[str, int, str], int | None]:
        """Return the time of the first frame of every file that was looked at, by its identity."""
        found: dict[tuple[str, int, str], int | None] = {
            entry.identity: first_ns for chunk in self.chunks for entry, first_ns in chunk.files
        }
        return found | {entry.identity: None for entry, failure in self.others if not failure}

    def keep(self, results: str) -> None:
        """Write it, whole or not at all."""
        whole = {"version": VERSION, "kacap": kacap.__version__, **asdict(self)}
        write_bytes(f"{results}/{self.path}", json.dumps(whole, indent=1).encode())

    def cut(self, chunks: int, results: str) -> None:
        """Forget all chunks but the first ones, and remove what the others wrote."""
        gone = self.chunks[chunks:]
        self.chunks = self.chunks[:chunks]
        self.summary = None
        self.keep(results)
        for chunk in gone:
            for name in [*chunk.parts, chunk.checkpoint]:
                if name:
                    remove(f"{results}/{name}")

    def rely_on(self, wanted: list[tuple[Entry, int]], results: str) -> list[tuple[Entry, int]]:
        """Keep the chunks that hold just the first of the files wanted, in order; return the files after them."""
        whole, at = 0, 0
        for chunk in self.chunks:
            own = [(entry.identity, first_ns) for entry, first_ns in chunk.files]
            here = [(entry.identity, first_ns) for entry, first_ns in wanted[at : at + len(own)]]
            if own != here:
                break
            following = wanted[at + len(own) : at + len(own) + 1]
            if following and chunk.ended and chunk.last_ns is not None and following[0][1] < chunk.last_ns:
                break  # what follows begins before it ends: their frames go between each other
            whole, at = whole + 1, at + len(own)
        while whole and not self._is_there(whole, results):
            at -= len(self.chunks[whole - 1].files)
            whole -= 1
        if whole < len(self.chunks):
            self.cut(whole, results)
        return wanted[at:]

    def _is_there(self, chunks: int, results: str) -> bool:
        """Return whether the checkpoint after so many chunks is there; older ones are removed as the work goes on."""
        from kacap.survey.places import filesystem

        checkpoint = self.chunks[chunks - 1].checkpoint
        fs, path = filesystem(f"{results}/{checkpoint}")
        return bool(checkpoint and fs.exists(path))


def opened(sensor: str, results: str) -> Notebook:
    """Return the notebook of a sensor; an empty one if it is missing or of another version."""
    empty = Notebook(sensor)
    data = read_bytes(f"{results}/{empty.path}")
    try:
        whole = json.loads(data) if data is not None else {}
        if whole.pop("version", None) != VERSION or whole.pop("kacap", None) != kacap.__version__:
            return empty
        chunks = [Chunk(**{**each, "files": _rows(each["files"])}) for each in whole["chunks"]]
        summary = part_of(whole["summary"]) if whole["summary"] else None
        return Notebook(**{**whole, "summary": summary, "chunks": chunks, "others": _rows(whole["others"])})
    except (ValueError, TypeError, KeyError):
        return empty


def _rows(rows: list[tuple[list[str | int], Noted]]) -> list[tuple[Entry, Noted]]:
    """Return files as JSON has them, each with what was noted of it."""
    return [(Entry._make(entry), noted) for entry, noted in rows]
