"""The words and options that say what is read: the same in every command that reads captures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

from kacap.commands.sources import sources
from kacap.commands.telling import tell
from kacap.errors import EXIT_DONE, EXIT_FAILED, Damage

if TYPE_CHECKING:
    from kacap.capture.tshark.engine import Engine

Command = TypeVar("Command", bound=Callable[..., int])
Options = TypeVar("Options")


class FileName(StringParamType):
    """A file's name, or a word that may be one: a shell completes it from the files that there are."""

    name = "file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Let the shell offer files."""
        return [CompletionItem(incomplete, type="file")]


FILE = FileName()


def words(metavar: str) -> Callable[[Command], Command]:
    """Give a command the words that name files, and a filter behind them where it takes one."""
    return click.argument("words", nargs=-1, type=FILE, metavar=metavar)


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return one decorator that gives a command several options, in their order."""

    def give(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return give


# These words and options; ``Reading`` holds what a command gets of them.
reading = together(
    words("FILE... [BPF EXPRESSION]"),
    click.option("-r", "named", multiple=True, type=FILE, metavar="FILE", help="Read FILE; the same as naming it."),
    click.option("-F", "filter_file", type=FILE, metavar="FILE", help="Read the filter expression from FILE."),
    click.option(
        "--engine",
        type=click.Choice(["auto", "kacap", "tshark"]),
        default="auto",
        show_default=True,
        help="Who decodes; auto: kacap, and tshark what kacap cannot.",
    ),
)


def options_of(made: Callable[..., Options], given: dict[str, object]) -> Options:
    """Return the options of a command as its dataclass has them; click has seen to it that each is of its type."""
    return made(**given)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a command reads, as it was written on the command line."""

    words: tuple[str, ...]
    named: tuple[str, ...]
    filter_file: str | None
    engine: Engine

    def sources(self) -> tuple[list[str], str | None]:
        """Return the files, patterns expanded, and the filter. Raises UsageError and CaptureError."""
        from kacap.capture.source import expand

        files, expression = sources(self.words, self.named, self.filter_file)
        return expand(files), expression


def ended(damages: list[Damage]) -> int:
    """Say on stderr where a capture was damaged, and return the exit code."""
    for damage in damages:
        tell(f"kacap: {damage}")
    return EXIT_FAILED if damages else EXIT_DONE
