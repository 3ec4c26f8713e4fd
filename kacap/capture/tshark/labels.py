"""What tshark says of each segment: its ``tcp.analysis.*``, as anybody who opens the file in Wireshark sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kacap.capture.tshark.program import Running
from kacap.errors import CaptureError

# In order: a frame with several labels is called by the first.
LABELS = (
    "zero_window_probe", "keep_alive", "keep_alive_ack", "zero_window_probe_ack", "fast_retransmission",
    "spurious_retransmission", "out_of_order", "retransmission", "duplicate_ack", "window_update", "zero_window",
    "window_full", "lost_segment", "ack_lost_segment", "reused_ports",
)  # fmt: skip
_NUMBERS = ("frame.number", "tcp.seq")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A frame with labels, most telling first; ``seq`` is the raw sequence number, None where there are several."""

    frame: int
    labels: tuple[str, ...]
    seq: int | None


def labelled(name: str) -> Iterator[Labelled]:
    """Yield the labelled frames of the file called ``name``, in order. Raises NoTsharkError, CaptureError.

    Where the file is damaged, those before the damage.
    """
    fields = [*_NUMBERS, *(f"tcp.analysis.{label}" for label in LABELS)]
    words = ["-n", "-Q", "-r", name, "-Y", "tcp.analysis.flags", "-T", "fields", "-E", "separator=/t"]
    words += ["-o", "tcp.analyze_sequence_numbers:TRUE", "-o", "tcp.relative_sequence_numbers:FALSE"]
    running = Running([*words, *(word for field in fields for word in ("-e", field))])
    labelled = False
    try:
        for line in running.stdout:
            labelled = True
            yield _labelled(line.decode(errors="replace").rstrip("\n").split("\t"))
        if not labelled and (said := running.failure()):
            raise CaptureError(f"{name}: tshark: {said}")
    finally:
        running.close()


def _labelled(words: list[str]) -> Labelled:
    """Read one line."""
    number, seq, *flags = words
    labels = tuple(label for label, flag in zip(LABELS, flags, strict=True) if flag)
    return Labelled(int(number), labels, int(seq) if seq.isdecimal() else None)
