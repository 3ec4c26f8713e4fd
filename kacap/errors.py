"""What can go wrong, where, and the exit code that says so.

Every error that a user can meet is a ``KacapError``: one line that names the thing, the place and the next step.
Exit codes: 0 done, 1 failed, 2 usage; ``check`` adds 3, not enough evidence; 130 interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_EVIDENCE = 3
EXIT_INTERRUPTED = 130  # as a shell says it of SIGINT


class KacapError(Exception):
    """A failure that one line explains; ``exit_code`` is what the command returns.

    >>> import kacap
    >>> try:
    ...     kacap.read("missing.pcap")
    ... except kacap.KacapError as error:
    ...     print(error, error.exit_code)
    missing.pcap: no such file; check the path 1
    """

    exit_code = EXIT_FAILED


class UsageError(KacapError):
    """The request itself is off: an unknown name, a value out of range, a contradiction."""

    exit_code = EXIT_USAGE


class CaptureError(KacapError):
    """A source cannot be opened or read at all (missing file, no permission, not a capture)."""


class FilterError(UsageError):
    """A BPF expression that libpcap refuses, or that cannot be compiled here."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Where a capture stops making sense: what precedes it is still analysed and reported.

    ``offset`` is the byte offset in the (decompressed) file where the damaged record begins, ``frame`` the
    number of the last whole frame before it (0: none).
    """

    file: str
    offset: int
    frame: int
    what: str

    def __str__(self) -> str:
        """Return the one line that users read: file, byte, what, and what was still read."""
        return f"{self.file}: damaged at byte {self.offset:,} after frame {self.frame:,}: {self.what}"
