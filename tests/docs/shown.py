"""The commands that the README and the pages of docs/ show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {"generated", "notebooks", "_build"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Run:
    """A command that is shown with its output; ``...`` in the output stands for anything."""

    page: str
    command: str
    shown: str

    @property
    def pattern(self) -> str:
        """A regular expression for the output."""
        return ".*?".join(re.escape(part) for part in re.split(r"\.\.\.", self.shown)) + r"\s*"


def pages() -> list[Path]:
    """The README and every page that somebody wrote."""
    below = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(p for p in below if not GENERATED & set(p.parts))]


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    """Yield the fenced blocks of one language, with the page they stand on."""
    for page in pages():
        for found, text in _FENCE.findall(page.read_text(encoding="utf-8")):
            if found == language:
                yield page, text


def runs() -> list[list[Run]]:
    """The console blocks, each a list of commands in order."""
    found = []
    for page, text in blocks("console"):
        parts = re.split(r"^\$ ", text, flags=re.M)[1:]
        name = page.relative_to(ROOT).as_posix()
        found.append([Run(name, command, shown) for command, _, shown in (part.partition("\n") for part in parts)])
    return found


def mentioned() -> Iterator[tuple[str, list[str]]]:
    """Yield every call of kacap in shell blocks and in tables: the page, and its words."""
    for page, text in blocks("sh"):
        yield from _calls(page, text)
    for page in pages():
        for text in re.findall(r"`((?:sudo )?kacap [^`]+)`", page.read_text(encoding="utf-8")):
            yield from _calls(page, text)


def _calls(page: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the calls of kacap in some shell lines."""
    for line in text.replace("\\|", "|").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
        lexer.whitespace_split = True
        part: list[str] = []
        for token in [*lexer, "|"]:
            if token[0] not in "|&;>":
                part.append(token)
                continue
            at = next((i for i, word in enumerate(part) if word.split("/")[-1] == "kacap"), 2)
            if at <= 1:
                yield page.relative_to(ROOT).as_posix(), part[at + 1 :]
            part = []
