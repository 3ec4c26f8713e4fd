"""BPF expressions on frames: compiled by libpcap, run by a kernel."""
from __future__ import annotations

from typing import Any


class Filter:
    def __init__(self, expression: str):
        raise NotImplementedError

    def matches(self, batch: Any) -> Any:
        raise NotImplementedError
