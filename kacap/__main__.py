"""``python -m kacap`` is the command ``kacap``."""

from kacap.commands import program

if __name__ == "__main__":
    program()
