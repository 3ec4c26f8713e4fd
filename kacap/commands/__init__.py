"""Commands: parse, call, render; one thin file each, loaded only when it is asked for.

``main`` is the program: it turns every failure into one line on stderr and an exit code (0 done, 1 failed, 2 usage,
130 interrupted).
"""

from __future__ import annotations

import errno
import gc
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import click
from click.shell_completion import CompletionItem, shell_complete

from kacap import environment, interrupts
from kacap.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, KacapError

COLLECT_AFTER = 1_000_000  # new objects; the interpreter's own 700 cost a third of the time
SWITCH_S = 50e-6  # how long a kernel that returns waits for the interpreter; its own 5 ms starve the pipeline
FULL_OR_BROKEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # what becomes of a disk

COMPLETION_ASKED = "_KACAP_COMPLETE"  # a shell runs the program with this set, and click answers

# name: (module:attribute, one line of help). The help of a command itself is its docstring.
COMMANDS = {
    "live": ("kacap.commands.live:live", "Show keepalives on an interface as they happen."),
    "read": ("kacap.commands.read:read", "Show every keepalive probe in capture files, and how it ended."),
    "chart": ("kacap.commands.chart:chart", "Draw a capture, with what is configured in the same picture."),
    "check": ("kacap.commands.check:check", "Check that a capture shows the keepalive that was configured."),
    "compare": ("kacap.commands.compare:compare", "Compare with Wireshark's labels; or two captures, probe by probe."),
    "explain": ("kacap.commands.explain:explain", "Say what one frame is, why, and what it could be mistaken for."),
    "sockets": ("kacap.commands.sockets:sockets", "Show what live sockets are set to, and who set it."),
    "plan": ("kacap.commands.plan:plan", "Choose settings that hold, and write them in each product's words."),
    "report": ("kacap.commands.report:report", "Write one HTML page: verdicts, findings, charts, connections."),
    "survey": ("kacap.commands.survey:survey", "Survey collections of captures, on this machine or a cluster."),
    "annotate": ("kacap.commands.annotate:annotate", "Write a capture again, its frames of evidence commented."),
    "doctor": ("kacap.commands.doctor:doctor", "Say what works on this machine, what does not, and what fixes it."),
    "lab": ("kacap.commands.lab:lab", "Make real keepalive traffic on demand, and record it."),
    "completion": ("kacap.commands.completion:completion", "Print the completion script for bash, zsh or fish."),
}


class Program(click.Group):
    """A group that knows its commands by name and loads only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names, and the words for it; a capture's name is read."""
        if args and args[0] not in COMMANDS:
            from kacap.commands.sources import files_named

            if files_named(args[0]):
                return "read", self.get_command(ctx, "read"), args
            if not args[0].startswith("-") and ("." in args[0] or os.sep in args[0]):
                raise KacapError(f"{args[0]}: no such file, and no command of kacap's (kacap --help lists them)")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands, and files: a capture's name alone is read."""
        found = super().shell_complete(ctx, incomplete)
        return found if incomplete.startswith("-") else [*found, CompletionItem(incomplete, type="file")]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without loading any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> int | None:
        """Run the command; a reader of its output who goes away is not a failure (click would exit 1)."""
        try:
            code: int | None = super().invoke(ctx)
        except BrokenPipeError:
            _forget_stdout()
            return EXIT_DONE
        _is_written()
        return code

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: object) -> NoReturn:  # type: ignore[override]
        """Run the program and exit; never returns. Click's own would write an empty line when interrupted."""
        sys.exit(_run(lambda: self._called(args, prog_name or "kacap", **extra)))

    def _called(self, args: Sequence[str] | None, name: str, **extra: object) -> int | None:
        """Read the command line and run its command, or complete it; return the exit code."""
        if asked_for := os.environ.get(COMPLETION_ASKED):
            return shell_complete(self, extra, name, COMPLETION_ASKED, asked_for)
        try:
            with self.make_context(name, list(sys.argv[1:] if args is None else args), None, **extra) as ctx:
                return self.invoke(ctx)
        except click.exceptions.Exit as asked:
            return asked.exit_code


def _run(program: Callable[[], int | None]) -> int:
    """Call ``program`` and return the exit code; every failure becomes one line on stderr."""
    try:
        code = program()
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", EXIT_INTERRUPTED)
    except KacapError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return EXIT_USAGE
    except click.UsageError as error:
        hint = f" (try: {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message() + hint, EXIT_USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), EXIT_FAILED)
    except OSError as error:
        if error.errno not in FULL_OR_BROKEN:
            return _unexpected(error)
        return _fail(f"cannot be written: {error.strerror}", EXIT_FAILED)
    except Exception as error:
        return _unexpected(error)
    return code if isinstance(code, int) else EXIT_DONE


def _unexpected(error: Exception) -> int:
    """Tell of a failure that is kacap's own, in one line, with a traceback on request; of an interrupt, if one came."""
    if interrupts.was_asked():
        return _fail("interrupted", EXIT_INTERRUPTED)
    if os.environ.get("KACAP_DEBUG"):
        raise error
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return _fail(f"unexpected {what} (KACAP_DEBUG=1 shows where; please report it)", EXIT_FAILED)


def _fail(message: str, code: int) -> int:
    """Write one line on stderr, without control characters, and return ``code``."""
    from kacap.commands.telling import tell

    tell(f"kacap: {message}")
    return code


def _is_written() -> bool:
    """Hand on what stdout still holds; return whether somebody reads it. Raises KacapError where the disk is full."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        return False
    except OSError as error:
        _forget_stdout()
        raise KacapError(f"standard output: cannot be written: {error.strerror}") from None
    return True


def _write_wholly() -> None:
    """Give standard output a buffer where it has none (PYTHONUNBUFFERED), handed on at the end of each line.

    A write(2) that a full disk or a signal cuts short is taken up again by a buffer alone: Python would lose the rest.
    """
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and isinstance(out.buffer, io.RawIOBase):
        encoding, errors = out.encoding, out.errors
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(out.detach()), encoding, errors, line_buffering=True)


def _forget_stdout() -> None:
    """Let the interpreter exit quietly although nobody reads its output any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print kacap's version and those of the parts that matter to it."""
    if wanted and not ctx.resilient_parsing:
        from kacap.commands.version import lines

        click.echo("\n".join(lines()))
        ctx.exit()


def program() -> NoReturn:
    """Be the process ``kacap``, whose interrupts are heard: set it up, run ``main``, and end."""
    environment.settle()
    from kacap.commands.compiling import announce_compilation

    gc.set_threshold(COLLECT_AFTER, 50, 100)  # an analysis makes many objects and hardly a cycle
    sys.setswitchinterval(SWITCH_S)
    announce_compilation()
    _write_wholly()
    try:
        main(prog_name="kacap")
    finally:
        interrupts.let_go()
        with suppress(KacapError):  # told by now
            _is_written()
        gc.freeze()  # at its end the interpreter looks for cycles in all that is left, which takes longer than the rest
    raise AssertionError("main never returns")


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version, and the parts found on this machine.",
)
def main() -> None:
    """See every TCP keepalive probe, who sent it, whether it was answered, and how it ended.

    With the name of a capture in place of a command, kacap reads it: kacap incident.pcap.
    """
