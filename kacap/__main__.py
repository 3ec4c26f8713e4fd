"""The process ``kacap``, also as ``python -m kacap``: what interrupts it is told in one line from its beginning on."""

import os
import sys

# Python looks for modules in the current directory first; what is imported later (pathlib too) must not be from there.
if sys.path[0] == os.getcwd() != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):  # noqa: PTH100, PTH109, PTH120
    del sys.path[0]

from kacap import interrupts


def program() -> None:
    """Be the process: importing what runs it takes longer than many an impatient user waits."""
    interrupts.install()
    from kacap.commands import program as run

    run()  # and never returns


if __name__ == "__main__":
    program()
