"""What the README and docs/ show is what the program says; what they mention exists."""

import re
import shlex
import subprocess

import click
import pytest
import shown
from forked import run

from kacap.commands import COMMANDS, main

PLACEHOLDERS = {"COMMAND", "FILE", "..."}


@pytest.fixture
def directory(tmp_path):
    """A directory of its own, with the captures where the pages name them."""
    for name in ("captures", "kacap", "tests", "docs"):
        (tmp_path / name).symlink_to(shown.ROOT / name)
    return tmp_path


def output_of(command: str, directory) -> str:
    """The output of a shown command, which is kacap, perhaps into head."""
    first, _, rest = command.partition(" | ")
    words = shlex.split(first, comments=True)
    assert words[0] == "kacap", command
    done = run(*words[1:], cwd=directory)
    if not rest:
        return done.stdout
    tail = shlex.split(rest)
    assert tail[0] in ("head", "grep", "wc"), command
    return subprocess.run(tail, input=done.stdout, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("block", shown.runs(), ids=lambda block: f"{block[0].page}: {block[0].command[:50]}")
def test_every_command_that_is_shown_with_its_output_says_that(block, directory):
    for one in block:
        said = output_of(one.command, directory)
        assert re.fullmatch(one.pattern, said, re.S), f"{one.page} shows something else for {one.command}:\n{said}"


@pytest.mark.parametrize(
    ("page", "words"), list(shown.mentioned()), ids=lambda part: part if isinstance(part, str) else " ".join(part)
)
def test_every_command_and_option_that_is_mentioned_exists(page, words):
    if not words or words[0] in PLACEHOLDERS or words[0].startswith("-"):
        return
    if words[0] not in COMMANDS:
        assert re.search(r"\.(pcap|pcapng)", words[0]), f"{page}: kacap {' '.join(words)}"
        words = ["read", *words]
    command = main.get_command(click.Context(main), words[0])
    try:
        command.make_context(words[0], words[1:], resilient_parsing=True)
    except click.UsageError as error:
        pytest.fail(f"{page}: kacap {' '.join(words)}: {error.format_message()}")


def test_the_readme_is_one_page():
    lines = (shown.ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 100
    assert sum("? | `kacap " in line for line in lines) == 10


def test_every_file_that_the_pages_name_is_there():
    for page in shown.pages():
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r'(?:src|srcset)="([^"]+)"|\]\(((?!http|#)[^)#]+)', text):
            name = target[0] or target[1]
            if "generated/" not in name and "notebooks/index" not in name:
                assert (page.parent / name).exists(), f"{page}: {name}"
