"""Connections that are over, as far as they are reported one by one; a long watch forgets the oldest of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kacap.facts.ended import ENDED
from kacap.findings.observations import Observed
from kacap.rows import Rows, newest


@dataclass(slots=True)
class Past:
    """CONNECTION rows, their rows of ENDED, and what findings may rest on: CONNECTION rows with their OBSERVED rows."""

    rows: list[Rows] = field(default_factory=list)
    ends: list[Rows] = field(default_factory=list)
    looked_at: list[tuple[Rows, Observed]] = field(default_factory=list)
    held: int = 0
    forgotten: int = 0

    def take(self, rows: Rows, ends: Rows) -> None:
        """Take connections that have closed."""
        if len(rows):
            self.rows.append(rows)
            self.ends.append(ends)
            self.held += len(rows)

    def joined(self, none: Rows) -> tuple[Rows, Rows]:
        """Return all of them; ``none`` are no rows of CONNECTION."""
        if len(self.rows) == 1:
            return self.rows[0], self.ends[0]
        return np.concatenate([none, *self.rows]), np.concatenate([np.zeros(0, ENDED), *self.ends])

    def forget(self, most: int) -> None:
        """Keep the newest ``most``, once there are twice as many."""
        if self.held >= 2 * most:
            self.forgotten += self.held - most
            self.rows, self.ends, self.held = newest(self.rows, most), newest(self.ends, most), most
        number = sum(len(rows) for rows, _ in self.looked_at)
        while number >= 2 * most and len(self.looked_at) > 1:
            number -= len(self.looked_at.pop(0)[0])
