"""Which of tshark's labels say the same as a kind of kacap's, and which say nothing that kacap contradicts."""

from __future__ import annotations

from kacap.classify.kinds import Kind

_AGAIN = frozenset({"retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order"})
# What these say of a segment (the window it tells, what is missing around it) says nothing of its role.
_NO_ROLE = frozenset({"zero_window", "window_full", "lost_segment", "ack_lost_segment", "reused_ports"})

# By kind: the labels that agree with it; "" means no label, or only labels that name no role.
AGREE: dict[str, frozenset[str]] = {
    Kind.PROBE.word: frozenset({"keep_alive"}),
    Kind.REPLY.word: frozenset({"keep_alive_ack"}),
    Kind.WINDOW_PROBE.word: frozenset({"zero_window_probe"}),
    Kind.RETRANSMISSION.word: _AGAIN,
    Kind.DUPLICATE_FRAME.word: frozenset({""}),
    Kind.ACK.word: frozenset({"", "duplicate_ack", "window_update", "zero_window_probe_ack"}),
    Kind.DATA.word: frozenset({"", "out_of_order"}),
    Kind.SYN.word: _AGAIN | {""},
    Kind.FIN.word: _AGAIN | {""},
    Kind.RST.word: _AGAIN | {""},
    Kind.RESET.word: frozenset({""}),  # tshark shows the bare RST and relates it to nothing
    Kind.ABORT.word: frozenset({""}),
}


def role(labels: tuple[str, ...]) -> str:
    """Return the label that names a segment's role, the most telling one; empty where none does."""
    return next((label for label in labels if label not in _NO_ROLE), "")


def alike(kind: str, labels: tuple[str, ...]) -> bool:
    """Return whether tshark's labels agree with a kind (one of ``AGREE``)."""
    return role(labels) in AGREE[kind]
