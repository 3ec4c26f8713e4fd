"""Sources of frames: the only package that reads captures and interfaces."""

from kacap.capture.frames import FRAME, FrameBatch
from kacap.capture.source import Captures, open_captures

__all__ = ["FRAME", "Captures", "FrameBatch", "open_captures"]
