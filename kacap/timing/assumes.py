"""What a setting's candidates may take for granted: bits for kernels, words for records, sentences for people."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from functools import cache


class Assumes(IntFlag):
    """What a setting's candidates take for granted, as bits."""

    ENABLED_AT_CONNECT = 1
    INTERVAL_LE_IDLE = 2
    NO_FRAME_MISSING = 4
    LINUX_TIMER = 8
    NO_USER_TIMEOUT = 16
    NO_FRAME_DELAYED = 32
    FINE_TIMER = 64
    STEADY_TIMER = 128
    NEAR_PROBER = 256


WORDS = {
    Assumes.ENABLED_AT_CONNECT: "enabled-at-connect",
    Assumes.INTERVAL_LE_IDLE: "interval<=idle",
    Assumes.NO_FRAME_MISSING: "no-frame-missing",
    Assumes.LINUX_TIMER: "linux-timer",
    Assumes.NO_USER_TIMEOUT: "no-user-timeout",
    Assumes.NO_FRAME_DELAYED: "no-frame-delayed",
    Assumes.FINE_TIMER: "fine-timer",
    Assumes.STEADY_TIMER: "steady-timer",
    Assumes.NEAR_PROBER: "near-prober",
}
_SENTENCES = {
    "enabled-at-connect": "keepalive was enabled at connect",
    "interval<=idle": "interval <= idle (not observable while probes are answered)",
    "no-frame-missing": "no frame is missing from the capture",
    "linux-timer": "the kernel HZ that other connections of this host show",
    "no-user-timeout": "no TCP_USER_TIMEOUT",
    "fine-timer": "timer and capture clock are finer than a second",
    "steady-timer": "the timer is as exact as those of known systems",
    "near-prober": "the capture point is at most 0.1 s (round trip) from the prober",
    "no-frame-delayed": "no frame was delayed before it was captured (timestamps and capture times differ)",
}


@cache
def _words(assumes: int) -> tuple[str, ...]:
    """Return what ``words_of`` does, of each sum once."""
    return tuple(word for bit, word in WORDS.items() if assumes & bit)


def words_of(assumes: int) -> list[str]:
    """Return the words for what is assumed, in order of ``Assumes``."""
    return list(_words(assumes))


def sentence_of(words: Iterable[str]) -> str:
    """Return ``assumes keepalive was enabled at connect and no frame is missing ...``; nothing for no words."""
    sentences = [_SENTENCES.get(word, word) for word in words]
    said = " and ".join(filter(None, (", ".join(sentences[:-1]), *sentences[-1:])))
    return f"assumes {said}" if said else ""
