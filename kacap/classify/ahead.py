"""What the next segments will touch is brought near while those before them are classified.

With many connections hardly a row is still in a cache when its next segment comes: waiting for memory would take
longer than all the rest. It takes two steps, for where the rows are stands in the hash table.
"""

from __future__ import annotations

import numpy as np

from kacap.flows import bucket_of, packet_digest, places_of, segment_digest
from kacap.kernels import Row, fetch, inlined

AHEAD = 4  # segments from one step to the next
# Of a segment to come: the digests of its connection and of itself. A ring of twice AHEAD.
COMING = np.dtype([("connection", "<u8"), ("packet", "<u8")], align=True)


@inlined
def look_ahead(segments: Row, at: Row, tracker: Row, columns: Row) -> None:
    """Ask for what the segments behind the one at ``at`` will touch, none before ``tracker.position``.

    ``columns`` is (COMING, hash table, RECENT, CONNECTION, SIDE).
    """
    coming, table, recent, connections, sides = columns
    far, near = at + 2 * AHEAD, at + AHEAD
    if far < len(segments):
        one = coming[far % (2 * AHEAD)]
        one.connection, one.packet = segment_digest(segments[far], tracker.seed), packet_digest(segments[far])
        fetch(table[bucket_of(one.connection, table)])
        for place in places_of(one.packet):
            fetch(recent[place])
    if tracker.position <= near < len(segments):
        slot = table[bucket_of(coming[near % (2 * AHEAD)].connection, table)].slot
        if slot >= 0:
            fetch(connections[slot])
            for side in range(2):
                fetch(sides[2 * slot + side])
