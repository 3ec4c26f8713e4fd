"""Sources of frames: the only package that reads captures and interfaces.

Its names are loaded when they are asked for: what needs no kernel (the rights, the interfaces) starts without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kacap.capture.frames import FRAME, FrameBatch
    from kacap.capture.source import Captures, open_captures

__all__ = ["FRAME", "Captures", "FrameBatch", "open_captures"]

_HOMES = {"FRAME": "frames", "FrameBatch": "frames", "Captures": "source", "open_captures": "source"}


def __getattr__(name: str) -> object:
    """Import a public name of the package when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kacap.capture' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"kacap.capture.{_HOMES[name]}"), name)
