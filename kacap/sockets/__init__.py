"""Live sockets: keepalive applied and read back on each operating system."""

from kacap.sockets.keepalive import Keepalive

__all__ = ["Keepalive"]
