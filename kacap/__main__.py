"""``python -m kacap`` is the command ``kacap``."""

import sys
from pathlib import Path

# Python looks for modules in the current directory first; what is imported later must not come from there.
if sys.path[0] == str(Path.cwd()) != str(Path(__file__).parents[1]):
    del sys.path[0]

from kacap.commands import program

if __name__ == "__main__":
    program()
