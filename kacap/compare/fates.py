"""What can become of a probe on its way between two sites: one table."""

from __future__ import annotations

from enum import StrEnum


class Fate(StrEnum):
    """What became of one probe. ``near`` is the site on the prober's side, ``far`` the one on the peer's."""

    ANSWERED = "answered"
    NOT_END_TO_END = "not-end-to-end"
    REPLY_LOST = "reply-lost"
    PROBE_LOST = "probe-lost"
    PEER_SILENT = "peer-silent"
    RESET = "reset"
    RESET_BETWEEN = "reset-between"
    FORGED_PROBE = "probe-from-between"


SENTENCES = {
    Fate.ANSWERED: "answered by the far end: the answer passed {far} and then {near}",
    Fate.NOT_END_TO_END: "NOT END TO END: an answer came to {near} that never passed {far}; a box between the two "
    "sites gave it",
    Fate.REPLY_LOST: "arrived and answered: the answer passed {far} and was lost on its way to {near}",
    Fate.PROBE_LOST: "lost between {near} and {far}: it never came to {far}",
    Fate.PEER_SILENT: "arrived at {far}, where nothing answered: the peer, or what lies behind {far}, swallowed it",
    Fate.RESET: "answered with a reset from beyond {far}",
    Fate.RESET_BETWEEN: "NOT END TO END: a reset came to {near} that never passed {far}; a box between the two sites "
    "sent it in the peer's name",
    Fate.FORGED_PROBE: "came to {far} and never passed {near}: a box between the two sites probes in the prober's name",
}
