"""What the README shows is what the program says."""

import re
import shlex
import subprocess
import sys

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


def test_every_command_in_the_readmes_blocks_exists(captures):
    text = (captures.parent / "README.md").read_text()
    used = set(re.findall(r"^(?:\$ )?kacap ([a-z]+)", text, re.M))
    assert {"read", "explain"} <= used <= set(COMMANDS)
