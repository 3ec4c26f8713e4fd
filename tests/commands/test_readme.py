"""What the README shows is what the program says."""

import re
import shlex
import subprocess
import sys

import pytest

from kacap.commands import COMMANDS


def samples(root) -> list[tuple[str, str]]:
    """Return the README's sample runs: the command after ``$``, and the output below it."""
    blocks = re.findall(r"^```\n\$ (kacap [^\n]+)\n(.*?)^```$", (root / "README.md").read_text(), re.M | re.S)
    assert blocks
    return blocks


def test_sample_output_is_what_the_program_prints(captures):
    root = captures.parent
    for command, shown in samples(root):
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
        assert done.stdout == shown, f"the README shows something else for: {command}"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_exist(captures, command):
    used = re.findall(r"\bkacap ([a-z]+) ", (captures.parent / "README.md").read_text())
    assert command in used or command == "lab"
    assert set(used) <= {*COMMANDS, "says"}
