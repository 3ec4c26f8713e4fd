"""What is known of a Linux socket's keepalive timer: its firings, as far as a capture shows them.

net/ipv4/tcp_timer.c ``tcp_keepalive_timer``: the timer is not touched by traffic. When it fires and the socket has
heard something less than idle ago, it is armed for the remainder; otherwise a probe is sent and it is armed for the
interval. What is heard in between only shows at the next firing. ``simulate`` tries settings on a history of these.
"""

from __future__ import annotations

from dataclasses import dataclass

SLACK_NS = 60_000_000  # a retry for a locked socket (50 ms), and how late a handler runs


@dataclass(frozen=True, slots=True)
class Step:
    """One firing that the capture shows: a probe, or the abort after the last.

    ``heards_ns`` are the moments at which the prober heard something since the step before (None: too many to
    know); ``since_ns`` is the last of them, or of what it had heard before (None: before the capture's view).
    """

    time_ns: int
    heards_ns: tuple[int, ...] | None
    since_ns: int | None
    before_ns: int | None  # the firing before; None: this is the first

    @property
    def answered(self) -> bool:
        """Whether the prober heard anything between the step before and this one."""
        return self.heards_ns is None or bool(self.heards_ns)
