"""The environment: what kacap asks of libraries there, and what programs get that the user names."""

import os

# numpy would start threads for matrices, of which kacap has none: they take time, and keep rights that it gives up.
_OWN = {"OPENBLAS_NUM_THREADS": "1"}
_before: dict[str, str | None] = {}


def settle() -> None:
    """Ask libraries for what kacap wants of them: before any is imported, and only where kacap is the process."""
    for name, value in _OWN.items():
        _before.setdefault(name, os.environ.get(name))
        os.environ[name] = value


def of_user() -> dict[str, str]:
    """Return the environment as the user set it."""
    own = {name: value for name, value in os.environ.items() if name not in _before}
    return own | {name: value for name, value in _before.items() if value is not None}
