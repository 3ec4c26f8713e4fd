"""Pages and the manual page that are made from the program itself: commands, kinds, findings, records.

``python docs/generated.py`` writes docs/man/kacap.1, which the wheel installs.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import click

from kacap.classify.kinds import TABLE as KINDS
from kacap.commands import COMMANDS, main
from kacap.findings import TABLE as FINDINGS
from kacap.findings import WHOLE

HERE = Path(__file__).parent
MANUAL = HERE / "man" / "kacap.1"
WIDTH = 80

EXIT_CODES = (
    ("0", "done, whatever was found; for check: met"),
    ("1", "failed: a file is missing or damaged; for check: not met"),
    ("2", "usage: an unknown option, a filter that libpcap refuses, a command that cannot be started"),
    ("3", "check only: not enough evidence to say"),
    ("130", "interrupted"),
)
FILES = (("~/.cache/kacap", "kacap's kernels as machine code, compiled at the first use"),)
ENVIRONMENT = (
    ("KACAP_CACHE", "a directory for that machine code, in place of ~/.cache/kacap"),
    ("KACAP_DEBUG", "if set, an unexpected failure shows where it happened"),
    ("NO_COLOR", "if set, no colour"),
)


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command with its name and a context for it, subcommands behind their group."""
    top = click.Context(main, info_name="kacap")
    for name in COMMANDS:
        command = main.get_command(top, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=top)
        yield name, command, context
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                below = command.get_command(context, sub)
                assert below is not None
                yield f"{name} {sub}", below, click.Context(below, info_name=sub, parent=context)


def paragraphs(command: click.Command) -> Iterator[tuple[bool, str]]:
    """Yield the paragraphs of a command's help: whether it is verbatim, and its text."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        verbatim = block.startswith("\b")
        yield verbatim, block.removeprefix("\b\n") if verbatim else " ".join(block.split())


def options(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """Return the options of a command, and what each does."""
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    return [record for record in records if record is not None]


def usage(command: click.Command, context: click.Context) -> str:
    """Return how a command is called: ``kacap read [OPTIONS] FILE...``."""
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def manual() -> str:
    """Return the manual page of kacap, in roff (man(7))."""
    import kacap

    lines = [
        f'.TH KACAP 1 "" "kacap {kacap.__version__}" "User Commands"',
        ".SH NAME",
        "kacap \\- see every TCP keepalive probe, and how it ended",
        ".SH SYNOPSIS",
        *_pairs([("kacap COMMAND [OPTIONS] ...", ""), ("kacap FILE", "the same as kacap read FILE")]),
        ".SH DESCRIPTION",
        *_described(main),
        ".SH COMMANDS",
    ]
    for _, command, context in commands():
        lines += [f".SS {_roff(usage(command, context))}", *_described(command), *_pairs(options(command, context))]
    lines += [".SH EXIT STATUS", *_pairs(EXIT_CODES), ".SH FILES", *_pairs(FILES)]
    lines += [".SH ENVIRONMENT", *_pairs(ENVIRONMENT)]
    lines += [".SH SEE ALSO", ".BR tcp (7), tcpdump (8), pcap\\-filter (7), tshark (1), ss (8)"]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """Return a text that roff writes as it is."""
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"), flags=re.MULTILINE)


def _described(command: click.Command) -> Iterator[str]:
    """Yield a command's help in roff."""
    for verbatim, text in paragraphs(command):
        yield from (".nf", _roff(text), ".fi") if verbatim else (".PP", _roff(text))


def _pairs(pairs: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Yield terms with what they mean in roff."""
    for term, meaning in pairs:
        yield from (".TP", f".B {_roff(term)}", *([_roff(meaning)] if meaning else []))


def command_page(name: str) -> str:
    """Return the page about one command, with those below it."""
    lines = []
    for each, command, context in commands():
        if each != name and not each.startswith(f"{name} "):
            continue
        lines += [f"{'#' if each == name else '##'} kacap {each}", "", "```text", usage(command, context), "```", ""]
        for verbatim, text in paragraphs(command):
            lines += ["```text", text, "```", ""] if verbatim else [_plain(text), ""]
        if found := options(command, context):
            lines += ["| option | what it does |", "|---|---|"]
            lines += [f"| `{term.replace('|', chr(92) + '|')}` | {_plain(meaning)} |" for term, meaning in found]
            lines += [""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([*_<>\[\]|`$#])", r"\\\1", text)


def kinds_page() -> str:
    """Return the page about kinds of segments."""
    lines = [
        "# Kinds of segments",
        "",
        "What a segment from X to Y can be, by the rules that `kacap explain` names.",
        "",
    ]
    for kind, row in KINDS.items():
        lines += [f"## {kind.word}", "", f"{_plain(row.title)}.", "", f"- rule: {_plain(row.rule)}"]
        lines += [f"- source: {_plain(row.source)}", f"- mistaken for: {_plain(row.mistaken_for)}", ""]
    return "\n".join(lines)


def findings_page() -> str:
    """Return the table of findings."""
    lines = ["# Table of findings", "", "| id | when | what to do |", "|---|---|---|"]
    lines += [f"| `{row.id}` | {_plain(row.when)} | {_plain(row.remedy)} |" for row in (*FINDINGS, *WHOLE)]
    return "\n".join([*lines, ""])


def schema() -> dict[str, object]:
    """Return the JSON Schema of the records."""
    text = resources.files("kacap.report").joinpath("schema.json").read_text(encoding="utf-8")
    found: dict[str, object] = json.loads(text)
    return found


def records_page() -> str:
    """Return the page about the records of --json, from their schema."""
    parts = schema()["$defs"]
    assert isinstance(parts, dict)
    lines = ["# Fields of the records", ""]
    for name, part in parts.items():
        if "properties" not in part:
            continue
        lines += [
            f"## {name}",
            "",
            _plain(part.get("description", "")),
            "",
            "| field | type | what it is |",
            "|---|---|---|",
        ]
        for field, value in part["properties"].items():
            lines.append(f"| `{field}` | {_plain(_type(value))} | {_plain(value.get('description', ''))} |")
        lines.append("")
    return "\n".join(lines)


def _type(value: dict[str, object]) -> str:
    """Return what a field of a record holds, in a word or two."""
    if "const" in value:
        return json.dumps(value["const"])
    if "enum" in value:
        return " or ".join(map(json.dumps, value["enum"]))  # type: ignore[call-overload]
    if "$ref" in value:
        return str(value["$ref"]).rpartition("/")[2]
    kinds = value.get("type", "")
    if isinstance(kinds, list):
        return " or ".join(map(str, kinds))
    if "oneOf" in value or "anyOf" in value:
        either = value.get("oneOf", value.get("anyOf"))
        return " or ".join(_type(each) for each in either)  # type: ignore[attr-defined]
    return str(kinds)


def pages() -> dict[str, str]:
    """Return every page by its name below docs/generated/."""
    found = {f"command-{name}.md": command_page(name) for name in COMMANDS}
    return found | {"kinds.md": kinds_page(), "findings.md": findings_page(), "records.md": records_page()}


def write_pages(directory: Path) -> None:
    """Write the pages that have changed."""
    directory.mkdir(exist_ok=True)
    for name, text in pages().items():
        target = directory / name
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    MANUAL.write_text(manual(), encoding="utf-8")
