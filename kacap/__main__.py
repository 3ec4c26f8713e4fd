"""``python -m kacap`` is the command ``kacap``."""

from kacap.commands import main

if __name__ == "__main__":
    main(prog_name="kacap")
