"""The right to capture: whether this process has it, and what to say where it has not."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from kacap.errors import CaptureError

SNAPLEN = 128  # every header, no payload
CAPABILITIES = {  # capabilities(7): name and number
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SETPCAP": 8,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}
RUN_AS_ROOT = "sudo $(command -v kacap) live ..."
RUN_WITH_RIGHT = (
    "sudo setpriv --reuid=$(id -u) --regid=$(id -g) --init-groups --inh-caps=+net_raw --ambient-caps=+net_raw "
    "$(command -v kacap) live ... (a systemd unit: AmbientCapabilities=CAP_NET_RAW)"
)


class CannotCaptureError(CaptureError):
    """An engine cannot open an interface; ``why`` says of what kind the obstacle is."""

    def __init__(self, message: str, why: str = "failed"):
        """Keep ``why``: ``rights``, ``interface`` (no such one, or down), ``missing`` (a part), ``failed``."""
        super().__init__(message)
        self.why = why


def no_rights(interface: str, filter: str | None) -> CannotCaptureError:
    """Return the error of a process that may not capture: the interface, the right, and three ways to get it."""
    right = "CAP_NET_RAW" if sys.platform.startswith("linux") else "read access to /dev/bpf*"
    ways = [RUN_AS_ROOT, piped(interface, filter)]
    if sys.platform.startswith("linux"):
        ways.insert(1, RUN_WITH_RIGHT)
    return CannotCaptureError(
        f"{interface}: no permission to capture (needs {right}). Try: {'; or: '.join(ways)}", "rights"
    )


def piped(interface: str, filter: str | None = None) -> str:
    """Return the command that lets tcpdump capture and kacap read."""
    words = shlex.quote(filter) if filter else ""
    return f"sudo tcpdump -U -s {SNAPLEN} -i {shlex.quote(interface)} -w - {words}".rstrip() + " | kacap live -r -"


def effective() -> int:
    """Return this process's effective capabilities as a bit mask, 0 where the system has none."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)


def has(name: str) -> bool:
    """Return whether this process has the capability called ``name`` in effect."""
    return bool(effective() >> CAPABILITIES[name] & 1)
